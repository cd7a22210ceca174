//! Products in bytes.
//!
//! A row `x` becomes bytes without a sign, `x = scale * (byte - zero)`, with a scale and a zero of
//! its own, so that what one row holds does not coarsen another; a column of weights becomes bytes
//! with a sign, `weight = scale * byte`. Their products are added up in whole numbers, which are the
//! same on every processor; what comes before and after is written so that its bits are the same
//! too. Nothing is fused here: a product and a sum round twice everywhere.

use crate::bytes::{Sums, Way, for_each_way};
use crate::conv::Ending;
use crate::lanes::{Lanes, for_each_isa};
use crate::math::{Activation, activate};
use crate::panels::Panels;
use crate::threads::{Shared, for_each, parts, with_scratch};
use crate::tile::Finish;
use crate::unfused::Unfused;

/// Words of a column behind its weights: its scale, and the sum of its bytes.
const BEHIND: usize = 2;

/// The most rows of weights: as many of the largest products fit 32 bits.
pub(crate) const MOST_INPUTS: usize = 1 << 16;

/// Bytes of the rows of a task: they and a panel of weights fit a level-2 cache.
const TASK_BYTES: usize = 512 * 1024;

/// Rows of the largest tile.
const TILE: usize = 14;

for_each_isa! {
    /// Makes bytes of rows of `k` values: `row` bytes for each, of which those behind the values stay
    /// as they are, and two numbers, the scale and the byte that stands for zero.
    ///
    /// A row with something in it that is not a finite number has a scale that is not a number.
    ///
    /// # Safety
    ///
    /// None beyond the instruction set, which is looked up.
    pub(crate) unsafe fn quantize_rows(
        values: &[f32], k: usize, bytes: &mut [u8], row: usize, scales: &mut [[f32; 2]],
    ) = quantize_rows_with
}

#[inline(always)]
unsafe fn quantize_rows_with<S: Lanes>(
    values: &[f32],
    k: usize,
    bytes: &mut [u8],
    row: usize,
    scales: &mut [[f32; 2]],
) {
    let rows = values.chunks_exact(k).zip(bytes.chunks_exact_mut(row));
    for ((x, bytes), scales) in rows.zip(scales) {
        // SAFETY: the processor has `S`.
        let (least, most) = unsafe { range::<S>(x) };
        let scale = most / STEPS - least / STEPS;
        // Nothing but zeros, or as good as that.
        let scale = if scale < f32::MIN_POSITIVE { 0.0 } else { scale };
        let inverse = 1.0 / scale;
        if !inverse.is_finite() {
            *scales = [scale, 0.0];
            bytes.fill(0);
            continue;
        }
        let zero = (-least * inverse).round_ties_even();
        *scales = [scale, zero];
        for (byte, &x) in bytes.iter_mut().zip(x) {
            *byte = rounded(x * inverse + zero);
        }
    }
}

/// The nearest whole number, of which the last byte.
///
/// Adding to a number whose last bit is worth one rounds, and leaves the byte there.
#[inline(always)]
fn rounded(value: f32) -> u8 {
    (value + 12_582_912.0).to_bits() as u8 // 1.5 * 2^23
}

/// How many steps lie between a row's least and its largest value. One less than bytes have, since
/// both round: a sum of two is at most half a step further out on either side.
const STEPS: f32 = 254.0;

/// The least value of a row, or zero if that is less, and the largest; not numbers where one of the
/// values is infinite or no number.
#[inline(always)]
unsafe fn range<S: Lanes>(x: &[f32]) -> (f32, f32) {
    // SAFETY: no more lanes are read than the row has, and the processor has `S`, for the caller.
    unsafe {
        let zero = S::splat(0.0);
        let (mut most, mut least_turned, mut bad) = (zero, zero, zero);
        for at in (0..x.len()).step_by(S::WIDTH) {
            let left = (x.len() - at).min(S::WIDTH);
            let value = S::load_part(x.as_ptr().add(at), left);
            most = value.max(most);
            least_turned = zero.sub(value).max(least_turned);
            bad = value.sub(value).add(bad);
        }
        let bad = bad.sum(); // zero, or not a number
        (bad - least_turned.largest(), bad + most.largest())
    }
}

