//! Tests that span crates: one binary.

// A test's helpers may fail as its body may.
#![allow(clippy::unwrap_used)]

mod arms;
mod cli;
mod data;
mod end_to_end;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod gpu;
mod readme;
mod support;
mod tidy;
