//! Arrays beside a header: raw little-endian values, row by row, one frame each.

use std::collections::HashMap;

use engraft_core::{
    ActionChunk, AttentionMap, DepthImage, ImageError, Observation, RgbImage, View,
};
use serde::{Deserialize, Serialize};

use crate::error::WireError;

const U8: &str = "u1";
const F32: &str = "f4";
/// Values along one axis; without it, an axis of length zero would let another be anything.
const MAX_AXIS: usize = 1 << 24;
/// Observations in a frame stack.
const MAX_STACK: usize = 256;

/// What the header says of one array; array `i` is frame `i + 1`, after the header.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ArrayMeta {
    /// Its name.
    pub(crate) k: String,
    /// Its element type: `u1` or `f4`.
    pub(crate) d: String,
    /// Its shape.
    pub(crate) s: Vec<usize>,
}

/// What the header says of one attention map beside its array `attention.I`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AttentionMeta {
    pub(crate) view: usize,
    pub(crate) tap: String,
}

/// Gathers arrays to send.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    pub(crate) metas: Vec<ArrayMeta>,
    pub(crate) frames: Vec<Vec<u8>>,
}

impl Packer {
    fn push(&mut self, key: String, dtype: &str, shape: Vec<usize>, bytes: Vec<u8>) {
        self.metas.push(ArrayMeta { k: key, d: dtype.to_owned(), s: shape });
        self.frames.push(bytes);
    }

    /// Adds floats, given in pieces that follow each other.
    pub(crate) fn floats<'a>(
        &mut self,
        key: impl Into<String>,
        shape: Vec<usize>,
        pieces: impl IntoIterator<Item = &'a [f32]>,
    ) {
        let mut bytes = Vec::with_capacity(shape.iter().product::<usize>() * 4);
        for piece in pieces {
            bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
        }
        self.push(key.into(), F32, shape, bytes);
    }

    /// Adds a chunk as `key`: `[horizon, action_dim]`.
    pub(crate) fn chunk(&mut self, key: &str, chunk: &ActionChunk) {
        self.floats(key, vec![chunk.horizon(), chunk.action_dim()], [chunk.values()]);
    }

    /// Adds each map as `attention.I`: `[height, width]`.
    pub(crate) fn attention(&mut self, maps: &[AttentionMap]) -> Vec<AttentionMeta> {
        for (i, map) in maps.iter().enumerate() {
            let shape = vec![map.height, map.width];
            self.floats(format!("attention.{i}"), shape, [map.weights.as_slice()]);
        }
        maps.iter().map(|map| AttentionMeta { view: map.view, tap: map.tap.clone() }).collect()
    }

    /// Adds a frame stack: `rgb.V` `[frames, height, width, 3]`, `depth.V`
    /// `[frames, height, width]` where the view has depth, `proprio` `[frames, proprio_dim]`.
    pub(crate) fn stack(&mut self, stack: &[Observation]) -> Result<(), WireError> {
        let first = stack.first().ok_or(WireError::Missing { array: "rgb.0".into() })?;
        let frames = stack.len();
        for other in stack {
            same("views", &[first.views.len()], &[other.views.len()])?;
            same("proprio", &[first.proprio.len()], &[other.proprio.len()])?;
        }
        for (v, view) in first.views.iter().enumerate() {
            let size = [view.rgb.height(), view.rgb.width()];
            let key = format!("rgb.{v}");
            let mut pixels = Vec::with_capacity(frames * size[0] * size[1] * 3);
            for observation in stack {
                let rgb = &observation.views[v].rgb;
                same(&key, &size, &[rgb.height(), rgb.width()])?;
                pixels.extend_from_slice(rgb.pixels());
            }
            self.push(key, U8, vec![frames, size[0], size[1], 3], pixels);
            if let Some(depth) = &view.depth {
                let key = format!("depth.{v}");
                let size = [depth.height(), depth.width()];
                let mut pieces = Vec::with_capacity(frames);
                for observation in stack {
                    let depth = observation.views[v].depth.as_ref();
                    let depth = depth.ok_or_else(|| WireError::Missing { array: key.clone() })?;
                    same(&key, &size, &[depth.height(), depth.width()])?;
                    pieces.push(depth.metres());
                }
                self.floats(key, vec![frames, size[0], size[1]], pieces);
            }
        }
        let proprio = stack.iter().map(|observation| observation.proprio.as_slice());
        self.floats("proprio", vec![frames, first.proprio.len()], proprio);
        Ok(())
    }
}

fn same(array: &str, expected: &[usize], found: &[usize]) -> Result<(), WireError> {
    if expected == found {
        return Ok(());
    }
    Err(WireError::Shape {
        array: array.to_owned(),
        expected: format!("{expected:?} as in the first frame"),
        found: found.to_vec(),
    })
}

/// A shape and its values, where there is such an array.
type Shaped<const N: usize, V> = Result<Option<([usize; N], V)>, WireError>;

/// Arrays received, by name. Every length was checked against its shape.
pub(crate) struct Arrays<'a>(HashMap<&'a str, (&'a ArrayMeta, &'a [u8])>);

