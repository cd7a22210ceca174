//! Predictions of a checkpoint, in physical units.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use engraft_backbones::{NamedTensors, WeightsError};
use engraft_core::{ActionChunk, AttentionMap, Observation};

use crate::{AttentionTensors, Checkpoint, PolicyInput, TransformError};

/// What a policy makes of one frame stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The actions.
    pub chunk: ActionChunk,
    /// Where the policy looked in the newest frame, view by view and tap by tap; empty where it
    /// has no way to say.
    pub attention: Vec<AttentionMap>,
}

/// Why nothing was predicted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// The observation is not what the policy takes.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// The file cannot be read.
    #[error("cannot read the observation")]
    Read {
        /// Why.
        #[from]
        source: WeightsError,
    },
    /// The file lacks a tensor.
    #[error("the observation has no tensor `{name}`")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// A tensor has another shape.
    #[error("tensor `{name}` of the observation has shape {found:?}, the run needs {expected:?}")]
    Shape {
        /// Its name.
        name: &'static str,
        /// What the run needs.
        expected: Vec<usize>,
        /// What is there.
        found: Vec<usize>,
    },
}

impl Checkpoint {
    /// The same run, to predict with and nothing else: the weights of a backbone and of a learned
    /// stream are in memory once, in the order that the CPU's kernels read them.
    pub fn to_predict(mut self) -> Self {
        self.policy = self.policy.packed();
        self
    }

    /// Predicts one chunk per frame stack, oldest observation first.
    ///
    /// # Errors
    ///
    /// When a stack is not what the contract says.
    pub fn predict(&self, stacks: &[&[Observation]]) -> Result<Vec<ActionChunk>, PredictError> {
        let output = self.policy.forward(self.transform.input(stacks, &self.device())?);
        Ok(self.transform.actions(output, &newest(stacks))?)
    }

    /// [`predict`](Self::predict), and where the policy looked.
    ///
    /// # Errors
    ///
    /// When a stack is not what the contract says.
    pub fn predict_detailed(
        &self,
        stacks: &[&[Observation]],
    ) -> Result<Vec<Prediction>, PredictError> {
        self.predict_from(self.transform.input(stacks, &self.device())?, stacks)
    }

    /// [`predict_detailed`](Self::predict_detailed) from what the transform made of `stacks`.
    ///
    /// # Errors
    ///
    /// When the two disagree.
    pub fn predict_from(
        &self,
        input: PolicyInput,
        stacks: &[&[Observation]],
    ) -> Result<Vec<Prediction>, PredictError> {
        let (output, attention) = self.policy.forward_with_attention(input);
        let chunks = self.transform.actions(output, &newest(stacks))?.into_iter();
        let mut attention = match attention {
            Some(attention) => newest_maps(attention)?.into_iter(),
            None => Vec::new().into_iter(),
        };
        let prediction =
            |chunk| Prediction { chunk, attention: attention.next().unwrap_or_default() };
        Ok(chunks.map(prediction).collect())
    }

    /// Where the policy lies.
    pub fn device(&self) -> Device {
        self.policy.devices().first().cloned().unwrap_or_default()
    }
}

fn newest<'a>(stacks: &[&'a [Observation]]) -> Vec<&'a Observation> {
    stacks.iter().filter_map(|stack| stack.last()).collect()
}

/// The maps of the newest frame of each sample.
fn newest_maps(attention: AttentionTensors) -> Result<Vec<Vec<AttentionMap>>, TransformError> {
    let [batch, frames, views, taps, height, width] = attention.maps.dims();
    let maps = attention.maps.slice_dim(1, frames - 1..frames);
    let values = maps
        .try_into_vec_as::<f32>()
        .map_err(|source| TransformError::Device { message: source.to_string() })?;
    let map = |sample: usize, view: usize, tap: usize| {
        let at = ((sample * views + view) * taps + tap) * height * width;
        let weights = values[at..at + height * width].to_vec();
        AttentionMap { view, tap: attention.taps[tap].to_string(), width, height, weights }
    };
    let sample = |sample| {
        let pairs = (0..views).flat_map(|view| (0..taps).map(move |tap| (view, tap)));
        pairs.map(|(view, tap)| map(sample, view, tap)).collect()
    };
    Ok((0..batch).map(sample).collect())
}

/// Predicts from an observation in a safetensors file.
///
/// The file holds `rgb` (`u8`, or floats from 0 to 255: `[frames, views, 3, height, width]`),
/// `proprio` (`[frames, dim]`, physical units) and, where the run uses it, `depth` (metres:
/// `[frames, views, 1, height, width]`). A missing depth reads as zeros, as the reference reads
/// one that is switched off.
///
/// # Errors
///
/// When the file cannot be read or is not what the run needs.
pub fn predict_file(run: &Checkpoint, observation: &Path) -> Result<ActionChunk, PredictError> {
    let tensors = NamedTensors::read(observation)?;
    let device = run.device();
    let contract = &run.contract;
    let [height, width] = contract.picture();
    let (frames, views) = (contract.num_frames, contract.spec.num_views());
    let read = |name: &'static str, expected: Vec<usize>| {
        let Some(data) = tensors.get(name) else {
            return Err(PredictError::Missing { name });
        };
        let found = data.shape().to_vec();
        if found != expected {
            return Err(PredictError::Shape { name, expected, found });
        }
        Ok(data.iter::<f32>().collect::<Vec<_>>())
    };
    let pictures = |values, channels| {
        let shape = [1, frames, views, channels, height, width];
        Tensor::<6>::from_data(TensorData::new(values, shape), &device)
    };
    let rgb = read("rgb", vec![frames, views, 3, height, width])?;
    let depth = if contract.use_depth && tensors.get("depth").is_some() {
        let mut depth = read("depth", vec![frames, views, 1, height, width])?;
        depth.iter_mut().filter(|metres| !metres.is_finite()).for_each(|metres| *metres = 0.0);
        Some(pictures(depth, 1))
    } else {
        None
    };
    let proprio_dim = contract.spec.proprio_dim();
    let raw = read("proprio", vec![frames, proprio_dim])?;
    let mut proprio = Vec::with_capacity(raw.len());
    for frame in raw.chunks_exact(proprio_dim.max(1)) {
        proprio.extend(run.transform.normalized_proprio(frame)?);
    }
    let proprio = TensorData::new(proprio, [1, frames, proprio_dim]);
    let input = PolicyInput {
        rgb: pictures(rgb, 3).into(),
        depth,
        proprio: Tensor::from_data(proprio, &device),
        features: None,
    };
    let newest = &raw[raw.len() - proprio_dim..];
    let mut chunks = run.transform.actions_from(run.policy.forward(input), &[newest])?;
    chunks.pop().ok_or(PredictError::Transform(TransformError::Empty))
}
