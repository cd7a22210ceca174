//! What a simulator shows: its cameras, and the contract that follows from them.

use engraft_core::{Dimension, RobotSpec, ViewSpec};
use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::episode::CONTROL_HZ;
use crate::kinematics::Arm;

/// A camera of the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimView {
    /// Over the arm's shoulder.
    Front,
    /// On the hand, looking past the fingers.
    Wrist,
}

impl SimView {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Wrist => "wrist",
        }
    }
}

/// What a simulator shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimOptions {
    /// Side of every picture in pixels.
    pub image_size: usize,
    /// The cameras, in order.
    pub views: Vec<SimView>,
    /// Whether they measure depth.
    pub depth: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self { image_size: 96, views: vec![SimView::Front], depth: false }
    }
}

impl SimOptions {
    /// The cameras that a policy trained on `spec` needs.
    ///
    /// # Errors
    ///
    /// When it has none, or one that the simulator does not have.
    pub fn from_spec(spec: &RobotSpec) -> Result<Self, SimError> {
        let view = |name: &str| match name {
            "front" => Ok(SimView::Front),
            "wrist" => Ok(SimView::Wrist),
            _ => Err(SimError::Unknown {
                expected: "a camera named front or wrist",
                found: name.to_owned(),
            }),
        };
        let views = spec.views.iter().map(|seen| view(&seen.name)).collect::<Result<_, _>>()?;
        let image_size = spec.views.first().map_or(0, |view| view.width);
        Ok(Self { image_size, views, depth: spec.views.iter().any(|view| view.depth) })
    }

    /// # Errors
    ///
    /// When the options ask for pictures that cannot be.
    pub(crate) fn check(&self) -> Result<(), SimError> {
        let size = self.image_size;
        if !(16..=1024).contains(&size) {
            return Err(SimError::ImageSize { found: size });
        }
        let names: Vec<_> = self.views.iter().map(|view| view.name()).collect();
        let twice = (1..names.len()).any(|i| names[..i].contains(&names[i]));
        if names.is_empty() || twice {
            return Err(SimError::Views { found: names.join(", ") });
        }
        Ok(())
    }

    /// What an arm with these cameras senses and accepts.
    pub(crate) fn robot_spec(&self, arm: &Arm) -> RobotSpec {
        let size = self.image_size;
        let views = (self.views.iter())
            .map(|view| ViewSpec {
                name: view.name().to_owned(),
                width: size,
                height: size,
                depth: self.depth,
            })
            .collect();
        let mut dimensions: Vec<_> = (arm.joints().iter())
            .map(|joint| {
                Dimension::new(&joint.name, "rad")
                    .within(joint.lower_rad as f32, joint.upper_rad as f32)
            })
            .collect();
        dimensions.push(Dimension::new("gripper", "1").within(0.0, 1.0));
        RobotSpec {
            name: "engraft-arm".to_owned(),
            control_hz: CONTROL_HZ as f32,
            views,
            proprio: dimensions.clone(),
            actions: dimensions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_options_are_errors() {
        let options = SimOptions { image_size: 8, ..SimOptions::default() };
        let error = options.check().unwrap_err();
        assert_eq!(error.to_string(), "expected an image size from 16 to 1024, found 8");
        let options = SimOptions { views: vec![SimView::Front; 2], ..SimOptions::default() };
        let error = options.check().unwrap_err();
        assert!(error.to_string().ends_with("found front, front"), "{error}");
    }

    #[test]
    fn the_spec_names_the_joints_with_their_limits() {
        let arm = Arm::embedded().unwrap();
        let spec = SimOptions { depth: true, ..SimOptions::default() }.robot_spec(&arm);
        assert_eq!((spec.proprio_dim(), spec.action_dim(), spec.num_views()), (7, 7, 1));
        assert_eq!(spec.actions[0], Dimension::new("shoulder_yaw", "rad").within(-2.0, 2.0));
        assert_eq!(spec.actions[6], Dimension::new("gripper", "1").within(0.0, 1.0));
        assert!(spec.views[0].depth);
    }
}
