//! What can be asked of the controller, typed; nothing that is not finite gets onto the wire.

use std::f32::consts::{PI, TAU};

use super::JOINTS;
use super::frame::{HEADER, Protocol};

/// Numbers of the functions.
#[allow(missing_docs, reason = "each is the request of the same name")]
pub mod function {
    pub const VERSION: u8 = 1;
    pub const SERIAL: u8 = 2;
    pub const MOTION_ENABLE: u8 = 11;
    pub const SET_STATE: u8 = 12;
    pub const STATE: u8 = 13;
    pub const WAITING: u8 = 14;
    pub const FAULTS: u8 = 15;
    pub const CLEAR_ERROR: u8 = 16;
    pub const CLEAR_WARNING: u8 = 17;
    pub const SET_MODE: u8 = 19;
    pub const MOVE_JOINTS: u8 = 23;
    pub const SERVO_JOINTS: u8 = 29;
    pub const SERVO_POSE: u8 = 30;
    pub const POSE_JERK: u8 = 31;
    pub const POSE_ACCELERATION: u8 = 32;
    pub const JOINT_JERK: u8 = 33;
    pub const JOINT_ACCELERATION: u8 = 34;
    pub const COLLISION_SENSITIVITY: u8 = 37;
    pub const POSE: u8 = 41;
    pub const JOINTS: u8 = 42;
    pub const REDUCED_HAND_SPEED: u8 = 47;
    pub const REDUCED_JOINT_SPEED: u8 = 48;
    pub const SET_REDUCED: u8 = 50;
    pub const FENCE: u8 = 52;
    pub const REDUCED: u8 = 53;
    pub const REDUCED_JOINTS: u8 = 58;
    pub const FENCE_ON: u8 = 59;
    pub const COLLISION_REBOUND: u8 = 60;
    pub const SELF_COLLISION: u8 = 77;
    pub const SIMULATION: u8 = 79;
    pub const JOINT_VELOCITY: u8 = 81;
    pub const HAND_VELOCITY: u8 = 82;
    pub const RS485: u8 = 124;
    pub const HAND_REGISTER: u8 = 128;
}

/// What [`Request::SetState`] can order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Take motion commands.
    Run = 0,
    /// Wait where it is; the queue stays.
    Pause = 3,
    /// Stop, and forget what waits.
    Stop = 4,
    /// Stop gently, and forget what waits.
    Decelerate = 6,
}

/// How the controller takes motion commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Planned motions, one after another.
    Position = 0,
    /// Set-points, of which the last counts.
    Servo = 1,
    /// The arm is led by hand.
    Manual = 2,
    /// Velocities of joints.
    JointVelocity = 4,
    /// Velocities of the hand.
    HandVelocity = 5,
    /// Planned motions of joints, replaced by the next.
    JointOnline = 6,
    /// Planned motions of the hand, replaced by the next.
    HandOnline = 7,
}

/// What goes through the controller to a device on the hand's RS-485, as Modbus RTU has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads registers.
    Read {
        /// The first.
        address: u16,
        /// How many.
        count: u16,
    },
    /// Writes one register.
    Write {
        /// Which.
        address: u16,
        /// What.
        value: u16,
    },
    /// Writes two registers, the higher half first.
    WriteLong {
        /// The first.
        address: u16,
        /// What.
        value: i32,
    },
}

