//! What a dataset's elements are, and how they become numbers.

use half::f16;
use hdf5_pure::{Datatype, DatatypeByteOrder, FixedPointLayout, FloatingPointLayout};

/// The type of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Element {
    /// A number.
    Number(Number),
    /// Text of at most so many bytes.
    Text,
    /// Text of any length, kept elsewhere in the file.
    LongText,
    /// Bytes that only their writer understands; a pickled object, if Python wrote them.
    Opaque,
    /// Anything else, in words.
    Other(String),
}

/// How a number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    kind: NumberKind,
    big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberKind {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl Element {
    pub(super) fn of(datatype: &Datatype) -> Self {
        match datatype {
            Datatype::FixedPoint { size, byte_order, layout } => {
                fixed(*size, *byte_order, *layout).map_or_else(|| other(datatype), Self::Number)
            }
            Datatype::FloatingPoint { size, byte_order, layout } => {
                floating(*size, *byte_order, *layout).map_or_else(|| other(datatype), Self::Number)
            }
            Datatype::Enumeration { base_type, members, .. } => match Self::of(base_type) {
                Self::Number(number) if members.len() == 2 && number.size() == 1 => {
                    Self::Number(Number { kind: NumberKind::Bool, ..number })
                }
                base => base,
            },
            Datatype::String { .. } => Self::Text,
            Datatype::VariableLength { is_string: true, .. } => Self::LongText,
            Datatype::VariableLength { .. } | Datatype::Opaque { .. } => Self::Opaque,
            _ => other(datatype),
        }
    }

    /// In numpy's words, where it is a number.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Number(number) => number.name().into(),
            Self::Text | Self::LongText => "text".into(),
            Self::Opaque => "opaque".into(),
            Self::Other(name) => name.clone(),
        }
    }
}

fn other(datatype: &Datatype) -> Element {
    Element::Other(datatype.to_string())
}

fn is_big(order: DatatypeByteOrder) -> Option<bool> {
    match order {
        DatatypeByteOrder::LittleEndian => Some(false),
        DatatypeByteOrder::BigEndian => Some(true),
        DatatypeByteOrder::Vax => None,
    }
}

fn fixed(size: u32, order: DatatypeByteOrder, layout: FixedPointLayout) -> Option<Number> {
    let kind = match (size, layout.signed) {
        (1, false) => NumberKind::U8,
        (1, true) => NumberKind::I8,
        (2, false) => NumberKind::U16,
        (2, true) => NumberKind::I16,
        (4, false) => NumberKind::U32,
        (4, true) => NumberKind::I32,
        (8, false) => NumberKind::U64,
        (8, true) => NumberKind::I64,
        _ => return None,
    };
    let whole = layout.bit_offset == 0 && u32::from(layout.bit_precision) == size * 8;
    whole.then_some(Number { kind, big_endian: is_big(order)? })
}

fn floating(size: u32, order: DatatypeByteOrder, layout: FloatingPointLayout) -> Option<Number> {
    let shape = (layout.exponent_size, layout.mantissa_size, layout.exponent_bias);
    let kind = match (size, shape) {
        (2, (5, 10, 15)) => NumberKind::F16,
        (4, (8, 23, 127)) => NumberKind::F32,
        (8, (11, 52, 1023)) => NumberKind::F64,
        _ => return None,
    };
    let whole = layout.bit_offset == 0 && u32::from(layout.bit_precision) == size * 8;
    let ieee = layout.mantissa_location == 0 && layout.exponent_location == layout.mantissa_size;
    (whole && ieee).then_some(Number { kind, big_endian: is_big(order)? })
}

impl Number {
    /// Bytes of one.
    pub(crate) fn size(self) -> usize {
        match self.kind {
            NumberKind::Bool | NumberKind::U8 | NumberKind::I8 => 1,
            NumberKind::U16 | NumberKind::I16 | NumberKind::F16 => 2,
            NumberKind::U32 | NumberKind::I32 | NumberKind::F32 => 4,
            NumberKind::U64 | NumberKind::I64 | NumberKind::F64 => 8,
        }
    }

