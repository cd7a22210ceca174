//! A Koch arm's servos on a pseudo-terminal, for trying out a client, and for the judges of servos.
//!
//! ```text
//! cargo run -p firmware-bridge --example emulate_koch -- [--baud 1000000] [--link PATH]
//! ```
//!
//! Without `--baud` the wire has no delay. Prints the port's path and lives until its standard
//! input ends. Lines that it takes: `set ID ADDRESS VALUE` puts a value into a register whether it
//! may be there or not, `error ID BITS` latches hardware errors, `restart ID` takes the power away
//! for a moment, `writes` prints how many writes came and how many of them were refused. Each is
//! answered with a line.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use clap::Parser;
use firmware_bridge::codecs::dynamixel::register;
use firmware_bridge::description::ArmDescription;
use firmware_bridge::emulate::dynamixel::Bus;
use firmware_bridge::emulate::{Emulator, Options};

#[derive(Parser)]
struct Args {
    /// Bits per second of the wire.
    #[arg(long)]
    baud: Option<u32>,
    /// A stable name for the port.
    #[arg(long)]
    link: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Args { baud, link } = Args::parse();
    let bus = Bus::new(&ArmDescription::find("koch")?)?;
    let emulator = Emulator::start(bus, Options { baud, link, seed: 0 })?;
    let mut out = io::stdout();
    writeln!(out, "{}", emulator.path().display())?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let numbers = rest.split_whitespace().map(str::parse).collect::<Result<Vec<i64>, _>>()?;
        let id = |id: i64| u8::try_from(id);
        match (word, numbers.as_slice()) {
            ("set", &[servo, address, value]) => {
                let at = register::ALL.iter().find(|known| i64::from(known.address) == address);
                let register = at.ok_or_else(|| format!("no register begins at {address}"))?;
                let servo = id(servo)?;
                emulator.with(|bus| bus.set_register(servo, *register, value));
            }
            ("error", &[servo, bits]) => {
                let (servo, bits) = (id(servo)?, u8::try_from(bits)?);
                emulator.with(|bus| bus.hardware_error(servo, bits));
            }
            ("restart", &[servo]) => {
                let servo = id(servo)?;
                emulator.with(|bus| bus.restart(servo));
            }
            ("writes", []) => {
                let refused = |bus: &mut Bus| bus.written().iter().filter(|w| w.error != 0).count();
                let counts = emulator.with(|bus| (bus.written().len(), refused(bus)));
                writeln!(out, "{} {}", counts.0, counts.1)?;
                continue;
            }
            _ => {
                return Err(
                    format!("expected set, error, restart or writes, found {line:?}").into()
                );
            }
        }
        writeln!(out, "ok")?;
    }
    Ok(())
}
