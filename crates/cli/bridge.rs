//! `engraft bridge`: the `firmware-bridge` program, from the same executable.

use std::process::ExitCode;

/// Drive an arm with a policy server's actions: the firmware-bridge program.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bridge: firmware_bridge::cli::Args,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    firmware_bridge::cli::run(&args.bridge)
}