impl<'a> Arrays<'a> {
    /// Pairs what the header says with the frames behind it.
    pub(crate) fn new<F: AsRef<[u8]>>(
        metas: &'a [ArrayMeta],
        frames: &'a [F],
    ) -> Result<Self, WireError> {
        if metas.len() != frames.len() {
            return Err(WireError::Count { expected: metas.len(), found: frames.len() });
        }
        let mut arrays = HashMap::with_capacity(metas.len());
        for (meta, bytes) in metas.iter().zip(frames) {
            let bytes = bytes.as_ref();
            let size = match meta.d.as_str() {
                U8 => 1,
                F32 => 4,
                _ => return Err(dtype(meta, "u1 or f4")),
            };
            let expected = meta.s.iter().try_fold(size, |all: usize, &n| all.checked_mul(n));
            if expected != Some(bytes.len()) || meta.s.iter().any(|&n| n > MAX_AXIS) {
                let (array, shape) = (meta.k.clone(), meta.s.clone());
                return Err(WireError::Length { array, shape, found: bytes.len() });
            }
            if arrays.insert(meta.k.as_str(), (meta, bytes)).is_some() {
                let detail = format!("array `{}` appears twice", meta.k);
                return Err(WireError::Header { detail });
            }
        }
        Ok(Self(arrays))
    }

    fn find<const N: usize>(&self, key: &str, dtype_wanted: &str) -> Shaped<N, &'a [u8]> {
        let Some((meta, bytes)) = self.0.get(key) else { return Ok(None) };
        if meta.d != dtype_wanted {
            return Err(dtype(meta, dtype_wanted));
        }
        let shape = meta.s.as_slice().try_into().map_err(|_| WireError::Shape {
            array: key.to_owned(),
            expected: format!("{N} axes"),
            found: meta.s.clone(),
        })?;
        Ok(Some((shape, bytes)))
    }

    /// Floats of a given rank, if they are there.
    pub(crate) fn floats<const N: usize>(&self, key: &str) -> Shaped<N, Vec<f32>> {
        let found = self.find(key, F32)?;
        Ok(found.map(|(shape, bytes)| (shape, floats(bytes))))
    }

    /// The chunk `key`, if it is there.
    pub(crate) fn chunk(&self, key: &str) -> Result<Option<ActionChunk>, WireError> {
        let Some(([horizon, action_dim], values)) = self.floats(key)? else { return Ok(None) };
        let found = values.len();
        if found == 0 {
            let (array, found) = (key.to_owned(), vec![horizon, action_dim]);
            return Err(WireError::Shape { array, expected: "at least one action".into(), found });
        }
        let chunk = ActionChunk::new(horizon, action_dim, values);
        chunk.map(Some).map_err(|_| length(key, &[horizon, action_dim], found))
    }

    /// The attention maps.
    pub(crate) fn attention(
        &self,
        metas: Vec<AttentionMeta>,
    ) -> Result<Vec<AttentionMap>, WireError> {
        let map = |(i, meta): (usize, AttentionMeta)| {
            let array = format!("attention.{i}");
            let found = self.floats(&array)?;
            let ([height, width], weights) = found.ok_or(WireError::Missing { array })?;
            Ok(AttentionMap { view: meta.view, tap: meta.tap, width, height, weights })
        };
        metas.into_iter().enumerate().map(map).collect()
    }

    /// The frame stack that [`Packer::stack`] packed.
    pub(crate) fn stack(&self) -> Result<Vec<Observation>, WireError> {
        let proprio = self.floats("proprio")?;
        let ([frames, dim], proprio) =
            proprio.ok_or_else(|| WireError::Missing { array: "proprio".into() })?;
        if !(1..=MAX_STACK).contains(&frames) {
            let (array, found) = ("proprio".into(), vec![frames, dim]);
            let expected = format!("1 to {MAX_STACK} frames");
            return Err(WireError::Shape { array, expected, found });
        }
        let rows = (0..frames).map(|f| proprio[f * dim..(f + 1) * dim].to_vec());
        let mut stack: Vec<_> =
            rows.map(|proprio| Observation { views: Vec::new(), proprio }).collect();
        for v in 0.. {
            let key = format!("rgb.{v}");
            let Some(([n, height, width, channels], pixels)) = self.find(&key, U8)? else { break };
            if n != frames || channels != 3 {
                let expected = format!("[{frames}, height, width, 3]");
                let found = vec![n, height, width, channels];
                return Err(WireError::Shape { array: key, expected, found });
            }
            let depth_key = format!("depth.{v}");
            let depth = self.floats::<3>(&depth_key)?;
            if let Some((found, _)) = &depth
                && *found != [frames, height, width]
            {
                let expected = format!("[{frames}, {height}, {width}]");
                let found = found.to_vec();
                return Err(WireError::Shape { array: depth_key, expected, found });
            }
            let area = height * width;
            let empty = |error: ImageError| WireError::Header { detail: error.to_string() };
            for (f, observation) in stack.iter_mut().enumerate() {
                let pixels = pixels[f * area * 3..(f + 1) * area * 3].to_vec();
                let rgb = RgbImage::new(width, height, pixels).map_err(empty)?;
                let metres = depth.as_ref().map(|(_, all)| all[f * area..(f + 1) * area].to_vec());
                let depth = metres.map(|metres| DepthImage::new(width, height, metres));
                observation.views.push(View { rgb, depth: depth.transpose().map_err(empty)? });
            }
        }
        Ok(stack)
    }
}

fn dtype(meta: &ArrayMeta, expected: &str) -> WireError {
    let (array, found) = (meta.k.clone(), meta.d.clone());
    WireError::Dtype { array, expected: expected.to_owned(), found }
}

fn length(array: &str, shape: &[usize], found: usize) -> WireError {
    WireError::Length { array: array.to_owned(), shape: shape.to_vec(), found }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}
