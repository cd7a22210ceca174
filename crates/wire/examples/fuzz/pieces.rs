//! What a message is taken apart into, and what happens to the pieces.

use std::fmt::Write;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rmpv::Value;

use crate::words::{DESCRIPTIONS, FLOATS, LIES, NUMBERS, SHAPES, WORDS};

/// Something of `all`, which is not empty.
pub(crate) fn pick<'a, T>(all: &'a [T], rng: &mut ChaCha8Rng) -> &'a T {
    &all[rng.random_range(0..all.len())]
}

/// The parts of a row; what is torn off its end is left out.
pub(crate) fn split(mut row: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let Some((len, rest)) = row.split_first_chunk::<4>() {
        let Some((part, rest)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else {
            break;
        };
        parts.push(part.to_vec());
        row = rest;
    }
    parts
}

/// Parts as a row.
pub(crate) fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut row = Vec::new();
    for part in parts {
        row.extend((part.len() as u32).to_le_bytes());
        row.extend(part);
    }
    row
}

/// The payloads of a log's records.
pub(crate) fn records(log: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = log.get(16..).unwrap_or_default();
    let mut records = Vec::new();
    while let Some(([a, b, c, d, ..], after)) = rest.split_first_chunk::<8>() {
        let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let Some((record, after)) = after.split_at_checked(len) else { break };
        records.push(record.to_vec());
        rest = after;
    }
    records
}

/// The value that bytes begin with.
pub(crate) fn parsed_prefix(mut bytes: &[u8]) -> Option<Value> {
    rmpv::decode::read_value_with_max_depth(&mut bytes, 64).ok()
}

/// The value that bytes are; none where one would be slow to take apart.
pub(crate) fn parsed(bytes: &[u8]) -> Option<Value> {
    (bytes.len() < 20_000).then(|| parsed_prefix(bytes)).flatten()
}

/// A value and those within it.
pub(crate) fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(all) => all.iter().map(count).sum(),
        Value::Map(all) => all.iter().map(|(key, value)| count(key) + count(value)).sum(),
        _ => 0,
    }
}

/// The piece before which `left` others come.
pub(crate) fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(all) => all.iter_mut().find_map(|inner| nth(inner, left)),
        Value::Map(all) => all.iter_mut().find_map(|(key, value)| {
            // Two borrows of one pair, of which one is used.
            let found = nth(key, left);
            if found.is_some() { found } else { nth(value, left) }
        }),
        _ => None,
    }
}

/// A value of any kind.
pub(crate) fn another(rng: &mut ChaCha8Rng) -> Value {
    match rng.random_range(0..11) {
        0 => Value::Nil,
        1 => rng.random::<bool>().into(),
        2 => (*pick(NUMBERS, rng)).into(),
        3 => (-i64::from(rng.random::<u32>())).into(),
        4 => Value::F32(*pick(FLOATS, rng) as f32),
        5 => Value::F64(*pick(FLOATS, rng)),
        6 => (*pick(WORDS, rng)).into(),
        7 => Value::Binary((0..rng.random_range(0..20)).collect()),
        8 => Value::Array(Vec::new()),
        9 => Value::Map(Vec::new()),
        _ => Value::Ext(rng.random(), vec![0; rng.random_range(0..20)]),
    }
}

/// A value that is large, or much larger in memory than in a message.
pub(crate) fn bomb(rng: &mut ChaCha8Rng) -> Value {
    let count = *pick(&[100, 4095, 4097, 20_000, 65_400], rng);
    match rng.random_range(0..5) {
        0 => Value::Array(vec![Value::Nil; count]),
        1 => Value::Array(vec![1.into(); count]),
        2 => Value::Map(vec![(0.into(), 0.into()); count / 2]),
        3 => Value::Array(vec![Value::Array(Vec::new()); count]),
        _ => "x".repeat(count).into(),
    }
}

/// Leaves one out, has one twice, or has two change places.
pub(crate) fn shuffle<T: Clone>(all: &mut Vec<T>, rng: &mut ChaCha8Rng) {
    if all.is_empty() {
        return;
    }
    let (one, other) = (rng.random_range(0..all.len()), rng.random_range(0..all.len()));
    match rng.random_range(0..3) {
        0 => drop(all.remove(one)),
        1 => all.insert(other, all[one].clone()),
        _ => all.swap(one, other),
    }
}

