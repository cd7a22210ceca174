//! Hostile targets and lying measurements through path, trajectory, rounding and gate:
//!
//!     cargo run --release -p firmware-bridge --example fuzz_motion -- --ticks 100000000 --seed 1
//!
//! Exits 1 at the first limit that is broken, with the seed and what led to it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use firmware_bridge::motion::fuzz::{Report, run};

/// Fuzzes the way from targets to set-points.
#[derive(Debug, Parser)]
struct Args {
    /// Set-points to emit and check, each of one joint.
    #[arg(long, default_value_t = 10_000_000)]
    ticks: u64,
    /// What the run is made of.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Set-points between two lines of progress.
const PART: u64 = 10_000_000;

fn main() -> ExitCode {
    let Args { ticks, seed } = Args::parse();
    let began = Instant::now();
    let (mut done, mut part) = (0, 0);
    while done < ticks {
        let seed = seed.wrapping_add(part);
        match run(seed, PART.min(ticks - done)) {
            Ok(report) => {
                done += report.joint_ticks;
                part += 1;
                let rate = done as f64 / began.elapsed().as_secs_f64();
                let Report {
                    arms, resets, refused, following, braked, unsolved, slowest_stop, ..
                } = report;
                println!(
                    "seed {seed}: {done} set-points, {rate:.0} a second, 0 violations; {arms} arms, \
                     {resets} resets, {refused} refused, {following} not followed, {braked} \
                     braked, {unsolved} unsolved, stopped within {slowest_stop} periods"
                );
            }
            Err(failure) => {
                for line in &failure.log {
                    eprintln!("{line}");
                }
                eprintln!("fuzz_motion: {failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{done} set-points in {:.1} s, 0 violations", began.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}
