//! The largest value under a window, and resizing; both channels last.

use crate::conv::Window;
use crate::lanes::{Lanes, for_each_isa};
use crate::picture::Pictures;
use crate::threads::{Shared, for_each, written};

/// Channels whose largest values are found at a time.
const CHANNELS: usize = 64;

/// What a comparison costs, in multiplications.
const COMPARING_COST: usize = 4;

/// The largest values `[n, h, w, c]`, and at which place of the kernel each one was found if that
/// is asked.
pub(crate) fn max_pool(
    window: &Window,
    pictures: &Pictures,
    with_places: bool,
) -> (Vec<f32>, Vec<u8>) {
    let ([lines, columns], channels) = (window.output, pictures.channels);
    let image_len = lines * columns * channels;
    let mut places = vec![0_u8; if with_places { pictures.n * image_len } else { 0 }];
    let base = Shared(places.as_mut_ptr());
    let work = pictures.n * image_len * window.kernel[0] * window.kernel[1] * COMPARING_COST;
    let line_len = columns * channels;
    let fill = |y: Shared| {
        for_each(pictures.n * lines, work, |index| {
            let line = index * line_len;
            // SAFETY: each task has one line of the two outputs for its own.
            unsafe {
                let y = y.part(line, line_len);
                let places = with_places.then(|| base.part(line, line_len));
                max_line(window, pictures, [index / lines, index % lines], y, places);
            }
        });
    };
    // SAFETY: every line of every picture is a task, which writes all of it.
    let y = unsafe { written(pictures.n * image_len, fill) };
    (y, places)
}

for_each_isa! {
    /// # Safety
    ///
    /// None beyond the instruction set, which is looked up.
    unsafe fn max_line(
        window: &Window, pictures: &Pictures<'_>, at: [usize; 2],
        y: &mut [f32], places: Option<&mut [u8]>,
    ) = max_line_with
}

#[inline(always)]
unsafe fn max_line_with<S: Lanes>(
    window: &Window,
    pictures: &Pictures<'_>,
    [image, line]: [usize; 2],
    y: &mut [f32],
    mut places: Option<&mut [u8]>,
) {
    let channels = pictures.channels;
    let values = pictures.image(image);
    for column in 0..window.output[1] {
        for first in (0..channels).step_by(CHANNELS) {
            let len = CHANNELS.min(channels - first);
            let (mut best, mut found) = ([f32::NEG_INFINITY; CHANNELS], [0_i32; CHANNELS]);
            for (place, at) in inside(window, pictures, line, column) {
                let from = &values[at + first..][..len];
                if places.is_none() {
                    for (&value, best) in from.iter().zip(&mut best) {
                        *best = if value > *best || value.is_nan() { value } else { *best };
                    }
                    continue;
                }
                for ((&value, best), found) in from.iter().zip(&mut best).zip(&mut found) {
                    // Not a number wins, as it does in PyTorch.
                    let larger = value > *best || value.is_nan();
                    *best = if larger { value } else { *best };
                    *found = if larger { place as i32 } else { *found };
                }
            }
            let to = column * channels + first;
            y[to..to + len].copy_from_slice(&best[..len]);
            if let Some(places) = &mut places {
                for (to, &place) in places[to..to + len].iter_mut().zip(&found) {
                    *to = place as u8;
                }
            }
        }
    }
}

/// The places of the kernel that lie inside the picture, and where each is in memory.
#[inline(always)]
fn inside(
    window: &Window,
    pictures: &Pictures,
    line: usize,
    column: usize,
) -> impl Iterator<Item = (usize, usize)> + use<> {
    let [height, width] = [pictures.height, pictures.width];
    let [line_len, pixel] = [pictures.line, pictures.pixel];
    let kernel = window.kernel;
    let top = window.origin[0] + (line * window.stride[0]) as isize;
    let left = window.origin[1] + (column * window.stride[1]) as isize;
    (0..kernel[0] * kernel[1]).filter_map(move |place| {
        let y = usize::try_from(top + (place / kernel[1]) as isize).ok().filter(|&y| y < height)?;
        let x = usize::try_from(left + (place % kernel[1]) as isize).ok().filter(|&x| x < width)?;
        Some((place, y * line_len + x * pixel))
    })
}

/// The gradient of the input of [`max_pool`]: each value comes from the windows in which the pixel
/// was the largest.
pub(crate) fn max_pool_gradient(
    window: &Window,
    grads: &[f32],
    places: &[u8],
    n: usize,
    channels: usize,
    [height, width]: [usize; 2],
) -> Vec<f32> {
    assert_eq!(grads.len(), n * window.output[0] * window.output[1] * channels);
    assert_eq!(grads.len(), places.len());
    let line_len = width * channels;
    let work = n * height * line_len * COMPARING_COST;
    let fill = |dx: Shared| {
        for_each(n * height, work, |index| {
            // SAFETY: each task has one line for its own; no more beyond the instruction set,
            // which is looked up.
            unsafe {
                let dx = dx.part(index * line_len, line_len);
                pick_line(window, grads, places, [index / height, index % height], channels, dx);
            }
        });
    };
    // SAFETY: every line of every picture is a task, which writes all of it.
    unsafe { written(n * height * line_len, fill) }
}

