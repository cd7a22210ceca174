//! What a policy was made for, and why it could not be made.

use engraft_backbones::{Architecture, BackboneError, Tap, WeightsError};
use engraft_core::RobotSpec;
use serde::{Deserialize, Serialize};

/// What a policy was made for. A server, an arm and a dataset must agree with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// The robot.
    pub spec: RobotSpec,
    /// Observations in a frame stack.
    pub num_frames: usize,
    /// Actions in a chunk.
    pub horizon: usize,
    /// Whether the policy sees proprio; one that does not reads it as zeros.
    pub use_proprio: bool,
    /// Whether the policy sees depth.
    pub use_depth: bool,
    /// Whether an action dimension that has the name and unit of a proprio dimension is predicted
    /// as its difference to the newest proprio.
    pub relative_actions: bool,
}

/// Why a policy could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A count is zero.
    #[error("{field} must be at least 1")]
    Zero {
        /// The field.
        field: &'static str,
    },
    /// Cameras of different sizes.
    #[error(
        "all views of a policy have one size, but `{first}` has {expected:?} and `{view}` has {found:?} (width, height)"
    )]
    ViewSizes {
        /// The first camera.
        first: String,
        /// Its size.
        expected: (usize, usize),
        /// The camera that differs.
        view: String,
        /// Its size.
        found: (usize, usize),
    },
    /// Depth is asked for and not measured.
    #[error("the policy uses depth, but view `{view}` has none")]
    NoDepth {
        /// The camera.
        view: String,
    },
    /// The picture is smaller than what the network takes.
    #[error(
        "the network needs pictures of at least {needed} pixels a side, found {width} x {height}"
    )]
    PictureTooSmall {
        /// Pixels needed.
        needed: usize,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// The config names a number of taps that the policy cannot use.
    #[error("this policy reads {expected} tap(s) of its backbone, the config names {found}")]
    TapCount {
        /// Taps needed.
        expected: &'static str,
        /// Taps named.
        found: usize,
    },
    /// The backbone has no such tap, or cannot take pictures of this size.
    #[error("cannot use the backbone")]
    Backbone {
        /// Why.
        #[from]
        source: BackboneError,
    },
    /// A class token is asked of a network that has none.
    #[error("tap `{tap}` has no class token, pool its map instead")]
    NoClassToken {
        /// The tap.
        tap: Tap,
    },
    /// The weights are those of another network.
    #[error("weights `{weights}` are those of {found}, the config asks for {expected}")]
    Architecture {
        /// The weights' name.
        weights: String,
        /// The config's network.
        expected: Architecture,
        /// The weights' network.
        found: Architecture,
    },
    /// Bytes are asked of a backbone that is learned.
    #[error(
        "`precision = \"int8\"`: expected a frozen backbone, found `fine_tune = true`; leave one of them out"
    )]
    Int8FineTuned,
    /// Bytes are asked of a network that hardly multiplies any.
    #[error(
        "`precision = \"int8\"`: expected many linear layers or convolutions of one pixel, which {architecture} has not; leave it out, or use `--frozen single` for a run that is trained"
    )]
    Int8Architecture {
        /// The network.
        architecture: Architecture,
    },
    /// Bytes are asked of a GPU.
    #[error(
        "int8 features are computed on the CPU alone; use `--device cpu`, or `--frozen single` for a run that is trained"
    )]
    Int8Device,
    /// A precision is asked of a policy that has nothing frozen.
    #[error("a {kind} policy has no backbone whose precision could be another")]
    NoBackbone {
        /// Which policy.
        kind: &'static str,
    },
    /// Bounds of another width.
    #[error("the head has bounds for {found} action dimension(s), the robot has {expected}")]
    Bounds {
        /// Dimensions of an action.
        expected: usize,
        /// Dimensions bounded.
        found: usize,
    },
    /// The backbone's weights could not be had.
    #[error("cannot load the backbone")]
    Weights {
        /// Why.
        #[from]
        source: WeightsError,
    },
}

impl Contract {
    /// Height and width of every picture.
    pub fn picture(&self) -> [usize; 2] {
        self.spec.views.first().map_or([0, 0], |view| [view.height, view.width])
    }

