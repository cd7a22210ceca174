//! Scaled dot-product attention, a few rows of scores at a time.

use crate::lanes::{Lanes, for_each_isa};
use crate::math::exp;
use crate::threads::{Shared, for_each, with_scratch, written};
use crate::tile::{Finish, Rows, rows_by_panel};

/// Columns of a panel of keys or values.
const PANEL: usize = 32;

/// Rows of scores at a time at most: whole tiles.
const ROWS: usize = 28;

/// A score whose share is nothing.
const NOTHING: f32 = -1e30;

/// Mixes the values of every head: `[n, tokens, 3 * width]` of queries, keys and values, whose
/// heads lie side by side, to `[n, tokens, width]`. Scores are scaled by the root of a head's
/// width.
pub(crate) fn attention(
    qkv: &[f32],
    n: usize,
    tokens: usize,
    width: usize,
    heads: usize,
) -> Vec<f32> {
    let head = width / heads;
    assert_eq!(qkv.len(), n * tokens * 3 * width);
    assert_eq!(head * heads, width, "heads of {width} channels");
    let padded = tokens.next_multiple_of(PANEL);
    let value_panels = head.div_ceil(PANEL);
    let (keys_len, values_len) = (padded * head, value_panels * tokens * PANEL);
    let scale = 1.0 / (head as f32).sqrt();
    let fill = |y: Shared| {
        for_each(n * heads, n * heads * tokens * tokens * head * 2, |index| {
            let (image, at) = (index / heads, index % heads * head);
            let qkv = &qkv[image * tokens * 3 * width..][..tokens * 3 * width];
            with_scratch(keys_len + values_len + ROWS * padded, |scratch| {
                let (keys, rest) = scratch.split_at_mut(keys_len);
                let (values, scores) = rest.split_at_mut(values_len);
                let row = |token: usize, part: usize| {
                    &qkv[token * 3 * width + part * width + at..][..head]
                };
                pack_keys(keys, head, tokens, |token| row(token, 1));
                pack_values(values, head, tokens, |token| row(token, 2));
                let step = tokens.div_ceil(tokens.div_ceil(ROWS).max(1)).max(1);
                for first in (0..tokens).step_by(step) {
                    let rows = step.min(tokens - first);
                    let task = Rows {
                        a: row(first, 0).as_ptr(),
                        a_pixel: 3 * width,
                        a_line: 0,
                        segments: 1,
                        segment: 0,
                        segment_len: head,
                        b: keys.as_ptr(),
                        b_row: PANEL,
                        next: keys.as_ptr(),
                        c: scores.as_mut_ptr(),
                        c_pixel: padded,
                        c_line: 0,
                        lines: 1,
                        pixels: rows,
                        columns: PANEL,
                        finish: Finish::NOTHING,
                    };
                    for panel in 0..padded / PANEL {
                        // SAFETY: queries of `rows` tokens, whole panels, and room for their
                        // scores.
                        unsafe {
                            rows_by_panel(&Rows {
                                b: keys.as_ptr().add(panel * PANEL * head),
                                c: scores.as_mut_ptr().add(panel * PANEL),
                                ..task
                            });
                        }
                    }
                    for scores in scores.chunks_exact_mut(padded).take(rows) {
                        scores[tokens..].fill(NOTHING);
                        // SAFETY: rows are padded to whole vectors.
                        unsafe { softmax(scores, scale) };
                    }
                    for panel in 0..value_panels {
                        let to = (image * tokens + first) * width + at + panel * PANEL;
                        // SAFETY: scores of `rows` rows, whole panels of all tokens, and this
                        // head's columns of the room for the output.
                        unsafe {
                            rows_by_panel(&Rows {
                                a: scores.as_ptr(),
                                a_pixel: padded,
                                segment_len: tokens,
                                b: values.as_ptr().add(panel * tokens * PANEL),
                                c: y.at(to),
                                c_pixel: width,
                                columns: PANEL.min(head - panel * PANEL),
                                ..task
                            });
                        }
                    }
                }
            });
        });
    };
    // SAFETY: the tasks cover every head of every token.
    unsafe { written(n * tokens * width, fill) }
}

/// Panels of 32 tokens, `[head, 32]` each; tokens beyond the last are zero.
fn pack_keys<'a>(keys: &mut [f32], head: usize, tokens: usize, row: impl Fn(usize) -> &'a [f32]) {
    for (panel, keys) in keys.chunks_exact_mut(PANEL * head).enumerate() {
        for column in 0..PANEL {
            let token = panel * PANEL + column;
            if token < tokens {
                for (i, &value) in row(token).iter().enumerate() {
                    keys[i * PANEL + column] = value;
                }
            } else {
                for i in 0..head {
                    keys[i * PANEL + column] = 0.0;
                }
            }
        }
    }
}

/// Panels of 32 channels, `[tokens, 32]` each; channels beyond the head's are zero.
fn pack_values<'a>(
    values: &mut [f32],
    head: usize,
    tokens: usize,
    row: impl Fn(usize) -> &'a [f32],
) {
    for (panel, values) in values.chunks_exact_mut(tokens * PANEL).enumerate() {
        let columns = PANEL.min(head - panel * PANEL);
        for (token, to) in values.chunks_exact_mut(PANEL).enumerate() {
            to[..columns].copy_from_slice(&row(token)[panel * PANEL..][..columns]);
            to[columns..].fill(0.0);
        }
    }
}

for_each_isa! {
    /// `exp(scale * x)`, divided by its sum.
    ///
    /// # Safety
    ///
    /// `x` is a multiple of two of the widest vectors.
    unsafe fn softmax(x: &mut [f32], scale: f32) = softmax_with
}

#[inline(always)]
unsafe fn softmax_with<S: Lanes>(x: &mut [f32], scale: f32) {
    let pairs = (0..x.len()).step_by(2 * S::WIDTH);
    let x = x.as_mut_ptr();
    // SAFETY: pairs of vectors up to the end of `x`.
    unsafe {
        let mut most = [S::splat(f32::NEG_INFINITY); 2];
        for at in pairs.clone() {
            most = [most[0].max(S::load(x.add(at))), most[1].max(S::load(x.add(at + S::WIDTH)))];
        }
        let largest = most[0].max(most[1]).largest();
        let (scale, shift) = (S::splat(scale), S::splat(-largest * scale));
        let mut sums = [S::splat(0.0); 2];
        for at in pairs.clone() {
            for (i, sum) in sums.iter_mut().enumerate() {
                let to = x.add(at + i * S::WIDTH);
                let value = exp(S::load(to).mul_add(scale, shift));
                *sum = sum.add(value);
                value.store(to);
            }
        }
        let factor = S::splat(1.0 / sums[0].add(sums[1]).sum());
        for at in pairs {
            for to in [x.add(at), x.add(at + S::WIDTH)] {
                S::load(to).mul(factor).store(to);
            }
        }
    }
}
