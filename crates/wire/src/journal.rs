//! Journals: what went into a control loop and what came out, in order, to be played again.
//!
//! A file is [`MAGIC`], then records; a record is the length of its payload (u32, little-endian),
//! the payload's CRC-32 (u32), and the payload, one msgpack value, which keeps every bit of a
//! number. Whatever ends the writer leaves whole records and at most one torn one, which a reader
//! drops.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How a journal begins.
pub const MAGIC: &[u8; 16] = b"engraft-journal1";
/// Bytes that a record may have.
const MAX_RECORD_BYTES: usize = 1 << 20;

/// Why a journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file cannot be made; one that exists is not written over.
    #[error("cannot create journal (path: {path:?})")]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write to the journal")]
    Write(#[source] io::Error),
    /// The file cannot be read.
    #[error("cannot read journal (path: {path:?})")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is something else.
    #[error("this is no journal: it does not begin with `engraft-journal1` (path: {path:?})")]
    Magic {
        /// The file.
        path: PathBuf,
    },
    /// A record cannot be written, or is whole and makes no sense.
    #[error("record {record} of the journal makes no sense: {detail}")]
    Record {
        /// Its index.
        record: usize,
        /// What is wrong with it.
        detail: String,
    },
}

/// Writes a journal.
#[derive(Debug)]
pub struct JournalWriter {
    file: BufWriter<File>,
    records: usize,
}

impl JournalWriter {
    /// Begins a new file.
    ///
    /// # Errors
    ///
    /// When there is one already, or it cannot be made.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let file = File::create_new(path)
            .map_err(|source| JournalError::Create { path: path.to_owned(), source })?;
        let mut file = BufWriter::new(file);
        file.write_all(MAGIC).map_err(JournalError::Write)?;
        Ok(Self { file, records: 0 })
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// When it is larger than a record may be, or the disk refuses.
    pub fn write(&mut self, record: &impl Serialize) -> Result<(), JournalError> {
        let senseless = |detail| JournalError::Record { record: self.records, detail };
        let payload = rmp_serde::to_vec(record).map_err(|error| senseless(error.to_string()))?;
        if payload.len() > MAX_RECORD_BYTES {
            return Err(senseless(format!("{} bytes, at most {MAX_RECORD_BYTES}", payload.len())));
        }
        let prefix =
            [(payload.len() as u32).to_le_bytes(), crc32fast::hash(&payload).to_le_bytes()];
        self.file.write_all(prefix.as_flattened()).map_err(JournalError::Write)?;
        self.file.write_all(&payload).map_err(JournalError::Write)?;
        self.records += 1;
        Ok(())
    }

    /// Hands everything to the disk.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.file.flush().map_err(JournalError::Write)?;
        self.file.get_ref().sync_data().map_err(JournalError::Write)
    }
}

/// Reads a journal record by record, up to its last whole one.
#[derive(Debug)]
pub struct JournalReader {
    file: BufReader<File>,
    path: PathBuf,
    records: usize,
}

impl JournalReader {
    /// Opens a journal.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is something else.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Read { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let mut magic = Vec::new();
        file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed)?;
        if magic != MAGIC {
            return Err(JournalError::Magic { path: path.to_owned() });
        }
        Ok(Self { file, path: path.to_owned(), records: 0 })
    }

    /// The next record; `None` after the last whole one.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or a whole record makes no sense.
    pub fn next_record<T: DeserializeOwned>(&mut self) -> Result<Option<T>, JournalError> {
        let failed = |source| JournalError::Read { path: self.path.clone(), source };
        let mut prefix = Vec::with_capacity(8);
        self.file.by_ref().take(8).read_to_end(&mut prefix).map_err(failed)?;
        let Ok([a, b, c, d, sum @ ..]) = <[u8; 8]>::try_from(prefix.as_slice()) else {
            return Ok(None);
        };
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > MAX_RECORD_BYTES {
            return Ok(None);
        }
        let mut payload = Vec::new();
        self.file.by_ref().take(len as u64).read_to_end(&mut payload).map_err(failed)?;
        if payload.len() < len || crc32fast::hash(&payload) != u32::from_le_bytes(sum) {
            return Ok(None);
        }
        let record = self.records;
        self.records += 1;
        rmp_serde::from_slice(&payload)
            .map(Some)
            .map_err(|error| JournalError::Record { record, detail: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_to_the_last_bit_and_a_torn_end_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let records = [(1_u64, 0.1_f64), (2, f64::MIN_POSITIVE), (3, -0.0), (4, 1.0 / 3.0)];
        let mut writer = JournalWriter::create(&path).unwrap();
        for record in &records {
            writer.write(record).unwrap();
        }
        writer.sync().unwrap();
        assert!(matches!(JournalWriter::create(&path), Err(JournalError::Create { .. })));

        let whole = std::fs::read(&path).unwrap();
        for len in MAGIC.len()..=whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let mut reader = JournalReader::open(&path).unwrap();
            let mut count = 0;
            while let Some((time, value)) = reader.next_record::<(u64, f64)>().unwrap() {
                assert_eq!((time, value.to_bits()), (records[count].0, records[count].1.to_bits()));
                count += 1;
            }
            assert!(count < records.len() || len == whole.len());
        }
        std::fs::write(&path, b"something else").unwrap();
        assert!(matches!(JournalReader::open(&path), Err(JournalError::Magic { .. })));
    }
}
