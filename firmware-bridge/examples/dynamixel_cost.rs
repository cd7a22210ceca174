//! What a cycle of reading and writing six servos takes of the host, over a port.
//!
//! ```text
//! cargo run --release -p firmware-bridge --example dynamixel_cost -- PORT [--cycles 1000]
//! ```
//!
//! Each line of standard input runs so many cycles, and is answered with their times in
//! microseconds. See `tests/bench/dynamixel_cost.py`, which compares them with those of others.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use firmware_bridge::arms::dynamixel::{DynamixelMotors, Options};
use firmware_bridge::description::ArmDescription;
use firmware_bridge::motors::{Motors, Sensed};

#[derive(Parser)]
struct Args {
    /// The servos' port.
    port: PathBuf,
    /// Cycles of each run.
    #[arg(long, default_value_t = 1000)]
    cycles: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Args { port, cycles } = Args::parse();
    let mut arm = ArmDescription::find("koch")?;
    arm.setpoint_hz = 10; // nothing is given up because the machine is busy
    let options = Options { margin: Duration::from_millis(50), ..Options::default() };
    let mut sensed = Sensed::new(arm.joints.len());
    let mut out = io::stdout();
    for line in io::stdin().lock().lines() {
        line?;
        // The port is opened anew each time, since others take their turn with it.
        let mut motors = DynamixelMotors::open(&arm, &port, options.clone())?;
        motors.identify()?;
        let mut times = Vec::with_capacity(cycles);
        for cycle in 0..cycles {
            let began = Instant::now();
            motors.sense(&mut sensed)?;
            motors.command(&[2000 + (cycle % 100) as i32; 6])?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
        let words: Vec<_> = times.iter().map(|micros| format!("{micros:.1}")).collect();
        writeln!(out, "{}", words.join(" "))?;
    }
    Ok(())
}
