//! Convolutions of each channel with a kernel of its own.

use crate::Activation;
use crate::conv::Window;
use crate::lanes::{Lanes, for_each_isa};
use crate::math::activate;
use crate::panels::Panels;
use crate::picture::Pictures;
use crate::threads::{Shared, for_each, parts, written};

/// Neighbouring pixels that are summed at a time.
const PIXELS: usize = 7;

/// Some lines of one picture.
struct Lines {
    x: *const f32,
    x_pixel: usize,
    x_line: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    /// `[kernel places, width]`
    weights: *const f32,
    width: usize,
    bias: *const f32,
    y: *mut f32,
    channels: usize,
    lines: usize,
    columns: usize,
    activation: Activation,
}

/// `[n, h, w, c]` of the pictures' channels; `weights` has one row per place of the kernel.
pub(crate) fn depthwise(
    window: &Window,
    pictures: &Pictures,
    weights: &Panels,
    bias: &[f32],
    activation: Activation,
) -> Vec<f32> {
    let ([lines, columns], channels) = (window.output, pictures.channels);
    assert_eq!((weights.k(), weights.n()), (window.kernel[0] * window.kernel[1], channels));
    assert_eq!(bias.len(), channels);
    let work = pictures.n * lines * columns * channels * weights.k();
    let band = window.band(pictures, parts(work));
    let bands = lines.div_ceil(band);
    let image_len = lines * columns * channels;
    let fill = |y: Shared| {
        for_each(pictures.n * bands, work, |index| {
            let (image, first) = (index / bands, index % bands * band);
            let lines = band.min(lines - first);
            let run = |x: *const f32, x_pixel: usize, x_line: usize| {
                for panel in 0..weights.len() {
                    let channel = Panels::first(panel);
                    let task = Lines {
                        x: x.wrapping_add(channel),
                        x_pixel,
                        x_line,
                        kernel: window.kernel,
                        stride: window.stride,
                        weights: weights.panel(panel).as_ptr(),
                        width: weights.width(panel),
                        bias: bias[channel..].as_ptr(),
                        y: y.at(image * image_len + first * columns * channels + channel),
                        channels,
                        lines,
                        columns,
                        activation,
                    };
                    // SAFETY: `x` spans the band with all that the kernel covers, a panel has a
                    // row per place, and each task has lines of its own of the room for `y`.
                    unsafe { depthwise_lines(&task, weights.columns(panel)) };
                }
            };
            window.with_lines(pictures, false, image, [first, lines], run);
        });
    };
    // SAFETY: the tasks cover every line of every picture, and every panel of channels.
    unsafe { written(pictures.n * image_len, fill) }
}

for_each_isa! {
    /// # Safety
    ///
    /// Every value that `task` spans must be inside its allocation, and nobody else touches the
    /// output meanwhile.
    unsafe fn depthwise_lines(task: &Lines, columns: usize) = depthwise_lines_with
}

#[inline(always)]
unsafe fn depthwise_lines_with<S: Lanes>(task: &Lines, columns: usize) {
    let mut channel = 0;
    while channel < columns {
        let left = (columns - channel).min(S::WIDTH);
        for line in 0..task.lines {
            let mut done = 0;
            while done < task.columns {
                // SAFETY: as for the caller.
                unsafe {
                    if task.columns - done >= PIXELS {
                        some_pixels::<S, PIXELS>(task, channel, left, line, done);
                        done += PIXELS;
                    } else {
                        some_pixels::<S, 1>(task, channel, left, line, done);
                        done += 1;
                    }
                }
            }
        }
        channel += S::WIDTH;
    }
}

#[inline(always)]
unsafe fn some_pixels<S: Lanes, const PIXELS: usize>(
    task: &Lines,
    channel: usize,
    left: usize,
    line: usize,
    first: usize,
) {
    let step = task.stride[1] * task.x_pixel;
    // SAFETY: as for the caller; no more than `left` channels are touched.
    unsafe {
        let mut sums = [S::load_part(task.bias.add(channel), left); PIXELS];
        let x = task.x.add(line * task.stride[0] * task.x_line + first * step + channel);
        for ky in 0..task.kernel[0] {
            for kx in 0..task.kernel[1] {
                let place = ky * task.kernel[1] + kx;
                let weight = S::load(task.weights.add(place * task.width + channel));
                let x = x.add(ky * task.x_line + kx * task.x_pixel);
                for (pixel, sum) in sums.iter_mut().enumerate() {
                    let from = x.add(pixel * step);
                    let value =
                        if left == S::WIDTH { S::load(from) } else { S::load_part(from, left) };
                    *sum = value.mul_add(weight, *sum);
                }
            }
        }
        let y = task.y.add((line * task.columns + first) * task.channels + channel);
        for (pixel, &sum) in sums.iter().enumerate() {
            activate(sum, task.activation).store_part(y.add(pixel * task.channels), left);
        }
    }
}
