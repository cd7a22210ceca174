//! One array: what its `.zarray` says, and its chunks, decoded on demand.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::codec::Codec;
use super::dtype::Dtype;
use super::store::{MAX_METADATA, Store};
use crate::DatasetError;
use crate::cache::Cache;

/// A larger chunk is damage: Blosc, the usual compressor, ends at twice that.
const MAX_CHUNK: usize = 1 << 30;

/// A step may lie in this many chunks.
const MAX_CHUNKS_PER_STEP: usize = 1 << 16;

/// Bytes of decoded chunks that an array keeps in memory.
const CACHE_BYTES: usize = 64 << 20;

/// More axes than numpy has.
const MAX_RANK: usize = 32;

/// An array and the decoded chunks that were used last.
pub(super) struct Array {
    store: Arc<Store>,
    pub(super) key: String,
    pub(super) shape: Vec<usize>,
    /// As the file spells it.
    pub(super) dtype_name: String,
    elements: Elements,
    chunks: Vec<usize>,
    separator: char,
    codec: Codec,
    cache: Cache<Vec<u8>>,
}

/// What an array consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elements {
    Numbers(Dtype),
    /// Python objects, which are never opened.
    Pickled,
    /// Text, structs, dates.
    Other,
}

/// A `.zarray` file.
#[derive(Deserialize)]
struct Metadata {
    zarr_format: u64,
    shape: Vec<u64>,
    chunks: Vec<u64>,
    dtype: Value,
    #[serde(default)]
    compressor: Value,
    #[serde(default)]
    filters: Option<Vec<Value>>,
    #[serde(default)]
    order: Option<String>,
    #[serde(default)]
    dimension_separator: Option<String>,
}

impl Array {
    /// Reads the metadata of the array at `key`.
    pub(super) fn open(store: &Arc<Store>, key: &str) -> Result<Self, DatasetError> {
        let file = format!("{key}/.zarray");
        let path = store.path_of(&file);
        let Some(bytes) = store.read(&file, MAX_METADATA)? else {
            return Err(DatasetError::content(key, "an array of zarr v2", "none", &path));
        };
        Self::parse(store, key, &bytes)
    }

    /// The array at `key` whose `.zarray` holds `bytes`.
    pub(super) fn parse(store: &Arc<Store>, key: &str, bytes: &[u8]) -> Result<Self, DatasetError> {
        let path = store.path_of(&format!("{key}/.zarray"));
        let wrong = |field: &str, expected: &str, found: String| {
            DatasetError::content(format!("{key}/{field}"), expected, found, &path)
        };
        let meta: Metadata = serde_json::from_slice(bytes).map_err(DatasetError::json(&path))?;
        if meta.zarr_format != 2 {
            return Err(wrong("zarr_format", "2", meta.zarr_format.to_string()));
        }
        let sides = |all: &[u64]| -> Option<Vec<usize>> {
            all.iter().map(|&side| usize::try_from(side).ok()).collect()
        };
        let (Some(shape), Some(chunks)) = (sides(&meta.shape), sides(&meta.chunks)) else {
            return Err(wrong("shape", "sizes", format!("{:?}", meta.shape)));
        };
        if shape.len() > MAX_RANK || chunks.len() != shape.len() || chunks.contains(&0) {
            let expected = "sizes of chunks above zero, as many as axes";
            return Err(wrong("chunks", expected, format!("{chunks:?} for {shape:?}")));
        }
        if meta.order.as_deref().is_some_and(|order| order != "C") {
            let expected = "C (write the array again with order='C')";
            return Err(wrong("order", expected, meta.order.unwrap_or_default()));
        }
        let separator = match meta.dimension_separator.as_deref() {
            None | Some(".") => '.',
            Some("/") => '/',
            Some(other) => return Err(wrong("dimension_separator", ". or /", other.to_owned())),
        };
        let dtype_name = match &meta.dtype {
            Value::String(name) => name.clone(),
            _ => "struct".into(),
        };
        let filters = meta.filters.unwrap_or_default();
        let filter = |filter: &Value| filter["id"].as_str().unwrap_or("none").to_owned();
        let elements = match Dtype::parse(&dtype_name) {
            Some(dtype) => Elements::Numbers(dtype),
            None if filters.iter().any(|f| filter(f) == "pickle") => Elements::Pickled,
            None => Elements::Other,
        };
        let mut codec = Codec::Plain;
        if let Elements::Numbers(dtype) = elements {
            if let Some(found) = filters.first() {
                let expected = "no filter (write the array again without)";
                return Err(wrong("filters", expected, filter(found)));
            }
            codec = Codec::parse(&meta.compressor).map_err(|found| {
                let expected = "null, blosc, zstd, zlib, gzip, lz4, imagecodecs_jpeg2k or \
                                imagecodecs_jpegxl (write the array again with one of them)";
                wrong("compressor", expected, found)
            })?;
            if chunk_bytes(&chunks, dtype).is_none_or(|bytes| bytes > MAX_CHUNK) {
                let expected = format!("at most {MAX_CHUNK} bytes (write it in smaller chunks)");
                return Err(wrong("chunks", &expected, format!("{chunks:?} of {dtype_name}")));
            }
            let mut sides = shape.iter().zip(&chunks).map(|(&side, &chunk)| side.div_ceil(chunk));
            let rows = sides.next().unwrap_or(1);
            let per_row = sides.fold(1, usize::saturating_mul);
            if per_row > MAX_CHUNKS_PER_STEP || rows.checked_mul(per_row).is_none() {
                let expected = format!("at most {MAX_CHUNKS_PER_STEP} of them for a step");
                return Err(wrong("chunks", &expected, format!("{chunks:?} for {shape:?}")));
            }
        }
        Ok(Self {
            store: Arc::clone(store),
            key: key.to_owned(),
            shape,
            dtype_name,
            elements,
            chunks,
            separator,
            codec,
            cache: Cache::new(CACHE_BYTES),
        })
    }

