//! Damages messages, knowing how they are made.
//!
//! A random byte rarely gets past the first check of a decoder. So a message is taken apart, one
//! of its pieces is changed, and it is put together again with its lengths and checksums right;
//! only some are damaged as bytes after that.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rmpv::Value;

use crate::pieces::{
    self, another, bomb, count, join, lie, npy, nth, numbers, parsed, parsed_prefix, pick, records,
    resize, shuffle, split,
};
use crate::words::{FLOATS, JSON, LIES, MARKERS, NUMBERS, WORDS};

/// How the messages of a decoder are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A row of parts, each with its length before it: a msgpack header and arrays.
    Frames,
    /// One msgpack value.
    Value,
    /// One `.npy` file.
    Npy,
    /// A rollout log.
    Log,
    /// JSON.
    Text,
}

/// Makes damaged messages out of whole ones.
pub(crate) struct Mutator {
    form: Form,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    /// Of the messages in `seeds`, of which there is at least one.
    pub(crate) fn new(form: Form, seeds: Vec<Vec<u8>>) -> Self {
        assert!(!seeds.is_empty(), "a mutator needs messages to begin with");
        Self { form, seeds }
    }

    /// One damaged message.
    pub(crate) fn next(&self, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut message = self.seed(rng).clone();
        match self.form {
            Form::Frames => {
                let mut frames = split(&message);
                self.each(rng, |all, rng| all.frames(&mut frames, rng));
                return join(&frames);
            }
            Form::Value => self.each(rng, |all, rng| all.value_or_bytes(&mut message, rng)),
            Form::Npy => self.each(rng, |_, rng| npy(&mut message, rng)),
            Form::Log => self.log(&mut message, rng),
            Form::Text => self.each(rng, |all, rng| all.text(&mut message, rng)),
        }
        message
    }

    fn seed(&self, rng: &mut ChaCha8Rng) -> &Vec<u8> {
        pick(&self.seeds, rng)
    }

    /// Once mostly, rarely often.
    fn each(&self, rng: &mut ChaCha8Rng, mut damage: impl FnMut(&Self, &mut ChaCha8Rng)) {
        damage(self, rng);
        for _ in 0..8 {
            if rng.random_range(0..5) < 3 {
                break;
            }
            damage(self, rng);
        }
    }

    fn value_or_bytes(&self, message: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
        if rng.random_range(0..4) == 0 || !self.value(message, rng) {
            self.bytes(message, rng);
        }
    }

    /// Changes one piece of a msgpack value; whether the bytes are one.
    fn value(&self, message: &mut Vec<u8>, rng: &mut ChaCha8Rng) -> bool {
        let Some(mut root) = parsed(message) else { return false };
        let at = rng.random_range(0..count(&root));
        if let Some(piece) = nth(&mut root, &mut { at }) {
            self.piece(piece, rng);
        }
        message.clear();
        rmpv::encode::write_value(message, &root).expect("a vector takes everything");
        true
    }

    fn piece(&self, piece: &mut Value, rng: &mut ChaCha8Rng) {
        if rng.random_range(0..2000) == 0 {
            *piece = bomb(rng);
            return;
        }
        match rng.random_range(0..9) {
            0 => *piece = another(rng),
            1 => {
                // A piece of another message.
                let other = self.seed(rng);
                // What stands before the first header: its length, and a log's and a record's begin.
                let before = match self.form {
                    Form::Frames => 4,
                    Form::Log => 28,
                    Form::Value | Form::Npy | Form::Text => 0,
                };
                let header = other.get(before..).unwrap_or_default();
                let Some(mut other) = parsed_prefix(header) else { return };
                let at = rng.random_range(0..count(&other));
                if let Some(found) = nth(&mut other, &mut { at }) {
                    *piece = std::mem::replace(found, Value::Nil);
                }
            }
            2 => {
                let inner = std::mem::replace(piece, Value::Nil);
                *piece = (0..rng.random_range(1..24)).fold(inner, |inner, level| match level % 2 {
                    0 => Value::Array(vec![inner]),
                    _ => Value::Map(vec![(Value::from("k"), inner)]),
                });
            }
            _ => self.own_kind(piece, rng),
        }
    }

