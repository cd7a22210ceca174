//! Pictures in memory, whichever way their channels lie.

use std::ops::Range;

use burn_flex::FlexTensor;

use crate::fixed::Scaling;
use crate::lanes::{Lanes, for_each_isa};
use crate::threads::{Shared, for_each, written};

/// Pictures `[n, c, h, w]` at any distances between neighbours, in values.
#[derive(Clone, Copy)]
pub(crate) struct Pictures<'a> {
    values: &'a [f32],
    pub(crate) n: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    image: usize,
    channel: usize,
    pub(crate) line: usize,
    pub(crate) pixel: usize,
}

impl<'a> Pictures<'a> {
    /// `None` where a distance is negative or zero, as in a flipped or expanded tensor.
    pub(crate) fn of(tensor: &'a FlexTensor) -> Option<Self> {
        let layout = tensor.layout();
        let [n, channels, height, width] = layout.shape().dims();
        let [image, channel, line, pixel] = [0, 1, 2, 3].map(|dim| layout.strides()[dim]);
        if [(n, image), (channels, channel), (height, line), (width, pixel)]
            .iter()
            .any(|&(size, stride)| size > 1 && stride <= 0)
        {
            return None;
        }
        let values = &tensor.storage::<f32>()[layout.start_offset()..];
        // The distance along a side of one is never gone, so that it may be any.
        let channel = if channels == 1 { 1 } else { channel as usize };
        let pixel = if width == 1 { channels } else { pixel as usize };
        let line = if height == 1 { width * pixel } else { line as usize };
        let image = if n == 1 { height * line } else { image as usize };
        Some(Self { values, n, channels, height, width, image, channel, line, pixel })
    }

    /// Whether the channels of a pixel lie side by side.
    pub(crate) fn is_channels_last(&self) -> bool {
        self.channel == 1
    }

    /// Whether each pixel follows the one before without a gap, and each line too.
    pub(crate) fn is_dense(&self) -> bool {
        self.is_channels_last()
            && self.pixel == self.channels
            && self.line == self.width * self.pixel
            && (self.n == 1 || self.image == self.height * self.line)
    }

    /// The values from the first of picture `index`.
    pub(crate) fn image(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.image..]
    }

    /// Writes `lines` lines of `columns` pixels, channels last, the first pixel at `top` and
    /// `left` of picture `index`; what lies outside it is zero. With `relu`, so is what is below
    /// zero.
    pub(crate) fn copy(
        &self,
        index: usize,
        [top, left]: [isize; 2],
        [lines, columns]: [usize; 2],
        relu: bool,
        to: &mut [f32],
    ) {
        let c = self.channels;
        let image = self.image(index);
        let before = left.min(0).unsigned_abs().min(columns);
        let first = left.max(0) as usize;
        let inside = self.width.saturating_sub(first).min(columns - before);
        for (line, to) in to[..lines * columns * c].chunks_exact_mut(columns * c).enumerate() {
            let y = top + line as isize;
            if y < 0 || y as usize >= self.height || inside == 0 {
                to.fill(0.0);
                continue;
            }
            to[..before * c].fill(0.0);
            to[(before + inside) * c..].fill(0.0);
            let to = &mut to[before * c..(before + inside) * c];
            let from = &image[y as usize * self.line + first * self.pixel..];
            if self.is_channels_last() && self.pixel == c {
                let from = &from[..inside * c];
                if relu {
                    for (to, &value) in to.iter_mut().zip(from) {
                        *to = if value < 0.0 { 0.0 } else { value };
                    }
                } else {
                    to.copy_from_slice(from);
                }
                continue;
            }
            self.gather(from, inside, to);
            if relu {
                for value in to {
                    *value = if *value < 0.0 { 0.0 } else { *value };
                }
            }
        }
    }

    /// One line, pixel by pixel, from channels that lie apart: in squares, so that both sides of
    /// the transposition stay in the cache.
    fn gather(&self, from: &[f32], pixels: usize, to: &mut [f32]) {
        const SQUARE: usize = 16;
        let c = self.channels;
        for x in (0..pixels).step_by(SQUARE) {
            let xs = (pixels - x).min(SQUARE);
            for channel in (0..c).step_by(SQUARE) {
                for channel in channel..(channel + SQUARE).min(c) {
                    let from = &from[channel * self.channel + x * self.pixel..];
                    for i in 0..xs {
                        to[(x + i) * c + channel] = from[i * self.pixel];
                    }
                }
            }
        }
    }
}

/// Pixels of a task.
const PIXELS: usize = 2048;

/// Writes `channels` values of every pixel: `fill` those of a run of pixels from the first one on.
fn by_pixels(
    pixels: usize,
    channels: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync + Send,
) -> Vec<f32> {
    let blocks = pixels.div_ceil(PIXELS);
    let fill = |y: Shared| {
        for_each(blocks, pixels * channels * 4, |block| {
            let first = block * PIXELS;
            let len = PIXELS.min(pixels - first) * channels;
            // SAFETY: each task has some pixels for its own.
            let to = unsafe { y.part(first * channels, len) };
            fill(first, to);
        });
    };
    // SAFETY: the tasks cover every pixel, and every one of them is written whole.
    unsafe { written(pixels * channels, fill) }
}

/// `grads` where `gate` is above zero.
pub(crate) fn gated(grads: &[f32], gate: &[f32]) -> Vec<f32> {
    assert_eq!(grads.len(), gate.len(), "gradients and what gates them");
    by_pixels(grads.len(), 1, |first, to| {
        let from = grads[first..].iter().zip(&gate[first..]);
        for (to, (&grad, &gate)) in to.iter_mut().zip(from) {
            *to = if gate > 0.0 { grad } else { 0.0 };
        }
    })
}

