//! Products of rows with packed weights: linear layers, and convolutions of one pixel.

use crate::conv::Ending;
use crate::panels::Panels;
use crate::threads::{Shared, even_shares, for_each, parts, with_scratch};
use crate::tile::{Rows, rows_by_panel};

/// Bytes of the rows of a task: they and a panel of weights fit a level-2 cache.
const TASK_BYTES: usize = 512 * 1024;

/// Rows of a task are a multiple of this where there are enough: whole tiles.
const STEP: usize = 14;

/// `m` rows, their values side by side, `row` values from one to the next.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) m: usize,
    pub(crate) row: usize,
}

/// Multiplies rows by packed weights and writes rows `y_row` apart.
///
/// # Safety
///
/// `y` has room for all rows; `gate` and `add` are laid out as it is; nobody else touches it
/// meanwhile.
pub(crate) unsafe fn product(a: Matrix, weights: &Panels, ending: Ending, y: Shared, y_row: usize) {
    let (m, k) = (a.m, weights.k());
    if m == 0 || weights.n() == 0 {
        return;
    }
    assert!((m - 1) * a.row + k <= a.values.len(), "{m} rows of {k} values");
    assert!(ending.bias.is_none_or(|bias| bias.len() == weights.n()));
    let finish = ending.finish();
    let work = m * k * weights.n();
    let threads = parts(work);
    let fitting = (TASK_BYTES / size_of::<f32>() / k.max(1)).clamp(STEP, 16 * STEP);
    // Every thread gets panels of its own, which stay in its cache from one block of rows to the
    // next, where they can be dealt out evenly; else rows, or both.
    let shares = even_shares(weights.len(), threads);
    let fair = m.div_ceil(threads / shares);
    let rows = fitting.min(fair).next_multiple_of(STEP);
    let blocks = m.div_ceil(rows);
    let shares = shares.max(threads.div_ceil(blocks).min(weights.len()));
    // Rows a power of two apart fall on the same few lines of the cache.
    let crowded = a.row.is_multiple_of(1024) && m > 4;
    for_each(blocks * shares, work, |index| {
        let (first, share) = (index % blocks * rows, index / blocks);
        let rows = rows.min(m - first);
        let panels = weights.share(share, shares);
        let from = &a.values[first * a.row..];
        let run = |a: *const f32, a_row: usize| {
            for panel in panels.clone() {
                let to = first * y_row + Panels::first(panel);
                let task = Rows {
                    a,
                    a_pixel: a_row,
                    a_line: 0,
                    segments: 1,
                    segment: 0,
                    segment_len: k,
                    b: weights.panel(panel).as_ptr(),
                    b_row: weights.width(panel),
                    next: weights.next(panel, &panels),
                    c: y.at(to),
                    c_pixel: y_row,
                    c_line: 0,
                    lines: 1,
                    pixels: rows,
                    columns: weights.columns(panel),
                    finish: finish.at(to, Panels::first(panel)),
                };
                // SAFETY: the rows are inside `a`, panels are whole, the caller vouches for the
                // output, and each task has rows or panels of its own.
                unsafe { rows_by_panel(&task) };
            }
        };
        if crowded {
            let apart = k + 16;
            return with_scratch(rows * apart, |scratch| {
                for (row, to) in scratch.chunks_exact_mut(apart).enumerate() {
                    to[..k].copy_from_slice(&from[row * a.row..][..k]);
                }
                run(scratch.as_ptr(), apart);
            });
        }
        run(from.as_ptr(), a.row);
    });
}
