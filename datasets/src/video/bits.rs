//! Bits, and the numbers that H.264 writes with them.

use super::boxes::{Damage, damage};

/// Reads bits, the highest of a byte first.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bit(&mut self) -> Result<bool, Damage> {
        let Some(byte) = self.bytes.get(self.at / 8) else {
            return damage("a parameter set ends too early");
        };
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// A number of at most 32 bits.
    pub(super) fn bits(&mut self, count: usize) -> Result<u32, Damage> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    /// An unsigned number in Exponential-Golomb code.
    pub(super) fn unsigned(&mut self) -> Result<u32, Damage> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return damage("a number of a parameter set is too long");
            }
        }
        Ok((1 << zeros) - 1 + self.bits(zeros)?)
    }

    /// A signed one.
    pub(super) fn signed(&mut self) -> Result<i64, Damage> {
        let code = i64::from(self.unsigned()?);
        Ok(if code % 2 == 0 { -code / 2 } else { (code + 1) / 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golomb_codes_are_read() {
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let found: Vec<u32> = (0..5).map(|_| bits.unsigned().unwrap()).collect();
        assert_eq!(found, [0, 1, 2, 3, 4]);
        assert!(Bits::new(&[0; 9]).unsigned().is_err());
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0000]);
        let found: Vec<i64> = (0..4).map(|_| bits.signed().unwrap()).collect();
        assert_eq!(found, [0, 1, -1, 2]);
    }
}