    /// Whether it can be a pixel.
    pub(crate) fn is_u8(self) -> bool {
        self.kind == NumberKind::U8
    }

    /// Whether it has a fraction.
    pub(crate) fn is_float(self) -> bool {
        matches!(self.kind, NumberKind::F16 | NumberKind::F32 | NumberKind::F64)
    }

    fn name(self) -> &'static str {
        match self.kind {
            NumberKind::Bool => "bool",
            NumberKind::U8 => "uint8",
            NumberKind::I8 => "int8",
            NumberKind::U16 => "uint16",
            NumberKind::I16 => "int16",
            NumberKind::U32 => "uint32",
            NumberKind::I32 => "int32",
            NumberKind::U64 => "uint64",
            NumberKind::I64 => "int64",
            NumberKind::F16 => "float16",
            NumberKind::F32 => "float32",
            NumberKind::F64 => "float64",
        }
    }

    /// Bytes to numbers; what `f32` cannot hold is rounded to its nearest.
    pub(crate) fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(
            bytes: &[u8],
            big_endian: bool,
            number: impl Fn([u8; N]) -> f32,
        ) -> Vec<f32> {
            let (chunks, _) = bytes.as_chunks::<N>();
            let turned = |mut chunk: [u8; N]| {
                if big_endian {
                    chunk.reverse();
                }
                number(chunk)
            };
            chunks.iter().copied().map(turned).collect()
        }
        let big = self.big_endian;
        match self.kind {
            NumberKind::Bool => each(bytes, big, |[byte]| f32::from(u8::from(byte != 0))),
            NumberKind::U8 => each(bytes, big, |[byte]| f32::from(byte)),
            NumberKind::I8 => each(bytes, big, |b| f32::from(i8::from_le_bytes(b))),
            NumberKind::U16 => each(bytes, big, |b| f32::from(u16::from_le_bytes(b))),
            NumberKind::I16 => each(bytes, big, |b| f32::from(i16::from_le_bytes(b))),
            NumberKind::U32 => each(bytes, big, |b| u32::from_le_bytes(b) as f32),
            NumberKind::I32 => each(bytes, big, |b| i32::from_le_bytes(b) as f32),
            NumberKind::U64 => each(bytes, big, |b| u64::from_le_bytes(b) as f32),
            NumberKind::I64 => each(bytes, big, |b| i64::from_le_bytes(b) as f32),
            NumberKind::F16 => each(bytes, big, |b| f16::from_le_bytes(b).to_f32()),
            NumberKind::F32 => each(bytes, big, f32::from_le_bytes),
            NumberKind::F64 => each(bytes, big, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_either_byte_order_are_the_same_numbers() {
        for big_endian in [false, true] {
            let number = |kind| Number { kind, big_endian };
            let turn = |mut bytes: Vec<u8>| {
                if big_endian {
                    bytes.reverse();
                }
                bytes
            };
            let one = |kind, bytes: &[u8]| number(kind).to_f32(&turn(bytes.to_vec()))[0];
            assert_eq!(one(NumberKind::F64, &(-2.5_f64).to_le_bytes()), -2.5);
            assert_eq!(one(NumberKind::F16, &f16::from_f32(0.75).to_le_bytes()), 0.75);
            assert_eq!(one(NumberKind::I16, &(-300_i16).to_le_bytes()), -300.0);
            assert_eq!(one(NumberKind::U64, &70_000_u64.to_le_bytes()), 70_000.0);
            assert_eq!(one(NumberKind::Bool, &[255]), 1.0);
        }
    }

    #[test]
    fn numbers_of_odd_widths_are_no_numbers_to_us() {
        let layout = FixedPointLayout { signed: false, bit_offset: 0, bit_precision: 12 };
        let byte_order = DatatypeByteOrder::LittleEndian;
        let odd = Datatype::FixedPoint { size: 2, byte_order, layout };
        assert!(matches!(Element::of(&odd), Element::Other(_)));
    }
}
