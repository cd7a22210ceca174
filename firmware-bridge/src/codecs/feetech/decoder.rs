//! Packets out of a stream that may be damaged anywhere.

use std::ops::RangeInclusive;

use super::{BROADCAST, MAX_PACKET, checksum};

/// Unread bytes that are kept; a stream that nobody reads loses its oldest.
const CAPACITY: usize = 4096;

/// A packet as it lies in the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Whom it is for, or whom it is from.
    pub id: u8,
    /// The instruction, or the alarms of an answer.
    pub code: u8,
    /// What follows.
    pub data: &'a [u8],
}

/// Finds packets in bytes that come in pieces of any size.
///
/// ```
/// use firmware_bridge::codecs::feetech::{self, Decoder};
///
/// let (mut bytes, mut decoder) = (vec![0xFF, 0xFF, 0xFF], Decoder::new());
/// feetech::ping(&mut bytes, 1).unwrap();
/// for byte in bytes {
///     decoder.push(&[byte]);
/// }
/// assert_eq!(decoder.next().unwrap().id, 1);
/// assert!(decoder.next().is_none());
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    pub(super) bytes: Vec<u8>,
    /// How many of them were read.
    read: usize,
    /// Data, in bytes, that a packet can have.
    data: RangeInclusive<usize>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// One that takes packets with any amount of data.
    pub fn new() -> Self {
        let data = 0..=MAX_PACKET - 6;
        Self { bytes: Vec::with_capacity(CAPACITY), read: 0, data }
    }

    /// From now on only packets with so many bytes of data count. A host knows what it asked for,
    /// and a header that is none then seldom makes it wait for bytes that do not come.
    pub fn expect(&mut self, data: RangeInclusive<usize>) {
        self.data = data;
    }

    /// Adds bytes. Allocates nothing.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(bytes.len().saturating_sub(CAPACITY)..).unwrap_or(bytes);
        if self.bytes.len() + bytes.len() > CAPACITY {
            self.bytes.drain(..self.read);
            self.read = 0;
            let excess = (self.bytes.len() + bytes.len()).saturating_sub(CAPACITY);
            self.bytes.drain(..excess);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets every byte that has come.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.read = 0;
    }

    /// The next packet; `None` until more bytes come.
    #[allow(clippy::should_implement_trait)] // It lends what it returns.
    pub fn next(&mut self) -> Option<Packet<'_>> {
        let found = self.find(false)?;
        self.lend(found)
    }

    /// The next packet when no more bytes will come: what looks like the beginning of one was
    /// none.
    pub fn next_of_all(&mut self) -> Option<Packet<'_>> {
        let found = self.find(true)?;
        self.lend(found)
    }

    fn lend(&self, at: usize) -> Option<Packet<'_>> {
        let packet = self.bytes.get(at..self.read)?;
        let (&[_, _, id, _, code], data) = packet.split_first_chunk::<5>()?;
        let (_, data) = data.split_last()?;
        Some(Packet { id, code, data })
    }

    /// Where the next packet begins; it ends where reading goes on.
    fn find(&mut self, all: bool) -> Option<usize> {
        loop {
            let rest = self.bytes.get(self.read..).unwrap_or_default();
            let Some(skip) = rest.iter().position(|&byte| byte == 0xFF) else {
                self.clear();
                return None;
            };
            self.read += skip;
            let rest = rest.get(skip..).unwrap_or_default();
            match self.look(rest) {
                Look::Packet(length) => {
                    let at = self.read;
                    self.read += length;
                    return Some(at);
                }
                Look::TooShort if !all => return None,
                Look::TooShort | Look::No => self.read += 1,
            }
        }
    }

    /// What `rest`, which begins with 0xFF, begins with.
    fn look(&self, rest: &[u8]) -> Look {
        match rest.get(1) {
            Some(0xFF) => {}
            Some(_) => return Look::No,
            None => return Look::TooShort,
        }
        match rest.get(2) {
            Some(&id) if id <= BROADCAST => {}
            Some(_) => return Look::No,
            None => return Look::TooShort,
        }
        let Some(&length) = rest.get(3) else { return Look::TooShort };
        let length = usize::from(length);
        if length < 2 || !self.data.contains(&(length - 2)) || length + 4 > MAX_PACKET {
            return Look::No;
        }
        let Some((&sum, summed)) = rest.get(2..length + 4).and_then(<[u8]>::split_last) else {
            return Look::TooShort;
        };
        if checksum(summed) == sum { Look::Packet(length + 4) } else { Look::No }
    }
}

enum Look {
    /// A packet of so many bytes.
    Packet(usize),
    /// Perhaps a packet, whose end is not here yet.
    TooShort,
    /// None.
    No,
}
