//! H.264's sequence parameter sets: what a stream says of itself before its first picture.

use std::borrow::Cow;

use super::bits::Bits;
use super::boxes::{Damage, damage};
use super::codec::unsupported;
use super::color::Color;

/// Profiles, by their numbers.
const BASELINE: u8 = 66;
const MAIN: u8 = 77;
const EXTENDED: u8 = 88;
const HIGH: u8 = 100;
/// Those that add to High: ten bits, and chroma for every row.
const HIGH_10: u8 = 110;
const HIGH_422: u8 = 122;

/// A sequence parameter set of a stream that can be decoded.
#[derive(Debug)]
pub(super) struct ParameterSet {
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
        let mut chroma = 1;
        match profile {
            BASELINE | MAIN | EXTENDED => {}
            HIGH | HIGH_10 | HIGH_422 => {
                chroma = bits.unsigned()?;
                let depth = 8 + bits.unsigned()?.max(bits.unsigned()?);
                if chroma > 2 {
                    return unsupported("H.264 of chroma 4:4:4");
                }
                if depth > 8 {
                    return unsupported(&format!("H.264 of {depth} bits"));
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
            // In samples of chroma.
            for (at, side) in crop.iter_mut().enumerate() {
                let pixels = if chroma == 0 || chroma == 2 && at >= 2 { 1 } else { 2 };
                *side = u64::from(bits.unsigned()?) * pixels;
            }
        }
        let side = |blocks: u32, crop: &[u64]| {
            let pixels = (u64::from(blocks) + 1) * 16;
            pixels.saturating_sub(crop.iter().sum()) as usize
        };
        let (width, height) = (side(across, &crop[..2]), side(down, &crop[2..]));
        let color = if bits.bit()? { color(&mut bits)? } else { None };
        Ok(Self { width, height, color })
    }

    /// An error unless pictures are of `size`.
    pub(super) fn expect_size(&self, size: (usize, usize)) -> Result<(), Damage> {
        if (self.width, self.height) == size {
            return Ok(());
        }
        let ((wide, high), (width, height)) = (size, (self.width, self.height));
        damage(format!("expected pictures of {wide} x {high}, found {width} x {height}"))
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
pub(super) fn unescaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.windows(3).any(|window| window == [0, 0, 3]) {
        return Cow::Borrowed(bytes);
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for &byte in bytes {
        if byte == 3 && zeros >= 2 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    Cow::Owned(plain)
}
