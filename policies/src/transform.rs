//! Observations to tensors, and actions back: one type, both directions.
//!
//! Physical units on the outside, zero mean and unit deviation on the inside. Pictures stay 0 to
//! 255: each policy scales them as its network wants them.

use burn::tensor::{Device, Tensor, TensorData};
use engraft_core::{ActionChunk, Observation, Stats};

use crate::{Contract, Images, PolicyInput};

/// Scales what goes into a policy and what comes out.
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    contract: Contract,
    proprio_stats: Stats,
    action_stats: Stats,
}

/// Why something does not fit a policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// Nothing to predict from.
    #[error("a batch needs at least one sample")]
    Empty,
    /// Another number of something.
    #[error("{what}: the policy needs {expected}, found {found}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// What the policy needs.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// A picture of another size.
    #[error(
        "view `{view}`: the policy needs {what} of {expected:?}, found {found:?} (width, height)"
    )]
    PictureSize {
        /// The camera.
        view: String,
        /// `pictures` or `depth`.
        what: &'static str,
        /// What the policy needs.
        expected: (usize, usize),
        /// What is there.
        found: (usize, usize),
    },
    /// No depth.
    #[error("view `{view}`: the policy uses depth, and there is none")]
    NoDepth {
        /// The camera.
        view: String,
    },
    /// Not a number.
    #[error("{what} holds a value that is not a finite number")]
    NotFinite {
        /// Where.
        what: &'static str,
    },
    /// The device failed.
    #[error("cannot read the actions back from the device: {message}")]
    Device {
        /// What it said.
        message: String,
    },
}

fn count(what: &'static str, expected: usize, found: usize) -> Result<(), TransformError> {
    if expected == found { Ok(()) } else { Err(TransformError::Count { what, expected, found }) }
}

impl Transform {
    /// Takes statistics over the training split; those of actions after
    /// [`Contract::make_relative`].
    ///
    /// # Errors
    ///
    /// When their widths are not those of the contract.
    pub fn new(
        contract: Contract,
        proprio_stats: Stats,
        action_stats: Stats,
    ) -> Result<Self, TransformError> {
        for (what, expected, stats) in [
            ("dimensions of proprio statistics", contract.spec.proprio_dim(), &proprio_stats),
            ("dimensions of action statistics", contract.spec.action_dim(), &action_stats),
        ] {
            for column in [&stats.mean, &stats.std] {
                count(what, expected, column.len())?;
                if !column.iter().all(|value| value.is_finite()) {
                    return Err(TransformError::NotFinite { what });
                }
            }
        }
        Ok(Self { contract, proprio_stats, action_stats })
    }

    /// What the policy was made for.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Statistics of proprio.
    pub fn proprio_stats(&self) -> &Stats {
        &self.proprio_stats
    }

    /// Statistics of (relative) actions.
    pub fn action_stats(&self) -> &Stats {
        &self.action_stats
    }

