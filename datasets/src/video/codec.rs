//! How a video track is coded, out of its sample description (`stsd`).

use std::fmt;

use super::av1;
use super::boxes::{Boxes, Damage, Fields, Kind, damage, name};
use super::color::Color;
use super::h264;

/// Widest and highest picture.
const MAX_SIDE: u16 = 16384;

/// A way of coding video that can be decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// What LeRobot writes.
    Av1,
    /// MPEG-4 part 10, also called AVC.
    H264,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Av1 => "AV1",
            Self::H264 => "H.264",
        })
    }
}

/// How the samples of a track are coded.
#[derive(Debug, Clone)]
pub(super) struct Description {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) config: Config,
}

/// What a decoder must know before the first sample.
#[derive(Debug, Clone)]
pub(super) enum Config {
    Av1(av1::Config),
    H264(h264::Config),
}

impl Description {
    /// Reads the first entry of an `stsd` box.
    pub(super) fn parse(stsd: &[u8]) -> Result<Self, Damage> {
        let mut fields = Fields::new(stsd);
        fields.version()?;
        fields.u32()?;
        let first = Boxes::new(fields.rest()).next();
        let (kind, body) = first.unwrap_or_else(|| damage("expected a sample description"))?;
        let mut fields = Fields::new(body);
        fields.take(24)?;
        let (width, height) = (fields.u16()?, fields.u16()?);
        fields.take(50)?;
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return damage(format!("expected a size, found {width} x {height}"));
        }
        let (width, height) = (usize::from(width), usize::from(height));
        let boxes = fields.rest();
        let config = match &kind {
            b"av01" => Config::Av1(av1::Config::parse(Boxes::need(boxes, *b"av1C")?)?),
            b"avc1" | b"avc3" => {
                let color = colr(boxes)?;
                let config = Boxes::need(boxes, *b"avcC")?;
                Config::H264(h264::Config::parse(config, (width, height), color)?)
            }
            _ => return unsupported(&format!("{} video", title(kind))),
        };
        Ok(Self { width, height, config })
    }

    pub(super) fn codec(&self) -> Codec {
        match self.config {
            Config::Av1(_) => Codec::Av1,
            Config::H264(_) => Codec::H264,
        }
    }
}

/// An error that says what to do with a video that is coded in another way.
pub(super) fn unsupported<T>(found: &str) -> Result<T, Damage> {
    damage(format!(
        "expected AV1 or H.264 of 8 bits, found {found}: convert it with \
         `ffmpeg -i IN -c:v libsvtav1 -g 2 -crf 30 -pix_fmt yuv420p OUT`"
    ))
}

/// What people call a codec.
fn title(kind: Kind) -> String {
    match &kind {
        b"hvc1" | b"hev1" => "HEVC".into(),
        b"vp08" => "VP8".into(),
        b"vp09" => "VP9".into(),
        b"mp4v" => "MPEG-4 part 2".into(),
        b"mjpa" | b"mjpb" | b"jpeg" => "Motion JPEG".into(),
        _ => name(kind),
    }
}

/// The colours that the container names.
fn colr(boxes: &[u8]) -> Result<Color, Damage> {
    let Some(body) = Boxes::find(boxes, *b"colr")? else { return Ok(Color::default()) };
    let mut fields = Fields::new(body);
    let kind: Kind = fields.array()?;
    if kind != *b"nclx" && kind != *b"nclc" {
        return Ok(Color::default());
    }
    fields.take(4)?;
    let matrix = fields.u16()?;
    let full = kind == *b"nclx" && fields.u8()? & 0x80 != 0;
    Ok(Color::new(matrix.try_into().unwrap_or(2), full))
}
