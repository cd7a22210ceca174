//! The vendor's gripper, a Modbus device on the bus in the hand: what it is asked and answers.
//!
//! It counts pulses, and so that it can be a joint like the others, a pulse is a milliradian here
//! and open is zero: 850 pulses are 0 rad, none are 0.85 rad, and -10, as far shut as it goes, 0.86.

use std::ops::RangeInclusive;

use super::reply::{Reply, ReplyError};
use super::request::{Access, Request};

/// Its model in a description.
pub const MODEL: &str = "xarm-gripper";

/// Its number on the hand's bus.
pub const ID: u8 = 8;

/// Where it goes, in pulses, from as far shut as it gets to open.
pub const PULSES: RangeInclusive<i32> = -10..=850;

/// Its fastest. The vendor calls that revolutions a minute, and does not say how many pulses a
/// second they are.
pub const MAX_SPEED: u16 = 5000;

/// The number of the hand's bus.
const HOST: u8 = 9;
/// Microradians of a pulse.
const TICKS: i32 = 1000;

const fn of(access: Access) -> Request {
    Request::Rs485 { host: HOST, id: ID, access }
}

/// Switches its motor.
pub fn enable(on: bool) -> Request {
    of(Access::Write { address: 0x0100, value: u16::from(on) })
}

/// How it is controlled; 0 is by position.
pub fn mode(mode: u16) -> Request {
    of(Access::Write { address: 0x0101, value: mode })
}

/// How fast it moves, at most [`MAX_SPEED`].
pub fn speed(speed: u16) -> Request {
    of(Access::Write { address: 0x0303, value: speed })
}

/// Where it goes, in [`PULSES`].
pub fn go(pulses: i32) -> Request {
    of(Access::WriteLong { address: 0x0700, value: pulses })
}

/// Forgets its error.
pub fn clear_error() -> Request {
    of(Access::Write { address: 0x0109, value: 1 })
}

/// Where it is: two registers, in pulses.
pub const POSITION: Request = of(Access::Read { address: 0x0702, count: 2 });

/// Its error: one register.
pub const ERROR: Request = of(Access::Read { address: 0x000F, count: 1 });

/// Its firmware: major, minor and revision, one register each.
pub const VERSION: [Request; 3] = [
    of(Access::Read { address: 0x0801, count: 1 }),
    of(Access::Read { address: 0x0802, count: 1 }),
    of(Access::Read { address: 0x0803, count: 1 }),
];

/// What it answers to a reading, without the head: the `N` bytes of the registers.
///
/// # Errors
///
/// When it is shorter, or the answer of another device or to another request.
pub fn registers<const N: usize>(reply: &Reply<'_>) -> Result<[u8; N], ReplyError> {
    headed(reply, [HOST, ID, 3, N as u8])?;
    reply.after(4)
}

/// Whether it confirms what was written to the register at `address`.
///
/// # Errors
///
/// When the answer is shorter, or of another device or to another request.
pub fn confirmed(reply: &Reply<'_>, address: u16) -> Result<(), ReplyError> {
    let [high, low] = address.to_be_bytes();
    headed(reply, [HOST, ID, 16, high, low])
}

fn headed<const N: usize>(reply: &Reply<'_>, expected: [u8; N]) -> Result<(), ReplyError> {
    let found: [u8; N] = reply.bytes()?;
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (expected.to_vec(), found.to_vec());
    Err(ReplyError::Device { expected, found })
}

/// The pulses nearest to an angle in microradians.
pub fn pulses(ticks: i32) -> i32 {
    PULSES.end() - (f64::from(ticks) / f64::from(TICKS)).round() as i32
}

/// The angle of pulses, in microradians.
pub fn ticks(pulses: i32) -> i32 {
    PULSES.end().saturating_sub(pulses).saturating_mul(TICKS)
}
