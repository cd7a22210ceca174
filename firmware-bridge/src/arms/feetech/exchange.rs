//! One question on the bus, and the answers to it and to no other.

use std::time::{Duration, Instant};

use super::port::Port;
use crate::codecs::feetech::{Decoder, PacketError, STATUS_BYTES};
use crate::motors::MotorsError;

/// The most data that is asked for at once, in bytes.
pub(super) const MAX_DATA: usize = 64;

/// Room for an echo, in bytes: more than any packet of ours has.
const ECHO_BYTES: usize = 512;

/// Silence in the middle of the answers after which no more are waited for, at least: more than
/// two frames of USB.
const MIN_GAP: Duration = Duration::from_micros(2100);

/// Whether a servo has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not asked.
    Idle,
    /// Not yet.
    Awaited,
    /// It has.
    Answered,
    /// Twice: two servos have its id, or another says that it is this one.
    Twice,
}

/// One servo's part of a question.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) id: u8,
    pub(super) state: State,
    pub(super) alarms: u8,
    data: [u8; MAX_DATA],
    length: usize,
}

impl Slot {
    pub(super) fn new(id: u8) -> Self {
        Self { id, state: State::Idle, alarms: 0, data: [0; MAX_DATA], length: 0 }
    }

    /// What it answered.
    pub(super) fn data(&self) -> &[u8] {
        self.data.get(..self.length).unwrap_or_default()
    }

    fn take(&mut self, alarms: u8, data: &[u8]) {
        match (self.state, self.data.get_mut(..data.len())) {
            (State::Awaited, Some(room)) => {
                room.copy_from_slice(data);
                (self.state, self.alarms, self.length) = (State::Answered, alarms, data.len());
            }
            (State::Answered, _) => self.state = State::Twice,
            _ => {}
        }
    }
}

/// What came that was no answer to the question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rest {
    /// Bytes that belong to no packet that was waited for.
    pub(super) bytes: usize,
    /// Who answered without having been asked, if anybody.
    pub(super) stranger: Option<u8>,
}

/// The host's side of the bus.
#[derive(Debug)]
pub(super) struct Exchange {
    port: Port,
    decoder: Decoder,
    out: Vec<u8>,
    /// Whether the adapter hands back what is sent.
    pub(super) echo: bool,
    /// Whether answers of the last question may still come.
    pub(super) late: bool,
}

impl Exchange {
    pub(super) fn new(port: Port) -> Self {
        let out = Vec::with_capacity(256);
        Self { port, decoder: Decoder::new(), out, echo: false, late: false }
    }

    /// Sends what nobody answers.
    pub(super) fn tell(
        &mut self,
        build: impl FnOnce(&mut Vec<u8>) -> Result<(), PacketError>,
        patience: Duration,
    ) -> Result<(), MotorsError> {
        self.send(build)?;
        if self.echo {
            let until = Instant::now() + self.port.wire(self.out.len()) + patience;
            self.strip(until)?;
        }
        Ok(())
    }

    /// Sends a question and hears until every awaited slot has its answer of `length` bytes, or
    /// until what the answers take on the wire and `patience` have passed, at most until `end`.
    pub(super) fn ask(
        &mut self,
        build: impl FnOnce(&mut Vec<u8>) -> Result<(), PacketError>,
        slots: &mut [Slot],
        length: usize,
        patience: Duration,
        end: Instant,
    ) -> Result<Rest, MotorsError> {
        self.send(build)?;
        let awaited = slots.iter().filter(|slot| slot.state == State::Awaited).count();
        let expected = awaited * (STATUS_BYTES + length);
        let until = Instant::now() + self.port.wire(self.out.len() + expected) + patience;
        let until = until.min(end);
        self.decoder.clear();
        self.decoder.expect(length..=length);
        let mut heard = if self.echo { self.strip(until)? } else { 0 };
        let gap = MIN_GAP.max(patience / 2);
        let (mut rest, mut bytes, mut used) = (Rest::default(), [0; 512], 0);
        loop {
            used += Self::sort(&mut self.decoder, false, slots, &mut rest);
            let missing = slots.iter().any(|slot| slot.state == State::Awaited);
            if !missing || heard >= expected {
                break;
            }
            let until = if heard > 0 { until.min(Instant::now() + gap) } else { until };
            let count = self.port.read(&mut bytes, until)?;
            if count == 0 && Instant::now() >= until {
                break;
            }
            heard += count;
            self.decoder.push(bytes.get(..count).unwrap_or_default());
        }
        used += Self::sort(&mut self.decoder, true, slots, &mut rest);
        rest.bytes = heard.saturating_sub(used);
        self.late = slots.iter().any(|slot| matches!(slot.state, State::Awaited | State::Twice));
        Ok(rest)
    }

    /// Gives each packet to the slot it is for; returns the bytes of those.
    fn sort(decoder: &mut Decoder, all: bool, slots: &mut [Slot], rest: &mut Rest) -> usize {
        let mut used = 0;
        loop {
            let packet = if all { decoder.next_of_all() } else { decoder.next() };
            let Some(packet) = packet else { return used };
            let asked = |slot: &&mut Slot| slot.id == packet.id && slot.state != State::Idle;
            if let Some(slot) = slots.iter_mut().find(asked) {
                slot.take(packet.code, packet.data);
                used += STATUS_BYTES + packet.data.len();
            } else {
                rest.stranger = Some(packet.id);
            }
        }
    }

    fn send(
        &mut self,
        build: impl FnOnce(&mut Vec<u8>) -> Result<(), PacketError>,
    ) -> Result<(), MotorsError> {
        self.out.clear();
        build(&mut self.out)
            .map_err(|error| MotorsError::Refused { detail: error.to_string().into() })?;
        self.port.discard()?;
        self.port.write(&self.out)
    }

    /// Reads until at least as many bytes have come as were sent, or it is `until`; how many.
    fn hear_as_much(
        &self,
        bytes: &mut [u8; ECHO_BYTES],
        until: Instant,
    ) -> Result<usize, MotorsError> {
        let mut count = 0;
        while count < self.out.len() {
            let room = bytes.get_mut(count..).unwrap_or_default();
            let more = self.port.read(room, until)?;
            if more == 0 && Instant::now() >= until {
                break;
            }
            count += more;
        }
        Ok(count)
    }

    /// Takes our own bytes off the front of what comes. What does not look like them is left to
    /// the decoder. Returns how many other bytes have come with them.
    fn strip(&mut self, until: Instant) -> Result<usize, MotorsError> {
        let mut bytes = [0; ECHO_BYTES];
        let count = self.hear_as_much(&mut bytes, until)?;
        let heard = bytes.get(..count).unwrap_or_default();
        let other = heard.strip_prefix(self.out.as_slice()).unwrap_or(heard);
        self.decoder.push(other);
        Ok(other.len())
    }

    /// Whether the adapter hands back what is sent: asks a question whose answer cannot look like
    /// it, and remembers what was found out.
    pub(super) fn find_echo(
        &mut self,
        build: impl FnOnce(&mut Vec<u8>) -> Result<(), PacketError>,
        patience: Duration,
    ) -> Result<(), MotorsError> {
        self.echo = false;
        self.send(build)?;
        let until = Instant::now() + self.port.wire(4 * self.out.len()) + patience;
        let mut bytes = [0; ECHO_BYTES];
        self.hear_as_much(&mut bytes, until)?;
        self.echo = bytes.starts_with(&self.out);
        self.late = true;
        Ok(())
    }
}
