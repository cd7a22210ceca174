//! Arms: one file per way to move one.

pub mod dynamixel;
pub mod feetech;
#[cfg(feature = "franka")]
pub mod franka;
pub mod scan;
mod sim;
pub mod simulator;
pub mod xarm;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use engraft_core::{Observation, RobotSpec};

pub use sim::SimArm;

use crate::calibration::{Calibration, CalibrationError, JointCalibration};
use crate::description::{ArmDescription, Protocol};
use crate::limits::DimensionLimits;
use crate::motors::{Calibrate, Motors, MotorsError};
use crate::units::{JointScales, Scale, Unit};

/// Why an arm failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArmError {
    /// It does not have what an episode asks for.
    #[error("instance {found} does not exist, there are {num_instances}")]
    Instance {
        /// How many there are.
        num_instances: usize,
        /// What was asked for.
        found: usize,
    },
    /// It was not prepared for an episode.
    #[error("the arm senses nothing before an episode begins")]
    NotBegun,
    /// It does not take such an action.
    #[error("an action has {expected} dimension(s), found {found}")]
    Action {
        /// What it takes.
        expected: usize,
        /// What came.
        found: usize,
    },
}

/// Something that senses and moves.
pub trait Arm {
    /// What it senses and accepts.
    fn spec(&self) -> &RobotSpec;

    /// The task in words.
    fn task(&self) -> &str;

    /// What each action dimension may do at most.
    fn limits(&self) -> Vec<DimensionLimits>;

    /// Instances of the task, for `instance_name` and `begin`.
    fn num_instances(&self) -> usize;

    /// An instance's name.
    fn instance_name(&self, instance: usize) -> String;

    /// Periods after which an episode is over.
    fn max_steps(&self) -> usize;

    /// Prepares an episode.
    ///
    /// # Errors
    ///
    /// When there is no such instance or the arm fails.
    fn begin(&mut self, instance: usize, seed: u64) -> Result<(), ArmError>;

    /// What is sensed now.
    ///
    /// # Errors
    ///
    /// When the arm fails.
    fn sense(&mut self) -> Result<Arc<Observation>, ArmError>;

    /// Sends one set-point.
    ///
    /// # Errors
    ///
    /// When the arm fails.
    fn apply(&mut self, action: &[f32]) -> Result<(), ArmError>;

    /// Whether the task is achieved, where somebody can tell.
    fn success(&self) -> Option<bool>;
}

/// The motors of a described arm at `port`, with what its calibration says about them. Nothing is
/// asked of them yet.
///
/// # Errors
///
/// When the port makes no sense, or the calibration is of another arm.
pub fn open(
    arm: &ArmDescription,
    port: &str,
    calibration: Option<&Calibration>,
) -> Result<Box<dyn Motors>, OpenError> {
    Ok(match arm.protocol {
        Protocol::Feetech => {
            let motors = feetech::FeetechMotors::new(arm, port);
            match calibration {
                Some(calibration) => Box::new(motors.calibrated(arm, calibration)?),
                None => Box::new(motors),
            }
        }
        Protocol::Dynamixel => {
            let joints = calibration.map(|calibration| calibration.of(arm)).transpose()?;
            let calibrated = |joint: JointCalibration| dynamixel::Calibrated {
                homing_offset: joint.homing_offset,
                range_min: joint.range_min,
                range_max: joint.range_max,
            };
            let calibration = joints.map(|joints| joints.into_iter().map(calibrated).collect());
            let options = dynamixel::Options { calibration, ..dynamixel::Options::default() };
            Box::new(dynamixel::DynamixelMotors::open(arm, Path::new(port), options)?)
        }
        Protocol::Xarm => match port.parse::<SocketAddr>() {
            Ok(control) => {
                let report = xarm::report_address(control);
                Box::new(xarm::XarmMotors::at(arm, control, report)?)
            }
            Err(_) => Box::new(xarm::XarmMotors::new(arm, port)?),
        },
        Protocol::Simulator if calibration.is_some() => return uncalibrated_simulator(),
        Protocol::Simulator => Box::new(simulator::SimulatorMotors::new(arm, port)?),
        #[cfg(feature = "franka")]
        Protocol::Franka => Box::new(franka::FrankaMotors::new(arm, port)?),
        #[cfg(not(feature = "franka"))]
        Protocol::Franka => return Err(not_built_in(arm)),
    })
}