    /// Frame stacks, oldest observation first, to what a policy sees.
    ///
    /// Depth that is no number reads as zero, as it does where a camera sees nothing.
    ///
    /// # Errors
    ///
    /// When a stack is not what the contract says.
    pub fn input(
        &self,
        stacks: &[&[Observation]],
        device: &Device,
    ) -> Result<PolicyInput, TransformError> {
        if stacks.is_empty() {
            return Err(TransformError::Empty);
        }
        let Contract { spec, num_frames, use_depth, .. } = &self.contract;
        let [height, width] = self.contract.picture();
        let (pixels, views) = (height * width, spec.num_views());
        let pictures = stacks.len() * num_frames * views;
        let mut rgb = Vec::with_capacity(pictures);
        let mut depth = Vec::with_capacity(if *use_depth { pictures * pixels } else { 0 });
        let mut proprio = Vec::with_capacity(stacks.len() * num_frames * spec.proprio_dim());
        for stack in stacks {
            count("frames in a stack", *num_frames, stack.len())?;
            for observation in *stack {
                count("views", views, observation.views.len())?;
                for (view, spec) in observation.views.iter().zip(&spec.views) {
                    let picture_size = |what, found| {
                        let view = spec.name.clone();
                        let expected = (width, height);
                        TransformError::PictureSize { view, what, expected, found }
                    };
                    let found = (view.rgb.width(), view.rgb.height());
                    if found != (width, height) {
                        return Err(picture_size("pictures", found));
                    }
                    rgb.push(&view.rgb);
                    if !use_depth {
                        continue;
                    }
                    let Some(map) = &view.depth else {
                        return Err(TransformError::NoDepth { view: spec.name.clone() });
                    };
                    let found = (map.width(), map.height());
                    if found != (width, height) {
                        return Err(picture_size("depth", found));
                    }
                    let finite = |&m: &f32| if m.is_finite() { m } else { 0.0 };
                    depth.extend(map.metres().iter().map(finite));
                }
                proprio.extend(self.normalized_proprio(&observation.proprio)?);
            }
        }
        let shape = [stacks.len(), *num_frames, views, 1, height, width];
        let rgb = Images::new(rgb.into_iter(), [height, width], device);
        let depth = use_depth.then(|| Tensor::from_data(TensorData::new(depth, shape), device));
        let proprio_shape = [stacks.len(), *num_frames, spec.proprio_dim()];
        let proprio = Tensor::from_data(TensorData::new(proprio, proprio_shape), device);
        Ok(PolicyInput { rgb, depth, proprio, features: None })
    }

    /// Proprio of one observation as the policy sees it.
    pub(crate) fn normalized_proprio(&self, proprio: &[f32]) -> Result<Vec<f32>, TransformError> {
        count("proprio dimensions", self.contract.spec.proprio_dim(), proprio.len())?;
        if !proprio.iter().all(|value| value.is_finite()) {
            return Err(TransformError::NotFinite { what: "proprio" });
        }
        let mut values = proprio.to_vec();
        self.proprio_stats.normalize(&mut values);
        Ok(values)
    }

    /// Chunks, each with the newest observation of its stack, to what a policy should predict:
    /// `[batch, horizon, action_dim]`.
    ///
    /// # Errors
    ///
    /// When a chunk is not what the contract says.
    pub fn targets(
        &self,
        chunks: &[(&ActionChunk, &Observation)],
        device: &Device,
    ) -> Result<Tensor<3>, TransformError> {
        let (horizon, action_dim) = (self.contract.horizon, self.contract.spec.action_dim());
        let mut values = Vec::with_capacity(chunks.len() * horizon * action_dim);
        for (chunk, newest) in chunks {
            count("actions in a chunk", horizon, chunk.horizon())?;
            count("action dimensions", action_dim, chunk.action_dim())?;
            count("proprio dimensions", self.contract.spec.proprio_dim(), newest.proprio.len())?;
            if !chunk.is_finite() {
                return Err(TransformError::NotFinite { what: "a chunk" });
            }
            let start = values.len();
            values.extend_from_slice(chunk.values());
            self.contract.make_relative(&mut values[start..], &newest.proprio);
            self.action_stats.normalize(&mut values[start..]);
        }
        let shape = [chunks.len(), horizon, action_dim];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// What a policy predicted back to chunks in physical units, given the newest observation of
    /// each stack.
    ///
    /// # Errors
    ///
    /// When the numbers disagree, or the device fails.
    pub fn actions(
        &self,
        output: Tensor<3>,
        newest: &[&Observation],
    ) -> Result<Vec<ActionChunk>, TransformError> {
        let proprio: Vec<_> = newest.iter().map(|newest| newest.proprio.as_slice()).collect();
        self.actions_from(output, &proprio)
    }

    pub(crate) fn actions_from(
        &self,
        output: Tensor<3>,
        newest: &[&[f32]],
    ) -> Result<Vec<ActionChunk>, TransformError> {
        let [batch, horizon, action_dim] = output.dims();
        count("observations", batch, newest.len())?;
        count("action dimensions", self.contract.spec.action_dim(), action_dim)?;
        let values = output
            .try_into_vec_as::<f32>()
            .map_err(|source| TransformError::Device { message: source.to_string() })?;
        let chunks = values.chunks_exact(horizon * action_dim).zip(newest);
        let chunk = |(values, newest): (&[f32], &&[f32])| {
            let mut values = values.to_vec();
            self.action_stats.denormalize(&mut values);
            self.contract.make_absolute(&mut values, newest);
            ActionChunk::new(horizon, action_dim, values).expect("a whole chunk was cut out")
        };
        Ok(chunks.map(chunk).collect())
    }
}

#[cfg(test)]
mod tests {
    use engraft_core::RgbImage;

