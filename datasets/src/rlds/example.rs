//! `tf.train.Example`: a map from names to lists of bytes, floats or whole numbers.
//!
//! Only what is asked for is read: a [`Cursor`] walks over the fields of a message through a
//! window of a few hundred bytes, so that an episode's pictures are passed over unread.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes that are read at once from a file.
const WINDOW: usize = 512;

/// Longer names are damage.
const MAX_NAME: u64 = 4096;

/// More lists than any dataset has; what lies above is damage.
const MAX_FEATURES: usize = 4096;

/// Bytes that are read by position.
pub(super) trait Bytes {
    /// The bytes from `at` on, at least one and at most `limit` of them.
    fn read(&mut self, at: u64, limit: usize) -> Result<&[u8], String>;
}

/// A record in memory.
impl Bytes for &[u8] {
    fn read(&mut self, at: u64, limit: usize) -> Result<&[u8], String> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let rest = rest.filter(|rest| !rest.is_empty()).ok_or("it ends early")?;
        Ok(&rest[..rest.len().min(limit)])
    }
}

/// A record in its file, of which a window is in memory.
pub(super) struct InFile<'a> {
    file: &'a File,
    start: u64,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> InFile<'a> {
    /// The `len` bytes from `start` on, which lie inside the file.
    pub(super) fn new(file: &'a File, start: u64, len: u64) -> Self {
        Self { file, start, len, window: Vec::new(), window_at: 0 }
    }
}

impl Bytes for InFile<'_> {
    fn read(&mut self, at: u64, limit: usize) -> Result<&[u8], String> {
        if at >= self.len {
            return Err("it ends early".into());
        }
        let held = self.window_at + self.window.len() as u64;
        // What lies partly in the window is read anew, so that a number is never torn.
        if at < self.window_at || at.saturating_add(limit as u64) > held {
            let count = (self.len - at).min(WINDOW.max(limit) as u64) as usize;
            self.window.resize(count, 0);
            let read = self.file.read_exact_at(&mut self.window, self.start + at);
            self.window_at = at;
            if let Err(error) = read {
                self.window.clear();
                return Err(format!("cannot read: {error}"));
            }
        }
        let rest = &self.window[(at - self.window_at) as usize..];
        Ok(&rest[..rest.len().min(limit)])
    }
}

/// The kinds of lists that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind {
    Bytes,
    Floats,
    Integers,
}

/// One named list, still packed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Feature {
    pub(super) name: String,
    /// None where the list was left empty.
    pub(super) kind: Option<ListKind>,
    /// Where the list lies in the record.
    span: Range<u64>,
}

/// One field of a message.
enum Field {
    Varint(u64),
    Fixed32(u64),
    Block(Range<u64>),
}

/// A place in a message.
struct Cursor {
    at: u64,
    end: u64,
}

impl Cursor {
    fn new(span: &Range<u64>) -> Self {
        Self { at: span.start, end: span.end }
    }

    fn varint(&mut self, bytes: &mut impl Bytes) -> Result<u64, String> {
        let left = (self.end - self.at).min(10) as usize;
        if left == 0 {
            return Err("it ends inside a number".into());
        }
        let mut value = 0;
        for (place, &byte) in bytes.read(self.at, left)?.iter().enumerate() {
            value |= u64::from(byte & 0x7f).checked_shl(7 * place as u32).unwrap_or(0);
            if byte & 0x80 == 0 {
                self.at += place as u64 + 1;
                return Ok(value);
            }
        }
        Err("a number does not end".into())
    }

    /// The next field and its number; none at the end.
    fn next(&mut self, bytes: &mut impl Bytes) -> Result<Option<(u64, Field)>, String> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = self.varint(bytes)?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint(bytes)?),
            1 => Field::Block(self.skip(8)?),
            2 => {
                let len = self.varint(bytes)?;
                Field::Block(self.skip(len)?)
            }
            5 => Field::Fixed32(self.skip(4)?.start),
            kind => return Err(format!("expected a kind of field, found {kind}")),
        };
        Ok(Some((tag >> 3, field)))
    }

    fn skip(&mut self, len: u64) -> Result<Range<u64>, String> {
        let held = self.end - self.at;
        if len > held {
            return Err(format!("expected {len} bytes, found {held}"));
        }
        self.at += len;
        Ok(self.at - len..self.at)
    }
}

/// Every block with the number `wanted` of the message in `span`.
fn blocks(
    bytes: &mut impl Bytes,
    span: &Range<u64>,
    wanted: u64,
    mut each: impl FnMut(Range<u64>) -> Result<(), String>,
) -> Result<(), String> {
    let mut cursor = Cursor::new(span);
    while let Some((number, field)) = cursor.next(bytes)? {
        if number == wanted {
            let Field::Block(span) = field else {
                return Err(format!("expected a message in field {wanted}"));
            };
            each(span)?;
        }
    }
    Ok(())
}

/// The lists of an example of `len` bytes.
pub(super) fn features(bytes: &mut impl Bytes, len: u64) -> Result<Vec<Feature>, String> {
    let (mut groups, mut entries, mut features) = (Vec::new(), Vec::new(), Vec::new());
    blocks(bytes, &(0..len), 1, |span| {
        groups.push(span);
        if groups.len() > 1 {
            Err("expected one map of features, found two".into())
        } else {
            Ok(())
        }
    })?;
    for group in &groups {
        blocks(bytes, group, 1, |span| {
            entries.push(span);
            if entries.len() > MAX_FEATURES { Err("too many features".into()) } else { Ok(()) }
        })?;
    }
    for entry in entries {
        features.push(feature(bytes, &entry)?);
    }
    Ok(features)
}

