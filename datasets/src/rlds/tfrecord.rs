//! Files of records: a length, its checksum, the record, its checksum.
//!
//! Opening a file finds where its records lie and checks the lengths; a record is checked when it
//! is read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::DatasetError;

/// Bytes of a length and its checksum.
const HEADER: u64 = 12;

/// Bytes of a record's checksum.
const FOOTER: u64 = 4;

/// What the format adds to a checksum, so that one of a checksum is not trivial.
const MASK: u32 = 0xa282_ead8;

/// Where a record lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) len: u64,
}

/// The checksum of `bytes`, as the format has it.
pub(super) fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

/// Where the records of the file at `path` lie; their bytes are not read.
pub(super) fn places(file: &File, path: &Path) -> Result<Vec<Place>, DatasetError> {
    let end = file.metadata().map_err(DatasetError::read(path))?.len();
    let mut places = Vec::new();
    let mut at = 0;
    while at < end {
        let damaged = |expected: &str, found: String| {
            let what = format!("record {}", places.len());
            Err(DatasetError::content(what, expected, found, path))
        };
        let rest = end - at;
        if rest < HEADER {
            return damaged("a length", format!("the end of the file, {rest} bytes on"));
        }
        let mut header = [0; HEADER as usize];
        file.read_exact_at(&mut header, at).map_err(DatasetError::read(path))?;
        let (length, crc) = header.split_at(8);
        if masked_crc(length).to_le_bytes() != crc {
            return damaged("a length and its checksum", "another checksum".into());
        }
        let len = u64::from_le_bytes(length.try_into().expect("8 bytes"));
        let held = rest - HEADER;
        if len.checked_add(FOOTER).is_none_or(|needed| needed > held) {
            let found = format!("{held}: the file is cut off (copy it again)");
            return damaged(&format!("{len} bytes and a checksum"), found);
        }
        places.push(Place { at: at + HEADER, len });
        at += HEADER + len + FOOTER;
    }
    Ok(places)
}

/// Reads the record at `place`, which [`places`] gave, and checks it.
pub(super) fn read(file: &File, place: Place) -> Result<Vec<u8>, String> {
    let len = usize::try_from(place.len).map_err(|error| error.to_string())?;
    let mut bytes = vec![0; len + FOOTER as usize]; // no longer than the file, see `places`
    file.read_exact_at(&mut bytes, place.at).map_err(|error| format!("cannot read: {error}"))?;
    let crc = bytes.split_off(len);
    if masked_crc(&bytes).to_le_bytes() == crc[..] {
        Ok(bytes)
    } else {
        Err("the checksum is another one: the record is damaged (copy its file again)".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_format() {
        // The check value of CRC-32C; golden files show that the mask is right.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let unmasked = masked_crc(b"123456789").wrapping_sub(MASK).rotate_left(15);
        assert_eq!(unmasked, 0xe306_9283);
    }
}
