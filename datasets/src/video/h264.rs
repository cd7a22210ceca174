//! H.264, by Cisco's OpenH264.
//!
//! That decoder puts pictures in the order of showing by guesswork, and holds them back for it.
//! It does neither for the scalable profile, whose parameter sets are written like those of High:
//! so every stream is announced as one, each sample gives its own picture at once, and the mp4's
//! table says when it is shown.

use openh264::OpenH264API;
use openh264::decoder::{Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource;

use super::boxes::{Damage, Fields, damage};
use super::color::{Chroma, Color, Planes};
use super::sps::ParameterSet;

/// What stands before each unit in the form that the decoder reads.
const START: [u8; 4] = [0, 0, 0, 1];

/// A unit's kind is in the low bits of its first byte.
const KIND: u8 = 0x1f;
const KEY_PICTURE: u8 = 5;
const SEQUENCE_PARAMETERS: u8 = 7;

/// The `avcC` box.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// Bytes that hold the length of a unit in a sample.
    length_bytes: usize,
    /// The parameter sets, as the decoder reads them.
    headers: Vec<u8>,
    color: Color,
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
            let set = ParameterSet::parse(fields.take(usize::from(len))?)?;
            set.expect_size(size)?;
            color = set.color.unwrap_or(color);
            headers.extend_from_slice(&START);
            headers.extend_from_slice(&set.announced_as_scalable());
        }
        for _ in 0..fields.u8()? {
            let len = fields.u16()?;
            headers.extend_from_slice(&START);
            headers.extend_from_slice(fields.take(usize::from(len))?);
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

/// A decoded picture: its planes without padding.
pub(super) struct Picture {
    width: usize,
    height: usize,
    color: Color,
    /// Y, U and V.
    bytes: Vec<u8>,
}

/// A decoder of one stream at a time.
pub(super) struct H264 {
    decoder: Decoder,
}

impl H264 {
    pub(super) fn new() -> Result<Self, Damage> {
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let decoder = Decoder::with_api_config(OpenH264API::from_source(), config);
        Ok(Self { decoder: decoder.map_err(|error| failed(&error))? })
    }

    /// The picture of the next sample, which must be of `size`.
    pub(super) fn decode(
        &mut self,
        config: &Config,
        size: (usize, usize),
        sample: &[u8],
        sync: bool,
    ) -> Result<Picture, Damage> {
        let mut data = Vec::with_capacity(config.headers.len() + sample.len() + 16);
        if sync {
            data.extend_from_slice(&config.headers);
        }
        let mut color = config.color;
        for unit in config.units(sample) {
            let unit = unit?;
            let Some(first) = unit.first() else { continue };
            data.extend_from_slice(&START);
            if first & KIND == SEQUENCE_PARAMETERS {
                let set = ParameterSet::parse(unit)?;
                set.expect_size(size)?;
                color = set.color.unwrap_or(color);
                data.extend_from_slice(&set.announced_as_scalable());
            } else {
                data.extend_from_slice(unit);
            }
        }
        let picture = self.decoder.decode(&data).map_err(|error| failed(&error))?;
        let Some(picture) = picture else { return damage("a sample shows no picture") };
        let (width, height) = picture.dimensions();
        if (width, height) != size {
            return damage(format!("expected {size:?} pixels, found {width} x {height}"));
        }
        let (halves, rows) = (width.div_ceil(2), height.div_ceil(2));
        let mut bytes = Vec::with_capacity(width * height + 2 * halves * rows);
        let strides = picture.strides();
        let planes = [
            (picture.y(), strides.0, width, height),
            (picture.u(), strides.1, halves, rows),
            (picture.v(), strides.2, halves, rows),
        ];
        for (plane, stride, width, height) in planes {
            for row in 0..height {
                match plane.get(row * stride..row * stride + width) {
                    Some(row) => bytes.extend_from_slice(row),
                    None => return damage("the H.264 decoder gave fewer rows than it said"),
                }
            }
        }
        Ok(Picture { width, height, color, bytes })
    }
}

impl Picture {
    /// Its planes.
    pub(super) fn planes(&self) -> Planes<'_> {
        let Self { width, height, color, .. } = *self;
        let halves = width.div_ceil(2);
        let (y, chroma) = self.bytes.split_at(width * height);
        let (u, v) = chroma.split_at(chroma.len() / 2);
        Planes {
            width,
            height,
            chroma: Chroma::Quarter,
            color,
            yuv: [y, u, v],
            strides: [width, halves],
        }
    }
}

fn failed(error: &openh264::Error) -> Damage {
    Damage(format!("the H.264 decoder gave up: {error}"))
}
