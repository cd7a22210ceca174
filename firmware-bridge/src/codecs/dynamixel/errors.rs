//! What can be wrong with a packet, and what servos say is wrong with them.

use std::fmt;

use super::{BROADCAST, MAX_ID, MAX_PACKET};

/// Why something cannot be put into a packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// It is too long.
    #[error("a packet has at most {MAX_PACKET} bytes, found {found}: split it")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// There is no such id.
    #[error("an id is 0 to {MAX_ID}, or {BROADCAST} for all, found {found}")]
    Id {
        /// What was asked for.
        found: u8,
    },
    /// Data is not as long as announced.
    #[error("id {id} takes {expected} byte(s), found {found}")]
    Length {
        /// Whose data.
        id: u8,
        /// As announced.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// A value does not fit its register. It is never wrapped around.
    #[error("{register} takes {min} to {max}, found {found}")]
    Value {
        /// The register.
        register: &'static str,
        /// Smallest that fits.
        min: i64,
        /// Largest that fits.
        max: i64,
        /// What was asked for.
        found: i64,
    },
}

/// What the error byte of a status packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusError(pub u8);

impl StatusError {
    /// Whether a hardware error is latched: [`HARDWARE_ERROR`](super::register::HARDWARE_ERROR) says which.
    pub fn alert(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Why the instruction was refused; 0 when it was not. It is a number and no set of bits.
    pub fn number(self) -> u8 {
        self.0 & 0x7F
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.number() {
            0 => "no error",
            1 => "the instruction failed",
            2 => "unknown instruction",
            3 => "wrong CRC",
            4 => "a value is out of range",
            5 => "wrong data length",
            6 => "a value is beyond its limit",
            7 => "the register is not accessible now",
            _ => "an unknown error",
        };
        write!(f, "{words} ({})", self.number())?;
        if self.alert() { f.write_str(", and a hardware error is latched") } else { Ok(()) }
    }
}

/// The bits of [`HARDWARE_ERROR`](super::register::HARDWARE_ERROR) and of
/// [`SHUTDOWN`](super::register::SHUTDOWN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardwareError(pub u8);

impl HardwareError {
    /// Supply voltage outside its limits.
    pub const VOLTAGE: u8 = 1 << 0;
    /// Too hot.
    pub const OVERHEATING: u8 = 1 << 2;
    /// The encoder does not work.
    pub const ENCODER: u8 = 1 << 3;
    /// Electrical shock, or too little power for the motor.
    pub const ELECTRICAL: u8 = 1 << 4;
    /// Overload for too long.
    pub const OVERLOAD: u8 = 1 << 5;
}

impl fmt::Display for HardwareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = [
            (Self::VOLTAGE, "input voltage outside its limits"),
            (Self::OVERHEATING, "overheating"),
            (Self::ENCODER, "encoder fault"),
            (Self::ELECTRICAL, "electrical shock or too little power"),
            (Self::OVERLOAD, "overload"),
        ];
        let mut rest = self.0;
        let mut between = "";
        for (bit, words) in known {
            if self.0 & bit != 0 {
                write!(f, "{between}{words}")?;
                (between, rest) = (" and ", rest & !bit);
            }
        }
        if rest != 0 || self.0 == 0 {
            write!(f, "{between}hardware error {rest:#04x}")?;
        }
        Ok(())
    }
}
