//! Work shared out over the cores, and memory that a thread keeps.

use std::cell::RefCell;

use crate::workers::workers;

/// Below this many multiplications, waking the other cores costs more than they save.
const WORTH_SHARING: usize = 1 << 20;

/// How many tasks to cut `multiplications` into at least.
pub(crate) fn parts(multiplications: usize) -> usize {
    if multiplications < WORTH_SHARING { 1 } else { rayon::current_num_threads() }
}

/// Into how many parts, as large as each other, `things` can be dealt out to `threads`: the largest
/// divisor of both.
pub(crate) fn even_shares(things: usize, threads: usize) -> usize {
    let divides = |n: &usize| threads.is_multiple_of(*n) && things.is_multiple_of(*n);
    (1..=threads).rev().find(divides).unwrap_or(1)
}

/// Runs every task from 0 to `tasks`, on all cores where the work is worth it.
pub(crate) fn for_each(tasks: usize, multiplications: usize, run: impl Fn(usize) + Sync + Send) {
    if tasks <= 1 || parts(multiplications) == 1 {
        (0..tasks).for_each(run);
    } else {
        workers().share(tasks, &run);
    }
}

/// Calls `run` with `len` values of this thread's own memory, of any content.
pub(crate) fn with_scratch<R>(len: usize, run: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with(|scratch| {
        // Taken out meanwhile, so that a call inside `run` gets memory of its own.
        let mut values = scratch.take();
        if values.len() < len {
            values.resize(len, 0.0);
        }
        let result = run(&mut values[..len]);
        scratch.replace(values);
        result
    })
}

/// An output that tasks write disjoint parts of.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T = f32>(pub(crate) *mut T);

// SAFETY: the tasks that get a copy write disjoint values, which is for them to see to.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The place `by` values further on.
    pub(crate) fn at(self, by: usize) -> *mut T {
        self.0.wrapping_add(by)
    }

    /// `len` values from `first` on.
    ///
    /// # Safety
    ///
    /// They must be there for as long as the caller says, and be nobody else's meanwhile.
    pub(crate) unsafe fn part<'a>(self, first: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller vouches for it.
        unsafe { std::slice::from_raw_parts_mut(self.at(first), len) }
    }
}

/// Room for `len` values, which `fill` writes, every one of them.
///
/// # Safety
///
/// `fill` must have written all of them when it returns.
pub(crate) unsafe fn written(len: usize, fill: impl FnOnce(Shared)) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    fill(Shared(values.as_mut_ptr()));
    // SAFETY: the capacity is there and the caller's `fill` wrote every value.
    unsafe { values.set_len(len) };
    values
}
