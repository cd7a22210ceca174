//! Compressors of chunks: bytes in, exactly as many bytes out as the chunk has.
//!
//! A compressed chunk may claim any size; what is allocated first is what it really holds.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};
use jxl_oxide::{AllocTracker, JxlImage, PixelFormat};
use serde_json::Value;

use super::blosc;

/// Deflate and LZ4 cannot pack tighter than this; whoever claims more lies.
const MAX_RATIO: usize = 1032;

/// How the chunks of an array are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Plain,
    Blosc,
    Zstd,
    Zlib,
    Gzip,
    Lz4,
    Jpeg2000,
    JpegXl,
}

impl Codec {
    /// The codec of a `compressor`; otherwise its name.
    pub(super) fn parse(compressor: &Value) -> Result<Self, String> {
        if compressor.is_null() {
            return Ok(Self::Plain);
        }
        Ok(match compressor["id"].as_str() {
            Some("blosc") => Self::Blosc,
            Some("zstd") => Self::Zstd,
            Some("zlib") => Self::Zlib,
            Some("gzip") => Self::Gzip,
            Some("lz4") => Self::Lz4,
            Some("imagecodecs_jpeg2k") => Self::Jpeg2000,
            Some("imagecodecs_jpegxl") => Self::JpegXl,
            Some(name) => return Err(name.chars().take(64).collect()),
            None => return Err("none".into()),
        })
    }

    /// The `len` bytes that `bytes` stand for.
    pub(super) fn decode(self, bytes: Vec<u8>, len: usize) -> Result<Vec<u8>, String> {
        let decoded = match self {
            Self::Plain => bytes,
            Self::Blosc => blosc::decode(&bytes, len)?,
            Self::Zstd => zstd(&bytes, len)?,
            Self::Zlib => inflate(ZlibDecoder::new(&*bytes), len)?,
            Self::Gzip => inflate(MultiGzDecoder::new(&*bytes), len)?,
            Self::Lz4 => lz4(&bytes, len)?,
            Self::Jpeg2000 => guarded("JPEG 2000", || jpeg2000(&bytes, len))?,
            Self::JpegXl => guarded("JPEG XL", || jpeg_xl(&bytes, len))?,
        };
        if decoded.len() == len { Ok(decoded) } else { Err(wrong_size(decoded.len(), len)) }
    }
}

/// What to say of a chunk of the wrong size.
pub(super) fn wrong_size(found: usize, expected: usize) -> String {
    format!("expected a chunk of {expected} bytes, found {found}")
}

/// One byte more than `len` is enough to see that a chunk is too long.
pub(super) fn inflate(decoder: impl Read, len: usize) -> Result<Vec<u8>, String> {
    let mut decoded = Vec::new();
    let result = decoder.take(len as u64 + 1).read_to_end(&mut decoded);
    result.map_err(|error| format!("cannot decompress: {error}"))?;
    Ok(decoded)
}

/// Decompresses frames of Zstandard.
pub(super) fn zstd(bytes: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let decoder = zstd::stream::read::Decoder::with_buffer(bytes);
    inflate(decoder.map_err(|error| format!("cannot decompress: {error}"))?, len)
}

/// A block of LZ4 behind its length, as numcodecs writes it.
fn lz4(bytes: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let (header, block) = bytes.split_first_chunk().ok_or("expected 4 bytes of length")?;
    let claimed = u32::from_le_bytes(*header) as usize;
    if claimed != len {
        return Err(wrong_size(claimed, len));
    }
    lz4_block(block, len)
}

/// A block of LZ4 that stands for `len` bytes.
pub(super) fn lz4_block(block: &[u8], len: usize) -> Result<Vec<u8>, String> {
    check_ratio(block.len(), len)?;
    let mut decoded = vec![0; len];
    match lz4_flex::block::decompress_into(block, &mut decoded) {
        Ok(found) if found == len => Ok(decoded),
        Ok(found) => Err(wrong_size(found, len)),
        Err(error) => Err(format!("cannot decompress: {error}")),
    }
}

/// That `len` bytes can come out of `packed` bytes at all.
pub(super) fn check_ratio(packed: usize, len: usize) -> Result<(), String> {
    if len <= packed.saturating_mul(MAX_RATIO) {
        return Ok(());
    }
    Err(format!("{packed} bytes cannot hold the {len} that are claimed"))
}

fn jpeg2000(bytes: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let failed = |error| format!("cannot decode JPEG 2000: {error}");
    let image = Image::new(bytes, &DecodeSettings::default()).map_err(failed)?;
    let channels = usize::from(image.color_space().num_channels()) + usize::from(image.has_alpha());
    let found = pixels(image.width(), image.height()).saturating_mul(channels);
    if found != len {
        return Err(wrong_size(found, len));
    }
    let mut context = DecoderContext::default();
    Ok(image.decode(&mut context).map_err(failed)?.data_u8())
}

fn jpeg_xl(bytes: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let failed = |error| format!("cannot decode JPEG XL: {error}");
    // The decoder works in 32-bit floats, on several copies of the picture.
    let limit = AllocTracker::with_limit(len.saturating_mul(64).saturating_add(1 << 24));
    let image = JxlImage::builder().alloc_tracker(limit).read(bytes).map_err(failed)?;
    let channels = match image.pixel_format() {
        PixelFormat::Gray => 1,
        PixelFormat::Graya => 2,
        PixelFormat::Rgb => 3,
        PixelFormat::Rgba => 4,
        other => return Err(format!("expected JPEG XL of grey or colour, found {other:?}")),
    };
    let found = pixels(image.width(), image.height()).saturating_mul(channels);
    if found != len {
        return Err(wrong_size(found, len));
    }
    let render = image.render_frame(0).map_err(failed)?;
    let mut decoded = vec![0; len];
    render.stream().write_to_buffer::<u8>(&mut decoded);
    Ok(decoded)
}

fn pixels(width: u32, height: u32) -> usize {
    (width as usize).saturating_mul(height as usize)
}

/// Does `work`; a panic of the decoder becomes an error.
fn guarded<T>(kind: &str, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(format!("damaged {kind}: its decoder gave up")))
}
