//! The names by which clients of other stacks call what a policy sees and does.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use engraft_core::{ImageError, Observation, RgbImage, View};
use rmpv::ValueRef;
use serde::Deserialize;

use crate::error::WireError;
use crate::message::Contract;
use crate::ndarray::{Envelope, NdArray};

/// Parts of a vector, each with its name: `arm` is 0 to 6, `gripper` 6 to 7.
pub type Parts = Vec<(String, Range<usize>)>;

/// What a policy sees and does, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The views, in the contract's order.
    pub views: Vec<String>,
    /// The parts of proprio.
    pub state: Parts,
    /// The parts of an action.
    pub action: Parts,
    /// Observations in a request.
    pub num_frames: usize,
    /// Actions in an answer.
    pub horizon: usize,
}

impl Keys {
    /// All of proprio as `state` and all of an action as `action`, as our datasets name them.
    pub fn of(contract: &Contract) -> Self {
        let whole = |name: &str, dim| match dim {
            0 => Vec::new(),
            _ => vec![(name.to_owned(), 0..dim)],
        };
        Self {
            views: contract.spec.views.iter().map(|view| view.name.clone()).collect(),
            state: whole("state", contract.spec.proprio_dim()),
            action: whole("action", contract.spec.action_dim()),
            num_frames: contract.num_frames,
            horizon: contract.horizon,
        }
    }
}

/// Why names do not fit a contract.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The file is not what GR00T writes.
    #[error("expected GR00T's modality.json")]
    Json(#[from] serde_json::Error),
    /// The parts of a vector do not make the vector.
    #[error("`{kind}`: expected parts that make up all {dim} numbers, found {found}")]
    Parts {
        /// The vector.
        kind: &'static str,
        /// How many numbers it has.
        dim: usize,
        /// What was found.
        found: String,
    },
}

/// What we read of `modality.json`.
#[derive(Deserialize)]
struct Modality {
    #[serde(default)]
    state: BTreeMap<String, Slice>,
    #[serde(default)]
    action: BTreeMap<String, Slice>,
}

#[derive(Deserialize)]
struct Slice {
    start: usize,
    end: usize,
}

impl Keys {
    /// The parts that GR00T's `meta/modality.json` names, in the order of where they begin.
    ///
    /// # Errors
    ///
    /// When it is no such file, or its parts leave a gap, overlap, or go past the end.
    pub fn of_modality(contract: &Contract, json: &str) -> Result<Self, KeysError> {
        let modality: Modality = serde_json::from_str(json)?;
        let parts = |kind, dim, slices: BTreeMap<String, Slice>| {
            let mut parts: Parts =
                slices.into_iter().map(|(name, slice)| (name, slice.start..slice.end)).collect();
            parts.sort_by_key(|(_, part)| part.start);
            let mut next = 0;
            let fits = parts.iter().all(|(_, part)| {
                let fits = part.start == next && part.end > part.start;
                next = part.end;
                fits
            });
            if fits && next == dim {
                return Ok(parts);
            }
            let found: Vec<String> = parts
                .iter()
                .map(|(name, part)| format!("{name} {} to {}", part.start, part.end))
                .collect();
            let found = if found.is_empty() { "none".into() } else { found.join(", ") };
            Err(KeysError::Parts { kind, dim, found })
        };
        let state = parts("state", contract.spec.proprio_dim(), modality.state)?;
        let action = parts("action", contract.spec.action_dim(), modality.action)?;
        Ok(Self { state, action, ..Self::of(contract) })
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let views = self.views.iter().map(|name| format!("video.{name}"));
        let part = |kind: &str, (name, part): &(String, Range<usize>)| {
            format!("{kind}.{name} of {}", part.len())
        };
        let state = self.state.iter().map(|found| part("state", found));
        let action = self.action.iter().map(|found| part("action", found));
        let seen: Vec<_> = views.chain(state).collect();
        let done: Vec<_> = action.collect();
        write!(f, "{} -> {}", seen.join(", "), done.join(", "))
    }
}

