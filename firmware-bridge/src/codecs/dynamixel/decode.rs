//! From bytes as they come to packets.

use super::{BROADCAST, HEAD, MAX_ID, MAX_PACKET, crc, instruction};

const HEADER: [u8; 4] = [0xFF, 0xFF, 0xFD, 0x00];

/// Finds packets in what comes, in pieces of any size, and goes on at the next header when one is
/// damaged. It allocates until it has seen its longest packet, and not after.
#[derive(Debug, Clone)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where in `buffer` the first byte is that is not dealt with.
    start: usize,
    /// The last packet as it came, and its body after the instruction, unstuffed.
    raw: Vec<u8>,
    body: Vec<u8>,
    longest: usize,
    skipped: u64,
}

/// A packet whose CRC is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Whom it is for, or whom it is from.
    pub id: u8,
    /// What it is: one of [`instruction`].
    pub instruction: u8,
    /// What follows the instruction, unstuffed.
    pub body: &'a [u8],
    /// All of it, as it came.
    pub raw: &'a [u8],
}

/// What a servo answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status<'a> {
    /// The servo's id.
    pub id: u8,
    /// Its error byte; see [`StatusError`](super::StatusError).
    pub error: u8,
    /// The registers that were asked for.
    pub data: &'a [u8],
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(MAX_PACKET)
    }
}

impl Decoder {
    /// A decoder that takes no packet longer than `longest` bytes.
    pub fn new(longest: usize) -> Self {
        let longest = longest.min(MAX_PACKET);
        let [buffer, raw, body] = [2 * longest, longest, longest].map(Vec::with_capacity);
        Self { buffer, start: 0, raw, body, longest, skipped: 0 }
    }

    /// Takes what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start.min(self.buffer.len()));
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Forgets what came and is no packet yet.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.start = 0;
    }

    /// Waits no longer for the rest of the packet that has begun: what looked like its start may
    /// have been damaged, and packets may follow.
    pub fn give_up(&mut self) {
        if self.start < self.buffer.len() {
            self.skip(1);
        }
    }

    /// Bytes that belonged to no packet, since the start.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next packet, if all of it is there.
    #[expect(clippy::should_implement_trait, reason = "a packet borrows from the decoder")]
    pub fn next(&mut self) -> Option<Packet<'_>> {
        if self.advance() { self.packet() } else { None }
    }

    /// Goes to the next packet, for [`packet`](Self::packet); whether there is one.
    pub fn advance(&mut self) -> bool {
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            let at = begin(rest);
            if at > 0 {
                self.skip(at);
                continue;
            }
            let &[_, _, _, _, id, low, high, ..] = rest else { return false };
            let length = usize::from(u16::from_le_bytes([low, high]));
            let whole = HEAD + length;
            // Instruction and CRC are three bytes; a status has its error byte, too.
            if !(id <= MAX_ID || id == BROADCAST) || length < 3 || whole > self.longest {
                self.skip(1);
                continue;
            }
            let Some(packet) = rest.get(..whole) else { return false };
            let Some((checked, &[low, high])) = packet.split_last_chunk::<2>() else {
                return false;
            };
            if crc(0, checked) != u16::from_le_bytes([low, high]) {
                self.skip(1);
                continue;
            }
            self.raw.clear();
            self.raw.extend_from_slice(packet);
            self.body.clear();
            let body = checked.get(HEAD + 1..).unwrap_or_default();
            let kind = checked.get(HEAD).copied().unwrap_or_default();
            if id == BROADCAST && kind == instruction::STATUS {
                self.body.extend_from_slice(body);
            } else {
                unstuff(body, &mut self.body);
            }
            self.start += whole;
            return true;
        }
    }

    /// The packet that [`advance`](Self::advance) found last.
    pub fn packet(&self) -> Option<Packet<'_>> {
        let (&id, &instruction) = (self.raw.get(4)?, self.raw.get(HEAD)?);
        Some(Packet { id, instruction, body: &self.body, raw: &self.raw })
    }

    fn skip(&mut self, count: usize) {
        self.start += count;
        self.skipped += count as u64;
    }
}

/// Where the first header begins, whole or cut off by the end.
fn begin(bytes: &[u8]) -> usize {
    (0..bytes.len())
        .find(|&at| bytes[at..].iter().zip(HEADER).all(|(&found, expected)| found == expected))
        .unwrap_or(bytes.len())
}

/// Takes out the FD behind every FF FF FD.
fn unstuff(body: &[u8], out: &mut Vec<u8>) {
    let mut seen = [0; 3];
    for &byte in body {
        let stuffed = seen == [0xFF, 0xFF, 0xFD] && byte == 0xFD;
        seen = [seen[1], seen[2], byte];
        if !stuffed {
            out.push(byte);
        }
    }
}

impl<'a> Packet<'a> {
    /// The packet as the answer of one servo, if it is one.
    pub fn status(&self) -> Option<Status<'a>> {
        let (&error, data) = self.body.split_first()?;
        let answer = self.instruction == instruction::STATUS && self.id != BROADCAST;
        answer.then_some(Status { id: self.id, error, data })
    }

    /// The packet as the answer of several servos to a fast sync read of `length` bytes each, if
    /// it is one of just that shape.
    pub fn fast(&self, length: usize) -> Option<FastEntries<'a>> {
        let fast = self.instruction == instruction::STATUS && self.id == BROADCAST;
        let parts = self.raw.len().checked_sub(HEAD + 1)?;
        let fits = parts > 0 && parts % (length + 4) == 0;
        (fast && fits).then_some(FastEntries {
            raw: self.raw,
            at: HEAD + 1,
            checked: 0,
            so_far: 0,
            length,
        })
    }
}

/// The parts of an answer to a fast sync read, up to the first whose CRC is wrong.
#[derive(Debug, Clone)]
pub struct FastEntries<'a> {
    raw: &'a [u8],
    at: usize,
    checked: usize,
    so_far: u16,
    length: usize,
}

/// One servo's part of such an answer.
pub type FastEntry<'a> = Status<'a>;

impl<'a> Iterator for FastEntries<'a> {
    type Item = FastEntry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.raw.get(self.at..self.at + self.length + 4)?;
        let (part, &[low, high]) = part.split_last_chunk::<2>()?;
        let &[error, id, ref data @ ..] = part else { return None };
        let end = self.at + part.len();
        self.so_far = crc(self.so_far, self.raw.get(self.checked..end)?);
        self.checked = end;
        self.at = end + 2;
        let right = self.so_far == u16::from_le_bytes([low, high]);
        right.then_some(Status { id, error, data })
    }
}
