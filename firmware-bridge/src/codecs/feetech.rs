//! Feetech STS/SMS: what goes over the bus of an SO-100 or SO-101.
//!
//! A packet is `FF FF`, an id, the number of bytes that follow, an instruction (or, in an answer,
//! alarms), data, and the inverted sum of all but the header. Words have their low byte first, and
//! negative ones carry their sign in a bit of their own. Nothing is stuffed, so that `FF FF` may
//! be data: a packet is only what has a header, a length that can be and the right sum.

mod decoder;
pub mod register;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Packet};

/// The id that every servo hears and none answers to, a sync read apart.
pub const BROADCAST: u8 = 254;

/// The largest id a servo can have.
pub const MAX_ID: u8 = 253;

/// The longest packet, from header to sum, in bytes.
pub const MAX_PACKET: usize = 250;

/// Bytes of an answer that carries no data.
pub const STATUS_BYTES: usize = 6;

/// Steps of a turn.
pub const TICKS_PER_TURN: f64 = 4096.0;

/// What a host can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Instruction {
    /// Whether a servo is there.
    Ping = 1,
    /// Registers of one servo.
    Read = 2,
    /// Writes registers, of one servo or of all.
    Write = 3,
    /// Writes registers when [`Action`](Self::Action) comes.
    RegWrite = 4,
    /// Does what was put off.
    Action = 5,
    /// The same registers of several servos.
    SyncRead = 0x82,
    /// Writes the same registers of several servos.
    SyncWrite = 0x83,
}

impl Instruction {
    /// The instruction with this code, if there is one.
    pub fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Ping,
            2 => Self::Read,
            3 => Self::Write,
            4 => Self::RegWrite,
            5 => Self::Action,
            0x82 => Self::SyncRead,
            0x83 => Self::SyncWrite,
            _ => return None,
        })
    }
}

/// Why there is no such packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// It holds too much.
    #[error(
        "a packet has at most {MAX_PACKET} bytes, this one would have {found}: send less at once"
    )]
    TooLong {
        /// What it would have, in bytes.
        found: usize,
    },
    /// No servo has such an id.
    #[error("id {found} is none of 0 to 253 nor 254 for all")]
    Id {
        /// What was given.
        found: u8,
    },
    /// A row of a sync write has another length than the others.
    #[error("a sync write of {expected} byte(s) to each servo has {found} for id {id}")]
    Row {
        /// Whose row it is.
        id: u8,
        /// Bytes of each row.
        expected: usize,
        /// Bytes of this one.
        found: usize,
    },
}

/// Adds a ping to `out`.
///
/// # Errors
///
/// When there is no such packet; `out` is then as it was. The same holds for the others below.
pub fn ping(out: &mut Vec<u8>, id: u8) -> Result<(), PacketError> {
    packet(out, id, Instruction::Ping as u8, |_| Ok(()))
}

/// Adds a read of `length` bytes from `address` on.
///
/// # Errors
///
/// As [`ping`].
pub fn read(out: &mut Vec<u8>, id: u8, address: u8, length: u8) -> Result<(), PacketError> {
    let data = [address, length];
    packet(out, id, Instruction::Read as u8, |out| {
        out.extend_from_slice(&data);
        Ok(())
    })
}

/// Adds a write of `data` from `address` on.
///
/// # Errors
///
/// As [`ping`].
pub fn write(out: &mut Vec<u8>, id: u8, address: u8, data: &[u8]) -> Result<(), PacketError> {
    addressed(out, id, Instruction::Write, address, data)
}

/// Adds a write that waits for an [`action`].
///
/// # Errors
///
/// As [`ping`].
pub fn reg_write(out: &mut Vec<u8>, id: u8, address: u8, data: &[u8]) -> Result<(), PacketError> {
    addressed(out, id, Instruction::RegWrite, address, data)
}

/// Adds what sets off the writes that wait, usually to [`BROADCAST`].
///
/// # Errors
///
/// As [`ping`].
pub fn action(out: &mut Vec<u8>, id: u8) -> Result<(), PacketError> {
    packet(out, id, Instruction::Action as u8, |_| Ok(()))
}

/// Adds a read of the same registers of several servos, which answer in the order of `ids`.
///
/// # Errors
///
/// As [`ping`].
pub fn sync_read(
    out: &mut Vec<u8>,
    address: u8,
    length: u8,
    ids: impl IntoIterator<Item = u8>,
) -> Result<(), PacketError> {
    packet(out, BROADCAST, Instruction::SyncRead as u8, |out| {
        out.extend([address, length]);
        out.extend(ids);
        Ok(())
    })
}

