//! The control table of the X series, and what differs between its models.

use super::CodecError;

/// A register: little-endian, two's complement where it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// Its name in messages.
    pub name: &'static str,
    /// Its first byte.
    pub address: u16,
    /// Its bytes: 1, 2 or 4.
    pub width: u16,
    /// Whether it has a sign.
    pub signed: bool,
}

impl Register {
    const fn new(name: &'static str, address: u16, width: u16, signed: bool) -> Self {
        Self { name, address, width, signed }
    }

    /// Smallest and largest value that its bytes can hold.
    pub fn range(&self) -> (i64, i64) {
        let bits = 8 * u32::from(self.width);
        if self.signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
    }

    /// The bytes of `value`; the first [`width`](Self::width) of them count.
    ///
    /// # Errors
    ///
    /// When it does not fit. It is never wrapped around.
    pub fn bytes(&self, value: i64) -> Result<[u8; 4], CodecError> {
        let (min, max) = self.range();
        if !(min..=max).contains(&value) {
            return Err(CodecError::Value { register: self.name, min, max, found: value });
        }
        let [a, b, c, d, ..] = value.to_le_bytes();
        Ok([a, b, c, d])
    }

    /// The value at the register's place in `block`, which begins at `address`.
    pub fn within(&self, block: &[u8], address: u16) -> Option<i64> {
        let at = usize::from(self.address.checked_sub(address)?);
        let bytes = block.get(at..at + usize::from(self.width))?;
        let mut value = [0; 8];
        for (to, &from) in value.iter_mut().zip(bytes) {
            *to = from;
        }
        let value = i64::from_le_bytes(value);
        let (min, max) = self.range();
        Some(if value > max { value - (max - min + 1) } else { value })
    }
}

/// The registers that are used here, by the vendor's names. Those below [`register::EEPROM_END`] survive a
/// restart, wear out, and cannot be written while torque is on.
pub mod register {
    use super::Register;

    /// First address that is RAM.
    pub const EEPROM_END: u16 = 64;

