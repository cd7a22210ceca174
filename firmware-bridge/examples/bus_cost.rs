//! What one period costs the host: `bus_cost PORT PERIODS`.
//!
//! Reads and commands the six servos of an SO-101 at `PORT`, and says what each period took, in
//! microseconds, a line each.

#![allow(clippy::print_stdout)] // What it says is its output.

use std::time::Instant;

use anyhow::Context;
use firmware_bridge::arms::feetech::FeetechMotors;
use firmware_bridge::description::ArmDescription;
use firmware_bridge::motors::{Motors, Sensed};

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let port = words.next().context("which port? bus_cost PORT PERIODS")?;
    let periods: usize = words.next().context("how many periods?")?.parse()?;
    let mut arm = ArmDescription::find("so101")?;
    arm.setpoint_hz = 10; // as patient as the others that it is compared with
    let mut motors = FeetechMotors::new(&arm, port);
    motors.identify()?;
    let mut sensed = Sensed::new(arm.joints.len());
    motors.sense(&mut sensed)?;
    let mut micros = Vec::with_capacity(periods);
    for _ in 0..periods {
        let began = Instant::now();
        motors.sense(&mut sensed)?;
        motors.command(&sensed.position)?;
        micros.push(began.elapsed().as_secs_f64() * 1e6);
    }
    for micros in micros {
        println!("{micros:.2}");
    }
    Ok(())
}