/// The channels of each pixel of `a`, then those of `b`.
pub(crate) fn join(a: &[f32], b: &[f32], channels: [usize; 2], pixels: usize) -> Vec<f32> {
    let [first_channels, second_channels] = channels;
    assert_eq!([a.len(), b.len()], channels.map(|channels| channels * pixels));
    by_pixels(pixels, first_channels + second_channels, |first, to| {
        let a = a[first * first_channels..].chunks_exact(first_channels);
        let b = b[first * second_channels..].chunks_exact(second_channels);
        let to = to.chunks_exact_mut(first_channels + second_channels);
        for (to, (a, b)) in to.zip(a.zip(b)) {
            let (left, right) = to.split_at_mut(first_channels);
            left.copy_from_slice(a);
            right.copy_from_slice(b);
        }
    })
}

/// Some of `all` channels of each pixel.
pub(crate) fn part(x: &[f32], all: usize, channels: Range<usize>, pixels: usize) -> Vec<f32> {
    assert_eq!(x.len(), all * pixels, "pixels of {all} channels");
    by_pixels(pixels, channels.len(), |first, to| {
        let from = x[first * all..].chunks_exact(all);
        for (to, from) in to.chunks_exact_mut(channels.len()).zip(from) {
            to.copy_from_slice(&from[channels.clone()]);
        }
    })
}

/// `n` pictures of three planes, and of a fourth where there is depth, scaled and laid channels
/// last.
pub(crate) fn scale(
    rgb: &[f32],
    depth: Option<&[f32]>,
    n: usize,
    plane: usize,
    scaling: Scaling,
) -> Vec<f32> {
    /// Pixels of a task.
    const PIXELS: usize = 4096;
    let channels = 3 + usize::from(depth.is_some());
    let blocks = plane.div_ceil(PIXELS);
    let len = n * plane * channels;
    let fill = |y: Shared| {
        for_each(n * blocks, len * 4, |index| {
            let (image, first) = (index / blocks, index % blocks * PIXELS);
            let pixels = PIXELS.min(plane - first);
            let at = |channel: usize| (image * 3 + channel) * plane + first;
            let planes = [0, 1, 2].map(|channel| &rgb[at(channel)..][..pixels]);
            let depth = depth.map(|depth| &depth[image * plane + first..][..pixels]);
            // SAFETY: each task has some pixels of one picture for its own.
            unsafe {
                let to = y.part((image * plane + first) * channels, pixels * channels);
                scale_pixels(planes, depth, to, scaling);
            }
        });
    };
    // SAFETY: the tasks cover every pixel of every picture and write all its channels.
    unsafe { written(len, fill) }
}

for_each_isa! {
    /// # Safety
    ///
    /// None beyond the instruction set, which is looked up.
    unsafe fn scale_pixels(
        planes: [&[f32]; 3], depth: Option<&[f32]>, to: &mut [f32], scaling: Scaling,
    ) = scale_pixels_with
}

#[inline(always)]
unsafe fn scale_pixels_with<S: Lanes>(
    [red, green, blue]: [&[f32]; 3],
    depth: Option<&[f32]>,
    to: &mut [f32],
    scaling: Scaling,
) {
    let Scaling { shift, scale, depth: [low, high] } = scaling;
    let colours = red.iter().zip(green).zip(blue);
    let scaled = |((&r, &g), &b): ((&f32, &f32), &f32)| {
        [(r - shift[0]) * scale[0], (g - shift[1]) * scale[1], (b - shift[2]) * scale[2]]
    };
    match depth {
        Some(depth) => {
            for ((to, colour), &depth) in to.chunks_exact_mut(4).zip(colours).zip(depth) {
                let [r, g, b] = scaled(colour);
                to.copy_from_slice(&[r, g, b, depth.clamp(low, high)]);
            }
        }
        None => {
            for (to, colour) in to.chunks_exact_mut(3).zip(colours) {
                to.copy_from_slice(&scaled(colour));
            }
        }
    }
}

/// A tensor of pictures `[n, c, h, w]` whose values lie channels last.
pub(crate) fn channels_last(values: Vec<f32>, [n, c, h, w]: [usize; 4]) -> FlexTensor {
    let data = burn::tensor::TensorData::new(values, [n, h, w, c]);
    let tensor = FlexTensor::from_data(data);
    let layout = tensor.layout().permute(&[0, 3, 1, 2]);
    tensor.with_layout(layout)
}

/// Runs `run` on a tensor's pictures, copied first where they are flipped or expanded.
pub(crate) fn with_pictures<R>(x: &FlexTensor, run: impl FnOnce(Pictures) -> R) -> R {
    match Pictures::of(x) {
        Some(pictures) => run(pictures),
        None => {
            let copy = x.to_contiguous();
            run(Pictures::of(&copy).expect("a contiguous tensor has positive strides"))
        }
    }
}

/// The same values as rows of channels: `[n * h * w, c]`. Copies where the channels lie apart.
pub(crate) fn dense(tensor: FlexTensor) -> FlexTensor {
    if Pictures::of(&tensor).is_some_and(|pictures| pictures.is_dense()) {
        return tensor;
    }
    let shape @ [n, c, h, w]: [usize; 4] = tensor.layout().shape().dims();
    let mut values = vec![0.0; n * c * h * w];
    with_pictures(&tensor, |pictures| {
        for (index, to) in values.chunks_exact_mut((c * h * w).max(1)).enumerate() {
            pictures.copy(index, [0, 0], [h, w], false, to);
        }
    });
    channels_last(values, shape)
}
