//! Damaged packets through our decoders: `fuzz_arms --decoder NAME [--frames N] [--seed S]`.
//!
//! A panic, or a decoder that stops finding packets, ends it with an error.

#![allow(clippy::print_stdout)] // What it says is its output.

mod feetech;

use std::time::Instant;

use anyhow::{Context, bail};

/// What came of it.
struct Report {
    /// Packets that were sent undamaged.
    whole: u64,
    /// Packets that were found.
    found: u64,
}

/// A decoder's name and what damages so many packets for it, from a seed.
type Fuzzer = (&'static str, fn(u64, u64) -> Report);

const FUZZERS: &[Fuzzer] = &[("feetech", feetech::fuzz)];

fn main() -> anyhow::Result<()> {
    let (mut name, mut frames, mut seed) = (None, 100_000, 0);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--decoder" => name = Some(value),
            "--frames" => frames = value.parse()?,
            "--seed" => seed = value.parse()?,
            _ => bail!("unexpected {word}: fuzz_arms --decoder NAME [--frames N] [--seed S]"),
        }
    }
    let name = name.context("which decoder? for example --decoder feetech")?;
    let Some((_, fuzz)) = FUZZERS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = FUZZERS.iter().map(|(name, _)| *name).collect();
        bail!("no decoder is called {name}: known are {}", known.join(", "));
    };
    let began = Instant::now();
    let Report { whole, found } = fuzz(frames, seed);
    let secs = began.elapsed().as_secs_f64();
    println!(
        "{name}: {frames} frames with seed {seed} in {secs:.1} s, {whole} whole, {found} found"
    );
    if found * 10 < whole * 9 {
        bail!("{name}: of {whole} whole frames only {found} were found (seed {seed})");
    }
    Ok(())
}
