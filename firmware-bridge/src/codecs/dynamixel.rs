//! Dynamixel Protocol 2.0: packets of the X series, on either side of the wire.
//!
//! ```text
//! instruction: FF FF FD 00 | id | length u16 | instruction | parameters | crc u16
//! status:      FF FF FD 00 | id | length u16 | 55 | error  | parameters | crc u16
//! ```
//!
//! The length counts what follows it. Words are little-endian. Where a body has FF FF FD, another
//! FD is put behind it, so that a header occurs at the start of a packet and nowhere else; length
//! and CRC are those of the stuffed form. Every function adds one packet to the caller's buffer
//! and takes back what it added when it fails.

mod decode;
mod errors;
mod table;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, FastEntries, FastEntry, Packet, Status};
pub use errors::{CodecError, HardwareError, StatusError};
pub use table::{ACCELERATION_UNIT, Model, Register, TICKS_PER_TURN, VELOCITY_UNIT, register};

/// The id that every servo listens to.
pub const BROADCAST: u8 = 0xFE;
/// Largest id that a servo can have.
pub const MAX_ID: u8 = 0xFC;
/// Longest packet, in bytes, as the vendor's own library has it.
pub const MAX_PACKET: usize = 1024;
/// Bytes ahead of the instruction.
pub(super) const HEAD: usize = 7;
/// Bytes of a status packet beside its parameters, unstuffed.
pub const STATUS_BYTES: usize = 11;

/// Instructions, by the vendor's names.
pub mod instruction {
    /// Is anybody there, and what is it?
    pub const PING: u8 = 0x01;
    /// Reads registers.
    pub const READ: u8 = 0x02;
    /// Writes registers.
    pub const WRITE: u8 = 0x03;
    /// Keeps a write until [`ACTION`].
    pub const REG_WRITE: u8 = 0x04;
    /// Carries out what was kept.
    pub const ACTION: u8 = 0x05;
    /// Starts the servo anew.
    pub const REBOOT: u8 = 0x08;
    /// An answer.
    pub const STATUS: u8 = 0x55;
    /// Reads the same registers of several servos.
    pub const SYNC_READ: u8 = 0x82;
    /// Writes the same registers of several servos.
    pub const SYNC_WRITE: u8 = 0x83;
    /// As [`SYNC_READ`], answered in one packet by all.
    pub const FAST_SYNC_READ: u8 = 0x8A;
    /// Reads different registers of several servos.
    pub const BULK_READ: u8 = 0x92;
    /// Writes different registers of several servos.
    pub const BULK_WRITE: u8 = 0x93;
}

const CRC_TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x8005 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The CRC of `bytes`, going on from that of what came before them; 0 at a packet's start.
pub fn crc(before: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(before, |crc, &byte| {
        let [high, _] = crc.to_be_bytes();
        (crc << 8) ^ CRC_TABLE[usize::from(high ^ byte)]
    })
}

/// A packet in the making, at the end of somebody's buffer.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    fn begin(out: &'a mut Vec<u8>, id: u8, instruction: u8) -> Result<Self, CodecError> {
        if id > MAX_ID && id != BROADCAST {
            return Err(CodecError::Id { found: id });
        }
        let start = out.len();
        out.extend_from_slice(&[0xFF, 0xFF, 0xFD, 0x00, id, 0, 0, instruction]);
        Ok(Self { out, start })
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    fn words<const N: usize>(self, words: [u16; N]) -> Self {
        words.into_iter().fold(self, |writer, word| writer.bytes(&word.to_le_bytes()))
    }

    /// Drops the packet again, and says why.
    fn fail<T>(self, error: CodecError) -> Result<T, CodecError> {
        self.out.truncate(self.start);
        Err(error)
    }

    /// Puts an FD behind every FF FF FD of the body, from the end backwards, in place.
    fn stuff(&mut self) {
        let Some(body) = self.out.get(self.start + HEAD..) else { return };
        let mut missing = body.windows(3).filter(|at| **at == [0xFF, 0xFF, 0xFD]).count();
        let mut read = self.out.len();
        let mut write = read + missing;
        self.out.resize(write, 0);
        while missing > 0 {
            if self.out[..read].ends_with(&[0xFF, 0xFF, 0xFD]) {
                write -= 1;
                self.out[write] = 0xFD;
                missing -= 1;
            }
            (read, write) = (read - 1, write - 1);
            self.out[write] = self.out[read];
        }
    }

    fn end(mut self) -> Result<(), CodecError> {
        self.stuff();
        let found = self.out.len() - self.start + 2;
        if found > MAX_PACKET {
            return self.fail(CodecError::TooLong { found });
        }
        let length = ((found - HEAD) as u16).to_le_bytes();
        self.out[self.start + 5..self.start + HEAD].copy_from_slice(&length);
        let crc = crc(0, &self.out[self.start..]);
        self.out.extend_from_slice(&crc.to_le_bytes());
        Ok(())
    }
}

