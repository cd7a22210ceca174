//! The innermost loops: a tile of sums that stays in registers.
//!
//! [`rows_by_panel`] multiplies rows by a packed panel of weights: products, convolutions, their
//! input gradients. [`outer_sums`] adds up products of pixels: the weights' gradients.

use crate::lanes::{Lanes, for_each_isa};
use crate::math::{Activation, activate};

/// What happens to the sums of a tile on their way to memory.
///
/// `add` and `gate` are laid out as the output is and may be null.
#[derive(Clone, Copy)]
pub(crate) struct Finish {
    /// One value per column; may be null.
    pub(crate) bias: *const f32,
    /// Passes a sum only where it is above zero.
    pub(crate) gate: *const f32,
    /// Is added to what passed.
    pub(crate) add: *const f32,
    pub(crate) activation: Activation,
}

// SAFETY: tasks only read through it, and nobody writes to what it reads while they run, which is
// for whoever makes it to see to.
unsafe impl Send for Finish {}
// SAFETY: as above.
unsafe impl Sync for Finish {}

impl Finish {
    pub(crate) const NOTHING: Self = Self {
        bias: std::ptr::null(),
        gate: std::ptr::null(),
        add: std::ptr::null(),
        activation: Activation::None,
    };

    /// For the output `by` values further on, whose first column is `columns` further on.
    pub(crate) fn at(self, by: usize, columns: usize) -> Self {
        let step = |from: *const f32, by: usize| {
            if from.is_null() { from } else { from.wrapping_add(by) }
        };
        Self {
            bias: step(self.bias, columns),
            gate: step(self.gate, by),
            add: step(self.add, by),
            ..self
        }
    }
}

/// Rows times a panel, line by line. Distances are in values.
///
/// The row of a pixel is `segments` runs of `segment_len` values, `segment` apart: for a
/// convolution, the lines of the kernel; for a product, one run.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) a: *const f32,
    /// From a pixel's row to its neighbour's.
    pub(crate) a_pixel: usize,
    pub(crate) a_line: usize,
    pub(crate) segments: usize,
    pub(crate) segment: usize,
    pub(crate) segment_len: usize,
    /// `[segments * segment_len, b_row]`
    pub(crate) b: *const f32,
    pub(crate) b_row: usize,
    /// The panel that will be needed after this one, as large as it: it is on its way to the cache
    /// by then.
    pub(crate) next: *const f32,
    pub(crate) c: *mut f32,
    pub(crate) c_pixel: usize,
    pub(crate) c_line: usize,
    pub(crate) lines: usize,
    /// Pixels of a line.
    pub(crate) pixels: usize,
    /// Columns of the output; those that the panel has beyond them are not stored.
    pub(crate) columns: usize,
    pub(crate) finish: Finish,
}

for_each_isa! {
    /// # Safety
    ///
    /// Every value that `task` spans must be inside its allocation; `b` has columns up to the next
    /// multiple of 16; nobody else touches the output meanwhile.
    pub(crate) unsafe fn rows_by_panel(task: &Rows) = rows_by_panel_with
}

/// Values of a row at a time where not all: the rows of a panel under them stay in the nearest
/// cache from one tile to the next.
const RUN: usize = 192;

/// Which part of its sums a tile adds up.
#[derive(Clone, Copy)]
struct Part {
    first: bool,
    last: bool,
    /// How much of the next panel is asked for with each value.
    ask: usize,
}

#[inline(always)]
unsafe fn rows_by_panel_with<S: Lanes>(task: &Rows) {
    let groups = task.pixels.div_ceil(S::MAX_ROWS);
    let k = task.segments * task.segment_len;
    // Each tile asks for a part of the next panel, little by little.
    let tiles = (groups * task.lines * task.columns.div_ceil(2 * S::WIDTH)).max(1);
    let ask = task.b_row.div_ceil(tiles);
    let mut asked = 0;
    // Lines of few pixels read the panel for few sums each: they share it run by run.
    let whole = k <= RUN || task.lines == 1 || task.pixels > S::MAX_ROWS / 2;
    let (segments, runs) =
        if whole { (1, 1) } else { (task.segments, task.segment_len.div_ceil(RUN)) };
    let run_len = task.segment_len.div_ceil(runs);
    let mut column = 0;
    // Two vectors, and one where no more is left of the panel's 16 or 32 columns.
    while column < task.columns {
        let left = task.columns - column;
        for block in 0..segments * runs {
            let (segment, run) = (block / runs, block % runs * run_len);
            let segment_len = run_len.min(task.segment_len - run);
            let part = Part { first: block == 0, last: block + 1 == segments * runs, ask };
            for line in 0..task.lines {
                let mut done = 0;
                for group in 0..groups {
                    let rows = (task.pixels - done).div_ceil(groups - group);
                    let to = line * task.c_line + done * task.c_pixel + column;
                    // SAFETY: inside what the caller vouches for.
                    unsafe {
                        let from = line * task.a_line + done * task.a_pixel;
                        let row = segment * task.segment_len + run;
                        let tile = Rows {
                            a: task.a.add(from + segment * task.segment + run),
                            b: task.b.add(row * task.b_row + column),
                            c: task.c.add(to),
                            columns: left,
                            segments: if whole { task.segments } else { 1 },
                            segment_len,
                            finish: task.finish.at(to, column),
                            next: task.next.wrapping_add(asked),
                            ..*task
                        };
                        if left > S::WIDTH {
                            some_rows::<S, 2>(&tile, rows, part);
                        } else {
                            some_rows::<S, 1>(&tile, rows, part);
                        }
                    }
                    done += rows;
                    asked = (asked + ask * segment_len) % (k * task.b_row).max(1);
                }
            }
        }
        column += if left > S::WIDTH { 2 * S::WIDTH } else { S::WIDTH };
    }
}

