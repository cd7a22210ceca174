//! AV1, by `re_rav1d`.

use engraft_core::RgbImage;
pub(super) use re_rav1d::dav1d::Picture;
use re_rav1d::dav1d::pixel::{MatrixCoefficients, YUVRange};
use re_rav1d::dav1d::{Decoder, Error, PixelLayout, PlanarImageComponent, Settings};

use super::boxes::{Damage, Fields, damage};
use super::codec::unsupported;
use super::color::{Chroma, Color, Planes};

/// A sample shows one picture, or one for each of its layers.
const MAX_PICTURES: usize = 64;

/// The `av1C` box.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// The sequence header, as it stands before the first sample.
    headers: Vec<u8>,
}

impl Config {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Damage> {
        let mut fields = Fields::new(body);
        let [marker, _, flags, _] = fields.array()?;
        if marker != 0x81 {
            return damage(format!("expected AV1 of version 1, found {marker:#04x}"));
        }
        if flags & 0x40 != 0 {
            return unsupported("AV1 of 10 or 12 bits");
        }
        Ok(Self { headers: fields.rest().to_vec() })
    }
}

/// A decoder of one stream at a time.
pub(super) struct Av1 {
    decoder: Decoder,
}

impl Av1 {
    /// Decodes pictures of at most `max_pixels` on the calling thread.
    pub(super) fn new(max_pixels: usize) -> Result<Self, Damage> {
        let mut settings = Settings::new();
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings.set_all_layers(false);
        settings.set_frame_size_limit(u32::try_from(max_pixels).unwrap_or(u32::MAX));
        let decoder = Decoder::with_settings(&settings).map_err(failed)?;
        Ok(Self { decoder })
    }

    /// Forgets the stream, so that decoding can begin elsewhere.
    pub(super) fn reset(&mut self) {
        self.decoder.flush();
    }

    /// The picture of the next sample.
    pub(super) fn decode(
        &mut self,
        config: &Config,
        sample: Vec<u8>,
        sync: bool,
    ) -> Result<Picture, Damage> {
        let data = if sync { [&config.headers[..], &sample].concat() } else { sample };
        let mut sent = self.decoder.send_data(data, None, None, None);
        let mut last = None;
        for _ in 0..MAX_PICTURES {
            let pending = match sent {
                Ok(()) => false,
                Err(Error::Again) => true,
                Err(error) => return Err(failed(error)),
            };
            match self.decoder.get_picture() {
                Ok(picture) => last = Some(picture),
                Err(Error::Again) if pending => {}
                Err(Error::Again) => {
                    return last.map_or_else(|| damage("a sample shows no picture"), Ok);
                }
                Err(error) => return Err(failed(error)),
            }
            sent = self.decoder.send_pending_data();
        }
        damage(format!("a sample shows more than {MAX_PICTURES} pictures"))
    }
}

fn failed(error: Error) -> Damage {
    Damage(format!("the AV1 decoder gave up: {error}"))
}

/// A picture as RGB.
pub(super) fn to_rgb(picture: &Picture) -> Result<RgbImage, Damage> {
    if picture.bit_depth() != 8 {
        return unsupported("AV1 of 10 or 12 bits");
    }
    let chroma = match picture.pixel_layout() {
        PixelLayout::I400 => Chroma::Grey,
        PixelLayout::I420 => Chroma::Quarter,
        PixelLayout::I422 => Chroma::Half,
        PixelLayout::I444 => Chroma::Full,
    };
    let matrix = match picture.matrix_coefficients() {
        MatrixCoefficients::Identity if chroma == Chroma::Full => {
            return unsupported("AV1 of RGB planes");
        }
        matrix => matrix as u8,
    };
    let color = Color::new(matrix, picture.color_range() == YUVRange::Full);
    let component = |component| picture.plane(component);
    let y = component(PlanarImageComponent::Y);
    let (u, v) = match chroma {
        Chroma::Grey => (None, None),
        _ => (Some(component(PlanarImageComponent::U)), Some(component(PlanarImageComponent::V))),
    };
    let planes = Planes {
        width: picture.width() as usize,
        height: picture.height() as usize,
        chroma,
        color,
        yuv: [&y, u.as_deref().unwrap_or(&[]), v.as_deref().unwrap_or(&[])],
        strides: [
            picture.stride(PlanarImageComponent::Y) as usize,
            picture.stride(PlanarImageComponent::U) as usize,
        ],
    };
    planes.to_rgb()
}
