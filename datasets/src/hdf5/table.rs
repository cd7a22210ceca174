//! One dataset: its shape, its elements, and rows of it.

// A lock that is filled at its first use reads best as the two cases it has.
#![allow(clippy::single_match_else)]

use std::ops::Range;
use std::sync::OnceLock;

use hdf5_pure::{ChunkCacheConfig, Error, FormatError, Layout, VlenStringReadOptions};

use super::disk::Disk;
use super::element::{Element, Number};
use super::guarded;
use super::recent::Recent;
use crate::DatasetError;

/// Bytes that are read at once; an episode's numbers and a picture are far smaller.
pub(super) const MAX_READ: usize = 1 << 30;
/// Bytes of a chunk, unpacked; h5py keeps them below a megabyte unless told otherwise.
pub(super) const MAX_CHUNK: usize = 1 << 28;
/// How many times smaller than its content a packed file can be: what deflate reaches.
const MAX_PACKED: u64 = 1032;
/// What a file of any size may claim to hold.
const FREE_CLAIM: u64 = 1 << 20;
/// The place of a chunk that was never written.
const ABSENT: u64 = u64::MAX;
/// Bytes of unpacked chunks that the decoder keeps for each dataset, as HDF5 2.0 does.
const CACHED_BYTES: usize = 1 << 23;
/// How many chunks that may be: h5py makes them of some ten kilobytes, over part of a picture.
const CACHED_CHUNKS: usize = 1 << 12;
/// Names in one list.
const MAX_TEXTS: usize = 1 << 20;

/// A dataset of an HDF5 file; its rows run along the first axis.
pub(crate) struct Table {
    dataset: hdf5_pure::Dataset,
    disk: Disk,
    name: String,
    shape: Vec<usize>,
    element: Element,
    row_bytes: usize,
    place: Place,
}

/// Where rows lie.
// There are a few dozen of them in a file, so their size does not matter.
#[allow(clippy::large_enum_variant)]
enum Place {
    /// One after the other.
    Run(u64),
    /// In unpacked chunks of so many whole rows; where each starts, once that was looked up.
    Bands(usize, OnceLock<Vec<u64>>),
    /// Packed, or in chunks of another shape.
    Packed,
    /// Packed as HDF5 2.0 does it when asked for its latest layout.
    Recent(OnceLock<Recent>),
}

/// How much of what was unpacked is kept.
pub(super) fn chunk_cache() -> ChunkCacheConfig {
    ChunkCacheConfig::from_h5p_cache(CACHED_CHUNKS, CACHED_BYTES)
}

impl Table {
    /// Checks what the dataset claims to hold against the length of its file.
    pub(super) fn new(
        dataset: hdf5_pure::Dataset,
        disk: Disk,
        name: String,
    ) -> Result<Self, DatasetError> {
        let path = disk.path();
        let (shape, size, layout, datatype) = guarded(path, || {
            let layout = match dataset.layout() {
                Err(Error::Format(FormatError::InvalidLayoutVersion(_))) => None,
                other => Some(other?),
            };
            let (shape, size) = (dataset.shape()?, dataset.element_size()?);
            Ok::<_, Error>((shape, size, layout, dataset.datatype()?))
        })?;
        let claim = || format!("{shape:?} elements of {size} bytes");
        let too_large = |expected: String| {
            DatasetError::content(&name, expected, format!("a claim of {}", claim()), path)
        };
        let total = shape.iter().try_fold(size, |total, &side| total.checked_mul(side));
        let limit = disk.num_bytes().saturating_mul(MAX_PACKED).saturating_add(FREE_CLAIM);
        let limit = limit.min(usize::MAX as u64);
        let tallest = shape.iter().copied().max().unwrap_or(0);
        let Some(total) = total.filter(|&total| total.max(tallest) <= limit) else {
            return Err(too_large(format!("what {} bytes can hold", disk.num_bytes())));
        };
        let sides = || shape.iter().map(|&side| side as usize);
        let row_elements = sides().skip(1).try_fold(size as usize, usize::checked_mul);
        let Some(row_bytes) = row_elements.filter(|&bytes| bytes <= MAX_READ) else {
            return Err(too_large(format!("rows of at most {MAX_READ} bytes")));
        };
        let place = match layout {
            Some(Layout::Contiguous { address: Some(address), size: stored }) => {
                let end = address.checked_add(total);
                if total > stored || end.is_none_or(|end| end > disk.num_bytes()) {
                    return Err(too_large(format!("{} bytes in all", disk.num_bytes())));
                }
                Place::Run(address)
            }
            Some(Layout::Chunked { chunk_shape, .. }) => {
                let bytes = chunk_shape.iter().try_fold(size, |all, &side| all.checked_mul(side));
                if bytes.is_none_or(|bytes| bytes > (MAX_CHUNK as u64).min(limit)) {
                    return Err(too_large(format!("chunks of at most {MAX_CHUNK} bytes")));
                }
                let whole_rows = chunk_shape.len() == shape.len()
                    && chunk_shape.iter().zip(&shape).skip(1).all(|(chunk, side)| chunk == side);
                match (chunk_shape.first(), shape.first()) {
                    (Some(&height), Some(&rows))
                        if whole_rows
                            && height > 0
                            && rows.div_ceil(height) <= disk.num_bytes()
                            && dataset.filters().is_empty() =>
                    {
                        Place::Bands(height as usize, OnceLock::new())
                    }
                    _ => Place::Packed,
                }
            }
            Some(_) => Place::Packed,
            None => Place::Recent(OnceLock::new()),
        };
        let (shape, element) = (sides().collect(), Element::of(&datatype));
        Ok(Self { dataset, disk, name, shape, element, row_bytes, place })
    }

