//! What every arm's motors can do, whatever protocol they speak.
//!
//! Positions are whole numbers here, in the arm's own unit: a servo's ticks, or microradians where
//! an arm's protocol takes angles. [`crate::units`] knows what a tick is worth. Every call ends in
//! bounded time, and after [`Motors::identify`] none of those that run at the set-point rate
//! allocates.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::codecs::dynamixel::HardwareError;
use crate::codecs::feetech;
use crate::codecs::xarm::{Fault, StateBits, gripper_fault};

/// Why motors failed. Each says which joint, where one is to blame. Those that may come in every
/// period are put into words only when somebody reads them, and making them allocates nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MotorsError {
    /// The port cannot be opened or written to.
    #[error("{port}: {detail}")]
    Port {
        /// Its path or address.
        port: String,
        /// What happened, and what helps.
        detail: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The port is gone: a cable was pulled, or the controller closed the connection.
    #[error("{port} hung up")]
    HungUp {
        /// Its path or address.
        port: Arc<str>,
    },
    /// A joint did not answer in time.
    #[error("joint {joint} (id {id}) does not answer within {waited:?}")]
    Silent {
        /// Its name.
        joint: Arc<str>,
        /// Its id on the bus.
        id: u8,
        /// How long it was waited for.
        waited: Duration,
    },
    /// What came was damaged, and trying again did not help in the time that there was.
    #[error("joint {joint} (id {id}): {detail}")]
    Damaged {
        /// Its name.
        joint: Arc<str>,
        /// Its id on the bus.
        id: u8,
        /// What was expected and what was found.
        detail: Damage,
    },
    /// A joint reports that something is wrong with it.
    #[error("joint {joint} (id {id}) reports {detail}")]
    Alarm {
        /// Its name.
        joint: Arc<str>,
        /// Its id on the bus.
        id: u8,
        /// What, with what helps.
        detail: Alarm,
    },
    /// A joint lost what it had been told, as after a brown-out.
    #[error("joint {joint} (id {id}) restarted by itself: check the power supply")]
    Restarted {
        /// Its name.
        joint: Arc<str>,
        /// Its id on the bus.
        id: u8,
    },
    /// What is connected is not what the description says.
    #[error("joint {joint} (id {id}): {field} is {found}, expected {expected}")]
    Identity {
        /// Its name.
        joint: Arc<str>,
        /// Its id on the bus.
        id: u8,
        /// What differs.
        field: &'static str,
        /// What the description, or the calibration, says.
        expected: String,
        /// What the joint says.
        found: String,
    },
    /// The controller refuses, in words.
    #[error("the arm refuses: {detail}")]
    Refused {
        /// What was asked, and what it said.
        detail: Cow<'static, str>,
    },
    /// The controller reports that something is wrong, and blames no joint.
    #[error("the arm refuses: {fault}")]
    Controller {
        /// What.
        fault: Fault,
    },
    /// The controller stands still, and nobody here told it to.
    #[error(
        "the arm refuses: the controller says that {}: was it stopped at the box or by another \
         client? switch torque on again",
        state.words()
    )]
    Stopped {
        /// What it says.
        state: StateBits,
    },
}

/// No, in words.
pub(crate) fn refused<T>(detail: impl Into<Cow<'static, str>>) -> Result<T, MotorsError> {
    Err(MotorsError::Refused { detail: detail.into() })
}

/// How an answer is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// In words.
    #[error("{0}")]
    Words(Cow<'static, str>),
    /// Somebody else answered.
    #[error("expected an answer of id {expected}, found one of id {found}: check the ids")]
    Stranger {
        /// Who was asked.
        expected: u8,
        /// Who answered.
        found: u8,
    },
    /// Somebody answered twice.
    #[error("expected an answer from each, found two from id {id}: look for two servos of one id")]
    Doubled {
        /// Who did.
        id: u8,
    },
    /// The answer to another question, or of somebody else.
    #[error(
        "expected {expected} byte(s) from id {id} to {asked}, found {bytes} from id {found}: look \
         for two servos of one id"
    )]
    Other {
        /// Who was asked.
        id: u8,
        /// What was asked.
        asked: &'static str,
        /// How long the answer should be.
        expected: usize,
        /// Who answered.
        found: u8,
        /// How long that was.
        bytes: usize,
    },
}

impl From<&'static str> for Damage {
    fn from(words: &'static str) -> Self {
        Self::Words(words.into())
    }
}

impl From<String> for Damage {
    fn from(words: String) -> Self {
        Self::Words(words.into())
    }
}