/// One request. Angles are radians, lengths millimetres, times seconds; joints that the arm lacks
/// are zero.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "each field says its unit by its name")]
pub enum Request {
    /// Axes, kind, serial numbers and firmware.
    Version,
    /// Serial number of the arm.
    Serial,
    /// Switches a joint's motor, from 1; 8 is all.
    MotionEnable { axis: u8, on: bool },
    /// Starts, pauses or stops.
    SetState(Order),
    /// What it does, as in a report.
    State,
    /// Commands that wait.
    Waiting,
    /// Code of the error and of the warning that wait.
    Faults,
    /// Forgets the error.
    ClearError,
    /// Forgets the warning.
    ClearWarning,
    /// Changes how motion is commanded; firmware from 1.10 on also takes how collisions are
    /// watched for in manual mode.
    SetMode { mode: Mode, detection: Option<u8> },
    /// A planned motion.
    MoveJoints { joints_rad: [f32; JOINTS], speed: f32, acceleration: f32, secs: f32 },
    /// A set-point: it goes there as fast as it can. The last three are reserved.
    ServoJoints { joints_rad: [f32; JOINTS], speed: f32, acceleration: f32, secs: f32 },
    /// A set-point of the hand; `tool` is 1 for one in the hand's own frame.
    ServoPose { pose: [f32; 6], speed: f32, acceleration: f32, tool: f32 },
    /// Largest jerk of the hand, mm/s³.
    PoseJerk(f32),
    /// Largest acceleration of the hand, mm/s².
    PoseAcceleration(f32),
    /// Largest jerk of a joint, rad/s³.
    JointJerk(f32),
    /// Largest acceleration of a joint, rad/s².
    JointAcceleration(f32),
    /// How soon a collision is believed, from 1 to 5; 0 is never.
    CollisionSensitivity(u8),
    /// Where the hand is.
    Pose,
    /// Angles of the joints.
    Joints,
    /// Angles, from 2 on velocities too, from 3 on efforts too.
    JointStates { kinds: u8 },
    /// Fastest hand in reduced mode, mm/s.
    ReducedHandSpeed(f32),
    /// Fastest joint in reduced mode, rad/s.
    ReducedJointSpeed(f32),
    /// Reduced mode.
    SetReduced(bool),
    /// The fence: largest and smallest x, y and z of the hand, in millimetres.
    Fence([i32; 6]),
    /// How reduced mode stands.
    Reduced,
    /// Smallest and largest angle of each joint in reduced mode.
    ReducedJoints([f32; 14]),
    /// Switches the fence.
    FenceOn(bool),
    /// Whether it springs back from a collision.
    CollisionRebound(bool),
    /// Whether it watches for colliding with itself.
    SelfCollision(bool),
    /// Whether it only pretends to move.
    Simulation(bool),
    /// Velocities of the joints, rad/s; after `secs`, where given and not 0, they are 0: the only
    /// deadman there is.
    JointVelocity { joints_rad: [f32; JOINTS], together: bool, secs: Option<f32> },
    /// Velocity of the hand, mm/s and rad/s, in the base's frame or the tool's.
    HandVelocity { velocity: [f32; 6], tool: bool, secs: Option<f32> },
    /// Through the box to a device; `host` is 9 for the hand's bus.
    Rs485 { host: u8, id: u8, access: Access },
    /// A register of the board in the hand, as a 32-bit number; `host` is 9.
    HandRegister { host: u8, address: u16 },
}

/// Why a request cannot be sent, or makes no sense to who received it.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A number that must not get to a motor.
    #[error(
        "function {function}, number {index}: expected {least} to {most}, found {found}: not sent"
    )]
    Range {
        /// Which function.
        function: u8,
        /// Which number, from 0.
        index: usize,
        /// Smallest.
        least: f32,
        /// Largest.
        most: f32,
        /// What was to be sent.
        found: f32,
    },
    /// Parameters of another length, or with a value that is not known.
    #[error("function {function} with {found} byte(s) of parameters makes no sense")]
    Malformed {
        /// Which function.
        function: u8,
        /// Bytes of parameters.
        found: usize,
    },
    /// No function that is known here.
    #[error("function {function} is not known")]
    Unknown {
        /// Which.
        function: u8,
    },
}

/// Largest whole request: header, function, 14 floats.
const CAPACITY: usize = 64;