/// Weights as [`Panels`] hold them: a matrix of words, `[k / 4 + 2, n]`, of which each has four bytes
/// of a column from top to bottom. Behind them stand each column's scale and the sum of its bytes.
///
/// The weight in row `k` and column `n` is `values[rows[k] + n * step]`.
pub(crate) fn words(values: &[f32], rows: &[usize], n: usize, step: usize) -> Panels {
    assert!(rows.len() <= MOST_INPUTS, "{} inputs of a layer in bytes", rows.len());
    let groups = rows.len().div_ceil(4);
    // Row by row, which is how they lie.
    let mut most = vec![0.0_f32; n];
    for &row in rows {
        for (most, value) in most.iter_mut().zip(values[row..].iter().step_by(step)) {
            let size = value.abs();
            // Not a number where one of them is none.
            *most = if size > *most || size.is_nan() { size } else { *most };
        }
    }
    let scale = |&most: &f32| match most {
        most if !most.is_finite() => f32::NAN,
        most if most < f32::MIN_POSITIVE * LARGEST => 0.0,
        most => most / LARGEST,
    };
    let scales: Vec<f32> = most.iter().map(scale).collect();
    let mut sums = vec![0_i32; n];
    let mut words = vec![0_u32; groups * n];
    for (place, &row) in rows.iter().enumerate() {
        let words = words[place / 4 * n..].iter_mut().zip(&mut sums);
        let weights = values[row..].iter().step_by(step).zip(&scales);
        for ((word, sum), (&value, &scale)) in words.zip(weights) {
            let byte = if scale > 0.0 { rounded(value / scale) } else { 0 };
            *word |= u32::from(byte) << (8 * (place % 4));
            *sum += i32::from(byte.cast_signed());
        }
    }
    words.extend(scales.into_iter().map(f32::to_bits));
    words.extend(sums.into_iter().map(i32::cast_unsigned));
    let words: Vec<f32> = words.into_iter().map(f32::from_bits).collect();
    let rows: Vec<usize> = (0..groups + BEHIND).map(|row| row * n).collect();
    Panels::pack(&words, &rows, n, 1)
}

/// The largest byte of a weight.
const LARGEST: f32 = 127.0;

/// Multiplies rows of `k` values, one after another, by [`words`] and writes rows `y_row` apart.
///
/// # Safety
///
/// `y` has room for all rows; what is added is laid out as it is; nobody else touches it meanwhile.
/// The processor has the instructions of `way`.
pub(crate) unsafe fn product(
    way: Way,
    values: &[f32],
    k: usize,
    weights: &Panels,
    ending: Ending,
    y: Shared,
    y_row: usize,
) {
    let groups = weights.k() - BEHIND;
    if values.is_empty() || weights.n() == 0 {
        return;
    }
    let m = values.len() / k;
    assert_eq!(k.div_ceil(4), groups, "width of the rows");
    assert!(ending.bias.is_none_or(|bias| bias.len() == weights.n()));
    assert!(ending.gate.is_none(), "products in bytes have no gate");
    let finish = ending.finish();
    let work = m * k * weights.n() / 4;
    let threads = parts(work);
    // An odd number of cache lines: rows that lie a power of two apart would share a few.
    let a_row = k.next_multiple_of(64) | 64;
    // Every thread makes bytes of rows of its own; where they are few, all of them of all rows.
    let fitting = (TASK_BYTES / a_row).max(TILE);
    let blocks = m.div_ceil(fitting).next_multiple_of(threads).min(m.div_ceil(TILE));
    let rows = m.div_ceil(blocks);
    let blocks = m.div_ceil(rows);
    let shares = threads.div_ceil(blocks).min(weights.len());
    for_each(blocks * shares, work, |index| {
        let (first, share) = (index % blocks * rows, index / blocks);
        let rows = rows.min(m - first);
        let panels = weights.share(share, shares);
        with_scratch(rows * (a_row / size_of::<f32>() + 2), |scratch| {
            let (scales, bytes) = scratch.split_at_mut(2 * rows);
            let scales = scales.as_chunks_mut().0;
            // SAFETY: as many bytes as the rest has, of any content.
            let bytes = unsafe {
                std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<u8>(), rows * a_row)
            };
            // SAFETY: none beyond the instruction set, which is looked up.
            unsafe { quantize_rows(&values[first * k..][..rows * k], k, bytes, a_row, scales) };
            for panel in panels.clone() {
                let to = first * y_row + Panels::first(panel);
                let task = Task {
                    a: bytes.as_ptr(),
                    a_row,
                    scales: scales.as_ptr(),
                    rows,
                    b: weights.panel(panel).as_ptr(),
                    b_row: weights.width(panel),
                    groups,
                    next: weights.next(panel, &panels),
                    c: y.at(to),
                    c_row: y_row,
                    columns: weights.columns(panel),
                    finish: finish.at(to, Panels::first(panel)),
                };
                // SAFETY: the rows are inside `bytes`, panels are whole, the caller vouches for the
                // output and the way, and each task has rows or panels of its own.
                unsafe { rows_by_panel(way, &task) };
            }
        });
    });
}

