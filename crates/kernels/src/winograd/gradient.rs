//! The gradient of the weights: the same algorithm, read backwards.

use std::ops::Range;

use super::transforms::{across, output_places, weight_gradients};
use super::{PLACES, Planes, Source, Tiles, blocks, split_tiles, with_planes};
use crate::conv::{Window, add_rows};
use crate::lanes::{Lanes, for_each_isa};
use crate::picture::Pictures;
use crate::threads::{Shared, for_each, parts};
use crate::tile::{Outer, outer_sums};

/// The gradient of weights, `[co, ci, 3, 3]`.
///
/// `grads` are channels last without gaps. Tiles are dealt out in as many parts as there are
/// threads and the parts are added in order, so that the sum is the same every time on the same
/// number of threads.
pub(crate) fn weight_gradient(
    window: &Window,
    pictures: &Pictures,
    relu: bool,
    grads: &Pictures,
) -> Vec<f32> {
    let (channels, outputs, tiles) = (pictures.channels, grads.channels, Tiles::of(window));
    assert!(pictures.is_channels_last() && grads.is_channels_last(), "channels lie side by side");
    let all = pictures.n * tiles.per_picture();
    let work = all * PLACES * channels * outputs;
    let parts = parts(work).min(all).max(1);
    let (blocks, most) = blocks(all, channels + outputs, parts);
    let len = PLACES * channels * outputs;
    let mut sums = vec![0.0_f32; parts * len];
    let shared = Shared(sums.as_mut_ptr());
    for_each(parts, work, |part| {
        let planes = [channels, outputs].map(|channels| Planes::new(most, channels));
        with_planes(planes, channels.max(outputs), |[pixels, products], zeros| {
            let origin = window.origin;
            let source = Source { pictures, origin, relu, zeros };
            let grads = Source { pictures: grads, origin: [0, 0], relu: false, zeros };
            for block in blocks * part / parts..blocks * (part + 1) / parts {
                let block = all * block / blocks..all * (block + 1) / blocks;
                // SAFETY: there is room for as many tiles as a block has at most, `zeros` has a
                // zero for each channel, and each part has sums of its own.
                unsafe {
                    split_tiles(&source, &tiles, block.clone(), pixels);
                    split_gradients(&grads, &tiles, block.clone(), products);
                    for place in 0..PLACES {
                        outer_sums(&Outer {
                            a: products.at(place),
                            a_pixel: products.row,
                            a_line: 0,
                            b: pixels.at(place),
                            b_pixel: pixels.row,
                            b_line: 0,
                            lines: 1,
                            pixels: block.len(),
                            c: shared.at(part * len + place * channels * outputs),
                            c_row: channels,
                            rows: outputs,
                            columns: channels,
                        });
                    }
                }
            }
        });
    });
    let (total, others) = sums.split_at_mut(len);
    add_rows(total, others);
    let mut weight = vec![0.0; outputs * channels * 9];
    let to = Shared(weight.as_mut_ptr());
    for_each(outputs, len * 4, |output| {
        // SAFETY: each task has the weights of an output channel for its own, and `total` has the
        // gradients of all places.
        unsafe { join_weights(total, [outputs, channels], output, to.at(output * channels * 9)) };
    });
    weight
}

for_each_isa! {
    /// Writes the gradients of the products of `block` to `to`.
    ///
    /// # Safety
    ///
    /// As for [`split_tiles`].
    unsafe fn split_gradients(
        source: &Source<'_>, tiles: &Tiles, block: Range<usize>, to: Planes,
    ) = split_gradients_with
}

#[inline(always)]
unsafe fn split_gradients_with<S: Lanes>(
    source: &Source<'_>,
    tiles: &Tiles,
    block: Range<usize>,
    to: Planes,
) {
    let channels = source.pictures.channels;
    for (row, tile) in block.enumerate() {
        let pixels = source.pixels::<2>(tiles, tile);
        for channel in (0..channels).step_by(S::WIDTH) {
            let left = (channels - channel).min(S::WIDTH);
            // SAFETY: each pointer is to all channels of a pixel, and `to` has room for them.
            unsafe {
                let mut halves = [[S::splat(0.0); 4]; 2];
                for (half, [a, b]) in halves.iter_mut().zip(&pixels) {
                    let a = S::load_part(a.add(channel), left);
                    *half = output_places([a, S::load_part(b.add(channel), left)]);
                }
                for x in 0..4 {
                    let column = output_places(across(&halves, x));
                    for (y, value) in column.into_iter().enumerate() {
                        value.store_part(to.at(4 * y + x).add(row * to.row + channel), left);
                    }
                }
            }
        }
    }
}

for_each_isa! {
    /// Writes the gradient of one output channel's weights, `[ci, 3, 3]`, from that of what they
    /// became, `[16, co, ci]`.
    ///
    /// # Safety
    ///
    /// `to` has room for them, and nobody else touches it meanwhile.
    unsafe fn join_weights(
        places: &[f32], sizes: [usize; 2], output: usize, to: *mut f32,
    ) = join_weights_with
}

#[inline(always)]
unsafe fn join_weights_with<S: Lanes>(
    places: &[f32],
    [outputs, channels]: [usize; 2],
    output: usize,
    to: *mut f32,
) {
    assert_eq!(places.len(), PLACES * outputs * channels);
    for channel in (0..channels).step_by(S::WIDTH) {
        let left = (channels - channel).min(S::WIDTH);
        // SAFETY: no more channels are touched than there are.
        unsafe {
            let zero = S::splat(0.0);
            let mut thirds = [[zero; 3]; 4];
            for (i, third) in thirds.iter_mut().enumerate() {
                let mut line = [zero; 4];
                for (j, value) in line.iter_mut().enumerate() {
                    let at = ((4 * i + j) * outputs + output) * channels + channel;
                    *value = S::load_part(places.as_ptr().add(at), left);
                }
                *third = weight_gradients(line);
            }
            for x in 0..3 {
                let column = weight_gradients(across(&thirds, x));
                for (y, value) in column.into_iter().enumerate() {
                    let mut lanes = [0.0; 16];
                    value.store(lanes.as_mut_ptr());
                    for (i, lane) in lanes.iter().enumerate().take(left) {
                        *to.add((channel + i) * 9 + 3 * y + x) = *lane;
                    }
                }
            }
        }
    }
}