/// One entry of the map.
fn feature(bytes: &mut impl Bytes, entry: &Range<u64>) -> Result<Feature, String> {
    let mut found = Feature { name: String::new(), kind: None, span: 0..0 };
    let mut cursor = Cursor::new(entry);
    while let Some((number, field)) = cursor.next(bytes)? {
        match (number, field) {
            (1, Field::Block(span)) => {
                let name = take(bytes, &span, MAX_NAME)?;
                found.name = String::from_utf8(name).map_err(|_| "a name is no text")?;
            }
            (2, Field::Block(span)) => {
                let mut lists = Cursor::new(&span);
                while let Some((number, field)) = lists.next(bytes)? {
                    let kind = match number {
                        1 => ListKind::Bytes,
                        2 => ListKind::Floats,
                        3 => ListKind::Integers,
                        _ => {
                            return Err(format!("{}: expected a list, found {number}", found.name));
                        }
                    };
                    let Field::Block(span) = field else {
                        return Err(format!("{}: expected a list", found.name));
                    };
                    (found.kind, found.span) = (Some(kind), span);
                }
            }
            _ => return Err("expected a name and a list".into()),
        }
    }
    Ok(found)
}

/// The bytes of `span`, at most `limit` of them.
fn take(bytes: &mut impl Bytes, span: &Range<u64>, limit: u64) -> Result<Vec<u8>, String> {
    let len = span.end - span.start;
    if len > limit {
        return Err(format!("expected at most {limit} bytes, found {len}"));
    }
    let mut taken = Vec::new();
    while (taken.len() as u64) < len {
        let left = (len as usize - taken.len()).min(1 << 16);
        let part = bytes.read(span.start + taken.len() as u64, left)?;
        taken.extend_from_slice(part);
    }
    Ok(taken)
}

impl Feature {
    /// How many floats there are, without reading them, if they are packed as they always are.
    pub(super) fn num_floats(&self, bytes: &mut impl Bytes) -> Result<u64, String> {
        let mut count = 0;
        let mut cursor = Cursor::new(&self.span);
        while let Some((_, field)) = cursor.next(bytes)? {
            count += match field {
                Field::Block(span) => (span.end - span.start) / 4,
                Field::Fixed32(_) => 1,
                Field::Varint(_) => return Err(format!("{}: expected floats", self.name)),
            };
        }
        Ok(count)
    }

    /// How many whole numbers there are.
    pub(super) fn num_integers(&self, bytes: &mut impl Bytes) -> Result<u64, String> {
        let mut count = 0;
        let mut cursor = Cursor::new(&self.span);
        while let Some((_, field)) = cursor.next(bytes)? {
            count += match field {
                Field::Block(span) => {
                    let mut at = span.start;
                    let mut ends = 0;
                    while at < span.end {
                        let left = (span.end - at).min(1 << 16) as usize;
                        let part = bytes.read(at, left)?;
                        ends += part.iter().filter(|&&byte| byte & 0x80 == 0).count() as u64;
                        at += part.len() as u64;
                    }
                    ends
                }
                Field::Varint(_) => 1,
                Field::Fixed32(_) => return Err(format!("{}: expected integers", self.name)),
            };
        }
        Ok(count)
    }

    /// Where each element of a list of bytes lies; at most `limit` of them.
    pub(super) fn elements(
        &self,
        bytes: &mut impl Bytes,
        limit: usize,
    ) -> Result<Vec<Range<u64>>, String> {
        let mut elements = Vec::new();
        let mut cursor = Cursor::new(&self.span);
        while elements.len() < limit
            && let Some((_, field)) = cursor.next(bytes)?
        {
            let Field::Block(span) = field else {
                return Err(format!("{}: expected bytes", self.name));
            };
            elements.push(span);
        }
        Ok(elements)
    }

    /// The first element of a list of bytes, if there is one of at most `limit` bytes.
    pub(super) fn first(
        &self,
        bytes: &mut impl Bytes,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, String> {
        match self.elements(bytes, 1)?.first() {
            Some(span) => Ok(Some(take(bytes, span, limit)?)),
            None => Ok(None),
        }
    }

    /// The numbers of a list of floats or of whole numbers, from a record in memory.
    pub(super) fn numbers(&self, record: &[u8]) -> Result<Vec<f32>, String> {
        let mut numbers = Vec::new();
        let mut bytes = record;
        let slice = |span: &Range<u64>| &record[span.start as usize..span.end as usize];
        let mut cursor = Cursor::new(&self.span);
        while let Some((_, field)) = cursor.next(&mut bytes)? {
            match (self.kind, field) {
                (Some(ListKind::Floats), Field::Block(span)) => {
                    let (floats, rest) = slice(&span).as_chunks();
                    if !rest.is_empty() {
                        return Err(format!("{}: expected whole floats", self.name));
                    }
                    numbers.extend(floats.iter().map(|float| f32::from_le_bytes(*float)));
                }
                (Some(ListKind::Floats), Field::Fixed32(at)) => {
                    let (floats, _) = slice(&(at..at + 4)).as_chunks();
                    numbers.extend(floats.iter().map(|float| f32::from_le_bytes(*float)));
                }
                (Some(ListKind::Integers), Field::Block(span)) => {
                    let mut packed = Cursor::new(&span);
                    while packed.at < packed.end {
                        numbers.push(packed.varint(&mut bytes)? as i64 as f32);
                    }
                }
                (Some(ListKind::Integers), Field::Varint(value)) => {
                    numbers.push(value as i64 as f32);
                }
                _ => return Err(format!("{}: expected numbers", self.name)),
            }
        }
        Ok(numbers)
    }
}
