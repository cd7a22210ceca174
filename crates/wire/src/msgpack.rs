//! Messages of one msgpack value, as clients of other stacks send them.
//!
//! A reader that builds values as it goes can be made to fill memory: one byte of a message may
//! stand for forty in a program. So what a message holds is counted before anything is built.

use rmpv::{Value, ValueRef};

use crate::error::WireError;
use crate::native::at_most;

/// The entries of a map, in their order.
pub(crate) type Map<'a> = [(ValueRef<'a>, ValueRef<'a>)];

/// What a message of one value may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How many values, those within others included.
    pub(crate) values: usize,
    /// How deep maps and arrays may be nested.
    pub(crate) depth: usize,
}

/// Of a message of another stack.
const FOREIGN: Bounds = Bounds { values: 4096, depth: 16 };

/// The value that a message is; its text and bytes are borrowed.
pub(crate) fn read(bytes: &[u8]) -> Result<ValueRef<'_>, WireError> {
    check(bytes, FOREIGN)?;
    let mut rest = bytes;
    rmpv::decode::read_value_ref(&mut rest)
        .map_err(|error| WireError::Header { detail: error.to_string() })
}

/// The entry of that name, whether text or bytes.
pub(crate) fn entry<'a, 'b>(map: &'b Map<'a>, key: &str) -> Option<&'b ValueRef<'a>> {
    map.iter().find_map(|(found, value)| (text(found) == Some(key)).then_some(value))
}

/// A value that is text, or bytes that are.
pub(crate) fn text<'a>(value: &ValueRef<'a>) -> Option<&'a str> {
    match value {
        ValueRef::String(text) => text.into_str(),
        ValueRef::Binary(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// The entries of a map.
pub(crate) fn map<'a, 'b>(what: &str, value: &'b ValueRef<'a>) -> Result<&'b Map<'a>, WireError> {
    match value {
        ValueRef::Map(map) => Ok(map),
        _ => Err(WireError::Header { detail: format!("{what} is not a map") }),
    }
}

/// The entry `name` of the map that is entry `kind`.
pub(crate) fn nested<'a, 'b>(map: &'b Map<'a>, kind: &str, name: &str) -> Option<&'b ValueRef<'a>> {
    match entry(map, kind)? {
        ValueRef::Map(inner) => entry(inner, name),
        _ => None,
    }
}

/// A map by its keys.
pub(crate) fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

/// A value as a message.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("a vector takes everything");
    bytes
}

/// Whether `bytes` are one msgpack value, whole, with nothing behind it, and within bounds.
pub(crate) fn check(bytes: &[u8], most: Bounds) -> Result<(), WireError> {
    let mut rest = bytes;
    // How many values are still to come at each level.
    let mut open = vec![1_usize];
    let mut count = 0;
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        count += 1;
        at_most("values of a message", most.values, count)?;
        let (payload, children) = extent(&mut rest)?;
        take(&mut rest, payload)?;
        if children > 0 {
            at_most("values of a message", most.values, children)?;
            open.push(children);
            at_most("nested maps of a message", most.depth, open.len() - 1)?;
        }
    }
    if rest.is_empty() {
        return Ok(());
    }
    Err(WireError::Header { detail: format!("{} byte(s) follow the message", rest.len()) })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], WireError> {
    let (taken, after) = rest
        .split_at_checked(count)
        .ok_or_else(|| WireError::Header { detail: "the message ends too early".into() })?;
    *rest = after;
    Ok(taken)
}

/// A big-endian number of so many bytes.
fn number(rest: &mut &[u8], bytes: usize) -> Result<usize, WireError> {
    Ok(take(rest, bytes)?.iter().fold(0, |all, &byte| all << 8 | usize::from(byte)))
}

/// Reads a marker: how many bytes and how many values belong to it.
fn extent(rest: &mut &[u8]) -> Result<(usize, usize), WireError> {
    let marker = take(rest, 1)?[0];
    let low = |mask: u8| usize::from(marker & mask);
    Ok(match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
        0x80..=0x8f => (0, 2 * low(0x0f)),
        0x90..=0x9f => (0, low(0x0f)),
        0xa0..=0xbf => (low(0x1f), 0),
        0xc4 | 0xd9 => (number(rest, 1)?, 0),
        0xc5 | 0xda => (number(rest, 2)?, 0),
        0xc6 | 0xdb => (number(rest, 4)?, 0),
        // Extensions have a type beside their bytes.
        0xc7 => (number(rest, 1)? + 1, 0),
        0xc8 => (number(rest, 2)? + 1, 0),
        0xc9 => (number(rest, 4)? + 1, 0),
        0xcc | 0xd0 => (1, 0),
        0xcd | 0xd1 => (2, 0),
        0xca | 0xce | 0xd2 => (4, 0),
        0xcb | 0xcf | 0xd3 => (8, 0),
        0xd4..=0xd8 => ((1 << (marker - 0xd4)) + 1, 0),
        0xdc => (0, number(rest, 2)?),
        0xdd => (0, number(rest, 4)?),
        0xde => (0, 2 * number(rest, 2)?),
        0xdf => (0, 2 * number(rest, 4)?),
        0xc1 => return Err(WireError::Header { detail: "byte 0xc1 begins no value".into() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> Result<(), WireError> {
        super::check(bytes, FOREIGN)
    }

    #[test]
    fn every_kind_of_value_is_counted_to_its_end() {
        let text = |len: usize| Value::from("x".repeat(len));
        let all = vec![
            Value::Nil,
            Value::from(true),
            Value::from(-1),
            Value::from(-200),
            Value::from(70_000),
            Value::from(u64::MAX),
            Value::from(i64::MIN),
            Value::F32(1.0),
            Value::F64(1.0),
            text(3),
            text(40),
            text(300),
            text(70_000),
            Value::Binary(vec![1; 3]),
            Value::Binary(vec![1; 300]),
            Value::Binary(vec![1; 70_000]),
            Value::Ext(1, vec![0; 1]),
            Value::Ext(1, vec![0; 3]),
            Value::Ext(1, vec![0; 16]),
            Value::Ext(1, vec![0; 300]),
            Value::Array(vec![Value::Nil; 20]),
            Value::Map(vec![(Value::from("k"), Value::Nil); 20]),
        ];
        for value in &all {
            let mut bytes = bytes(value);
            check(&bytes).unwrap();
            bytes.push(0);
            assert!(check(&bytes).unwrap_err().to_string().contains("follow"), "{value}");
            bytes.truncate(bytes.len() - 2);
            assert!(check(&bytes).is_err(), "{value}");
        }
        check(&bytes(&Value::Array(all))).unwrap();
    }

    #[test]
    fn what_would_fill_memory_is_refused() {
        // A hundred bytes that promise four billion values, and as many levels as there are bytes.
        assert!(check(&[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0]).is_err());
        assert!(check(&[0xdf, 0xff, 0xff, 0xff, 0xff, 0xc0]).is_err());
        assert!(check(&[0x91; 100]).unwrap_err().to_string().contains("nested"));
        let many = bytes(&Value::Array(vec![Value::Nil; FOREIGN.values]));
        assert!(check(&many).unwrap_err().to_string().contains("values"));
        assert!(check(&[0xc1]).is_err() && check(&[]).is_err());
    }
}