    /// Its name from the root on.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Elements along each axis.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What its elements are.
    pub(crate) fn element(&self) -> &Element {
        &self.element
    }

    /// How many rows there are; none of a scalar.
    pub(crate) fn num_rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// The numbers that its elements are.
    pub(crate) fn numbers(&self) -> Result<Number, DatasetError> {
        match self.element {
            Element::Number(number) => Ok(number),
            Element::Opaque => Err(self.pickled()),
            _ => Err(self.wrong("numbers")),
        }
    }

    /// The error for a value that only Python could open.
    fn pickled(&self) -> DatasetError {
        DatasetError::Pickled { what: self.name.clone(), path: self.disk.path().to_owned() }
    }

    /// The error for elements that are not as `expected`.
    pub(crate) fn wrong(&self, expected: &str) -> DatasetError {
        let found = format!("{} of shape {:?}", self.element.name(), self.shape);
        DatasetError::content(&self.name, expected, found, self.disk.path())
    }

    /// Rows as they are stored.
    pub(crate) fn bytes(&self, rows: Range<usize>) -> Result<Vec<u8>, DatasetError> {
        let total = rows.len().checked_mul(self.row_bytes).filter(|&total| total <= MAX_READ);
        let Some(total) = total.filter(|_| rows.end <= self.num_rows()) else {
            let what = format!("rows {rows:?} of {}", self.name);
            let expected = format!("{} rows, {MAX_READ} bytes at once", self.num_rows());
            return Err(DatasetError::content(what, expected, "more", self.disk.path()));
        };
        let mut bytes = vec![0; total];
        match &self.place {
            Place::Run(address) => {
                self.fill(address + (rows.start * self.row_bytes) as u64, &mut bytes)?;
                Ok(bytes)
            }
            Place::Bands(height, starts) => match self.bands(*height, starts, &rows)? {
                Some(runs) => {
                    let mut rest = &mut bytes[..];
                    for (address, count) in runs {
                        let (band, after) = rest.split_at_mut(count * self.row_bytes);
                        self.fill(address, band)?;
                        rest = after;
                    }
                    Ok(bytes)
                }
                None => self.unpacked(rows, total),
            },
            Place::Packed | Place::Recent(_) => self.unpacked(rows, total),
        }
    }

    /// The bytes `part` of one row, as they are stored.
    pub(crate) fn row_part(&self, row: usize, part: Range<usize>) -> Result<Vec<u8>, DatasetError> {
        let lies_at = match &self.place {
            _ if row >= self.num_rows() || part.end > self.row_bytes => None,
            Place::Run(address) => Some(address + (row * self.row_bytes) as u64),
            Place::Bands(height, starts) => {
                self.bands(*height, starts, &(row..row + 1))?.map(|runs| runs[0].0)
            }
            Place::Packed | Place::Recent(_) => None,
        };
        if let Some(address) = lies_at {
            let mut bytes = vec![0; part.len()];
            self.fill(address + part.start as u64, &mut bytes)?;
            return Ok(bytes);
        }
        let mut bytes = self.bytes(row..row + 1)?;
        bytes.truncate(part.end);
        bytes.drain(..part.start);
        Ok(bytes)
    }

