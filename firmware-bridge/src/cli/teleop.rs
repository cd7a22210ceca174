//! A leader arm, moved by hand, drives the arm of a running bridge, and both are recorded.
//!
//! The follower is where the leader was two periods of a plan ago, so that what it is told is
//! always known and never guessed ahead.

mod leader;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use engraft_core::{Dimension, Observation, Outcome, RobotSpec};
use engraft_wire::operator::{BridgeStatus, JointStatus};

use super::lease::Lease;
use super::operate::Endpoint;
use crate::arms;
use crate::calibration::Calibration;
use crate::description::ArmDescription;
use crate::recorder::{Moment, Recorder};
use leader::{Leader, Track};

/// Drive an arm with another one, and record it.
#[derive(Debug, Clone, clap::Args)]
pub struct TeleopArgs {
    /// The leader: so101, koch, or the path of a description. Its joints have the follower's names.
    #[arg(long, value_name = "ARM")]
    pub(super) leader_arm: String,
    /// The leader's serial port.
    #[arg(long, value_name = "PORT")]
    pub(super) leader_port: String,
    /// The leader's calibration, as LeRobot and `calibrate` write it.
    #[arg(long, value_name = "FILE")]
    pub(super) leader_calibration: Option<PathBuf>,
    /// Where the follower's bridge is.
    #[command(flatten)]
    pub(super) endpoint: Endpoint,
    /// The new file that it is recorded to, for `replay` and `engraft view`.
    #[arg(long, value_name = "LOG")]
    pub(super) out: PathBuf,
    /// What is done, in words, for whoever reads the recording.
    #[arg(long, value_name = "TEXT", default_value = "teleoperation")]
    pub(super) task: String,
    /// How often the leader is read, in a second.
    #[arg(long, value_name = "HZ", default_value_t = 50)]
    pub(super) hz: u32,
    /// End after so long; without it, with Ctrl-C.
    #[arg(long, value_name = "SECONDS")]
    pub(super) seconds: Option<f64>,
}

/// Periods of a plan by which the follower is late.
const LATE: u64 = 2;
/// Seconds around a tick's beginning in which nobody can be sure which one it is.
const UNSURE_SECS: f64 = 0.006;
/// How far the leader may be from the follower when it takes over, in radians.
const NEAR_RAD: f64 = 0.1;
/// How often the follower goes to where the leader is before it takes over.
const APPROACHES: usize = 5;

/// What was recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Recorded {
    steps: usize,
    /// Longest distance of a joint from where the leader's was when it was told to be there.
    furthest_rad: f64,
}