for_each_isa! {
    /// # Safety
    ///
    /// None beyond the instruction set, which is looked up.
    unsafe fn pick_line(
        window: &Window, grads: &[f32], places: &[u8], at: [usize; 2], channels: usize,
        dx: &mut [f32],
    ) = pick_line_with
}

#[inline(always)]
unsafe fn pick_line_with<S: Lanes>(
    window: &Window,
    grads: &[f32],
    places: &[u8],
    [image, line]: [usize; 2],
    channels: usize,
    dx: &mut [f32],
) {
    let [lines, columns] = window.output;
    for (column, dx) in dx.chunks_exact_mut(channels).enumerate() {
        dx.fill(0.0);
        for (y, ky) in windows_over(window, 0, line) {
            for (x, kx) in windows_over(window, 1, column) {
                let place = (ky * window.kernel[1] + kx) as u8;
                let from = ((image * lines + y) * columns + x) * channels;
                let from = from..from + channels;
                let found = grads[from.clone()].iter().zip(&places[from]);
                for (dx, (&grad, &largest)) in dx.iter_mut().zip(found) {
                    *dx += if largest == place { grad } else { 0.0 };
                }
            }
        }
    }
}

/// The outputs along an axis whose window covers input `at`, and which of its places that is.
#[inline(always)]
fn windows_over(
    window: &Window,
    axis: usize,
    at: usize,
) -> impl Iterator<Item = (usize, usize)> + use<> {
    let (kernel, stride) = (window.kernel[axis], window.stride[axis]);
    // Counted from the first place of the first window.
    let at = (at as isize - window.origin[axis]) as usize;
    let first = (at + 1).saturating_sub(kernel).div_ceil(stride);
    let last = (at / stride + 1).min(window.output[axis]);
    (first..last).map(move |output| (output, at - output * stride))
}

/// How one axis is resampled: for each output, two inputs and the share of the second.
fn taps(from: usize, to: usize) -> Vec<([usize; 2], f32)> {
    let scale = from as f64 / to as f64;
    let tap = |i: usize| {
        let at = ((i as f64 + 0.5) * scale - 0.5).max(0.0);
        let first = (at as usize).min(from - 1);
        ([first, (first + 1).min(from - 1)], (at - first as f64) as f32)
    };
    (0..to).map(tap).collect()
}

/// Bilinear, corners not aligned, nothing averaged: `[n, oh, ow, c]`.
pub(crate) fn resize(pictures: &Pictures, [height, width]: [usize; 2]) -> Vec<f32> {
    let channels = pictures.channels;
    let (down, right) = (taps(pictures.height, height), taps(pictures.width, width));
    let line_len = width * channels;
    let len = pictures.n * height * line_len;
    let fill = |y: Shared| {
        for_each(pictures.n * height, len * 4, |index| {
            // SAFETY: each task has one line for its own.
            let to = unsafe { y.part(index * line_len, line_len) };
            let image = pictures.image(index / height);
            let ([above, below], share) = down[index % height];
            for (to, &([left, right], across)) in to.chunks_exact_mut(channels).zip(&right) {
                let pixel = |line: usize, column: usize| {
                    &image[line * pictures.line + column * pictures.pixel..][..channels]
                };
                let corners = [
                    (pixel(above, left), pixel(above, right)),
                    (pixel(below, left), pixel(below, right)),
                ];
                for (channel, to) in to.iter_mut().enumerate() {
                    let [upper, lower] =
                        corners.map(|(l, r)| l[channel] * (1.0 - across) + r[channel] * across);
                    *to = upper * (1.0 - share) + lower * share;
                }
            }
        });
    };
    // SAFETY: every line of every picture is a task, which writes all of it.
    unsafe { written(len, fill) }
}

/// The gradient of the input of [`resize`].
pub(crate) fn resize_gradient(
    grads: &[f32],
    n: usize,
    channels: usize,
    [height, width]: [usize; 2],
    [oh, ow]: [usize; 2],
) -> Vec<f32> {
    let (down, right) = (taps(height, oh), taps(width, ow));
    let image_len = height * width * channels;
    let mut dx = vec![0.0; n * image_len];
    let all = Shared(dx.as_mut_ptr());
    for_each(n, n * oh * ow * channels * 4, |image| {
        // SAFETY: each task has one picture for its own.
        let dx = unsafe { all.part(image * image_len, image_len) };
        let grads = grads[image * oh * ow * channels..].chunks_exact(channels);
        for (index, grads) in grads.take(oh * ow).enumerate() {
            let ((lines, share), (columns, across)) = (down[index / ow], right[index % ow]);
            for (line, y_share) in [(lines[0], 1.0 - share), (lines[1], share)] {
                for (column, x_share) in [(columns[0], 1.0 - across), (columns[1], across)] {
                    let factor = y_share * x_share;
                    if factor == 0.0 {
                        continue;
                    }
                    let to = &mut dx[(line * width + column) * channels..][..channels];
                    for (to, &grad) in to.iter_mut().zip(grads) {
                        *to += factor * grad;
                    }
                }
            }
        }
    });
    dx
}
