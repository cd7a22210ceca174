//! The boxes that an mp4 is made of, and the fields in them; nothing is read past a box's end.

/// What is wrong with an mp4, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Damage(pub(super) String);

/// For a result that is an error: what is wrong.
pub(super) fn damage<T>(what: impl Into<String>) -> Result<T, Damage> {
    Err(Damage(what.into()))
}

/// A box's four letters.
pub(super) type Kind = [u8; 4];

/// The letters as text.
pub(super) fn name(kind: Kind) -> String {
    kind.escape_ascii().to_string()
}

/// The boxes that stand in `bytes`, one after another.
pub(super) struct Boxes<'a> {
    rest: Fields<'a>,
}

impl<'a> Boxes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: Fields::new(bytes) }
    }

    /// What is in the first box of `kind`.
    pub(super) fn find(bytes: &'a [u8], kind: Kind) -> Result<Option<&'a [u8]>, Damage> {
        for found in Self::new(bytes) {
            let (found, body) = found?;
            if found == kind {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    /// The same, where it must be there.
    pub(super) fn need(bytes: &'a [u8], kind: Kind) -> Result<&'a [u8], Damage> {
        let missing = || Damage(format!("expected a box `{}`, found none", name(kind)));
        Self::find(bytes, kind)?.ok_or_else(missing)
    }

    fn one(&mut self) -> Result<(Kind, &'a [u8]), Damage> {
        let left = self.rest.len() as u64;
        let Header { kind, len, size } = Header::read(&mut self.rest)?;
        let size = size.unwrap_or(left);
        if size < len || size > left {
            let kind = name(kind);
            return damage(format!("box `{kind}`: expected at most {left} bytes, found {size}"));
        }
        Ok((kind, self.rest.take((size - len) as usize)?))
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<(Kind, &'a [u8]), Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        // Fewer bytes than a header are padding, as QuickTime writes it.
        if self.rest.len() < 8 {
            return None;
        }
        let found = self.one();
        if found.is_err() {
            self.rest = Fields::new(&[]);
        }
        Some(found)
    }
}

/// What stands in front of a box.
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes of the header itself.
    pub(super) len: u64,
    /// Bytes of the box with its header; none where it goes on to the end.
    pub(super) size: Option<u64>,
}

impl Header {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, Damage> {
        let size = fields.u32()?;
        let kind = fields.array()?;
        Ok(match size {
            0 => Self { kind, len: 8, size: None },
            1 => Self { kind, len: 16, size: Some(fields.u64()?) },
            size => Self { kind, len: 8, size: Some(u64::from(size)) },
        })
    }
}

/// Big-endian fields, one after another.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes left.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// All that is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let Some((head, rest)) = self.bytes.split_at_checked(count) else {
            return damage(format!("expected {count} more bytes in a box, found {}", self.len()));
        };
        self.bytes = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Damage> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Damage> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damage> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damage> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Version and flags, of which only the version matters here.
    pub(super) fn version(&mut self) -> Result<u8, Damage> {
        Ok(self.array::<4>()?[0])
    }

    /// A count, then as many entries of `width` bytes, all of which must be there.
    pub(super) fn table(&mut self, width: usize) -> Result<&'a [u8], Damage> {
        let count = self.u32()? as usize;
        let holds = self.len() / width;
        if count > holds {
            return damage(format!("a table says {count} entries, its box holds {holds}"));
        }
        self.take(count * width)
    }
}

/// A `u32` of an entry of a table.
pub(super) fn number(entry: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_follow_one_another_and_end_where_they_say() {
        let bytes = b"\0\0\0\x09abcdX\0\0\0\0wideYZ";
        let found: Vec<_> = Boxes::new(bytes).map(Result::unwrap).collect();
        assert_eq!(found, [(*b"abcd", &b"X"[..]), (*b"wide", &b"YZ"[..])]);
        let long = b"\0\0\0\x01abcd\0\0\0\0\0\0\0\x11X";
        assert_eq!(Boxes::need(long, *b"abcd").unwrap(), b"X");
        assert_eq!(Boxes::find(long, *b"moov").unwrap(), None);
    }

    #[test]
    fn a_box_that_says_more_than_there_is_is_an_error() {
        for bytes in [&b"\0\0\0\x0aabcdX"[..], b"\0\0\0\x07abcdX", b"\0\0\0\x01abcd\0\0\0\0"] {
            assert!(Boxes::new(bytes).next().unwrap().is_err());
        }
    }

    #[test]
    fn a_table_that_says_more_than_there_is_is_an_error() {
        let mut fields = Fields::new(b"\0\0\0\x02abcdefg");
        let found = fields.table(4).unwrap_err().to_string();
        assert_eq!(found, "a table says 2 entries, its box holds 1");
        assert_eq!(Fields::new(b"\0\0\0\x01abcdefg").table(4).unwrap(), *b"abcd");
    }
}
