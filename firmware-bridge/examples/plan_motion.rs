//! Random motions of one joint as JSON, for a judge to solve as well:
//!
//!     cargo run -p firmware-bridge --example plan_motion -- --problems 1000 --seed 1
//!
//! A line holds limits, a state and a target, what the joint did in one period, how it would stop,
//! and, for targets at rest, where it was after each period of the way.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use clap::Parser;
use firmware_bridge::motion::fuzz::Dice;
use firmware_bridge::motion::joint::{Joint, MotionLimits, State, Stop, Target};
use serde_json::json;

/// Prints random motions.
#[derive(Debug, Parser)]
struct Args {
    /// How many.
    #[arg(long, default_value_t = 1000)]
    problems: u64,
    /// What they are made of.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// No joint turns this far: the judge knows no limits of position.
const FAR: f64 = 1e4;

fn main() {
    let Args { problems, seed } = Args::parse();
    let mut dice = Dice::new(seed);
    let mut done = 0;
    while done < problems {
        let velocity = 10_f64.powf(dice.between(-0.5, 1.0));
        let acceleration = velocity * 10_f64.powf(dice.between(0.0, 1.5));
        let jerk = acceleration * 10_f64.powf(dice.between(0.0, 1.5));
        let limits = MotionLimits { min: -FAR, max: FAR, velocity, acceleration, jerk };
        let state = State {
            position: dice.between(-3.0, 3.0),
            velocity: dice.between(-0.9, 0.9) * velocity,
            acceleration: dice.between(-0.9, 0.9) * acceleration,
        };
        let left = state.acceleration * state.acceleration.abs() / (2.0 * jerk) + state.velocity;
        if left.abs() > velocity {
            continue; // It would be too fast whatever is done.
        }
        let moves = dice.below(2) == 0;
        let target = Target {
            position: dice.between(-3.0, 3.0),
            velocity: if moves { dice.between(-0.9, 0.9) * velocity } else { 0.0 },
        };
        let period = 10_f64.powf(dice.between(-3.0, -1.7));
        let mut joint = Joint::new(limits, period, 0.0);
        joint.resume(state);
        let author = joint.follow(target);
        let row = |state: State| [state.position, state.velocity, state.acceleration];
        let next = row(joint.state());
        let mut way = vec![row(state), next];
        while !moves && way.len() < 4000 {
            joint.follow(target);
            way.push(row(joint.state()));
        }
        let stop = Stop::from(state, &limits);
        let (low, high) = stop.extremes();
        let end = stop.after(f64::INFINITY).position;
        let line = json!({
            "velocity": velocity, "acceleration": acceleration, "jerk": jerk, "period": period,
            "state": row(state), "target": [target.position, target.velocity],
            "author": format!("{author:?}"), "next": next, "way": if moves { vec![] } else { way },
            "stop": {"secs": stop.duration_secs(), "end": end, "low": low, "high": high},
        });
        println!("{line}");
        done += 1;
    }
}