/// Rows times a panel. Distances are in bytes for `a`, else in words.
#[derive(Clone, Copy)]
struct Task {
    a: *const u8,
    a_row: usize,
    /// Of each row the scale, and the byte that stands for zero.
    scales: *const [f32; 2],
    rows: usize,
    /// `[groups + 2, b_row]`
    b: *const f32,
    b_row: usize,
    groups: usize,
    /// The panel that will be needed after this one.
    next: *const f32,
    c: *mut f32,
    c_row: usize,
    columns: usize,
    finish: Finish,
}

for_each_way! {
    /// # Safety
    ///
    /// Every value that `task` spans must be inside its allocation; `b` has columns up to the next
    /// multiple of 16; nobody else touches the output meanwhile.
    unsafe fn rows_by_panel(task: &Task) = rows_by_panel_with
}

#[inline(always)]
unsafe fn rows_by_panel_with<S: Sums>(task: &Task) {
    let width = S::Floats::WIDTH;
    let tiles = task.rows.div_ceil(S::MAX_ROWS);
    // Each tile asks for a part of the next panel, little by little.
    let ask = task.b_row.div_ceil(tiles * task.columns.div_ceil(2 * width));
    let mut asked = 0;
    let mut column = 0;
    while column < task.columns {
        let left = task.columns - column;
        let mut done = 0;
        for tile in 0..tiles {
            let rows = (task.rows - done).div_ceil(tiles - tile);
            let to = done * task.c_row + column;
            // SAFETY: inside what the caller vouches for.
            unsafe {
                let part = Task {
                    a: task.a.add(done * task.a_row),
                    scales: task.scales.add(done),
                    b: task.b.add(column),
                    c: task.c.add(to),
                    columns: left,
                    next: task.next.wrapping_add(asked),
                    finish: task.finish.at(to, column),
                    ..*task
                };
                if left > width {
                    some_rows::<S, 2>(&part, rows, ask);
                } else {
                    some_rows::<S, 1>(&part, rows, ask);
                }
            }
            done += rows;
            asked = (asked + ask * task.groups) % (task.groups * task.b_row).max(1);
        }
        column += if left > width { 2 * width } else { width };
    }
}