/// Asks one servo, or with [`BROADCAST`] all, for model and firmware.
///
/// # Errors
///
/// When there is no such id.
pub fn ping(out: &mut Vec<u8>, id: u8) -> Result<(), CodecError> {
    Writer::begin(out, id, instruction::PING)?.end()
}

/// Asks for `length` bytes from `address` on.
///
/// # Errors
///
/// When there is no such id.
pub fn read(out: &mut Vec<u8>, id: u8, address: u16, length: u16) -> Result<(), CodecError> {
    Writer::begin(out, id, instruction::READ)?.words([address, length]).end()
}

/// Writes `data` from `address` on. A broadcast is not answered.
///
/// # Errors
///
/// When there is no such id, or the packet would be too long.
pub fn write(out: &mut Vec<u8>, id: u8, address: u16, data: &[u8]) -> Result<(), CodecError> {
    Writer::begin(out, id, instruction::WRITE)?.words([address]).bytes(data).end()
}

/// As [`write()`], carried out at the next [`action`].
///
/// # Errors
///
/// As [`write()`].
pub fn reg_write(out: &mut Vec<u8>, id: u8, address: u16, data: &[u8]) -> Result<(), CodecError> {
    Writer::begin(out, id, instruction::REG_WRITE)?.words([address]).bytes(data).end()
}

/// Carries out what [`reg_write`] left.
///
/// # Errors
///
/// When there is no such id.
pub fn action(out: &mut Vec<u8>, id: u8) -> Result<(), CodecError> {
    Writer::begin(out, id, instruction::ACTION)?.end()
}

/// Starts a servo anew: the only way out of a shutdown after a hardware error.
///
/// # Errors
///
/// When there is no such id.
pub fn reboot(out: &mut Vec<u8>, id: u8) -> Result<(), CodecError> {
    Writer::begin(out, id, instruction::REBOOT)?.end()
}

/// Asks several servos for the same registers; each answers with a packet, in this order.
///
/// # Errors
///
/// When the packet would be too long.
pub fn sync_read(
    out: &mut Vec<u8>,
    address: u16,
    length: u16,
    ids: impl IntoIterator<Item = u8>,
) -> Result<(), CodecError> {
    read_many(out, instruction::SYNC_READ, address, length, ids)
}

/// As [`sync_read`], answered by all in one packet, whose CRCs are chained.
///
/// # Errors
///
/// As [`sync_read`].
pub fn fast_sync_read(
    out: &mut Vec<u8>,
    address: u16,
    length: u16,
    ids: impl IntoIterator<Item = u8>,
) -> Result<(), CodecError> {
    read_many(out, instruction::FAST_SYNC_READ, address, length, ids)
}

fn read_many(
    out: &mut Vec<u8>,
    kind: u8,
    address: u16,
    length: u16,
    ids: impl IntoIterator<Item = u8>,
) -> Result<(), CodecError> {
    let mut writer = Writer::begin(out, BROADCAST, kind)?.words([address, length]);
    for id in ids {
        if id > MAX_ID {
            return writer.fail(CodecError::Id { found: id });
        }
        writer = writer.bytes(&[id]);
    }
    writer.end()
}