    /// What it consists of.
    pub(super) fn elements(&self) -> Elements {
        self.elements
    }

    /// Its folder, for messages.
    pub(super) fn path(&self) -> PathBuf {
        self.store.path_of(&self.key)
    }

    /// The type of its numbers.
    pub(super) fn numbers(&self) -> Result<Dtype, DatasetError> {
        match self.elements {
            Elements::Numbers(dtype) => Ok(dtype),
            Elements::Pickled => {
                Err(DatasetError::Pickled { what: self.key.clone(), path: self.path() })
            }
            Elements::Other => {
                let found = &self.dtype_name;
                Err(DatasetError::content(&self.key, "numbers", found, &self.path()))
            }
        }
    }

    /// The bytes of `rows`, which lie inside the first axis, row by row.
    ///
    /// A chunk that is not there is an error. To zarr it would be full of `fill_value`, but the
    /// writers of these datasets store every chunk, and a copy that stopped half-way looks the
    /// same: a policy would learn zeros from it.
    pub(super) fn rows(&self, rows: Range<usize>) -> Result<Vec<u8>, DatasetError> {
        let size = self.numbers()?.size();
        let (Some(&side), Some((&whole, inner))) = (self.chunks.first(), self.shape.split_first())
        else {
            return Err(DatasetError::content(&self.key, "rows", "a scalar", &self.path()));
        };
        debug_assert!(rows.end <= whole, "rows inside the array");
        let mut bytes = Vec::new();
        let mut row = rows.start;
        while row < rows.end {
            let at = row / side;
            let end = rows.end.min((at + 1).saturating_mul(side));
            let places = self.places(at);
            let chunks = places.iter().map(|place| self.chunk(place));
            let chunks = chunks.collect::<Result<Vec<_>, _>>()?;
            let before = bytes.len();
            let block = inner
                .iter()
                .fold((end - row).saturating_mul(size), |all, &side| all.saturating_mul(side));
            // The chunks at hand hold at least as much.
            bytes.resize(before + block, 0);
            for (place, chunk) in places.iter().zip(&chunks) {
                let mut axes = vec![Axis {
                    count: end - row,
                    from: (row - at * side, side),
                    to: (0, end - row),
                }];
                for (axis, &index) in place.iter().enumerate().skip(1) {
                    let (side, whole) = (self.chunks[axis], self.shape[axis]);
                    let first = index * side;
                    let count = side.min(whole - first);
                    axes.push(Axis { count, from: (0, side), to: (first, whole) });
                }
                copy(&axes, chunk, &mut bytes[before..], size);
            }
            row = end;
        }
        Ok(bytes)
    }

