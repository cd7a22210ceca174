//! What a robot senses and accepts: the contract between data, policy, server and arm.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why two robots are not the same robot.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum SpecError {
    /// One field differs.
    #[error("robot mismatch in {field}: expected {expected}, found {found}")]
    Mismatch {
        /// The field, as a path.
        field: String,
        /// What the policy was trained on.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// One camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSpec {
    /// The camera's name, as the dataset has it without `observation.images.`.
    pub name: String,
    /// Columns of its picture.
    pub width: usize,
    /// Rows of its picture.
    pub height: usize,
    /// Whether it measures depth.
    #[serde(default)]
    pub depth: bool,
}

/// One number of proprio or of an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dimension {
    /// The joint or axis.
    pub name: String,
    /// `rad`, `m`, `rad/s`, `1`, or empty where the source does not say.
    pub unit: String,
    /// The smallest value the robot accepts, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f32>,
    /// The largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f32>,
}

/// What a robot senses and accepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RobotSpec {
    /// The robot's name.
    pub name: String,
    /// Observations and actions per second.
    pub control_hz: f32,
    /// The cameras, in order.
    pub views: Vec<ViewSpec>,
    /// What proprio holds, in order.
    pub proprio: Vec<Dimension>,
    /// What an action holds, in order.
    pub actions: Vec<Dimension>,
}

/// Bytes as lower-case hex digits.
///
/// ```
/// assert_eq!(engraft_core::hex(&[0x0a, 0xff]), "0aff");
/// ```
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
        }
        text
    })
}

impl Dimension {
    /// A dimension without known bounds.
    pub fn new(name: impl Into<String>, unit: impl Into<String>) -> Self {
        Self { name: name.into(), unit: unit.into(), min: None, max: None }
    }

    /// The same with bounds.
    pub fn within(mut self, min: f32, max: f32) -> Self {
        (self.min, self.max) = (Some(min), Some(max));
        self
    }
}

impl RobotSpec {
    /// Width of proprio.
    pub fn proprio_dim(&self) -> usize {
        self.proprio.len()
    }

    /// Width of an action.
    pub fn action_dim(&self) -> usize {
        self.actions.len()
    }

    /// Number of cameras.
    pub fn num_views(&self) -> usize {
        self.views.len()
    }

    /// Seconds between two actions.
    pub fn period_secs(&self) -> f64 {
        1.0 / f64::from(self.control_hz)
    }

    /// For each dimension of an action, the dimension of proprio that it moves, if there is one.
    ///
    /// That is the one with the same name and unit. What has no unit (`1`), such as a gripper from
    /// open to closed, is told where to be rather than how far to go, and is paired with nothing.
    pub fn moved_proprio(&self) -> Vec<Option<usize>> {
        let moved = |action: &Dimension| {
            let same = |p: &Dimension| p.name == action.name && p.unit == action.unit;
            self.proprio.iter().position(same).filter(|_| action.unit != "1")
        };
        self.actions.iter().map(moved).collect()
    }

    /// SHA-256 of everything that a policy depends on, in hex. The robot's name is not part of it.
    pub fn fingerprint(&self) -> String {
        let part = (self.control_hz, &self.views, &self.proprio, &self.actions);
        let json = serde_json::to_vec(&part).expect("a spec is plain data");
        hex(&Sha256::digest(json))
    }

    /// Checks that `found` senses and accepts what this spec does.
    ///
    /// Names of cameras, dimensions and units, their order, picture sizes and the rate must
    /// agree; bounds may differ, since each arm enforces its own.
    ///
    /// # Errors
    ///
    /// The first field that differs, with both values.
    pub fn check(&self, found: &Self) -> Result<(), SpecError> {
        let differ = |field: String, expected: String, found: String| {
            Err(SpecError::Mismatch { field, expected, found })
        };
        if (self.control_hz - found.control_hz).abs() > 1e-3 {
            let [expected, found] = [self, found].map(|spec| format!("{} Hz", spec.control_hz));
            return differ("control_hz".into(), expected, found);
        }
        let names = |spec: &Self| spec.views.iter().map(|view| view.name.clone()).collect();
        let [expected, seen]: [Vec<String>; 2] = [names(self), names(found)];
        if expected != seen {
            return differ("views".into(), expected.join(", "), seen.join(", "));
        }
        for (expected, view) in self.views.iter().zip(&found.views) {
            let say = |view: &ViewSpec| {
                let depth = if view.depth { " with depth" } else { "" };
                format!("{} x {}{depth}", view.width, view.height)
            };
            if expected != view {
                return differ(format!("views.{}", view.name), say(expected), say(view));
            }
        }
        for (field, expected, found) in
            [("proprio", &self.proprio, &found.proprio), ("actions", &self.actions, &found.actions)]
        {
            let say = |all: &[Dimension]| {
                let each: Vec<_> = all.iter().map(|d| format!("{} [{}]", d.name, d.unit)).collect();
                each.join(", ")
            };
            if say(expected) != say(found) {
                return differ(field.into(), say(expected), say(found));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RobotSpec {
        RobotSpec {
            name: "arm".into(),
            control_hz: 10.0,
            views: vec![ViewSpec { name: "front".into(), width: 96, height: 96, depth: false }],
            proprio: vec![Dimension::new("elbow", "rad")],
            actions: vec![Dimension::new("elbow", "rad").within(-1.0, 1.0)],
        }
    }

    #[test]
    fn a_different_unit_is_refused_with_both_named() {
        let mut other = spec();
        other.actions[0].unit = "deg".into();
        let error = spec().check(&other).unwrap_err();
        assert_eq!(
            error.to_string(),
            "robot mismatch in actions: expected elbow [rad], found elbow [deg]"
        );
        assert_ne!(spec().fingerprint(), other.fingerprint());
    }

    #[test]
    fn a_different_picture_size_is_refused() {
        let mut other = spec();
        other.views[0].width = 84;
        let error = spec().check(&other).unwrap_err();
        assert_eq!(
            error.to_string(),
            "robot mismatch in views.front: expected 96 x 96, found 84 x 96"
        );
    }

    #[test]
    fn an_action_moves_the_proprio_of_its_name_and_unit_but_a_gripper_moves_none() {
        let mut spec = spec();
        let gripper = Dimension::new("gripper", "1");
        spec.proprio.insert(0, gripper.clone());
        spec.actions.push(gripper);
        assert_eq!(spec.moved_proprio(), [Some(1), None]);
    }

    #[test]
    fn name_and_bounds_may_differ() {
        let mut other = spec();
        other.name = "another".into();
        other.actions[0].max = Some(0.5);
        assert_eq!(spec().check(&other), Ok(()));
    }
}
