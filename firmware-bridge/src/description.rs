//! An arm in a TOML file: its joints, their ids and models, and what each may do.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::hand::HandDescription;
use crate::units::Unit;

/// What an arm speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Feetech STS/SMS servos on a serial bus: SO-100, SO-101.
    Feetech,
    /// Dynamixel X servos on a serial bus, Protocol 2.0: Koch, `ViperX`, `WidowX`, ALOHA.
    Dynamixel,
    /// UFACTORY's controller over TCP: xArm 5, 6 and 7.
    Xarm,
    /// A simulator over ZeroMQ, as [`engraft_wire::simulator`] describes it.
    Simulator,
    /// Franka's control interface over TCP and UDP: FR3 and Panda.
    Franka,
}

impl Protocol {
    /// Whether it runs over a serial port, to servos that a calibration knows.
    pub fn is_serial(self) -> bool {
        matches!(self, Self::Feetech | Self::Dynamixel)
    }
}

/// One joint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointDescription {
    /// Its name, as the policy's contract and the calibration have it.
    pub name: String,
    /// Its id on the bus, or its number on the arm.
    pub id: u8,
    /// Its model, as the vendor writes it, in lower case: `sts3215`, `xl330-m288`; for a simulator
    /// the name that it gives itself.
    pub model: String,
    /// What the policy's numbers mean.
    #[serde(default)]
    pub unit: Unit,
    /// Ticks where its angle is zero; without it, the middle of the calibrated range, and where
    /// ticks are microradians, 0.
    #[serde(default)]
    pub zero_ticks: Option<i32>,
    /// Whether a growing angle means falling ticks.
    #[serde(default)]
    pub inverted: bool,
    /// Whether it may turn all the way round: a calibration gives it the whole turn and looks for
    /// no range.
    #[serde(default)]
    pub full_turn: bool,
    /// Smallest angle, in radians, or place in metres where a simulated joint slides. For a
    /// gripper: open, whichever number is larger.
    pub min_rad: f64,
    /// Largest angle. For a gripper: closed.
    pub max_rad: f64,
    /// Fastest, in radians per second.
    pub max_velocity: f64,
    /// Largest change of velocity, in radians per second squared.
    pub max_acceleration: f64,
    /// Largest change of acceleration, in radians per second cubed.
    pub max_jerk: f64,
    /// How far the set-point may run ahead of what is measured, in radians. A joint that stays at
    /// its end is a fault; so a gripper's is longer than its way, or it could not hold anything.
    pub leash_rad: f64,
    /// Part of the motor's torque that may be used, above 0 and at most 1.
    #[serde(default = "all")]
    pub torque_limit: f64,
}

fn all() -> f64 {
    1.0
}

/// Where the hand may be, in the base frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// Smallest x, y and z of the tip, in metres.
    pub min_m: [f64; 3],
    /// Largest.
    pub max_m: [f64; 3],
    /// Nothing of the arm beyond its base may come lower than this, in metres.
    pub min_height_m: f64,
}

/// An arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmDescription {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Bits per second on its bus, for serial arms.
    #[serde(default)]
    pub baud: Option<u32>,
    /// Set-points per second.
    pub setpoint_hz: u32,
    /// The URDF that says where its links are, beside this file; needed for a workspace and for
    /// actions of the hand.
    #[serde(default)]
    pub urdf: Option<PathBuf>,
    /// The URDF's link that is the hand.
    #[serde(default)]
    pub tip: Option<String>,
    /// Where the hand may be.
    #[serde(default)]
    pub workspace: Option<Workspace>,
    /// What a policy's actions say about the hand; without it they are angles of the joints.
    #[serde(default)]
    pub hand: Option<HandDescription>,
    /// The joints, from the base outwards; a gripper last.
    pub joints: Vec<JointDescription>,
}

/// Why a description is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// It cannot be read.
    #[error("cannot read the arm's description (path: {path:?})")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no TOML of this kind.
    #[error("the arm's description is malformed (path: {path:?})")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value makes no sense.
    #[error("arm {arm}, {place}: {detail}")]
    Value {
        /// The arm.
        arm: String,
        /// Which part of it.
        place: String,
        /// What was expected and what was found.
        detail: String,
    },
    /// There is no such arm.
    #[error("no arm is called {name:?}: known are {known}, or give the path of a .toml file")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

/// URDFs that come along, as the descriptions beside them name them.
const SHIPPED_URDFS: &[(&str, &str)] = &[
    ("so101.urdf", include_str!("../arms/so101.urdf")),
    ("xarm7.urdf", include_str!("../arms/xarm7.urdf")),
];

/// Descriptions that come along, by name.
const SHIPPED: &[(&str, &str)] = &[
    ("so101", include_str!("../arms/so101.toml")),
    ("koch", include_str!("../arms/koch.toml")),
    ("xarm7", include_str!("../arms/xarm7.toml")),
    ("xarm7-gripper", include_str!("../arms/xarm7-gripper.toml")),
    ("fr3", include_str!("../arms/fr3.toml")),
    ("tabletop", include_str!("../arms/tabletop.toml")),
];