    /// The places of the chunks that hold rows of the `first` place along the first axis.
    fn places(&self, first: usize) -> Vec<Vec<usize>> {
        let mut places = vec![vec![first]];
        for (&whole, &side) in self.shape.iter().zip(&self.chunks).skip(1) {
            let extended = places.iter().flat_map(|place| {
                (0..whole.div_ceil(side)).map(|at| place.iter().copied().chain([at]).collect())
            });
            places = extended.collect();
        }
        places
    }

    /// The chunk at `place`, decoded.
    fn chunk(&self, place: &[usize]) -> Result<Arc<Vec<u8>>, DatasetError> {
        let sides = self.shape.iter().zip(&self.chunks).map(|(&whole, &side)| whole.div_ceil(side));
        // `open` made sure that this does not overflow.
        let index = place.iter().zip(sides).fold(0, |index, (&at, side)| index * side + at);
        if self.chunks[0] == 1 {
            return Ok(Arc::new(self.load(place)?)); // one step: it is not needed again soon
        }
        self.cache.get(index, || {
            let bytes = self.load(place)?;
            let num_bytes = bytes.len();
            Ok((bytes, num_bytes))
        })
    }

    fn load(&self, place: &[usize]) -> Result<Vec<u8>, DatasetError> {
        let dtype = self.numbers()?;
        let len = chunk_bytes(&self.chunks, dtype).unwrap_or(usize::MAX);
        let mut key = format!("{}/", self.key);
        for (axis, at) in place.iter().enumerate() {
            if axis > 0 {
                key.push(self.separator);
            }
            key += &at.to_string();
        }
        let path = self.store.path_of(&key);
        // No compressor makes its input longer by more than this.
        let limit = (len as u64).saturating_add(len as u64 / 8).saturating_add(1 << 16);
        let Some(bytes) = self.store.read(&key, limit)? else {
            let expected = "a chunk for every step (copy the dataset again; if the chunk is left \
                            out because it is empty, write the array with \
                            write_empty_chunks=True)";
            return Err(DatasetError::content(&self.key, expected, "no such file", &path));
        };
        self.codec.decode(bytes, len).map_err(DatasetError::file("zarr", &path))
    }
}

/// Bytes of a decoded chunk.
fn chunk_bytes(chunks: &[usize], dtype: Dtype) -> Option<usize> {
    chunks.iter().try_fold(dtype.size(), |all, &side| all.checked_mul(side))
}

/// One axis of a block that is copied: how far, and first index and extent on either side.
struct Axis {
    count: usize,
    from: (usize, usize),
    to: (usize, usize),
}

/// Copies the block that `axes` describe.
fn copy(axes: &[Axis], from: &[u8], to: &mut [u8], size: usize) {
    let Some((axis, inner)) = axes.split_first() else {
        to[..size].copy_from_slice(&from[..size]);
        return;
    };
    let from_stride = inner.iter().fold(size, |all, axis| all * axis.from.1);
    let to_stride = inner.iter().fold(size, |all, axis| all * axis.to.1);
    let whole = |axis: &Axis| axis.count == axis.from.1 && axis.count == axis.to.1;
    if inner.iter().all(whole) {
        let (from_at, to_at) = (axis.from.0 * from_stride, axis.to.0 * to_stride);
        let len = axis.count * from_stride;
        to[to_at..to_at + len].copy_from_slice(&from[from_at..from_at + len]);
        return;
    }
    for at in 0..axis.count {
        let from = &from[(axis.from.0 + at) * from_stride..];
        copy(inner, from, &mut to[(axis.to.0 + at) * to_stride..], size);
    }
}