/// Whether this build can move such an arm.
///
/// # Errors
///
/// When it lacks the feature for that, which the error names.
pub fn check_built_in(arm: &ArmDescription) -> Result<(), OpenError> {
    if arm.protocol == Protocol::Franka && !cfg!(feature = "franka") {
        return Err(not_built_in(arm));
    }
    Ok(())
}

fn not_built_in(arm: &ArmDescription) -> OpenError {
    OpenError::NotBuiltIn { arm: arm.name.clone(), feature: "franka" }
}

/// The motors of a described arm at `port`, to be calibrated. Nothing is asked of them yet.
///
/// # Errors
///
/// When the port makes no sense, or the arm is one that its maker calibrates.
pub fn open_to_calibrate(
    arm: &ArmDescription,
    port: &str,
) -> Result<Box<dyn Calibrate>, OpenError> {
    Ok(match arm.protocol {
        Protocol::Feetech => Box::new(feetech::FeetechMotors::new(arm, port)),
        Protocol::Dynamixel => {
            let options = dynamixel::Options::default();
            Box::new(dynamixel::DynamixelMotors::open(arm, Path::new(port), options)?)
        }
        Protocol::Xarm | Protocol::Franka => {
            let detail = format!("an {} is calibrated by its maker, and needs no file", arm.name);
            return Err(MotorsError::Refused { detail: detail.into() }.into());
        }
        Protocol::Simulator => return uncalibrated_simulator(),
    })
}

fn uncalibrated_simulator<T>() -> Result<T, OpenError> {
    let detail = "a simulator knows its angles, and takes no calibration".into();
    Err(MotorsError::Refused { detail }.into())
}

/// Why an arm cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its calibration does not fit.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// Its port makes no sense.
    #[error(transparent)]
    Motors(#[from] MotorsError),
    /// The arm needs a feature that this build lacks.
    #[error("{arm} is not built in: `cargo build --features {feature}` makes a bridge that has it")]
    NotBuiltIn {
        /// The arm.
        arm: String,
        /// The feature.
        feature: &'static str,
    },
    /// The policy speaks a unit that only a calibration explains.
    #[error("joint {joint}: `{unit}` needs a calibration: give --calibration FILE")]
    Uncalibrated {
        /// The joint.
        joint: String,
        /// Its unit.
        unit: &'static str,
    },
}

/// What each joint's ticks are worth, in radians and to the policy.
///
/// # Errors
///
/// When the calibration is of another arm, or there is none and a joint needs one.
pub fn scales(
    arm: &ArmDescription,
    calibration: Option<&Calibration>,
) -> Result<Vec<JointScales>, OpenError> {
    if let Some(calibration) = calibration {
        let joints = calibration.of(arm)?.into_iter().zip(&arm.joints);
        return Ok(joints
            .map(|(calibration, joint)| JointScales {
                radians: calibration.radians(joint),
                policy: calibration.scale(joint),
            })
            .collect());
    }
    let (per_turn, middle) = if arm.protocol.is_serial() {
        (SERVO_TICKS, (SERVO_TICKS / 2.0) as i32)
    } else {
        (MICRORADIANS_PER_TURN, 0)
    };
    let joints = arm.joints.iter().map(|joint| {
        let zero = joint.zero_ticks.unwrap_or(middle);
        let radians = Scale::radians(per_turn, zero, joint.inverted);
        let policy = match joint.unit {
            Unit::Rad => radians,
            Unit::Raw => Scale::through((0, 0.0), (1, 1.0)),
            Unit::Gripper => radians.onto((joint.min_rad, 0.0), (joint.max_rad, 1.0)),
            unit => {
                let (joint, unit) = (joint.name.clone(), unit.name());
                return Err(OpenError::Uncalibrated { joint, unit });
            }
        };
        Ok(JointScales { radians, policy })
    });
    joints.collect()
}

/// Ticks in a turn of the servos.
const SERVO_TICKS: f64 = 4096.0;
/// Ticks in a turn where a protocol takes angles.
const MICRORADIANS_PER_TURN: f64 = std::f64::consts::TAU * 1e6;

#[cfg(all(test, not(feature = "franka")))]
mod tests {
    use super::*;

    #[test]
    fn an_arm_that_is_not_built_in_names_its_feature() {
        let arm = ArmDescription::find("fr3").unwrap();
        let expected =
            "fr3 is not built in: `cargo build --features franka` makes a bridge that has it";
        assert_eq!(check_built_in(&arm).unwrap_err().to_string(), expected);
        assert_eq!(open(&arm, "robot", None).err().unwrap().to_string(), expected);
        assert!(check_built_in(&ArmDescription::find("xarm7").unwrap()).is_ok());
    }
}