impl ArmDescription {
    /// An arm by its name, or by the path of its description.
    ///
    /// # Errors
    ///
    /// When there is none, or it makes no sense.
    pub fn find(name: &str) -> Result<Self, DescriptionError> {
        if let Some((_, text)) = SHIPPED.iter().find(|(known, _)| *known == name) {
            return Self::parse(text, Path::new(name));
        }
        if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
            return Self::read(Path::new(name));
        }
        let known: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
        Err(DescriptionError::Unknown { name: name.into(), known: known.join(", ") })
    }

    /// Reads a description.
    ///
    /// # Errors
    ///
    /// When it cannot be read or makes no sense.
    pub fn read(path: &Path) -> Result<Self, DescriptionError> {
        let text = fs::read_to_string(path)
            .map_err(|source| DescriptionError::Read { path: path.into(), source })?;
        let mut arm = Self::parse(&text, path)?;
        if let (Some(urdf), Some(folder)) = (&arm.urdf, path.parent()) {
            arm.urdf = Some(folder.join(urdf));
        }
        Ok(arm)
    }

    /// The text of its URDF, if it names one: a file, or one that comes along.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn urdf_text(&self) -> io::Result<Option<Cow<'static, str>>> {
        let Some(urdf) = &self.urdf else { return Ok(None) };
        let shipped = SHIPPED_URDFS.iter().find(|(known, _)| Path::new(known) == urdf);
        match (fs::read_to_string(urdf), shipped) {
            (Ok(text), _) => Ok(Some(text.into())),
            (Err(_), Some((_, text))) => Ok(Some((*text).into())),
            (Err(error), None) => Err(error),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, DescriptionError> {
        let arm: Self = toml::from_str(text).map_err(|source| DescriptionError::Parse {
            path: path.into(),
            source: Box::new(source),
        })?;
        arm.check()?;
        Ok(arm)
    }

    /// Checks every number.
    ///
    /// # Errors
    ///
    /// The first that makes no sense.
    pub fn check(&self) -> Result<(), DescriptionError> {
        let wrong = |place: &str, detail: String| {
            Err(DescriptionError::Value { arm: self.name.clone(), place: place.into(), detail })
        };
        if !(1..=1000).contains(&self.setpoint_hz) {
            return wrong("setpoint_hz", format!("expected 1 to 1000, found {}", self.setpoint_hz));
        }
        if self.joints.is_empty() {
            return wrong("joints", "expected at least one".into());
        }
        if self.protocol.is_serial() && self.baud.is_none() {
            return wrong("baud", "a serial arm needs one".into());
        }
        for (i, joint) in self.joints.iter().enumerate() {
            if let Err(detail) = joint.check() {
                return wrong(&format!("joint {}", joint.name), detail);
            }
            let same = |other: &&JointDescription| other.name == joint.name || other.id == joint.id;
            if let Some(other) = self.joints[..i].iter().find(same) {
                let (name, id) = (&other.name, other.id);
                return wrong(
                    &format!("joint {} (id {})", joint.name, joint.id),
                    format!("joint {name} (id {id}) has the same name or id"),
                );
            }
        }
        if let Some(Workspace { min_m, max_m, min_height_m }) = self.workspace {
            let ordered = min_m.iter().zip(&max_m).all(|(min, max)| min < max);
            if !(ordered && min_height_m.is_finite()) {
                return wrong("workspace", format!("{min_m:?} to {max_m:?} is no box"));
            }
            if self.urdf.is_none() || self.tip.is_none() {
                return wrong("workspace", "it needs `urdf` and `tip`".into());
            }
        }
        Ok(())
    }

    /// Seconds between two set-points.
    pub fn period_secs(&self) -> f64 {
        1.0 / f64::from(self.setpoint_hz)
    }
}

impl JointDescription {
    fn check(&self) -> Result<(), String> {
        let bounds = self.min_rad.is_finite() && self.max_rad.is_finite();
        if !(bounds && (self.min_rad < self.max_rad)) {
            return Err(format!("{} to {} is no range of angles", self.min_rad, self.max_rad));
        }
        for (name, found) in [
            ("max_velocity", self.max_velocity),
            ("max_acceleration", self.max_acceleration),
            ("max_jerk", self.max_jerk),
            ("leash_rad", self.leash_rad),
            ("torque_limit", self.torque_limit),
        ] {
            if !(found.is_finite() && found > 0.0) {
                return Err(format!("{name} must be above 0 and finite, found {found}"));
            }
        }
        if self.torque_limit > 1.0 {
            return Err(format!("torque_limit must be at most 1, found {}", self.torque_limit));
        }
        Ok(())
    }
}

impl FromStr for ArmDescription {
    type Err = DescriptionError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::find(name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Feetech => "feetech",
            Self::Dynamixel => "dynamixel",
            Self::Xarm => "xarm",
            Self::Simulator => "simulator",
            Self::Franka => "franka",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_arm_makes_sense() {
        for (name, _) in SHIPPED {
            let arm = ArmDescription::find(name).unwrap();
            assert_eq!(arm.name, *name);
            for joint in arm.joints.iter().filter(|joint| joint.unit == Unit::Gripper) {
                let way = joint.max_rad - joint.min_rad;
                assert!(joint.leash_rad > way, "{name}: a gripper that holds something is a fault");
            }
        }
    }

    #[test]
    fn an_unknown_arm_is_told_what_there_is() {
        let error = ArmDescription::find("so102").unwrap_err().to_string();
        assert!(error.contains("so101, koch, xarm7, xarm7-gripper, fr3, tabletop"), "{error}");
    }

    #[test]
    fn limits_swapped_or_ids_doubled_are_refused_with_the_joint() {
        let mut arm = ArmDescription::find("so101").unwrap();
        let joint = &mut arm.joints[1];
        (joint.min_rad, joint.max_rad) = (joint.max_rad, joint.min_rad);
        let error = arm.check().unwrap_err().to_string();
        assert!(error.starts_with("arm so101, joint shoulder_lift: "), "{error}");

        let mut arm = ArmDescription::find("so101").unwrap();
        arm.joints[3].id = 1;
        let error = arm.check().unwrap_err().to_string();
        assert!(error.contains("joint shoulder_pan (id 1) has the same"), "{error}");

        let mut arm = ArmDescription::find("so101").unwrap();
        arm.joints[0].max_velocity = f64::NAN;
        assert!(arm.check().is_err());
    }
}
