//! Norms of rows.

use crate::lanes::{Lanes, for_each_isa};
use crate::threads::{Shared, for_each, written};

/// Rows of a task.
const ROWS: usize = 32;

/// Each row moved to mean 0 and scaled to variance 1, times `scale`, plus `shift`.
pub(crate) fn layer_norm(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32) -> Vec<f32> {
    assert_eq!(shift.len(), scale.len());
    by_rows(x, scale.len(), |x, y| {
        // SAFETY: `y` has room for the rows of `x`, and scale and shift are as wide as they.
        unsafe { layer_norm_rows(x, y, scale, shift, epsilon) };
    })
}

/// Each row, `offset` added to every value, divided by its Euclidean length.
pub(crate) fn unit_norm(x: &[f32], width: usize, offset: f32) -> Vec<f32> {
    by_rows(x, width, |x, y| {
        // SAFETY: `y` has room for the rows of `x`.
        unsafe { unit_norm_rows(x, y, width, offset) };
    })
}

/// Calls `run` with some rows at a time and where their results go.
fn by_rows(x: &[f32], width: usize, run: impl Fn(&[f32], *mut f32) + Sync + Send) -> Vec<f32> {
    let chunk = ROWS * width;
    let fill = |y: Shared| {
        for_each(x.len().div_ceil(chunk.max(1)), x.len() * 4, |index| {
            let rows = &x[index * chunk..x.len().min((index + 1) * chunk)];
            run(rows, y.at(index * chunk));
        });
    };
    // SAFETY: the tasks cover all rows, and `run` writes as many values as it gets.
    unsafe { written(x.len(), fill) }
}

for_each_isa! {
    /// # Safety
    ///
    /// `y` has room for `x`, which is whole rows as wide as `scale` and `shift`.
    unsafe fn layer_norm_rows(x: &[f32], y: *mut f32, scale: &[f32], shift: &[f32], epsilon: f32)
        = layer_norm_rows_with
}

#[inline(always)]
unsafe fn layer_norm_rows_with<S: Lanes>(
    x: &[f32],
    y: *mut f32,
    scale: &[f32],
    shift: &[f32],
    epsilon: f32,
) {
    let width = scale.len();
    for (row, x) in x.chunks_exact(width).enumerate() {
        // SAFETY: `part` touches no more than the row's values.
        unsafe {
            let y = y.add(row * width);
            let mut sum = S::splat(0.0);
            for at in (0..width).step_by(S::WIDTH) {
                sum = sum.add(S::load_part(x.as_ptr().add(at), (width - at).min(S::WIDTH)));
            }
            let mean = sum.sum() / width as f32;
            let (mut squares, middle) = (S::splat(0.0), S::splat(mean));
            for at in (0..width).step_by(S::WIDTH) {
                let left = (width - at).min(S::WIDTH);
                let apart = S::load_part(x.as_ptr().add(at), left).sub(middle);
                if left == S::WIDTH {
                    squares = apart.mul_add(apart, squares);
                } else {
                    let square = x[at..].iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
                    squares = squares.add(S::load_part(&raw const square, 1));
                }
            }
            let variance = squares.sum() / width as f32;
            let factor = S::splat(1.0 / (variance + epsilon).sqrt());
            for at in (0..width).step_by(S::WIDTH) {
                let left = (width - at).min(S::WIDTH);
                let apart = S::load_part(x.as_ptr().add(at), left).sub(middle).mul(factor);
                let scale = S::load_part(scale.as_ptr().add(at), left);
                let shift = S::load_part(shift.as_ptr().add(at), left);
                apart.mul_add(scale, shift).store_part(y.add(at), left);
            }
        }
    }
}

for_each_isa! {
    /// # Safety
    ///
    /// `y` has room for `x`, which is whole rows of `width`.
    unsafe fn unit_norm_rows(x: &[f32], y: *mut f32, width: usize, offset: f32)
        = unit_norm_rows_with
}

#[inline(always)]
unsafe fn unit_norm_rows_with<S: Lanes>(x: &[f32], y: *mut f32, width: usize, offset: f32) {
    for (row, x) in x.chunks_exact(width).enumerate() {
        // SAFETY: `part` touches no more than the row's values.
        unsafe {
            let y = y.add(row * width);
            let (mut squares, offsets) = (S::splat(0.0), S::splat(offset));
            let mut rest = 0.0;
            for at in (0..width).step_by(S::WIDTH) {
                if width - at < S::WIDTH {
                    rest = x[at..].iter().map(|x| (x + offset) * (x + offset)).sum::<f32>();
                } else {
                    let value = S::load(x.as_ptr().add(at)).add(offsets);
                    squares = value.mul_add(value, squares);
                }
            }
            let length = S::splat((squares.sum() + rest).sqrt());
            for at in (0..width).step_by(S::WIDTH) {
                let left = (width - at).min(S::WIDTH);
                let value = S::load_part(x.as_ptr().add(at), left).add(offsets);
                value.div(length).store_part(y.add(at), left);
            }
        }
    }
}
