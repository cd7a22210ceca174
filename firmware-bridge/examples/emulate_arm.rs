//! An arm that is not there: `emulate_arm NAME|FILE.toml [--link PATH] [--fast]`.
//!
//! Says on its first line where the serial port is, and runs until its input ends. With `--fast`
//! the wire takes no time.

#![allow(clippy::print_stdout)] // What it says is its output.

use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context, bail};
use firmware_bridge::description::{ArmDescription, Protocol};
use firmware_bridge::emulate::{Device, Emulator, Options, feetech};

fn main() -> anyhow::Result<()> {
    let (mut name, mut link, mut fast) = (None, None, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--fast" => fast = true,
            "--link" => link = Some(PathBuf::from(words.next().context("--link needs a path")?)),
            _ if name.is_none() && !word.starts_with('-') => name = Some(word),
            _ => bail!("unexpected {word}: emulate_arm NAME|FILE.toml [--link PATH] [--fast]"),
        }
    }
    let name = name.context("which arm? for example so101")?;
    let arm = ArmDescription::find(&name)?;
    let baud = if fast { None } else { arm.baud };
    let options = Options { baud, link, seed: 0 };
    match arm.protocol {
        Protocol::Feetech => run(feetech::Bus::new(&arm), options),
        other => bail!("nothing here emulates {other}"),
    }
}

fn run(device: impl Device, options: Options) -> anyhow::Result<()> {
    let emulator = Emulator::start(device, options)?;
    println!("{}", emulator.path().display());
    io::stdin().read_to_end(&mut Vec::new())?;
    emulator.trouble().map_or(Ok(()), |trouble| bail!("the line failed: {trouble}"))
}