/// Drives and records. 0 is done; Ctrl-C is how it is done.
pub(super) fn teleop(args: &TeleopArgs) -> anyhow::Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // Whoever runs us may already listen for signals; then theirs is the one that counts.
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
    let Recorded { steps, furthest_rad } = teleop_until(args, &stop)?;
    writeln!(
        io::stdout(),
        "recorded {steps} steps to {}; the follower was {furthest_rad:.3} rad from the leader's \
         course at most",
        args.out.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

fn teleop_until(args: &TeleopArgs, stop: &AtomicBool) -> anyhow::Result<Recorded> {
    ensure!((10..=200).contains(&args.hz), "--hz must be from 10 to 200, found {}", args.hz);
    let seconds = args.seconds.unwrap_or(f64::INFINITY);
    ensure!(seconds > 0.0, "--seconds must be above 0, found {seconds}");
    ensure!(!args.out.exists(), "{} exists: record to a new file", args.out.display());
    let mut lease = Lease::connect(&args.endpoint)?;
    let mut arm = ArmDescription::find(&args.leader_arm)?;
    let calibration = args.leader_calibration.as_deref().map(Calibration::read).transpose()?;
    let scales = arms::scales(&arm, calibration.as_ref())?;
    arm.setpoint_hz = args.hz; // it may take as long to answer as we wait between two questions
    let motors = arms::open(&arm, &args.leader_port, calibration.as_ref())?;
    let mut leader = Leader::new(&arm, scales, motors, &lease.status.joints)?;
    lease.take("teleop-record")?;
    let Some(()) = meet(&mut lease, &mut leader, stop)? else {
        return Ok(Recorded { steps: 0, furthest_rad: 0.0 });
    };
    let mut recorder = Recorder::create(&args.out, false)?;
    recorder.begin(&spec(&lease.status, args.hz), &args.task, &arm.name, 0);
    let recorded = drive(&mut lease, &mut leader, &mut recorder, args.hz, seconds, stop);
    // Whatever happened, the follower comes to rest, and what was recorded is kept.
    let rested = lease.rest();
    recorder.end(if recorded.is_ok() { Outcome::Unknown } else { Outcome::Stopped });
    let dropped = recorder.finish()?;
    let recorded = recorded?;
    rested?;
    ensure!(dropped == 0, "{dropped} steps were lost to a slow disk: record elsewhere");
    Ok(recorded)
}

fn spec(status: &BridgeStatus, hz: u32) -> RobotSpec {
    let dimensions = status.joints.iter().map(|joint: &JointStatus| {
        let [min, max] = joint.bounds_rad.map(|bound| bound as f32);
        Dimension::new(&joint.name, "rad").within(min, max)
    });
    let dimensions: Vec<_> = dimensions.collect();
    RobotSpec {
        name: status.arm.clone(),
        control_hz: hz as f32,
        views: Vec::new(),
        proprio: dimensions.clone(),
        actions: dimensions,
    }
}

/// The follower goes gently to where the leader is. `None` when `stop` was set.
fn meet(lease: &mut Lease, leader: &mut Leader, stop: &AtomicBool) -> anyhow::Result<Option<()>> {
    for _ in 0..APPROACHES {
        let pose = leader.read()?;
        if !lease.approach(&pose, stop)? {
            return Ok(None);
        }
        let pose = leader.read()?;
        let joints = lease.status.joints.iter().zip(&pose);
        let off = joints.map(|(joint, angle)| (joint.goal_rad - angle).abs());
        if off.fold(0.0, f64::max) < NEAR_RAD {
            return Ok(Some(()));
        }
    }
    anyhow::bail!("the leader does not wait for the follower: hold it still at the beginning")
}

/// The follower goes where the leader goes, until `stop`, or for so many seconds.
fn drive(
    lease: &mut Lease,
    leader: &mut Leader,
    recorder: &mut Recorder,
    hz: u32,
    seconds: f64,
    stop: &AtomicBool,
) -> anyhow::Result<Recorded> {
    let (tick_secs, period_secs) = (lease.status.plan_period_secs, 1.0 / f64::from(hz));
    let mut track = Track::new(LATE as f64 * tick_secs + 1.0);
    let begin_secs = lease.now_secs();
    let mut recorded = Recorded { steps: 0, furthest_rad: 0.0 };
    let (mut next_secs, mut last_secs) = (begin_secs, f64::NEG_INFINITY);
    while !stop.load(Ordering::Relaxed) && lease.now_secs() - begin_secs < seconds {
        sleep_until(lease, next_secs);
        // A period that was missed is not made up for.
        next_secs = (next_secs + period_secs).max(lease.now_secs());
        let pose = leader.sense()?;
        track.push(lease.now_secs(), pose.angles);
        let now_secs = lease.now_secs();
        let left_secs = tick_secs - now_secs % tick_secs;
        if left_secs < UNSURE_SECS {
            sleep_until(lease, now_secs + left_secs + UNSURE_SECS);
        } else if tick_secs - left_secs < UNSURE_SECS {
            sleep_until(lease, now_secs + UNSURE_SECS);
        }
        let tick = lease.tick();
        // What lies after the last that is known is for a pause of ours: the leader's newest pose.
        let wanted = (tick + 1..=tick + LATE + 1).filter_map(|tick| {
            track.at(tick.saturating_sub(LATE) as f64 * tick_secs).map(<[f64]>::to_vec)
        });
        lease.go(wanted.collect(), false)?;
        let time_secs = lease.status.time_secs;
        if time_secs <= last_secs {
            continue;
        }
        last_secs = time_secs;
        let proprio: Vec<_> = lease.status.joints.iter().map(|joint| joint.position_rad).collect();
        if let Some(told) = track.at(time_secs - LATE as f64 * tick_secs)
            && recorded.steps > 0
        {
            let off = told.iter().zip(&proprio).map(|(told, found)| (told - found).abs());
            recorded.furthest_rad = off.fold(recorded.furthest_rad, f64::max);
        }
        let action = track.newest().context("nothing was heard of the leader")?;
        recorder.step(Moment {
            time_secs: time_secs - begin_secs,
            observation: Arc::new(Observation {
                views: Vec::new(),
                proprio: proprio.iter().map(|&angle| angle as f32).collect(),
            }),
            chunk: None,
            action: action.iter().map(|&angle| angle as f32).collect(),
            limited: pose.limited,
            attention: Vec::new(),
        });
        recorded.steps += 1;
        if io::stderr().is_terminal() && recorded.steps.is_multiple_of(10) {
            write!(io::stderr(), "\r{:>6.1} s, {} steps", time_secs - begin_secs, recorded.steps)?;
        }
    }
    if io::stderr().is_terminal() {
        writeln!(io::stderr())?;
    }
    Ok(recorded)
}

fn sleep_until(lease: &Lease, due_secs: f64) {
    let left = Duration::try_from_secs_f64(due_secs - lease.now_secs());
    std::thread::sleep(left.unwrap_or_default());
}