/// The bytes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Encoded {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn put(&mut self, bytes: &[u8]) {
        // Every request fits: the longest is the 14 floats of `ReducedJoints`.
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Adds numbers, each checked first.
    fn floats(&mut self, floats: &[f32], least: f32, most: f32) -> Result<(), RequestError> {
        let function = self.bytes[HEADER];
        for (index, &found) in floats.iter().enumerate() {
            // NaN is in no range.
            if !(least..=most).contains(&found) {
                return Err(RequestError::Range { function, index, least, most, found });
            }
            self.put(&found.to_le_bytes());
        }
        Ok(())
    }
}

/// No joint of any xArm goes further than one turn, in radians.
const MAX_ANGLE: f32 = TAU + 1e-4;
/// No joint is faster than half a turn a second.
const MAX_SPEED: f32 = PI + 1e-4;
/// More than any acceleration or jerk that the vendor allows, in whatever unit.
const MAX_LIMIT: f32 = 100_000.0;
/// The hand is never further away, in millimetres, nor faster, in mm/s.
const MAX_REACH: f32 = 2000.0;
/// Longest motion, in seconds.
const MAX_SECS: f32 = 3600.0;

impl Request {
    /// The number of its function.
    pub fn function(&self) -> u8 {
        match self {
            Self::Version => function::VERSION,
            Self::Serial => function::SERIAL,
            Self::MotionEnable { .. } => function::MOTION_ENABLE,
            Self::SetState(_) => function::SET_STATE,
            Self::State => function::STATE,
            Self::Waiting => function::WAITING,
            Self::Faults => function::FAULTS,
            Self::ClearError => function::CLEAR_ERROR,
            Self::ClearWarning => function::CLEAR_WARNING,
            Self::SetMode { .. } => function::SET_MODE,
            Self::MoveJoints { .. } => function::MOVE_JOINTS,
            Self::ServoJoints { .. } => function::SERVO_JOINTS,
            Self::ServoPose { .. } => function::SERVO_POSE,
            Self::PoseJerk(_) => function::POSE_JERK,
            Self::PoseAcceleration(_) => function::POSE_ACCELERATION,
            Self::JointJerk(_) => function::JOINT_JERK,
            Self::JointAcceleration(_) => function::JOINT_ACCELERATION,
            Self::CollisionSensitivity(_) => function::COLLISION_SENSITIVITY,
            Self::Pose => function::POSE,
            Self::Joints | Self::JointStates { .. } => function::JOINTS,
            Self::ReducedHandSpeed(_) => function::REDUCED_HAND_SPEED,
            Self::ReducedJointSpeed(_) => function::REDUCED_JOINT_SPEED,
            Self::SetReduced(_) => function::SET_REDUCED,
            Self::Fence(_) => function::FENCE,
            Self::Reduced => function::REDUCED,
            Self::ReducedJoints(_) => function::REDUCED_JOINTS,
            Self::FenceOn(_) => function::FENCE_ON,
            Self::CollisionRebound(_) => function::COLLISION_REBOUND,
            Self::SelfCollision(_) => function::SELF_COLLISION,
            Self::Simulation(_) => function::SIMULATION,
            Self::JointVelocity { .. } => function::JOINT_VELOCITY,
            Self::HandVelocity { .. } => function::HAND_VELOCITY,
            Self::Rs485 { .. } => function::RS485,
            Self::HandRegister { .. } => function::HAND_REGISTER,
        }
    }

