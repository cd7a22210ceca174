//! The daemon as a process of its own, an emulated arm before it, and everyone else against it.
//!
//! What is asserted of motion is what the emulated servos heard on their wire, by code that shares
//! nothing with the bridge's.

#![allow(clippy::unwrap_used)] // A test that cannot go on says so by panicking.

mod audit;
mod chaos;
mod faults;
mod policy;
mod rig;
mod soak;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One daemon at a time: they would disturb each other's clocks.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test, and again if it fails, twice at most: a machine that builds and tests other things
/// leaves one without a processor for so long, now and then, that a fault is a fault. What fails
/// three times has failed.
fn patiently(test: impl Fn()) {
    for _ in 0..2 {
        if catch_unwind(AssertUnwindSafe(&test)).is_ok() {
            return;
        }
    }
    test();
}