/// Adds a write of `length` bytes to the same registers of several servos, a row for each.
///
/// # Errors
///
/// As [`ping`], and when a row has another length.
pub fn sync_write<Row: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    address: u8,
    length: u8,
    rows: impl IntoIterator<Item = (u8, Row)>,
) -> Result<(), PacketError> {
    packet(out, BROADCAST, Instruction::SyncWrite as u8, |out| {
        out.extend([address, length]);
        for (id, row) in rows {
            let (row, expected) = (row.as_ref(), usize::from(length));
            if row.len() != expected {
                return Err(PacketError::Row { id, expected, found: row.len() });
            }
            out.push(id);
            out.extend_from_slice(row);
        }
        Ok(())
    })
}

/// Adds what a servo answers: its alarms and what it was asked for.
///
/// # Errors
///
/// As [`ping`].
pub fn status(out: &mut Vec<u8>, id: u8, alarms: u8, data: &[u8]) -> Result<(), PacketError> {
    packet(out, id, alarms, |out| {
        out.extend_from_slice(data);
        Ok(())
    })
}

fn addressed(
    out: &mut Vec<u8>,
    id: u8,
    instruction: Instruction,
    address: u8,
    data: &[u8],
) -> Result<(), PacketError> {
    packet(out, id, instruction as u8, |out| {
        out.push(address);
        out.extend_from_slice(data);
        Ok(())
    })
}

fn packet(
    out: &mut Vec<u8>,
    id: u8,
    code: u8,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), PacketError>,
) -> Result<(), PacketError> {
    if id > BROADCAST {
        return Err(PacketError::Id { found: id });
    }
    let start = out.len();
    out.extend([0xFF, 0xFF, id, 0, code]);
    let filled = fill(out);
    let found = out.len() + 1 - start;
    let fits = if found > MAX_PACKET { Err(PacketError::TooLong { found }) } else { Ok(()) };
    if let Err(error) = filled.and(fits) {
        out.truncate(start);
        return Err(error);
    }
    if let Some(length) = out.get_mut(start + 3) {
        *length = (found - 4) as u8; // at most 246
    }
    let sum = checksum(out.get(start + 2..).unwrap_or_default());
    out.push(sum);
    Ok(())
}

/// The inverted sum of id, length, code and data.
fn checksum(bytes: &[u8]) -> u8 {
    !bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// A word with its sign in bit `sign_bit`: 15 for positions and velocities, 11 for homing offsets,
/// 10 for loads. `None` for a value that has no place below that bit: it must not become another.
pub fn encode_signed(value: i32, sign_bit: u32) -> Option<u16> {
    let magnitude = u16::try_from(value.unsigned_abs()).ok()?;
    let sign = 1_u16.checked_shl(sign_bit)?;
    let word = if value < 0 { magnitude | sign } else { magnitude };
    (magnitude < sign).then_some(word)
}

/// What a word with its sign in bit `sign_bit` means. Bits above the sign mean nothing.
pub fn decode_signed(word: u16, sign_bit: u32) -> i32 {
    let sign = 1_u16.checked_shl(sign_bit).unwrap_or(1 << 15);
    let magnitude = i32::from(word & (sign - 1));
    if word & sign == 0 { magnitude } else { -magnitude }
}

/// The word at `at` in `data`, low byte first.
pub fn word(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at + 2)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

/// Bits of an alarm byte that are alarms. Bit 4 is none: some firmware says with it that torque
/// is on.
pub const ALARMS: u8 = 0b0010_1111;

/// What an alarm byte says, in words; `None` when nothing is wrong.
pub fn alarms(byte: u8) -> Option<String> {
    const WORDS: [(u8, &str); 5] = [
        (0, "a voltage out of its limits: check the power supply"),
        (1, "a fault of its encoder: it has to be repaired"),
        (2, "too high a temperature: let it cool down"),
        (3, "too high a current: free the joint"),
        (5, "an overload: free the joint, then switch its power off and on"),
    ];
    let said = WORDS.iter().filter(|(bit, _)| byte >> bit & 1 == 1);
    let said: Vec<_> = said.map(|(_, words)| *words).collect();
    (!said.is_empty()).then(|| said.join("; "))
}
