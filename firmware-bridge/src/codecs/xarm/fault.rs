//! The controller's error codes in words, with what helps.

use std::fmt;

/// An error of the controller, by its code; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault(pub u8);

impl Fault {
    /// A contact of the emergency stop opened.
    pub const EMERGENCY_STOP: Self = Self(2);
    /// A joint was told to be beyond its limits.
    pub const JOINT_LIMIT: Self = Self(23);
    /// A joint was told to be faster than it may.
    pub const SPEED: Self = Self(24);
    /// A joint met something.
    pub const COLLISION: Self = Self(31);

    /// The joint to blame, from 0, where the code names one.
    pub fn joint(self) -> Option<usize> {
        matches!(self.0, 11..=17).then(|| usize::from(self.0) - 11)
    }

    /// Whether an emergency stop is behind it.
    pub fn emergency(self) -> bool {
        matches!(self.0, 1..=3)
    }

    /// What happened.
    pub fn what(self) -> &'static str {
        match self.0 {
            0 => "no error",
            1 => "the emergency stop button of the control box is pressed",
            2 => "the emergency stop input of the control box is open",
            3 => "the emergency stop of the three-state switch is pressed",
            10 => "a servo motor failed",
            11 => "servo motor 1 failed",
            12 => "servo motor 2 failed",
            13 => "servo motor 3 failed",
            14 => "servo motor 4 failed",
            15 => "servo motor 5 failed",
            16 => "servo motor 6 failed",
            17 => "servo motor 7 failed",
            18 => "the force sensor does not communicate",
            19 => "the end effector does not communicate",
            21 => "there is no way to reach the pose",
            22 => "the arm would collide with itself",
            23 => "a joint's angle is beyond its limit",
            24 => "a joint's speed is beyond its limit",
            25 => "the motion could not be planned",
            26 => "its real-time system failed",
            27 => "a command was answered wrongly inside the box",
            28 => "the end module does not communicate",
            30 => "a joint moves faster than it may",
            31 => "a motor's current says that the arm met something",
            32 => "no circle goes through the three points",
            33 => "the inputs and outputs of the box failed",
            34 => "the recording is too long",
            35 => "the arm reached the safety boundary",
            36 => "too many delayed commands wait",
            37 => "the arm moves by itself in manual mode",
            38 => "a joint's angle is abnormal",
            39 => "the power board does not communicate",
            40 => "a joint trajectory has no solution",
            41 => "the friction file is invalid",
            42 => "the calibration file is invalid",
            50..=52 => "the force sensor could not be read or set",
            53 => "the force sensor is overloaded",
            60 => "a set-point moves the hand faster than it may",
            110 => "the arm's base board does not communicate",
            111 => "a device on the box's RS-485 does not communicate",
            _ => "an error that is not known here",
        }
    }

    /// What helps.
    pub fn help(self) -> &'static str {
        match self.0 {
            0 => "nothing to do",
            1 | 3 => "release the button, then clear the error and switch torque on again",
            2 => {
                "close the emergency stop circuit, then clear the error and switch torque on again"
            }
            18 | 50..=53 => "check the force sensor and its load",
            19 | 28 => "check the end effector's cable and its baud rate",
            22 => "move the arm apart in manual mode, then clear the error",
            23 => "bring the joint back inside its limits in manual mode, then clear the error",
            24 | 25 | 30 | 60 => {
                "lower max_velocity in the arm's description, then clear the error"
            }
            31 => {
                "look for what it met, check the payload and the collision sensitivity, then clear the error"
            }
            35 => "bring the arm back inside the boundary in manual mode, then clear the error",
            21 | 32 | 34 | 36 | 40 => "clear the error and ask for something else",
            37 => "check payload and mounting, then clear the error",
            10..=17 | 27 | 33 | 38 | 41 | 42 | 110 | 111 => {
                "restart the box with its emergency stop; if it stays, ask the vendor"
            }
            _ => "look it up in the vendor's manual, then clear the error",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "controller error {}: {}; {}", self.0, self.what(), self.help())
    }
}

/// Errors of the vendor's gripper that are known here, by code.
pub const GRIPPER_FAULTS: &[(u16, &str)] = &[
    (9, "its current cannot be measured"),
    (11, "its current is too high"),
    (12, "its speed is too high"),
    (14, "it was told to be beyond its range"),
    (15, "its memory cannot be read or written"),
    (20, "its driver failed"),
    (21, "its driver did not start"),
    (23, "it follows its set-point too slowly: is it blocked?"),
    (25, "it was told to be beyond its software limit"),
    (26, "it is beyond its software limit"),
    (33, "its driver is overloaded"),
    (34, "its motor is overloaded"),
    (36, "its driver is of another type"),
];

/// A gripper's error in words.
pub fn gripper_fault(code: u16) -> &'static str {
    let known = GRIPPER_FAULTS.iter().find(|(known, _)| *known == code);
    known.map_or("an error that is not known here", |(_, words)| words)
}
