//! Packed chunks as HDF5 2.0 indexes them where it is asked for its latest layout.
//!
//! The `hdf5-pure` crate does not know that layout (version 5), so the `hdf5-reader` crate reads
//! these datasets and no others.

use std::ops::Range;

use hdf5_reader::{
    Datatype, FilterRegistry, H5Type, Hdf5File, OpenOptions, SliceInfo, SliceInfoElem, Storage,
    StorageBuffer, error::Error,
};

use super::disk::Disk;
use super::table::{MAX_CHUNK, MAX_READ};

/// The number under which LZF is registered with the HDF Group; h5py brings it along.
const LZF: u16 = 32000;
/// Bytes of unpacked chunks that are kept for the whole file.
const CACHED_CHUNKS: usize = 1 << 23;

/// A dataset in chunks of the latest layout.
pub(super) struct Recent(hdf5_reader::Dataset);

/// An element as it is stored.
#[derive(Clone)]
struct Raw<const N: usize>([u8; N]);

impl<const N: usize> H5Type for Raw<N> {
    fn hdf5_type() -> Datatype {
        Datatype::Opaque { size: N as u32, tag: String::new() }
    }

    fn from_bytes(bytes: &[u8], _: &Datatype) -> Result<Self, Error> {
        let first = bytes.first_chunk::<N>();
        first.copied().map(Self).ok_or_else(|| Error::InvalidData("too few bytes".into()))
    }

    fn element_size(_: &Datatype) -> usize {
        N
    }
}

impl Storage for Disk {
    fn len(&self) -> u64 {
        self.num_bytes()
    }

    fn read_range(&self, offset: u64, len: usize) -> Result<StorageBuffer, Error> {
        let end = offset.checked_add(len as u64).filter(|&end| end <= self.num_bytes());
        end.ok_or(Error::OffsetOutOfBounds(offset))?;
        let mut bytes = vec![0; len];
        self.fill(offset, &mut bytes)?;
        Ok(StorageBuffer::from_vec(bytes))
    }
}

/// Opens a file for its datasets of the latest layout.
pub(super) fn open(disk: &Disk) -> Result<Hdf5File, Error> {
    let mut filters = FilterRegistry::new();
    let lzf = |_: &_, packed: &[u8], _| {
        unpack_lzf(packed).ok_or_else(|| Error::InvalidData("damaged LZF chunk".into()))
    };
    filters.register(LZF, Box::new(lzf));
    let options = OpenOptions::default()
        .with_chunk_cache_bytes(CACHED_CHUNKS)
        .with_filter_registry(filters)
        .with_max_chunk_bytes(MAX_CHUNK)
        .with_max_read_bytes(MAX_READ);
    Hdf5File::from_storage_with_options(std::sync::Arc::new(disk.clone()), options)
}

impl Recent {
    /// The dataset of that name, from the root on.
    pub(super) fn new(file: &Hdf5File, name: &str) -> Result<Self, Error> {
        file.dataset(name).map(Self)
    }

    /// Rows as they are stored, of elements of `size` bytes.
    pub(super) fn rows(&self, rows: Range<usize>, size: usize) -> Result<Vec<u8>, Error> {
        let mut selection = SliceInfo::all(self.0.ndim());
        if let Some(first) = selection.selections.first_mut() {
            let (start, end) = (rows.start as u64, rows.end as u64);
            *first = SliceInfoElem::Slice { start, end, step: 1 };
        }
        match size {
            1 if matches!(self.0.dtype(), Datatype::FixedPoint { signed: false, .. }) => {
                let found = self.0.read_slice::<u8>(&selection)?;
                Ok(found.into_raw_vec_and_offset().0)
            }
            1 => self.raw::<1>(&selection),
            2 => self.raw::<2>(&selection),
            4 => self.raw::<4>(&selection),
            8 => self.raw::<8>(&selection),
            _ => Err(Error::InvalidData(format!("elements of {size} bytes"))),
        }
    }

    fn raw<const N: usize>(&self, selection: &SliceInfo) -> Result<Vec<u8>, Error> {
        let found = self.0.read_slice::<Raw<N>>(selection)?;
        Ok(found.iter().flat_map(|element| element.0).collect())
    }
}

/// Undoes LZF; none where its bytes make no sense.
///
/// Source: the format of Marc Lehmann's `LibLZF`.
fn unpack_lzf(packed: &[u8]) -> Option<Vec<u8>> {
    let mut unpacked: Vec<u8> = Vec::with_capacity(packed.len().saturating_mul(2).min(MAX_CHUNK));
    let mut rest = packed.iter();
    let mut next = || rest.next().map(|&byte| usize::from(byte));
    while let Some(control) = next() {
        if control < 32 {
            for _ in 0..=control {
                unpacked.push(next()? as u8);
            }
        } else {
            let mut count = control >> 5;
            if count == 7 {
                count += next()?;
            }
            let distance = ((control & 31) << 8 | next()?) + 1;
            let start = unpacked.len().checked_sub(distance)?;
            for at in start..start + count + 2 {
                unpacked.push(unpacked[at]);
            }
        }
        if unpacked.len() > MAX_CHUNK {
            return None;
        }
    }
    Some(unpacked)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn lzf_copies_what_is_new_and_repeats_what_was_there() {
        // Three bytes as they are; then eleven from three back, which repeats them.
        let packed = [2, 7, 8, 9, 7 << 5, 2, 2];
        let unpacked = unpack_lzf(&packed).unwrap();
        assert_eq!(unpacked, [7, 8, 9, 7, 8, 9, 7, 8, 9, 7, 8, 9, 7, 8]);
        assert_eq!(unpack_lzf(&[2, 7, 8]), None);
        assert_eq!(unpack_lzf(&[0, 7, 1 << 5, 1]), None);
    }

    #[test]
    fn any_bytes_are_unpacked_or_refused() {
        let mut draws = ChaCha8Rng::seed_from_u64(3);
        let mut refused = 0;
        for _ in 0..100_000 {
            let packed: Vec<u8> =
                (0..draws.next_u32() % 40).map(|_| draws.next_u32() as u8 & 0x7f).collect();
            match unpack_lzf(&packed) {
                // Two bytes stand for at most eight, three for 264.
                Some(unpacked) => assert!(unpacked.len() <= packed.len() * 88),
                None => refused += 1,
            }
        }
        assert!((1000..99_000).contains(&refused), "{refused} refused");
    }
}