    /// Bytes that reading on demand may keep in memory.
    pub(crate) fn cached_bytes(&self) -> usize {
        match &self.place {
            Place::Run(_) | Place::Recent(_) => 0, // the latter is kept for the whole file
            Place::Bands(height, _) => self.num_rows().div_ceil(*height) * size_of::<u64>(),
            Place::Packed => CACHED_BYTES.min(self.num_rows().saturating_mul(self.row_bytes)),
        }
    }

    fn fill(&self, address: u64, bytes: &mut [u8]) -> Result<(), DatasetError> {
        self.disk.fill(address, bytes).map_err(DatasetError::read(self.disk.path()))
    }

    /// The places of `rows` and how many lie at each; none if some were never written.
    fn bands(
        &self,
        height: usize,
        starts: &OnceLock<Vec<u64>>,
        rows: &Range<usize>,
    ) -> Result<Option<Vec<(u64, usize)>>, DatasetError> {
        let starts = match starts.get() {
            Some(starts) => starts,
            None => {
                let found = self.look_up(height)?;
                starts.get_or_init(|| found)
            }
        };
        let mut runs = Vec::new();
        let mut row = rows.start;
        while row < rows.end {
            let (band, skipped) = (row / height, row % height);
            let count = (height - skipped).min(rows.end - row);
            match starts.get(band) {
                Some(&start) if start != ABSENT => {
                    runs.push((start + (skipped * self.row_bytes) as u64, count));
                }
                _ => return Ok(None),
            }
            row += count;
        }
        Ok(Some(runs))
    }

    /// Where each chunk of `height` rows starts.
    fn look_up(&self, height: usize) -> Result<Vec<u64>, DatasetError> {
        let mut starts = vec![ABSENT; self.num_rows().div_ceil(height)];
        let band_bytes = height.saturating_mul(self.row_bytes) as u64;
        for chunk in guarded(self.disk.path(), || self.dataset.chunks())? {
            let Some(&row) = chunk.offset.first() else { continue };
            let end = chunk.address.checked_add(band_bytes);
            let inside = end.is_some_and(|end| end <= self.disk.num_bytes());
            if !inside || chunk.storage_size < band_bytes || chunk.filter_mask != 0 {
                let found = format!("{} at {}", chunk.storage_size, chunk.address);
                let expected = format!("{band_bytes} bytes inside the file");
                let what = format!("a chunk of {}", self.name);
                return Err(DatasetError::content(what, expected, found, self.disk.path()));
            }
            if let Some(start) = starts.get_mut(row as usize / height) {
                *start = chunk.address;
            }
        }
        Ok(starts)
    }

    /// Rows through the decoder.
    fn unpacked(&self, rows: Range<usize>, total: usize) -> Result<Vec<u8>, DatasetError> {
        let path = self.disk.path();
        let bytes = match &self.place {
            Place::Recent(recent) => {
                let size = self.numbers()?.size();
                guarded(path, || match recent.get() {
                    Some(recent) => recent.rows(rows.clone(), size),
                    None => {
                        let found = Recent::new(self.disk.recent()?, &self.name)?;
                        recent.get_or_init(|| found).rows(rows.clone(), size)
                    }
                })?
            }
            _ => {
                guarded(path, || self.dataset.read_raw_rows(rows.start as u64, rows.len() as u64))?
            }
        };
        if bytes.len() == total {
            return Ok(bytes);
        }
        let what = format!("rows {rows:?} of {}", self.name);
        let (expected, found) = (format!("{total} bytes"), bytes.len().to_string());
        Err(DatasetError::content(what, expected, found, self.disk.path()))
    }

    /// Rows as numbers.
    pub(crate) fn f32(&self, rows: Range<usize>) -> Result<Vec<f32>, DatasetError> {
        let number = self.numbers()?;
        Ok(number.to_f32(&self.bytes(rows)?))
    }

    /// Every element as text.
    pub(crate) fn texts(&self) -> Result<Vec<String>, DatasetError> {
        let path = self.disk.path();
        if self.shape.iter().product::<usize>() > MAX_TEXTS {
            return Err(self.wrong(&format!("at most {MAX_TEXTS} names")));
        }
        match self.element {
            Element::Text => guarded(path, || self.dataset.read_string()),
            Element::LongText => {
                let options = VlenStringReadOptions::new()
                    .with_max_elements(MAX_TEXTS)
                    .with_max_payload_bytes(MAX_CHUNK);
                guarded(path, || self.dataset.read_vlen_strings(options))
            }
            _ => Err(self.wrong("text")),
        }
    }
}
