//! Element types of arrays, as numpy spells them: `<f4`, `|u1`, `>i8`.

use half::f16;

/// A type of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dtype {
    kind: Kind,
    size: usize,
    big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
}

impl Dtype {
    /// The type that `text` names, if it is one of numbers.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut letters = text.chars();
        let big_endian = match letters.next()? {
            '<' | '|' => false,
            '>' => true,
            _ => return None,
        };
        let (kind, sizes): (_, &[usize]) = match letters.next()? {
            'b' => (Kind::Bool, &[1]),
            'u' => (Kind::Unsigned, &[1, 2, 4, 8]),
            'i' => (Kind::Signed, &[1, 2, 4, 8]),
            'f' => (Kind::Float, &[2, 4, 8]),
            _ => return None,
        };
        let size = letters.as_str().parse().ok().filter(|size| sizes.contains(size))?;
        Some(Self { kind, size, big_endian })
    }

    /// Bytes of one element.
    pub(super) fn size(self) -> usize {
        self.size
    }

    /// Whether elements are bytes from 0 to 255.
    pub(super) fn is_u8(self) -> bool {
        self.kind == Kind::Unsigned && self.size == 1
    }

    /// Whether elements are whole numbers above zero of two bytes.
    pub(super) fn is_u16(self) -> bool {
        self.kind == Kind::Unsigned && self.size == 2
    }

    /// Whether elements have a fraction.
    pub(super) fn is_float(self) -> bool {
        self.kind == Kind::Float
    }

    /// The elements of `bytes` as numbers of ours, rounded where those are narrower.
    pub(super) fn floats(self, bytes: &[u8]) -> impl Iterator<Item = f32> {
        bytes.chunks_exact(self.size).map(move |element| self.float(element))
    }

    /// The elements of `bytes`, as exact as there are.
    pub(super) fn doubles(self, bytes: &[u8]) -> Vec<f64> {
        let exact = |element: &[u8]| match (self.kind, self.size) {
            (Kind::Float, 8) => f64::from_bits(self.bits(element)),
            _ => match self.integer(self.bits(element)) {
                Some(whole) => whole as f64,
                None => f64::from(self.float(element)),
            },
        };
        bytes.chunks_exact(self.size).map(exact).collect()
    }

    /// The elements of `bytes` as whole numbers; none where they are not.
    pub(super) fn integers(self, bytes: &[u8]) -> Option<Vec<i64>> {
        let elements = bytes.chunks_exact(self.size);
        elements.map(|element| self.integer(self.bits(element))).collect()
    }

    /// An element as the low bits of a number.
    fn bits(self, element: &[u8]) -> u64 {
        let push = |bits: u64, byte: &u8| bits << 8 | u64::from(*byte);
        if self.big_endian {
            element.iter().fold(0, push)
        } else {
            element.iter().rev().fold(0, push)
        }
    }

    fn float(self, element: &[u8]) -> f32 {
        let bits = self.bits(element);
        match (self.kind, self.size) {
            (Kind::Float, 2) => f16::from_bits(bits as u16).to_f32(),
            (Kind::Float, 4) => f32::from_bits(bits as u32),
            (Kind::Float, _) => f64::from_bits(bits) as f32,
            (Kind::Signed, size) => sign_extended(bits, size) as f32,
            (Kind::Unsigned, _) => bits as f32,
            (Kind::Bool, _) => f32::from(u8::from(bits != 0)),
        }
    }

    fn integer(self, bits: u64) -> Option<i64> {
        match self.kind {
            Kind::Float => None,
            Kind::Signed => Some(sign_extended(bits, self.size)),
            Kind::Unsigned | Kind::Bool => i64::try_from(bits).ok(),
        }
    }
}

/// The low `size` bytes of `bits` as a number that may be below zero.
fn sign_extended(bits: u64, size: usize) -> i64 {
    let unused = 64 - 8 * size as u32;
    (bits << unused) as i64 >> unused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(dtype: &str, bytes: &[u8]) -> Vec<f32> {
        Dtype::parse(dtype).unwrap().floats(bytes).collect()
    }

    #[test]
    fn every_type_of_numbers_is_read_in_both_orders() {
        assert_eq!(floats("|u1", &[0, 255]), [0.0, 255.0]);
        assert_eq!(floats("|i1", &[0x80, 3]), [-128.0, 3.0]);
        assert_eq!(floats("<i2", &[0xfe, 0xff]), [-2.0]);
        assert_eq!(floats(">i4", &[0, 0, 1, 0]), [256.0]);
        assert_eq!(floats("<u8", &[1, 0, 0, 0, 0, 0, 0, 0]), [1.0]);
        assert_eq!(floats("<f2", &[0x00, 0x3c]), [1.0]);
        assert_eq!(floats(">f4", &1.5_f32.to_be_bytes()), [1.5]);
        assert_eq!(floats("<f8", &(-0.25_f64).to_le_bytes()), [-0.25]);
        assert_eq!(floats("|b1", &[0, 1, 2]), [0.0, 1.0, 1.0]);
        let ends = Dtype::parse("<i8").unwrap().integers(&(-7_i64).to_le_bytes());
        assert_eq!(ends, Some(vec![-7]));
        assert_eq!(Dtype::parse("<f4").unwrap().integers(&[0; 4]), None);
    }

    #[test]
    fn what_is_no_number_has_no_type() {
        for text in ["", "|", "|O", "<U5", "|S4", "<c8", "<f3", "<f16", "<M8[ns]", "f4", "|é1"] {
            assert_eq!(Dtype::parse(text), None, "{text}");
        }
    }
}
