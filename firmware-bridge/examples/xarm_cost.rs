//! What one period with an xArm costs the host: `xarm_cost ARM HOST:PORT SECS`.
//!
//! Senses and commands it at its set-point rate for so long, its gripper on its way if it has one,
//! and says how long that took, how late the periods began, and how many readings failed.

#![allow(clippy::print_stdout)] // What it says is its output.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use firmware_bridge::arms::xarm::{XarmMotors, report_address};
use firmware_bridge::description::ArmDescription;
use firmware_bridge::motors::{Motors, MotorsError, Sensed};

fn say(what: &str, mut micros: Vec<f64>) {
    micros.sort_by(f64::total_cmp);
    let at = |part: f64| {
        let index = (micros.len().saturating_sub(1) as f64 * part) as usize;
        micros.get(index).copied().unwrap_or_default()
    };
    let (half, most, all) = (at(0.5), at(0.99), at(1.0));
    println!("{what}: {half:.0} us in the middle, {most:.0} us for 99 of 100, {all:.0} us at most");
}

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().context("expected xarm_cost ARM HOST:PORT SECS");
    let arm = ArmDescription::find(&word()?)?;
    let control = word()?.parse()?;
    let secs: f64 = word()?.parse()?;
    let mut motors = XarmMotors::at(&arm, control, report_address(control))?;
    motors.identify()?;
    motors.torque(true)?;
    let mut sensed = Sensed::new(arm.joints.len());
    motors.sense(&mut sensed)?;
    let mut goals = sensed.position.clone();
    let period = Duration::from_secs_f64(arm.period_secs());
    let (mut took, mut late, mut missed) = (Vec::new(), Vec::new(), 0);
    let (began, mut due) = (Instant::now(), Instant::now());
    while began.elapsed().as_secs_f64() < secs {
        due += period;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let start = Instant::now();
        late.push((start - due).as_secs_f64() * 1e6);
        if let Some(gripper) = goals.get_mut(7) {
            let swing = began.elapsed().as_secs_f64().sin().mul_add(0.4, 0.43);
            *gripper = (swing * 1e6) as i32;
        }
        match motors.sense(&mut sensed) {
            Err(MotorsError::Silent { .. }) => missed += 1,
            sensed => sensed?,
        }
        motors.command(&goals)?;
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    motors.torque(false)?;
    println!("{}: {} periods of {period:?}, {missed} without a reading", arm.name, took.len());
    say("sensing and commanding", took);
    say("the period began late by", late);
    Ok(())
}