/// What a joint reports to be wrong with it, as its protocol has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alarm {
    /// The alarm byte of a Feetech servo.
    Feetech(u8),
    /// What a Dynamixel has latched.
    Dynamixel(HardwareError),
    /// A Dynamixel's bus watchdog tripped.
    Watchdog,
    /// An xArm's controller error.
    Xarm(Fault),
    /// The error of an xArm's gripper.
    XarmGripper(u16),
    /// What a library says of its arm, in words.
    Words(Cow<'static, str>),
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::XarmGripper(code) => {
                let words = gripper_fault(*code);
                write!(f, "gripper error {code}: {words}; reset it, then switch torque on again")
            }
            Self::Feetech(byte) => f.write_str(&feetech::alarms(*byte).unwrap_or_default()),
            Self::Dynamixel(error) => write!(
                f,
                "{error}: remove the cause, then reboot it (a REBOOT instruction, or power off and \
                 on)"
            ),
            Self::Watchdog => f.write_str(
                "that its bus watchdog tripped and stopped it: nothing came for too long; switch \
                 torque on anew",
            ),
            Self::Xarm(fault) => write!(f, "{fault}"),
        }
    }
}

/// What the joints say, in the order of the description. Filled in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sensed {
    /// Where each joint is, in ticks.
    pub position: Vec<i32>,
    /// How fast it moves, in ticks per second.
    pub velocity: Vec<i32>,
    /// How hard it pushes, in thousandths of its most, signed; 0 where the arm does not say.
    pub load_permille: Vec<i16>,
}

impl Sensed {
    /// Room for `joints` joints, all zero.
    pub fn new(joints: usize) -> Self {
        Self {
            position: vec![0; joints],
            velocity: vec![0; joints],
            load_permille: vec![0; joints],
        }
    }
}

/// What a joint is, as it says itself when it is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its model, in words: `sts3215`.
    pub model: String,
    /// Its firmware, in the vendor's own notation.
    pub firmware: String,
}

/// What is looked at now and then, one joint at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Health {
    /// Supply voltage, where the joint measures it.
    pub voltage_v: Option<f32>,
    /// Temperature, where the joint measures it.
    pub temperature_c: Option<f32>,
    /// Current, where the joint measures it.
    pub current_a: Option<f32>,
    /// Whether torque is on.
    pub torque: bool,
    /// The goal that the joint says it has, in ticks, where it can be read back: a broadcast write
    /// is never acknowledged.
    pub goal: Option<i32>,
}

/// The motors of one arm.
pub trait Motors: Send {
    /// Names of the joints, in order.
    fn joints(&self) -> &[String];

    /// Connects, or connects anew, and checks that what answers is what the description says:
    /// number, models, one firmware, calibration, voltage. Torque stays as it is.
    ///
    /// # Errors
    ///
    /// When something is missing or differs, with what to do about it.
    fn identify(&mut self) -> Result<Vec<Identity>, MotorsError>;

    /// Reads where every joint is.
    ///
    /// # Errors
    ///
    /// When a joint is silent or reports an alarm. `sensed` then keeps what it had for the joints
    /// that could not be read.
    fn sense(&mut self, sensed: &mut Sensed) -> Result<(), MotorsError>;

    /// Sends every joint its goal, in ticks.
    ///
    /// # Errors
    ///
    /// When it cannot be sent.
    fn command(&mut self, goals: &[i32]) -> Result<(), MotorsError>;

    /// Switches torque. Before it goes on, every goal is set to where the joint is, since servos
    /// otherwise jump to the goal of last time, and whatever watchdog the arm has is armed.
    ///
    /// # Errors
    ///
    /// When a joint does not confirm.
    fn torque(&mut self, on: bool) -> Result<(), MotorsError>;

    /// Reads what need not be read every period, of one joint.
    ///
    /// # Errors
    ///
    /// When the joint is silent, reports an alarm or has restarted by itself.
    fn examine(&mut self, joint: usize) -> Result<Health, MotorsError>;

    /// An operator acknowledged a fault or an emergency stop: clears what the arm's own controller
    /// keeps of it, where it keeps anything and may be told so. Nothing moves by that.
    ///
    /// # Errors
    ///
    /// When the cause is still there.
    fn acknowledge(&mut self) -> Result<(), MotorsError> {
        Ok(())
    }

    /// What the arm does by itself when this process dies, in one sentence for an operator.
    fn when_abandoned(&self) -> &'static str;
}

/// Where a joint reads that was homed in the middle of its range, in ticks: half of 4095.
pub const HALF_TURN: i32 = 2047;

/// What a calibration asks of motors whose torque is off. What it sets outlives a power failure and
/// wears the joint's memory, so it is written only where it differs, and read back.
pub trait Calibrate: Motors {
    /// Gives a joint the homing offset with which it reads [`HALF_TURN`] where it stands, or one
    /// tick beside that where the offset has no room for it. Returns the offset, in ticks and in
    /// the vendor's sense of it: Feetech takes it off, Dynamixel adds it.
    ///
    /// # Errors
    ///
    /// When there is no such joint, its torque is on, it does not keep the offset, or it has
    /// turned past its end since power-on.
    fn home(&mut self, joint: usize) -> Result<i32, MotorsError>;

    /// Sets the smallest and the largest position that a joint takes, in ticks from 0 to 4095.
    ///
    /// # Errors
    ///
    /// When there is no such joint, its torque is on, it does not keep them, or they are no range.
    fn set_range(&mut self, joint: usize, min: i32, max: i32) -> Result<(), MotorsError>;
}
