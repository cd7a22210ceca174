//! Poses, Jacobians and joint positions that were found, as JSON, for a judge to recompute:
//!
//!     cargo run -p firmware-bridge --example chain_poses -- arm.urdf tip --poses 200 --seed 1
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use firmware_bridge::kinematics::chain::Chain;
use firmware_bridge::kinematics::reach::{Reach, ReachOptions};
use firmware_bridge::motion::fuzz::Dice;
use serde_json::json;

/// Prints random poses of a chain.
#[derive(Debug, Parser)]
struct Args {
    /// The URDF.
    urdf: PathBuf,
    /// The link that is the hand.
    tip: String,
    /// How many poses.
    #[arg(long, default_value_t = 200)]
    poses: u64,
    /// What they are made of.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let chain = match Chain::read(&args.urdf, &args.tip) {
        Ok(chain) => chain,
        Err(error) => {
            eprintln!("chain_poses: {error}");
            return ExitCode::from(2);
        }
    };
    let mut dice = Dice::new(args.seed);
    let joints: Vec<_> = chain.joints().iter().map(|joint| joint.name.clone()).collect();
    println!("{}", json!({ "joints": joints }));
    for _ in 0..args.poses {
        let random = |joint: &firmware_bridge::kinematics::chain::ChainJoint, dice: &mut Dice| {
            dice.between(joint.min.max(-7.0), joint.max.min(7.0))
        };
        let q: Vec<_> = chain.joints().iter().map(|joint| random(joint, &mut dice)).collect();
        let (tip, jacobian) = chain.jacobian(&q);
        let rows: Vec<Vec<f64>> =
            jacobian.row_iter().map(|row| row.iter().take(q.len()).copied().collect()).collect();
        // A pose some way off, looked for from here.
        let goal: Vec<_> = (chain.joints().iter().zip(&q))
            .map(|(joint, q)| (q + dice.between(-0.3, 0.3)).clamp(joint.min, joint.max))
            .collect();
        let target = chain.pose(&goal);
        let options =
            if q.len() < 6 { ReachOptions::five_joints() } else { ReachOptions::default() };
        let options = ReachOptions { slow_from: 1e6, stop_at: 1e7, posture_gain: 0.0, ..options };
        let found = Reach::new(chain.clone(), options, &q).and_then(|mut reach| {
            reach.reset(&q)?;
            let mut reached = reach.step(&target)?;
            for _ in 1..1000 {
                reached = reach.step(&target)?;
            }
            Ok((reach.solution().to_vec(), reached))
        });
        let Ok((found, reached)) = found else { return ExitCode::FAILURE };
        let pose = |pose: nalgebra::Isometry3<f64>| {
            let matrix = pose.to_homogeneous();
            matrix
                .row_iter()
                .take(3)
                .map(|row| row.iter().copied().collect())
                .collect::<Vec<Vec<f64>>>()
        };
        let line = json!({
            "q": q, "pose": pose(tip), "jacobian": rows, "target": pose(target), "found": found,
            "position_m": reached.position_m, "angle_rad": reached.angle_rad,
        });
        println!("{line}");
    }
    ExitCode::SUCCESS
}