    /// Pictures in one sample.
    pub fn num_pictures(&self) -> usize {
        self.num_frames * self.spec.num_views()
    }

    /// For each action dimension, the proprio dimension that it is predicted relative to.
    ///
    /// ```
    /// # use engraft_core::{Dimension, RobotSpec};
    /// # let spec = RobotSpec {
    /// #     name: "arm".into(), control_hz: 10.0, views: vec![],
    /// #     proprio: vec![Dimension::new("elbow", "rad"), Dimension::new("wrist", "rad")],
    /// #     actions: vec![Dimension::new("wrist", "rad"), Dimension::new("gripper", "1")],
    /// # };
    /// # let mut contract = engraft_policies::Contract {
    /// #     spec, num_frames: 1, horizon: 1, use_proprio: true, use_depth: false, relative_actions: true,
    /// # };
    /// assert_eq!(contract.relative_dims(), [Some(1), None]);
    /// contract.relative_actions = false;
    /// assert_eq!(contract.relative_dims(), [None, None]);
    /// ```
    pub fn relative_dims(&self) -> Vec<Option<usize>> {
        let moved = self.spec.moved_proprio();
        moved.into_iter().map(|dim| dim.filter(|_| self.relative_actions)).collect()
    }

    /// Makes whole actions relative to `proprio`, in place and in physical units: what the
    /// statistics of a policy with relative actions are gathered over.
    pub fn make_relative(&self, actions: &mut [f32], proprio: &[f32]) {
        self.shift(actions, proprio, -1.0);
    }

    /// The inverse of [`make_relative`](Self::make_relative).
    pub fn make_absolute(&self, actions: &mut [f32], proprio: &[f32]) {
        self.shift(actions, proprio, 1.0);
    }

    fn shift(&self, actions: &mut [f32], proprio: &[f32], sign: f32) {
        let dims = self.relative_dims();
        for action in actions.chunks_exact_mut(dims.len().max(1)) {
            for (value, dim) in action.iter_mut().zip(&dims) {
                if let Some(now) = dim.and_then(|dim| proprio.get(dim)) {
                    *value += sign * now;
                }
            }
        }
    }

    /// Checks that a policy can be made for it at all.
    ///
    /// # Errors
    ///
    /// When something is counted zero, cameras differ in size, or depth is used and not measured.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let counts = [
            ("num_frames", self.num_frames),
            ("horizon", self.horizon),
            ("the number of views", self.spec.num_views()),
            ("the number of action dimensions", self.spec.action_dim()),
        ];
        if let Some((field, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(PolicyError::Zero { field });
        }
        let first = &self.spec.views[0];
        let expected = (first.width, first.height);
        for view in &self.spec.views {
            let found = (view.width, view.height);
            if found != expected {
                let (first, view) = (first.name.clone(), view.name.clone());
                return Err(PolicyError::ViewSizes { first, expected, view, found });
            }
            if self.use_depth && !view.depth {
                return Err(PolicyError::NoDepth { view: view.name.clone() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::contract;

    #[test]
    fn views_of_different_sizes_are_refused_with_both_named() {
        let mut contract = contract(1, 32, 48);
        contract.spec.views[1].width = 20;
        let message = contract.validate().unwrap_err().to_string();
        assert_eq!(
            message,
            "all views of a policy have one size, but `front` has (48, 32) and `wrist` has (20, 32) (width, height)"
        );
    }

    #[test]
    fn relative_and_back_is_the_identity() {
        let mut contract = contract(1, 8, 8);
        contract.relative_actions = true;
        assert_eq!(contract.relative_dims(), [Some(1), None]);
        let mut actions = [0.5, 1.0, 0.75, 0.0];
        contract.make_relative(&mut actions, &[9.0, 0.25, 9.0]);
        assert_eq!(actions, [0.25, 1.0, 0.5, 0.0]);
        contract.make_absolute(&mut actions, &[9.0, 0.25, 9.0]);
        assert_eq!(actions, [0.5, 1.0, 0.75, 0.0]);
    }
}
