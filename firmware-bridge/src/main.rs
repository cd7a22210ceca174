//! The `firmware-bridge` command.

use std::process::ExitCode;

use clap::Parser;
use firmware_bridge::cli;

/// glibc's allocator hands large buffers back to the kernel at every step; mimalloc keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "firmware-bridge", version)]
struct Command {
    #[command(subcommand)]
    verb: cli::Verb,
}

#[allow(clippy::print_stderr)] // The one line that says what went wrong.
fn main() -> ExitCode {
    cli::dispatch(&Command::parse().verb).unwrap_or_else(|error| {
        eprintln!("firmware-bridge: {error:#}");
        ExitCode::from(2)
    })
}
