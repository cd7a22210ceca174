//! H.264's sequence parameter sets: what a stream says of itself before its first picture.

use super::bits::{Bits, inserted};
use super::boxes::{Damage, damage};
use super::codec::unsupported;
use super::color::Color;

/// Profiles, by their numbers.
const BASELINE: u8 = 66;
const MAIN: u8 = 77;
const EXTENDED: u8 = 88;
const HIGH: u8 = 100;
/// The one that OpenH264 hands out in the order of decoding, written like High.
const SCALABLE: u8 = 83;

/// Chroma 4:2:0, 8 bits, 8 bits, no transform bypass, no scaling lists: what High writes and Main
/// leaves out.
const AS_HIGH: [u8; 7] = [0, 1, 0, 1, 1, 0, 0];

/// A sequence parameter set of a stream that can be decoded.
#[derive(Debug)]
pub(super) struct ParameterSet {
    profile: u8,
    /// Without the bytes that keep start codes out.
    plain: Vec<u8>,
    /// Where the fields that Main lacks would stand, in bits.
    high_fields: usize,
    width: usize,
    height: usize,
    /// Its colours, where it says so.
    pub(super) color: Option<Color>,
}

impl ParameterSet {
    /// Reads a unit, its first byte included.
    pub(super) fn parse(unit: &[u8]) -> Result<Self, Damage> {
        let plain = unescaped(unit);
        let mut bits = Bits::new(&plain);
        bits.bits(8)?;
        let profile = bits.bits(8)? as u8;
        bits.bits(16)?; // constraints, level
        bits.unsigned()?; // its number
        let high_fields = bits.position();
        match profile {
            BASELINE | MAIN | EXTENDED => {}
            HIGH => {
                let (chroma, luma_bits, chroma_bits) =
                    (bits.unsigned()?, bits.unsigned()?, bits.unsigned()?);
                if (chroma, luma_bits, chroma_bits) != (1, 0, 0) {
                    return unsupported("H.264 of another chroma format than 4:2:0");
                }
                bits.bit()?;
                if bits.bit()? {
                    skip_scaling_lists(&mut bits)?;
                }
            }
            _ => return unsupported(&format!("H.264 of profile {profile}")),
        }
        bits.unsigned()?; // bits of a frame's number
        match bits.unsigned()? {
            0 => {
                bits.unsigned()?;
            }
            1 => {
                bits.bit()?;
                bits.signed()?;
                bits.signed()?;
                for _ in 0..bits.unsigned()?.min(256) {
                    bits.signed()?;
                }
            }
            _ => {}
        }
        bits.unsigned()?; // frames that are kept for reference
        bits.bit()?;
        let (across, down) = (bits.unsigned()?, bits.unsigned()?);
        if !bits.bit()? {
            return unsupported("interlaced H.264");
        }
        bits.bit()?;
        let mut crop = [0; 4];
        if bits.bit()? {
            for side in &mut crop {
                *side = u64::from(bits.unsigned()?) * 2;
            }
        }
        let side = |blocks: u32, crop: &[u64]| {
            let pixels = (u64::from(blocks) + 1) * 16;
            pixels.saturating_sub(crop.iter().sum()) as usize
        };
        let (width, height) = (side(across, &crop[..2]), side(down, &crop[2..]));
        let color = if bits.bit()? { color(&mut bits)? } else { None };
        Ok(Self { profile, plain, high_fields, width, height, color })
    }

    /// An error unless pictures are of `size`.
    pub(super) fn expect_size(&self, size: (usize, usize)) -> Result<(), Damage> {
        if (self.width, self.height) == size {
            return Ok(());
        }
        let ((wide, high), (width, height)) = (size, (self.width, self.height));
        damage(format!("expected pictures of {wide} x {high}, found {width} x {height}"))
    }

    /// The unit, with a profile for which OpenH264 does not reorder pictures.
    ///
    /// Baseline has nothing to reorder.
    pub(super) fn announced_as_scalable(&self) -> Vec<u8> {
        let mut plain = match self.profile {
            MAIN | EXTENDED => inserted(&self.plain, self.high_fields, &AS_HIGH),
            _ => self.plain.clone(),
        };
        if self.profile != BASELINE {
            plain[1] = SCALABLE;
        }
        escaped(&plain)
    }
}

fn color(bits: &mut Bits) -> Result<Option<Color>, Damage> {
    if bits.bit()? && bits.bits(8)? == 255 {
        bits.bits(32)?; // shape of a pixel
    }
    if bits.bit()? {
        bits.bit()?; // overscan
    }
    if !bits.bit()? {
        return Ok(None);
    }
    bits.bits(3)?;
    let full = bits.bit()?;
    let mut matrix = 2;
    if bits.bit()? {
        bits.bits(16)?; // primaries, transfer
        matrix = bits.bits(8)? as u8;
    }
    Ok(Some(Color::new(matrix, full)))
}

fn skip_scaling_lists(bits: &mut Bits) -> Result<(), Damage> {
    for list in 0..8 {
        if !bits.bit()? {
            continue;
        }
        let (mut last, mut next) = (8, 8);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.signed()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Ok(())
}

/// Takes out the threes that stand after two zeros.
fn unescaped(unit: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &byte in unit {
        if byte == 3 && zeros >= 2 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    plain
}

/// Puts them in again.
fn escaped(plain: &[u8]) -> Vec<u8> {
    let mut unit = Vec::with_capacity(plain.len() + 4);
    for &byte in plain {
        if byte <= 3 && unit.ends_with(&[0, 0]) {
            unit.push(3);
        }
        unit.push(byte);
    }
    unit
}
