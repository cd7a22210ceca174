//! Addresses in a servo's control table, and what is to be known of each.

/// Firmware, major and minor: two bytes.
pub const FIRMWARE: u8 = 0;
/// Model: a word. 777 is an STS3215.
pub const MODEL: u8 = 3;
/// Id on the bus.
pub const ID: u8 = 5;
/// Index of the bit rate; vendors agree on 0 to 4 only, 0 being 1 Mbit/s.
pub const BAUD: u8 = 6;
/// How long it waits before it answers, in units of 2 microseconds.
pub const RETURN_DELAY: u8 = 7;
/// 0: only pings and reads are answered; 1: everything is.
pub const RESPONSE_LEVEL: u8 = 8;
/// Smallest goal: a word of ticks.
pub const MIN_POSITION: u8 = 9;
/// Largest goal: a word of ticks.
pub const MAX_POSITION: u8 = 11;
/// Highest temperature, in degrees.
pub const MAX_TEMPERATURE: u8 = 13;
/// Highest voltage, in tenths of a volt.
pub const MAX_VOLTAGE: u8 = 14;
/// Lowest voltage, in tenths of a volt.
pub const MIN_VOLTAGE: u8 = 15;
/// Most torque after power-on: a word, in thousandths.
pub const MAX_TORQUE: u8 = 16;
/// How it turns and counts: see [`PHASE_STEP_SPEED`] and [`PHASE_MULTI_TURN`].
pub const PHASE: u8 = 18;
/// Which alarms take torque away.
pub const UNLOADING: u8 = 19;
/// Proportional gain of the position loop.
pub const P: u8 = 21;
/// Derivative gain.
pub const D: u8 = 22;
/// Integral gain.
pub const I: u8 = 23;
/// Current that it protects itself from: a word, in units of 6.5 mA.
pub const PROTECTION_CURRENT: u8 = 28;
/// What is taken off its own position: a word with its sign in bit 11.
pub const HOMING_OFFSET: u8 = 31;
/// 0: position; 1: velocity; 2: PWM; 3: steps.
pub const MODE: u8 = 33;
/// Torque that is left while it protects itself, in hundredths.
pub const PROTECTIVE_TORQUE: u8 = 34;
/// Time of an overload until it protects itself, in units of 10 ms.
pub const PROTECTION_TIME: u8 = 35;
/// What counts as an overload, in hundredths of the torque.
pub const OVERLOAD_TORQUE: u8 = 36;
/// 0: off; 1: on; 128: makes 2048 of the position here, which must not happen by accident.
pub const TORQUE: u8 = 40;
/// Acceleration, in units of 100 ticks per second squared; 0: as fast as can be.
pub const ACCELERATION: u8 = 41;
/// Goal: a word with its sign in bit 15, in ticks.
pub const GOAL_POSITION: u8 = 42;
/// Unused with servos of this kind: a word.
pub const GOAL_TIME: u8 = 44;
/// Highest speed on the way: a word with its sign in bit 15, in the unit that [`PHASE`] says.
pub const GOAL_VELOCITY: u8 = 46;
/// Most torque for now: a word, in thousandths; [`MAX_TORQUE`] after power-on.
pub const TORQUE_LIMIT: u8 = 48;
/// 0 lets what is below [`TORQUE`] be written for good.
pub const LOCK: u8 = 55;
/// Position: a word with its sign in bit 15, in ticks.
pub const PRESENT_POSITION: u8 = 56;
/// Velocity: a word with its sign in bit 15, in the unit that [`PHASE`] says.
pub const PRESENT_VELOCITY: u8 = 58;
/// Load: a word with its sign in bit 10, in thousandths.
pub const PRESENT_LOAD: u8 = 60;
/// Voltage, in tenths of a volt.
pub const PRESENT_VOLTAGE: u8 = 62;
/// Temperature, in degrees.
pub const PRESENT_TEMPERATURE: u8 = 63;
/// Whether a write waits for an action.
pub const REG_WRITE: u8 = 64;
/// Alarms, as every answer has them.
pub const STATUS: u8 = 65;
/// Whether it moves.
pub const MOVING: u8 = 66;
/// Current: a word with its sign in bit 15, in units of 6.5 mA.
pub const PRESENT_CURRENT: u8 = 69;

/// Size of the table, in bytes.
pub const TABLE: usize = 88;

/// Where what is forgotten without power begins.
pub const RAM: u8 = TORQUE;

/// Bit of [`PHASE`]: a unit of speed is a tick per second, without it 50.
pub const PHASE_STEP_SPEED: u8 = 1 << 2;
/// Bit of [`PHASE`]: positions go on beyond a turn.
pub const PHASE_MULTI_TURN: u8 = 1 << 4;

/// Where a word that can be negative has its sign; `None` for all others.
pub fn sign_bit(address: u8) -> Option<u32> {
    match address {
        GOAL_POSITION | GOAL_VELOCITY | PRESENT_POSITION | PRESENT_VELOCITY | PRESENT_CURRENT => {
            Some(15)
        }
        HOMING_OFFSET => Some(11),
        PRESENT_LOAD => Some(10),
        _ => None,
    }
}

/// The number of a model, as the servo says it.
pub fn model_number(model: &str) -> Option<u16> {
    Some(match model {
        "sts3215" => 777,
        "sts3250" => 2825,
        "sm8512bl" => 11272,
        _ => return None,
    })
}