#[inline(always)]
unsafe fn some_rows<S: Lanes, const VECTORS: usize>(tile: &Rows, rows: usize, part: Part) {
    // SAFETY: as for the caller.
    unsafe {
        match rows {
            1 => sums::<S, 1, VECTORS>(tile, part),
            2 => sums::<S, 2, VECTORS>(tile, part),
            3 => sums::<S, 3, VECTORS>(tile, part),
            4 => sums::<S, 4, VECTORS>(tile, part),
            5 if S::MAX_ROWS > 4 => sums::<S, 5, VECTORS>(tile, part),
            6 if S::MAX_ROWS > 4 => sums::<S, 6, VECTORS>(tile, part),
            7 if S::MAX_ROWS > 6 => sums::<S, 7, VECTORS>(tile, part),
            8 if S::MAX_ROWS > 6 => sums::<S, 8, VECTORS>(tile, part),
            9 if S::MAX_ROWS > 6 => sums::<S, 9, VECTORS>(tile, part),
            10 if S::MAX_ROWS > 6 => sums::<S, 10, VECTORS>(tile, part),
            11 if S::MAX_ROWS > 6 => sums::<S, 11, VECTORS>(tile, part),
            12 if S::MAX_ROWS > 6 => sums::<S, 12, VECTORS>(tile, part),
            13 if S::MAX_ROWS > 6 => sums::<S, 13, VECTORS>(tile, part),
            14 if S::MAX_ROWS > 6 => sums::<S, 14, VECTORS>(tile, part),
            _ => unreachable!("a group has at most {} rows", S::MAX_ROWS),
        }
    }
}

#[inline(always)]
unsafe fn sums<S: Lanes, const ROWS: usize, const VECTORS: usize>(part: &Rows, of: Part) {
    // SAFETY: inside what the caller vouches for: `ROWS` rows of `a` and `c`, `VECTORS` vectors of
    // `b`, whose panels are whole, and of the output as many columns as there are.
    unsafe {
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        if !of.first {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    let left = part.columns.saturating_sub(v * S::WIDTH).min(S::WIDTH);
                    *sum = S::load_part(part.c.add(row * part.c_pixel + v * S::WIDTH), left);
                }
            }
        } else if !part.finish.bias.is_null() {
            for v in 0..VECTORS {
                let left = part.columns.saturating_sub(v * S::WIDTH).min(S::WIDTH);
                let bias = S::load_part(part.finish.bias.wrapping_add(v * S::WIDTH), left);
                for row in &mut sums {
                    row[v] = bias;
                }
            }
        }
        let (mut b, mut next) = (part.b, part.next);
        for segment in 0..part.segments {
            let mut a = part.a.add(segment * part.segment);
            for _ in 0..part.segment_len {
                let mut weights = [S::splat(0.0); VECTORS];
                for (v, weights) in weights.iter_mut().enumerate() {
                    *weights = S::load(b.add(v * S::WIDTH));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = S::splat(*a.add(row * part.a_pixel));
                    for (sum, &weights) in sums.iter_mut().zip(&weights) {
                        *sum = value.mul_add(weights, *sum);
                    }
                }
                a = a.wrapping_add(1);
                b = b.wrapping_add(part.b_row);
                S::prefetch(next);
                next = next.wrapping_add(of.ask);
            }
        }
        let [low, high] = match part.finish.activation {
            Activation::Relu => [0.0, f32::INFINITY],
            Activation::Relu6 => [0.0, 6.0],
            Activation::None | Activation::Gelu => [f32::NEG_INFINITY, f32::INFINITY],
        };
        let later = !part.finish.gate.is_null()
            || !part.finish.add.is_null()
            || part.finish.activation == Activation::Gelu;
        let [low, high] = if later || !of.last {
            [f32::NEG_INFINITY, f32::INFINITY].map(|bound| S::splat(bound))
        } else {
            [S::splat(low), S::splat(high)]
        };
        for (row, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let left = part.columns.saturating_sub(v * S::WIDTH).min(S::WIDTH);
                let to = part.c.add(row * part.c_pixel + v * S::WIDTH);
                high.min(low.max(sum)).store_part(to, left);
            }
        }
        // A second pass over what is in the nearest cache by then: with it in the first, the sums
        // would not stay in registers.
        if later && of.last {
            finish(part, ROWS, part.columns.min(VECTORS * S::WIDTH));
        }
    }
}