#[inline(always)]
unsafe fn some_rows<S: Sums, const VECTORS: usize>(part: &Task, rows: usize, ask: usize) {
    // SAFETY: as for the caller.
    unsafe {
        match rows {
            1 => tile::<S, 1, VECTORS>(part, ask),
            2 => tile::<S, 2, VECTORS>(part, ask),
            3 => tile::<S, 3, VECTORS>(part, ask),
            4 => tile::<S, 4, VECTORS>(part, ask),
            5 if S::MAX_ROWS > 4 => tile::<S, 5, VECTORS>(part, ask),
            6 if S::MAX_ROWS > 4 => tile::<S, 6, VECTORS>(part, ask),
            7 if S::MAX_ROWS > 6 => tile::<S, 7, VECTORS>(part, ask),
            8 if S::MAX_ROWS > 6 => tile::<S, 8, VECTORS>(part, ask),
            9 if S::MAX_ROWS > 6 => tile::<S, 9, VECTORS>(part, ask),
            10 if S::MAX_ROWS > 6 => tile::<S, 10, VECTORS>(part, ask),
            11 if S::MAX_ROWS > 6 => tile::<S, 11, VECTORS>(part, ask),
            12 if S::MAX_ROWS > 6 => tile::<S, 12, VECTORS>(part, ask),
            13 if S::MAX_ROWS > 6 => tile::<S, 13, VECTORS>(part, ask),
            14 if S::MAX_ROWS > 6 => tile::<S, 14, VECTORS>(part, ask),
            _ => unreachable!("a group has at most {} rows", S::MAX_ROWS),
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Sums, const ROWS: usize, const VECTORS: usize>(part: &Task, ask: usize) {
    let width = S::Floats::WIDTH;
    // SAFETY: inside what the caller vouches for: `ROWS` rows of `a` and `c`, `VECTORS` vectors of
    // `b`, whose panels are whole, and of the output as many columns as there are.
    unsafe {
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        let (mut a, mut b, mut next) = (part.a, part.b, part.next);
        for _ in 0..part.groups {
            let mut weights = [S::weights(b.cast()); VECTORS];
            for (v, weights) in weights.iter_mut().enumerate().skip(1) {
                *weights = S::weights(b.add(v * width).cast());
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let four = S::four(a.add(row * part.a_row));
                for (sum, &weights) in sums.iter_mut().zip(&weights) {
                    *sum = sum.add_products(four, weights);
                }
            }
            a = a.wrapping_add(4);
            b = b.wrapping_add(part.b_row);
            S::Floats::prefetch(next);
            next = next.wrapping_add(ask);
        }
        let byte_sums = b.add(part.b_row).cast::<i32>();
        let left = |v: usize| part.columns.saturating_sub(v * width).min(width);
        for (row, sums) in sums.iter().enumerate() {
            let [scale, zero] = *part.scales.add(row);
            for (v, &sum) in sums.iter().enumerate() {
                let scale = S::Floats::load(b.add(v * width)).mul(S::Floats::splat(scale));
                let mut y = sum.floats_less(zero as i32, byte_sums.add(v * width)).mul(scale);
                if !part.finish.bias.is_null() {
                    y = y.add(S::Floats::load_part(
                        part.finish.bias.wrapping_add(v * width),
                        left(v),
                    ));
                }
                y.store_part(part.c.add(row * part.c_row + v * width), left(v));
            }
        }
        // A second pass over what is in the nearest cache by then: with it in the first, the sums
        // would not stay in registers.
        if !part.finish.add.is_null() || part.finish.activation != Activation::None {
            finish::<Unfused<S::Floats>>(part, ROWS, part.columns.min(VECTORS * width));
        }
    }
}

/// # Safety
///
/// As for [`rows_by_panel`], of the first `rows` and `columns` of the output.
#[inline(always)]
unsafe fn finish<F: Lanes>(part: &Task, rows: usize, columns: usize) {
    for row in 0..rows {
        for column in (0..columns).step_by(F::WIDTH) {
            let (at, left) = (row * part.c_row + column, (columns - column).min(F::WIDTH));
            // SAFETY: as for the caller; no more than the tile's columns are touched.
            unsafe {
                let mut y = F::load_part(part.c.add(at), left);
                if !part.finish.add.is_null() {
                    y = y.add(F::load_part(part.finish.add.add(at), left));
                }
                activate(y, part.finish.activation).store_part(part.c.add(at), left);
            }
        }
    }
}