/// What a foreign observation holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) stack: Vec<Observation>,
    /// How its arrays are written.
    pub(crate) envelope: Envelope,
    /// Whether they have an axis for a batch of one.
    pub(crate) batched: bool,
}

impl Keys {
    /// The frame stack of an observation whose views and parts `find` finds by `video` or `state`
    /// and their name.
    ///
    /// Pictures are `[frames, height, width, 3]`, or `3` before `height`; parts are `[frames, dim]`.
    /// Each may have an axis of one before it, and lack `frames` where that is one.
    pub(crate) fn stack<'a, 'b>(
        &self,
        find: impl Fn(&str, &str) -> Option<&'b ValueRef<'a>>,
    ) -> Result<Seen, WireError>
    where
        'a: 'b,
    {
        let frames = self.num_frames;
        let dim = self.state.iter().map(|(_, part)| part.end).max().unwrap_or(0);
        let mut stack = vec![Observation { views: Vec::new(), proprio: vec![0.0; dim] }; frames];
        let (mut envelope, mut batched) = (None, false);
        let mut array = |kind: &str, name: &str, rank: usize| {
            let full = format!("{kind}.{name}");
            let value =
                find(kind, name).ok_or_else(|| WireError::Missing { array: full.clone() })?;
            let mut array = NdArray::read(&full, value)?;
            envelope.get_or_insert(array.envelope);
            let found = array.shape.clone();
            if array.shape.len() == rank + 1 && array.shape[0] == 1 {
                array.shape.remove(0);
                batched = true;
            }
            if array.shape.len() + 1 == rank && frames == 1 {
                array.shape.insert(0, 1);
            }
            if array.shape.len() != rank || array.shape[0] != frames {
                let rest = if rank == 4 { "height, width, 3" } else { "dim" };
                let expected = format!("[{frames}, {rest}], or [1, {frames}, {rest}]");
                return Err(WireError::Shape { array: full, expected, found });
            }
            Ok((full, array))
        };
        for name in &self.views {
            let (full, array) = array("video", name, 4)?;
            let (height, width, planes) = match array.shape[1..] {
                [height, width, 3] => (height, width, false),
                [3, height, width] => (height, width, true),
                _ => {
                    let expected = format!("[{frames}, height, width, 3]");
                    return Err(WireError::Shape { array: full, expected, found: array.shape });
                }
            };
            let pixels = array.pixels(&full)?;
            let size = height * width * 3;
            let empty = |error: ImageError| WireError::Array {
                array: full.clone(),
                detail: error.to_string(),
            };
            for (frame, observation) in stack.iter_mut().enumerate() {
                let pixels = &pixels[frame * size..(frame + 1) * size];
                let pixels = if planes { interleaved(pixels) } else { pixels.to_vec() };
                let rgb = RgbImage::new(width, height, pixels).map_err(empty)?;
                observation.views.push(View { rgb, depth: None });
            }
        }
        for (name, part) in &self.state {
            let (full, array) = array("state", name, 2)?;
            if array.shape[1] != part.len() {
                let expected = format!("[{frames}, {}]", part.len());
                return Err(WireError::Shape { array: full, expected, found: array.shape });
            }
            let values = array.floats(&full)?;
            for (observation, values) in stack.iter_mut().zip(values.chunks_exact(part.len())) {
                observation.proprio[part.clone()].copy_from_slice(values);
            }
        }
        let envelope = envelope.unwrap_or(Envelope::Npy);
        Ok(Seen { stack, envelope, batched })
    }
}

/// Pixels of three planes, one behind the other, as pixels of three values.
fn interleaved(planes: &[u8]) -> Vec<u8> {
    let area = planes.len() / 3;
    (0..planes.len()).map(|at| planes[at % 3 * area + at / 3]).collect()
}