for_each_isa! {
    /// # Safety
    ///
    /// As for [`rows_by_panel`], of the first `rows` and `columns` of the output.
    unsafe fn finish(part: &Rows, rows: usize, columns: usize) = finish_with
}

#[inline(always)]
unsafe fn finish_with<S: Lanes>(part: &Rows, rows: usize, columns: usize) {
    for row in 0..rows {
        for column in (0..columns).step_by(S::WIDTH) {
            let (at, left) = (row * part.c_pixel + column, (columns - column).min(S::WIDTH));
            // SAFETY: as for the caller; no more than the tile's columns are touched.
            unsafe {
                let mut sum = S::load_part(part.c.add(at), left);
                if !part.finish.gate.is_null() {
                    sum = sum.gated(S::load_part(part.finish.gate.add(at), left));
                }
                if !part.finish.add.is_null() {
                    sum = sum.add(S::load_part(part.finish.add.add(at), left));
                }
                activate(sum, part.finish.activation).store_part(part.c.add(at), left);
            }
        }
    }
}

/// Adds `a[pixel, row] * b[pixel, column]` over the pixels of some lines to `c[row, column]`.
/// Distances are in values.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    pub(crate) a: *const f32,
    pub(crate) a_pixel: usize,
    pub(crate) a_line: usize,
    pub(crate) b: *const f32,
    pub(crate) b_pixel: usize,
    pub(crate) b_line: usize,
    pub(crate) lines: usize,
    pub(crate) pixels: usize,
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

for_each_isa! {
    /// # Safety
    ///
    /// Every value that `task` spans must be inside its allocation, and nobody else touches the
    /// output meanwhile.
    pub(crate) unsafe fn outer_sums(task: &Outer) = outer_sums_with
}

#[inline(always)]
unsafe fn outer_sums_with<S: Lanes>(task: &Outer) {
    // Three vectors: eight rows of them where there are 32 registers, four where there are 16.
    let most = if S::MAX_ROWS > 8 { 8 } else { 4 };
    let mut column = 0;
    while column < task.columns {
        let left = (task.columns - column).div_ceil(S::WIDTH);
        let vectors = if left == 4 { 2 } else { left.min(3) };
        let mut row = 0;
        while row < task.rows {
            let rows = (task.rows - row).min(most);
            // SAFETY: inside what the caller vouches for.
            unsafe {
                let part = Outer {
                    a: task.a.add(row),
                    b: task.b.add(column),
                    c: task.c.add(row * task.c_row + column),
                    columns: task.columns - column,
                    ..*task
                };
                match vectors {
                    3 => some_outer_rows::<S, 3>(&part, rows),
                    2 => some_outer_rows::<S, 2>(&part, rows),
                    _ => some_outer_rows::<S, 1>(&part, rows),
                }
            }
            row += rows;
        }
        column += vectors * S::WIDTH;
    }
}

#[inline(always)]
unsafe fn some_outer_rows<S: Lanes, const VECTORS: usize>(part: &Outer, rows: usize) {
    // SAFETY: as for the caller.
    unsafe {
        match rows {
            1 => outer::<S, 1, VECTORS>(part),
            2 => outer::<S, 2, VECTORS>(part),
            3 => outer::<S, 3, VECTORS>(part),
            4 => outer::<S, 4, VECTORS>(part),
            5 if S::MAX_ROWS > 8 => outer::<S, 5, VECTORS>(part),
            6 if S::MAX_ROWS > 8 => outer::<S, 6, VECTORS>(part),
            7 if S::MAX_ROWS > 8 => outer::<S, 7, VECTORS>(part),
            8 if S::MAX_ROWS > 8 => outer::<S, 8, VECTORS>(part),
            _ => unreachable!("a group has at most 8 rows"),
        }
    }
}

#[inline(always)]
unsafe fn outer<S: Lanes, const ROWS: usize, const VECTORS: usize>(part: &Outer) {
    // SAFETY: inside what the caller vouches for: `ROWS` values of `a` at each pixel, and of `b`
    // and `c` as many columns as there are.
    unsafe {
        let left = |v: usize| part.columns.saturating_sub(v * S::WIDTH).min(S::WIDTH);
        let whole = part.columns >= VECTORS * S::WIDTH;
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = S::load_part(part.c.add(row * part.c_row + v * S::WIDTH), left(v));
            }
        }
        for line in 0..part.lines {
            let mut a = part.a.add(line * part.a_line);
            let mut b = part.b.add(line * part.b_line);
            for _ in 0..part.pixels {
                let mut values = [S::splat(0.0); VECTORS];
                for (v, values) in values.iter_mut().enumerate() {
                    let from = b.add(v * S::WIDTH);
                    *values = if whole { S::load(from) } else { S::load_part(from, left(v)) };
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let factor = S::splat(*a.add(row));
                    for (sum, &values) in sums.iter_mut().zip(&values) {
                        *sum = factor.mul_add(values, *sum);
                    }
                }
                a = a.wrapping_add(part.a_pixel);
                b = b.wrapping_add(part.b_pixel);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                sum.store_part(part.c.add(row * part.c_row + v * S::WIDTH), left(v));
            }
        }
    }
}
