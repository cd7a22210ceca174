//! Tests that span crates: one binary.