    /// Its bytes. Does not allocate.
    ///
    /// # Errors
    ///
    /// When a number is not finite, or larger than any xArm could mean it.
    pub fn encode(&self, transaction: u16, protocol: Protocol) -> Result<Encoded, RequestError> {
        let mut out = Encoded { bytes: [0; CAPACITY], len: 0 };
        out.put(&transaction.to_be_bytes());
        out.put(&protocol.number().to_be_bytes());
        out.put(&[0, 0, self.function()]);
        match *self {
            Self::MotionEnable { axis, on } => out.put(&[axis, u8::from(on)]),
            Self::SetState(order) => out.put(&[order as u8]),
            Self::SetMode { mode, detection: None } => out.put(&[mode as u8]),
            Self::SetMode { mode, detection: Some(kind) } => out.put(&[mode as u8, kind]),
            Self::MoveJoints { joints_rad, speed, acceleration, secs }
            | Self::ServoJoints { joints_rad, speed, acceleration, secs } => {
                out.floats(&joints_rad, -MAX_ANGLE, MAX_ANGLE)?;
                out.floats(&[speed, acceleration, secs], 0.0, MAX_SECS)?;
            }
            Self::ServoPose { pose: [x, y, z, roll, pitch, yaw], speed, acceleration, tool } => {
                out.floats(&[x, y, z], -MAX_REACH, MAX_REACH)?;
                out.floats(&[roll, pitch, yaw], -MAX_ANGLE, MAX_ANGLE)?;
                out.floats(&[speed, acceleration, tool], 0.0, MAX_LIMIT)?;
            }
            Self::PoseJerk(limit)
            | Self::PoseAcceleration(limit)
            | Self::JointJerk(limit)
            | Self::JointAcceleration(limit)
            | Self::ReducedHandSpeed(limit)
            | Self::ReducedJointSpeed(limit) => out.floats(&[limit], 0.0, MAX_LIMIT)?,
            Self::CollisionSensitivity(level) => out.put(&[level.min(5)]),
            Self::JointStates { kinds } => out.put(&[kinds]),
            Self::SetReduced(on)
            | Self::FenceOn(on)
            | Self::CollisionRebound(on)
            | Self::SelfCollision(on)
            | Self::Simulation(on) => out.put(&[u8::from(on)]),
            Self::Fence(bounds) => bounds.iter().for_each(|bound| out.put(&bound.to_le_bytes())),
            Self::ReducedJoints(bounds) => out.floats(&bounds, -MAX_ANGLE, MAX_ANGLE)?,
            Self::JointVelocity { joints_rad, together, secs } => {
                out.floats(&joints_rad, -MAX_SPEED, MAX_SPEED)?;
                out.put(&[u8::from(together)]);
                out.floats(secs.as_slice(), 0.0, MAX_SECS)?;
            }
            Self::HandVelocity { velocity: [x, y, z, roll, pitch, yaw], tool, secs } => {
                out.floats(&[x, y, z], -MAX_REACH, MAX_REACH)?;
                out.floats(&[roll, pitch, yaw], -MAX_SPEED, MAX_SPEED)?;
                out.put(&[u8::from(tool)]);
                out.floats(secs.as_slice(), 0.0, MAX_SECS)?;
            }
            Self::HandRegister { host, address } => {
                let [a1, a0] = address.to_be_bytes();
                out.put(&[host, a1, a0]);
            }
            Self::Rs485 { host, id, access } => {
                out.put(&[host, id]);
                let [a1, a0] = access.address().to_be_bytes();
                match access {
                    Access::Read { count, .. } => {
                        let [c1, c0] = count.to_be_bytes();
                        out.put(&[3, a1, a0, c1, c0]);
                    }
                    Access::Write { value, .. } => {
                        out.put(&[16, a1, a0, 0, 1, 2]);
                        out.put(&value.to_be_bytes());
                    }
                    Access::WriteLong { value, .. } => {
                        out.put(&[16, a1, a0, 0, 2, 4]);
                        out.put(&value.to_be_bytes());
                    }
                }
            }
            Self::Version
            | Self::Serial
            | Self::State
            | Self::Waiting
            | Self::Faults
            | Self::ClearError
            | Self::ClearWarning
            | Self::Pose
            | Self::Joints
            | Self::Reduced => {}
        }
        let length = u16::try_from(out.len - HEADER).unwrap_or(u16::MAX).to_be_bytes();
        [out.bytes[4], out.bytes[5]] = length;
        Ok(out)
    }
}

impl Access {
    /// The first register.
    pub fn address(self) -> u16 {
        match self {
            Self::Read { address, .. }
            | Self::Write { address, .. }
            | Self::WriteLong { address, .. } => address,
        }
    }
}