    /// Changes a piece in a way that only its kind can be.
    fn own_kind(&self, piece: &mut Value, rng: &mut ChaCha8Rng) {
        match piece {
            Value::Array(all) => shuffle(all, rng),
            Value::Map(all) => shuffle(all, rng),
            Value::String(text) => match rng.random_range(0..4) {
                0 => *piece = Value::Binary(text.as_bytes().to_vec()),
                1 => {
                    let mut bytes = text.as_bytes().to_vec();
                    self.bytes(&mut bytes, rng);
                    *piece = String::from_utf8(bytes).map_or(Value::Nil, Value::from);
                }
                _ => *piece = Value::from(*pick(WORDS, rng)),
            },
            Value::Binary(bytes) => match rng.random_range(0..6) {
                0 => *piece = String::from_utf8(bytes.clone()).map_or(Value::Nil, Value::from),
                1 => *bytes = pick(WORDS, rng).as_bytes().to_vec(),
                2 => resize(bytes, rng),
                _ if bytes.starts_with(b"\x93NUMPY") => npy(bytes, rng),
                3 => numbers(bytes, rng),
                _ => self.bytes(bytes, rng),
            },
            Value::Integer(number) => {
                let near = number.as_u64().unwrap_or(0);
                *piece = match rng.random_range(0..4) {
                    0 => near.wrapping_add(1).into(),
                    1 => near.wrapping_sub(1).into(),
                    2 => (-(near as i64 & 0xff)).into(),
                    _ => (*pick(NUMBERS, rng)).into(),
                };
            }
            Value::F32(_) | Value::F64(_) => *piece = Value::F64(*pick(FLOATS, rng)),
            Value::Boolean(truth) => *truth = !*truth,
            Value::Nil | Value::Ext(..) => *piece = another(rng),
        }
    }

    fn frames(&self, frames: &mut Vec<Vec<u8>>, rng: &mut ChaCha8Rng) {
        if frames.is_empty() {
            frames.push(Vec::new());
        }
        let at = rng.random_range(0..frames.len());
        match rng.random_range(0..16) {
            0..=8 => drop(self.value(&mut frames[0], rng)),
            9 => self.bytes(&mut frames[0], rng),
            10 => self.bytes(&mut frames[at], rng),
            11 => resize(&mut frames[at], rng),
            12 => numbers(&mut frames[at], rng),
            13 => shuffle(frames, rng),
            14 => {
                let others = if self.form == Form::Frames { split(self.seed(rng)) } else { vec![] };
                if let Some(other) = others.get(rng.random_range(0..others.len().max(1))) {
                    frames[at].clone_from(other);
                }
            }
            _ if rng.random_range(0..20) == 0 => {
                let more = rng.random_range(0..80);
                frames.extend(vec![Vec::new(); more]);
            }
            _ => frames.swap(0, at),
        }
    }

    fn log(&self, message: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
        let mut records = records(message);
        self.each(rng, |all, rng| {
            if records.is_empty() {
                return;
            }
            let at = rng.random_range(0..records.len());
            match rng.random_range(0..8) {
                0 => shuffle(&mut records, rng),
                1 => {
                    let others = pieces::records(all.seed(rng));
                    if !others.is_empty() {
                        records[at].clone_from(pick(&others, rng));
                    }
                }
                2 => all.bytes(&mut records[at], rng),
                _ => {
                    let mut frames = split(&records[at]);
                    all.frames(&mut frames, rng);
                    records[at] = join(&frames);
                }
            }
        });
        message.truncate(16);
        for record in &records {
            message.extend((record.len() as u32).to_le_bytes());
            message.extend(crc32fast::hash(record).to_le_bytes());
            message.extend(record);
        }
        if rng.random_range(0..8) == 0 {
            self.bytes(message, rng);
        }
    }

    fn text(&self, message: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
        let at = rng.random_range(0..=message.len());
        match rng.random_range(0..6) {
            0 => self.bytes(message, rng),
            1 => {
                let end = (at + rng.random_range(0..12)).min(message.len());
                message.splice(at..end, pick(JSON, rng).bytes());
            }
            2 => {
                let digits: Vec<usize> =
                    (0..message.len()).filter(|&at| message[at].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    message[*pick(&digits, rng)] = b'0' + rng.random_range(0..10);
                }
            }
            3 if rng.random_range(0..50) == 0 => {
                let opened = if rng.random() { "[" } else { "{\"a\":" };
                message.splice(at..at, opened.repeat(rng.random_range(1..2000)).bytes());
            }
            _ => {
                message.splice(at..at, pick(JSON, rng).bytes());
            }
        }
    }

    /// Damages bytes as bytes.
    fn bytes(&self, bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
        if bytes.is_empty() {
            bytes.extend((0..rng.random_range(0..16)).map(|_| rng.random::<u8>()));
            return;
        }
        let at = rng.random_range(0..bytes.len());
        let end = (at + rng.random_range(0..32)).min(bytes.len());
        match rng.random_range(0..13) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes[at] = *pick(MARKERS, rng),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            6 => bytes.insert(at, rng.random()),
            7 => bytes.extend((0..rng.random_range(1..16)).map(|_| rng.random::<u8>())),
            8 | 9 => lie(bytes, rng),
            10 => {
                let number = *pick(LIES, rng);
                let number = if rng.random() { number.to_be_bytes() } else { number.to_le_bytes() };
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            11 if rng.random_range(0..20) == 0 => {
                let marker = if rng.random() { 0x91 } else { 0x81 };
                bytes.splice(at..at, vec![marker; rng.random_range(1..3000)]);
            }
            _ => {
                let other = self.seed(rng);
                bytes.truncate(at);
                bytes.extend(&other[rng.random_range(0..other.len())..]);
            }
        }
    }
}
