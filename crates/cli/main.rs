//! The `engraft` command.
fn main() {}
