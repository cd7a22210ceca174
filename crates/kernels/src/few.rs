//! Products of a few rows with weights as they lie: reading the weights is all the work, and those
//! that a zero would be multiplied with are left out, half of them after a ReLU.

use crate::conv::add_rows;
use crate::lanes::{Lanes, for_each_isa};
use crate::threads::{Shared, for_each, parts};

/// Most rows for which this is the fastest way.
pub(crate) const MOST_ROWS: usize = 8;

/// What reading a weight costs, in multiplications.
const READING_COST: usize = 8;

/// Rows of weights that stay in the cache from one row of `x` to the next.
const BLOCK: usize = 256;

/// Rows of weights that are added at a time.
const TOGETHER: usize = 8;

/// Rows `[m, k]` times `[k, n]`, and `bias`, `[n]`, added to each. A weight that is not finite
/// counts for nothing where its factor is zero.
///
/// The rows of weights are dealt out in as many parts as there are threads and the parts are added
/// in order, so that the sum is the same every time on the same number of threads.
pub(crate) fn few_rows(x: &[f32], weights: &[f32], bias: &[f32], k: usize) -> Vec<f32> {
    let (n, m) = (bias.len(), x.len() / k.max(1));
    assert_eq!((m * k, k * n), (x.len(), weights.len()), "rows of {k} values to {n}");
    let work = k * n * READING_COST;
    let shares = parts(work).min(k).max(1);
    let len = m * n;
    let mut sums = vec![0.0; shares * len];
    let all = Shared(sums.as_mut_ptr());
    for_each(shares, work, |share| {
        // SAFETY: each task has sums of its own.
        let sums = unsafe { all.part(share * len, len) };
        let end = k * (share + 1) / shares;
        for first in (k * share / shares..end).step_by(BLOCK) {
            let last = end.min(first + BLOCK);
            for (x, sums) in x.chunks_exact(k).zip(sums.chunks_exact_mut(n)) {
                // SAFETY: none beyond the instruction set, which is looked up.
                unsafe { add_up(&x[first..last], &weights[first * n..last * n], sums) };
            }
        }
    });
    let mut total = bias.repeat(m);
    add_rows(&mut total, &sums);
    total
}

for_each_isa! {
    /// Adds the products of each value and its row of weights to `sums`.
    ///
    /// # Safety
    ///
    /// None beyond the instruction set, which is looked up.
    unsafe fn add_up(x: &[f32], weights: &[f32], sums: &mut [f32]) = add_up_with
}

#[inline(always)]
unsafe fn add_up_with<S: Lanes>(x: &[f32], weights: &[f32], sums: &mut [f32]) {
    let n = sums.len();
    assert!(x.len() <= BLOCK && x.len() * n == weights.len());
    let (mut counting, mut count) = ([0; BLOCK], 0);
    for (i, &value) in x.iter().enumerate() {
        counting[count] = i;
        count += usize::from(value != 0.0);
    }
    let mut groups = counting[..count].chunks(TOGETHER).peekable();
    while let Some(some) = groups.next() {
        // Rows that are left out break the run of memory that a processor reads ahead in: the next
        // ones are asked for here.
        let mut next = [weights.as_ptr(); TOGETHER];
        for (next, &i) in next.iter_mut().zip(groups.peek().copied().unwrap_or(some)) {
            *next = weights[i * n..].as_ptr();
        }
        // Past the last one, the first again, times zero.
        let mut rows = [(0.0, weights[some[0] * n..].as_ptr()); TOGETHER];
        for (row, &i) in rows.iter_mut().zip(some) {
            *row = (x[i], weights[i * n..].as_ptr());
        }
        for column in (0..n).step_by(S::WIDTH) {
            let left = (n - column).min(S::WIDTH);
            // SAFETY: `left` values of rows of `n` from `column` on, and of the sums.
            unsafe {
                let at = sums.as_mut_ptr().add(column);
                let mut sum = S::load_part(at, left);
                for ((value, row), next) in rows.into_iter().zip(next) {
                    S::prefetch(next.wrapping_add(column));
                    sum = S::splat(value).mul_add(S::load_part(row.add(column), left), sum);
                }
                sum.store_part(at, left);
            }
        }
    }
}
