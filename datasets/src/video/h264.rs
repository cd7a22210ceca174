//! H.264: each sample gives its own picture at once, in the order of decoding; the mp4's table says
//! when it is shown.

use rust_h264::decoder::{ChromaFormat, Decoder, Frame};
use rust_h264::nal::NalUnit;

use super::boxes::{Damage, Fields, damage};
use super::color::{Chroma, Color, Planes};
use super::sps::{ParameterSet, unescaped};

/// A unit's kind is in the low bits of its first byte.
const KIND: u8 = 0x1f;
const KEY_PICTURE: u8 = 5;
const SEQUENCE_PARAMETERS: u8 = 7;

/// The `avcC` box.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// Bytes that hold the length of a unit in a sample.
    length_bytes: usize,
    /// The units that hold the parameter sets.
    headers: Vec<Vec<u8>>,
    color: Color,
}

/// The colours that a sequence parameter set names, or those of before; pictures must be of `size`.
fn color_of(set: &[u8], size: (usize, usize), color: Color) -> Result<Color, Damage> {
    let set = ParameterSet::parse(set)?;
    set.expect_size(size)?;
    Ok(set.color.unwrap_or(color))
}

impl Config {
    /// Reads it; pictures must be of `size`, and have the container's `color` unless they say more.
    pub(super) fn parse(
        body: &[u8],
        size: (usize, usize),
        mut color: Color,
    ) -> Result<Self, Damage> {
        let mut fields = Fields::new(body);
        let [version, _, _, _, length] = fields.array()?;
        if version != 1 {
            return damage(format!("expected H.264 parameters of version 1, found {version}"));
        }
        let mut headers = Vec::new();
        for _ in 0..fields.u8()? & 0x1f {
            let len = fields.u16()?;
            let set = fields.take(usize::from(len))?;
            color = color_of(set, size, color)?;
            headers.push(set.to_vec());
        }
        for _ in 0..fields.u8()? {
            let len = fields.u16()?;
            headers.push(fields.take(usize::from(len))?.to_vec());
        }
        Ok(Self { length_bytes: usize::from(length & 3) + 1, headers, color })
    }

    /// The units of a sample.
    fn units<'a>(&self, sample: &'a [u8]) -> impl Iterator<Item = Result<&'a [u8], Damage>> {
        let length_bytes = self.length_bytes;
        let mut fields = Fields::new(sample);
        std::iter::from_fn(move || {
            if fields.len() == 0 {
                return None;
            }
            let unit = fields.take(length_bytes).and_then(|length| {
                let length = length.iter().fold(0, |all, &byte| all << 8 | usize::from(byte));
                fields.take(length)
            });
            if unit.is_err() {
                fields = Fields::new(&[]);
            }
            Some(unit)
        })
    }

    /// Whether nothing before this sample is needed after it.
    pub(super) fn is_key(&self, sample: &[u8]) -> Result<bool, Damage> {
        for unit in self.units(sample) {
            if unit?.first().is_some_and(|first| first & KIND == KEY_PICTURE) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A decoder of one stream at a time.
#[derive(Default)]
pub(super) struct H264 {
    decoder: Decoder,
}

impl H264 {
    /// The picture of the next sample, which must be of `size`.
    pub(super) fn decode(
        &mut self,
        config: &Config,
        size: (usize, usize),
        sample: &[u8],
        sync: bool,
    ) -> Result<Picture, Damage> {
        let headers = if sync { &config.headers[..] } else { &[] };
        headers.iter().try_for_each(|header| self.take(header))?;
        let mut color = config.color;
        for unit in config.units(sample) {
            let unit = unit?;
            if unit.first().is_some_and(|first| first & KIND == SEQUENCE_PARAMETERS) {
                color = color_of(unit, size, color)?;
            }
            self.take(unit)?;
        }
        let Some(frame) = self.decoder.flush() else { return damage("a sample shows no picture") };
        if frame.bit_depth != 8 {
            return damage(format!("expected 8 bits, found {}", frame.bit_depth));
        }
        let (width, height) = (frame.width as usize, frame.height as usize);
        if (width, height) != size {
            return damage(format!("expected {size:?} pixels, found {width} x {height}"));
        }
        Ok(Picture { color, frame })
    }

    /// Hands a unit to the decoder.
    fn take(&mut self, unit: &[u8]) -> Result<(), Damage> {
        let Some((&first, payload)) = unit.split_first() else { return Ok(()) };
        let unit = NalUnit {
            nal_ref_idc: first >> 5 & 3,
            nal_unit_type: (first & KIND).into(),
            rbsp: unescaped(payload),
        };
        match self.decoder.decode_nal(&unit) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => damage("a sample shows two pictures"),
            Err(error) => damage(format!("the H.264 decoder gave up: {error}")),
        }
    }
}

/// A decoded picture.
pub(super) struct Picture {
    color: Color,
    frame: Frame,
}

impl Picture {
    /// Its planes.
    pub(super) fn planes(&self) -> Planes<'_> {
        let Self { color, frame } = self;
        let chroma = match frame.chroma_format {
            ChromaFormat::Yuv420 => Chroma::Quarter,
            ChromaFormat::Yuv422 => Chroma::Half,
        };
        Planes {
            width: frame.width as usize,
            height: frame.height as usize,
            chroma,
            color: *color,
            yuv: [&frame.y, &frame.u, &frame.v],
            strides: [frame.width as usize, frame.chroma_width() as usize],
        }
    }
}
