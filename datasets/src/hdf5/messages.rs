//! The parts of an object's header, as every version of HDF5 since 1.0 reads them.
//!
//! Source: the HDF5 File Format Specification, version 3.0, chapter IV.

/// A place that is not there.
pub(super) const NOWHERE: u64 = u64::MAX;

/// The type of a dataset's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Pixels.
    U8,
    /// Whole numbers.
    I64,
    /// Numbers.
    F32,
    /// Numbers.
    F64,
    /// Text of so many bytes.
    Text(u32),
}

/// What a group says about itself.
pub(crate) enum Attribute<'a> {
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(&'a str),
}

impl Stored {
    /// Bytes of one.
    pub(super) fn size(self) -> u32 {
        match self {
            Self::U8 => 1,
            Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
            Self::Text(size) => size,
        }
    }

    /// Its datatype message.
    pub(super) fn message(self) -> Vec<u8> {
        let head = |class: u8, bits: [u8; 3]| {
            let mut bytes = vec![0x10 | class, bits[0], bits[1], bits[2]];
            bytes.extend(self.size().to_le_bytes());
            bytes
        };
        let whole = |signed: u8| {
            let mut bytes = head(0, [signed << 3, 0, 0]);
            bytes.extend([0, 0]);
            bytes.extend((self.size() as u16 * 8).to_le_bytes());
            bytes
        };
        let float = |sign: u8, exponent: [u8; 2], mantissa: u8, bias: u32| {
            let mut bytes = head(1, [0x20, sign, 0]);
            bytes.extend([0, 0]);
            bytes.extend((self.size() as u16 * 8).to_le_bytes());
            bytes.extend([exponent[0], exponent[1], 0, mantissa]);
            bytes.extend(bias.to_le_bytes());
            bytes
        };
        match self {
            Self::U8 => whole(0),
            Self::I64 => whole(1),
            Self::F32 => float(31, [23, 8], 23, 127),
            Self::F64 => float(63, [52, 11], 52, 1023),
            // Padded with zeros, UTF-8.
            Self::Text(_) => head(3, [0x11, 0, 0]),
        }
    }
}

/// The datatype message of text that lies in a heap.
pub(super) fn long_text() -> Vec<u8> {
    let mut bytes = vec![0x19, 0x01, 0x01, 0];
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(Stored::U8.message());
    bytes
}

/// The dataspace message; no side at all is a scalar.
pub(super) fn dataspace(shape: &[u64]) -> Vec<u8> {
    let mut bytes = vec![1, shape.len() as u8, 0, 0, 0, 0, 0, 0];
    bytes.extend(shape.iter().flat_map(|side| side.to_le_bytes()));
    bytes
}

/// The fill value message: zeros, and none are written ahead.
pub(super) fn fill_value(chunked: bool) -> Vec<u8> {
    vec![2, if chunked { 3 } else { 2 }, 2, 1, 0, 0, 0, 0]
}

/// The layout message of one run of bytes.
pub(super) fn run(address: u64, size: u64) -> Vec<u8> {
    let mut bytes = vec![3, 1];
    bytes.extend(address.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes
}

/// The layout message of chunks, whose index is a tree at `tree`.
pub(super) fn chunks(tree: u64, chunk: &[u64], element: u32) -> Vec<u8> {
    let mut bytes = vec![3, 2, chunk.len() as u8 + 1];
    bytes.extend(tree.to_le_bytes());
    bytes.extend(chunk.iter().flat_map(|&side| (side as u32).to_le_bytes()));
    bytes.extend(element.to_le_bytes());
    bytes
}

/// The filter message of deflate at `level`.
pub(super) fn deflate(level: u32) -> Vec<u8> {
    let mut bytes = vec![1, 1, 0, 0, 0, 0, 0, 0];
    for part in [1_u16, 0, 1, 1] {
        bytes.extend(part.to_le_bytes());
    }
    bytes.extend(level.to_le_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// An attribute message of one value.
pub(super) fn attribute(name: &str, datatype: &[u8], value: &[u8]) -> Vec<u8> {
    let space = dataspace(&[]);
    let mut bytes = vec![1, 0];
    for size in [name.len() + 1, datatype.len(), space.len()] {
        bytes.extend((size as u16).to_le_bytes());
    }
    let mut name = name.as_bytes().to_vec();
    name.push(0);
    for part in [&name, datatype, &space] {
        bytes.extend(part);
        pad(&mut bytes);
    }
    bytes.extend(value);
    bytes
}

/// An object header of `messages`, each with its type.
pub(super) fn header(messages: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, message) in messages {
        body.extend(kind.to_le_bytes());
        body.extend((message.len().next_multiple_of(8) as u16).to_le_bytes());
        body.extend([0; 4]);
        body.extend(message);
        pad(&mut body);
    }
    let mut bytes = vec![1, 0];
    bytes.extend((messages.len() as u16).to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

/// Fills up to a multiple of eight.
pub(super) fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}