/// A little or much more or less.
pub(crate) fn resize(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let len = match rng.random_range(0..4) {
        0 => 0,
        1 => bytes.len() * 2,
        2 => bytes.len() + rng.random_range(1..5),
        _ => bytes.len().saturating_sub(rng.random_range(1..5)),
    };
    bytes.resize(len, 7);
}

/// Puts a number that is none, or has no end, where a float may be.
pub(crate) fn numbers(bytes: &mut [u8], rng: &mut ChaCha8Rng) {
    let (words, _) = bytes.as_chunks_mut::<4>();
    if !words.is_empty() {
        let at = rng.random_range(0..words.len());
        words[at] = (*pick(FLOATS, rng) as f32).to_le_bytes();
    }
}

/// Has a length, where a byte looks like one's marker, be another.
pub(crate) fn lie(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let marks = |byte: u8| matches!(byte, 0x80..=0xbf | 0xc4..=0xc9 | 0xd9..=0xdf);
    let found: Vec<usize> = (0..bytes.len()).filter(|&at| marks(bytes[at])).collect();
    if found.is_empty() {
        return;
    }
    let at = *pick(&found, rng);
    let (wide, narrow) = *pick(&[(0xdd, 0xdc), (0xdf, 0xde), (0xdb, 0xda), (0xc6, 0xc5)], rng);
    let number = *pick(LIES, rng);
    let mut marker = vec![wide];
    marker.extend(number.to_be_bytes());
    if rng.random_range(0..3) == 0 {
        marker = vec![narrow, (number >> 8) as u8, number as u8];
    }
    bytes.splice(at..=at, marker);
}

/// Damages a `.npy` file: a line of its header, its length, or its values.
pub(crate) fn npy(file: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let header = file.get(10..).and_then(|rest| {
        let len = usize::from(u16::from_le_bytes([file[8], file[9]]));
        Some((std::str::from_utf8(rest.get(..len)?).ok()?.to_owned(), rest[len..].to_vec()))
    });
    let Some((mut header, mut data)) = header else { return numbers(file, rng) };
    match rng.random_range(0..10) {
        0 | 1 => set(&mut header, "'descr': ", ", 'fortran", pick::<&str>(DESCRIPTIONS, rng)),
        2 => {
            let order = *pick(&["True", "False", "1", "None", ""], rng);
            set(&mut header, "'fortran_order': ", ", 'shape", order);
        }
        3 => set(&mut header, "'shape': ", ", }", pick::<&str>(SHAPES, rng)),
        4 => {
            let sides: Vec<u64> = (0..rng.random_range(0..6))
                .map(|_| if rng.random_range(0..6) == 0 { *pick(NUMBERS, rng) } else { 2 })
                .collect();
            let mut text = "(".to_owned();
            for side in &sides {
                write!(text, "{side}, ").expect("text takes everything");
            }
            text.push(')');
            set(&mut header, "'shape': ", ", }", &text);
            let size = *pick(&[1, 2, 4, 8], rng);
            let len = sides.iter().try_fold(size, |all: u64, &side| all.checked_mul(side));
            data.resize(len.unwrap_or(0).min(4096) as usize, 5);
        }
        5 if rng.random_range(0..100) == 0 => {
            let text = format!("({})", "1,".repeat(rng.random_range(1..20_000)));
            set(&mut header, "'shape': ", ", }", &text);
        }
        5 => resize(&mut data, rng),
        6 => numbers(&mut data, rng),
        7 => {
            let at = rng.random_range(0..file.len());
            file[at] = rng.random();
            return;
        }
        8 => {
            // Another version, another length: what follows is read in another place.
            file[6] = rng.random_range(0..5);
            if rng.random() {
                file.splice(8..10, pick(LIES, rng).to_le_bytes());
            }
            return;
        }
        _ => {
            file.truncate(rng.random_range(0..=file.len()));
            return;
        }
    }
    let prefix = file[..6].to_vec();
    *file = prefix;
    // Versions 2 and 3 have four bytes of length.
    if rng.random_range(0..4) == 0 || header.len() > 65_535 {
        file.extend([rng.random_range(2..4), 0]);
        file.extend((header.len() as u32).to_le_bytes());
    } else {
        file.extend([1, 0]);
        file.extend((header.len() as u16).to_le_bytes());
    }
    file.extend(header.bytes());
    file.extend(data);
}

/// Replaces what stands between two marks, where both are there.
pub(crate) fn set(text: &mut String, before: &str, after: &str, new: &str) {
    let Some(begin) = text.find(before).map(|at| at + before.len()) else { return };
    if let Some(len) = text[begin..].find(after) {
        text.replace_range(begin..begin + len, new);
    }
}
