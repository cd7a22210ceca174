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

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One daemon at a time: they would disturb each other's clocks.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
