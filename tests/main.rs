//! Tests that span crates: one binary.

mod tidy;