    macro_rules! registers {
        ($($(#[$doc:meta])* $name:ident $text:literal $address:literal $width:literal $signed:literal,)*) => {
            $($(#[$doc])* pub const $name: Register = Register::new($text, $address, $width, $signed);)*
            /// All of them, in order.
            pub const ALL: &[Register] = &[$($name),*];
        };
    }

    registers! {
        /// Which model it is.
        MODEL_NUMBER "model number" 0 2 false,
        /// Free use.
        MODEL_INFORMATION "model information" 2 4 false,
        /// Firmware's version.
        FIRMWARE "firmware version" 6 1 false,
        /// Id on the bus.
        ID "id" 7 1 false,
        /// Index of the baud rate; 3 is a million.
        BAUD_RATE "baud rate" 8 1 false,
        /// Wait before an answer, in units of 2 µs.
        RETURN_DELAY "return delay time" 9 1 false,
        /// Direction, and whether profiles count in time.
        DRIVE_MODE "drive mode" 10 1 false,
        /// 0 current, 1 velocity, 3 position, 4 extended position, 5 current-based position, 16 PWM.
        OPERATING_MODE "operating mode" 11 1 false,
        /// A second id, for writes.
        SECONDARY_ID "secondary id" 12 1 false,
        /// Protocol.
        PROTOCOL "protocol type" 13 1 false,
        /// Present position is what the encoder says plus this.
        HOMING_OFFSET "homing offset" 20 4 true,
        /// Below this velocity a joint does not count as moving.
        MOVING_THRESHOLD "moving threshold" 24 4 false,
        /// In degrees Celsius.
        TEMPERATURE_LIMIT "temperature limit" 31 1 false,
        /// In 0.1 V.
        MAX_VOLTAGE "max voltage limit" 32 2 false,
        /// In 0.1 V.
        MIN_VOLTAGE "min voltage limit" 34 2 false,
        /// In 0.113 %.
        PWM_LIMIT "PWM limit" 36 2 false,
        /// In the model's unit.
        CURRENT_LIMIT "current limit" 38 2 false,
        /// In 0.229 rpm.
        VELOCITY_LIMIT "velocity limit" 44 4 false,
        /// In ticks; for position mode only.
        MAX_POSITION "max position limit" 48 4 false,
        /// In ticks; for position mode only.
        MIN_POSITION "min position limit" 52 4 false,
        /// Which hardware errors switch torque off.
        SHUTDOWN "shutdown" 63 1 false,
        /// 1 when torque is on.
        TORQUE_ENABLE "torque enable" 64 1 false,
        /// The light.
        LED "LED" 65 1 false,
        /// 0 answers pings, 1 reads too, 2 everything.
        STATUS_RETURN_LEVEL "status return level" 68 1 false,
        /// 1 when a write waits for its action.
        REGISTERED "registered instruction" 69 1 false,
        /// Which hardware errors are latched.
        HARDWARE_ERROR "hardware error status" 70 1 false,
        /// Velocity controller.
        VELOCITY_I "velocity I gain" 76 2 false,
        /// Velocity controller.
        VELOCITY_P "velocity P gain" 78 2 false,
        /// Position controller.
        POSITION_D "position D gain" 80 2 false,
        /// Position controller.
        POSITION_I "position I gain" 82 2 false,
        /// Position controller.
        POSITION_P "position P gain" 84 2 false,
        /// Feed-forward.
        FEEDFORWARD_2 "feedforward 2nd gain" 88 2 false,
        /// Feed-forward.
        FEEDFORWARD_1 "feedforward 1st gain" 90 2 false,
        /// 0 off, 1 to 127 in units of 20 ms, -1 when it has tripped.
        BUS_WATCHDOG "bus watchdog" 98 1 true,
        /// In position modes, the most PWM that is used.
        GOAL_PWM "goal PWM" 100 2 true,
        /// In current-based position mode, the most current that is used.
        GOAL_CURRENT "goal current" 102 2 true,
        /// In 0.229 rpm.
        GOAL_VELOCITY "goal velocity" 104 4 true,
        /// In 214.577 rev/min²; 0 is no limit.
        PROFILE_ACCELERATION "profile acceleration" 108 4 false,
        /// In 0.229 rpm; 0 is no limit.
        PROFILE_VELOCITY "profile velocity" 112 4 false,
        /// In ticks.
        GOAL_POSITION "goal position" 116 4 true,
        /// Counts milliseconds.
        REALTIME_TICK "realtime tick" 120 2 false,
        /// 1 while it moves.
        MOVING "moving" 122 1 false,
        /// More about it.
        MOVING_STATUS "moving status" 123 1 false,
        /// In 0.113 %.
        PRESENT_PWM "present PWM" 124 2 true,
        /// In the model's unit, or load in 0.1 %.
        PRESENT_CURRENT "present current" 126 2 true,
        /// In 0.229 rpm.
        PRESENT_VELOCITY "present velocity" 128 4 true,
        /// In ticks.
        PRESENT_POSITION "present position" 132 4 true,
        /// Of the profile.
        VELOCITY_TRAJECTORY "velocity trajectory" 136 4 false,
        /// Of the profile.
        POSITION_TRAJECTORY "position trajectory" 140 4 false,
        /// In 0.1 V.
        PRESENT_VOLTAGE "present input voltage" 144 2 false,
        /// In degrees Celsius.
        PRESENT_TEMPERATURE "present temperature" 146 1 false,
    }
}

/// Ticks of one turn.
pub const TICKS_PER_TURN: f64 = 4096.0;
/// What a unit of velocity is worth, in ticks per second: 0.229 rpm.
pub const VELOCITY_UNIT: f64 = 0.229 / 60.0 * TICKS_PER_TURN;
/// What a unit of acceleration is worth, in ticks per second squared: 214.577 rev/min².
pub const ACCELERATION_UNIT: f64 = 214.577 / 3600.0 * TICKS_PER_TURN;

/// What differs between models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Its number.
    pub number: u16,
    /// What a unit of current is worth, in amperes. `None` for a model that measures no current,
    /// and says its load in 0.1 % instead.
    pub current_unit_a: Option<f32>,
    /// Factory's [`register::CURRENT_LIMIT`], in the model's unit.
    pub current_limit: u16,
    /// Factory's [`register::VELOCITY_LIMIT`].
    pub velocity_limit: u16,
    /// Oldest firmware that answers a fast sync read.
    pub fast_since: u8,
}

impl Model {
    /// The models that are known.
    pub const ALL: &[Self] = &[
        Self::new("xl430-w250", 1060, None, 0, 265, 45),
        Self::new("xl330-m288", 1200, Some(0.001), 1750, 445, 46),
        Self::new("xl330-m077", 1190, Some(0.001), 1750, 1620, 46),
        Self::new("xm430-w350", 1020, Some(0.002_69), 1193, 200, 45),
        Self::new("xm540-w270", 1120, Some(0.002_69), 2047, 128, 45),
        Self::new("xc430-w150", 1070, None, 0, 306, 45),
    ];

    const fn new(
        name: &'static str,
        number: u16,
        current_unit_a: Option<f32>,
        current_limit: u16,
        velocity_limit: u16,
        fast_since: u8,
    ) -> Self {
        Self { name, number, current_unit_a, current_limit, velocity_limit, fast_since }
    }

    /// A model by its name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|model| model.name == name)
    }

    /// A model by its number.
    pub fn numbered(number: u16) -> Option<&'static Self> {
        Self::ALL.iter().find(|model| model.number == number)
    }
}