/// Writes `length` bytes from `address` on of several servos. Nobody answers.
///
/// # Errors
///
/// When the data of a servo is not `length` bytes, or the packet would be too long.
pub fn sync_write<'a>(
    out: &mut Vec<u8>,
    address: u16,
    length: u16,
    data: impl IntoIterator<Item = (u8, &'a [u8])>,
) -> Result<(), CodecError> {
    let mut writer =
        Writer::begin(out, BROADCAST, instruction::SYNC_WRITE)?.words([address, length]);
    for (id, data) in data {
        let (expected, found) = (usize::from(length), data.len());
        if id > MAX_ID {
            return writer.fail(CodecError::Id { found: id });
        }
        if found != expected {
            return writer.fail(CodecError::Length { id, expected, found });
        }
        writer = writer.bytes(&[id]).bytes(data);
    }
    writer.end()
}

/// Asks each servo `(id, address, length)` for registers of its own.
///
/// # Errors
///
/// When the packet would be too long.
pub fn bulk_read(
    out: &mut Vec<u8>,
    asked: impl IntoIterator<Item = (u8, u16, u16)>,
) -> Result<(), CodecError> {
    let mut writer = Writer::begin(out, BROADCAST, instruction::BULK_READ)?;
    for (id, address, length) in asked {
        if id > MAX_ID {
            return writer.fail(CodecError::Id { found: id });
        }
        writer = writer.bytes(&[id]).words([address, length]);
    }
    writer.end()
}

/// Writes data `(id, address, bytes)` to registers of each servo's own. Nobody answers.
///
/// # Errors
///
/// When the packet would be too long.
pub fn bulk_write<'a>(
    out: &mut Vec<u8>,
    data: impl IntoIterator<Item = (u8, u16, &'a [u8])>,
) -> Result<(), CodecError> {
    let mut writer = Writer::begin(out, BROADCAST, instruction::BULK_WRITE)?;
    for (id, address, data) in data {
        let found = data.len();
        let Ok(length) = u16::try_from(found) else {
            return writer.fail(CodecError::TooLong { found });
        };
        if id > MAX_ID {
            return writer.fail(CodecError::Id { found: id });
        }
        writer = writer.bytes(&[id]).words([address, length]).bytes(data);
    }
    writer.end()
}

/// A servo's answer.
///
/// # Errors
///
/// When the packet would be too long.
pub fn status(out: &mut Vec<u8>, id: u8, error: u8, data: &[u8]) -> Result<(), CodecError> {
    Writer::begin(out, id, instruction::STATUS)?.bytes(&[error]).bytes(data).end()
}

/// The answer of several servos `(error, id, data)` to one [`fast_sync_read`]: each adds its part
/// and the CRC of all so far. Nothing of it is stuffed.
///
/// # Errors
///
/// When the packet would be too long.
pub fn fast_status<'a>(
    out: &mut Vec<u8>,
    parts: impl IntoIterator<Item = (u8, u8, &'a [u8])>,
) -> Result<(), CodecError> {
    let writer = Writer::begin(out, BROADCAST, instruction::STATUS)?;
    let (out, start) = (writer.out, writer.start);
    // Where each part ends is kept in its CRC's place until the packet's length is known.
    let mut end = out.len();
    let mut ends = Vec::new();
    for (error, id, data) in parts {
        out.extend_from_slice(&[error, id]);
        out.extend_from_slice(data);
        end = out.len();
        ends.push(end);
        out.extend_from_slice(&[0, 0]);
    }
    let found = end + 2 - start;
    if found > MAX_PACKET {
        out.truncate(start);
        return Err(CodecError::TooLong { found });
    }
    out[start + 5..start + HEAD].copy_from_slice(&((found - HEAD) as u16).to_le_bytes());
    let (mut so_far, mut from) = (0, start);
    for end in ends {
        so_far = crc(so_far, &out[from..end]);
        out[end..end + 2].copy_from_slice(&so_far.to_le_bytes());
        from = end;
    }
    Ok(())
}