    use super::*;
    use crate::testing::{contract, observation, stacks, transform, values};

    #[test]
    fn pixels_land_where_the_axes_say() {
        let contract = contract(2, 3, 4);
        let stacks = stacks(&contract, 2);
        let refs: Vec<_> = stacks.iter().map(Vec::as_slice).collect();
        let input = transform(&contract).input(&refs, &Device::flex()).unwrap();
        assert_eq!(input.dims(), [2, 2, 2, 3, 4]);
        let at = input.rgb.some(5..6).numbers().slice([0..1, 2..3, 2..3, 3..4]);
        let expected = f32::from(stacks[1][0].views[1].rgb.pixel(3, 2)[2]);
        assert_eq!(at.into_scalar::<f32>(), expected);
        let depth = input.depth.unwrap().slice([1..2, 1..2, 0..1, 0..1, 1..2, 2..3]);
        let metres = stacks[1][1].views[0].depth.as_ref().unwrap().metres()[6];
        assert_eq!(depth.into_scalar::<f32>(), metres);
        let shoulder = input.proprio.slice([1..2, 1..2, 0..1]).into_scalar::<f32>();
        assert_eq!(shoulder, stacks[1][1].proprio[0] - 1.0);
    }

    #[test]
    fn targets_and_back_are_the_identity_also_where_actions_are_relative() {
        let mut contract = contract(1, 4, 4);
        contract.relative_actions = true;
        let transform = transform(&contract);
        let newest = observation(&contract, 5);
        let chunk = ActionChunk::new(4, 2, (0..8).map(|i| i as f32).collect()).unwrap();
        let targets = transform.targets(&[(&chunk, &newest)], &Device::flex()).unwrap();
        let first = values(targets.clone())[0];
        assert!((first - (0.0 - newest.proprio[1]) / 0.5).abs() < 1e-6);
        let back = transform.actions(targets, &[&newest]).unwrap();
        let far = back[0].values().iter().zip(chunk.values()).map(|(a, b)| (a - b).abs());
        assert!(far.fold(0.0, f32::max) < 1e-6);
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_both() {
        let contract = contract(1, 4, 4);
        let transform = transform(&contract);
        let device = Device::flex();
        let message =
            |stack: &[Observation]| transform.input(&[stack], &device).unwrap_err().to_string();
        let good = observation(&contract, 0);
        assert_eq!(
            message(&[good.clone(), good.clone()]),
            "frames in a stack: the policy needs 1, found 2"
        );
        let mut small = good.clone();
        small.views[1].rgb = RgbImage::filled(3, 4, [0; 3]);
        assert_eq!(
            message(&[small]),
            "view `wrist`: the policy needs pictures of (4, 4), found (3, 4) (width, height)"
        );
        let mut flat = good.clone();
        flat.views[0].depth = None;
        assert_eq!(message(&[flat]), "view `front`: the policy uses depth, and there is none");
        let mut lost = good;
        lost.proprio[1] = f32::NAN;
        assert_eq!(message(&[lost]), "proprio holds a value that is not a finite number");
    }
}
