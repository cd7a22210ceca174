//! What decoding costs: memory at its most, and time.

use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// What one decoding, or the worst of many, cost. Memory is that of the whole process, so one
/// thread decodes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Bytes that were allocated beyond those before, at most.
    pub(crate) peak: usize,
    /// How long it took.
    pub(crate) time: Duration,
}

impl Cost {
    /// Does it, and adds what it costs.
    pub(crate) fn of<T>(&mut self, decode: impl FnOnce() -> T) -> T {
        ALLOCATED.reset_peak_usage();
        let (before, began) = (ALLOCATED.current_usage(), Instant::now());
        let outcome = decode();
        self.time += began.elapsed();
        self.peak = self.peak.max(ALLOCATED.peak_usage().saturating_sub(before));
        outcome
    }
}
