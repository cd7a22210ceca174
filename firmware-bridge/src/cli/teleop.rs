//! A leader arm, moved by hand, drives the arm of a running bridge, and both are recorded.
//!
//! The follower is where the leader was two periods of a plan ago, so that what it is told is
//! always known and never guessed ahead.

mod episodes;
mod leader;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use engraft_core::{Dimension, Observation, Outcome, RobotSpec, ViewSpec};
use engraft_wire::operator::{BridgeStatus, JointStatus};

use super::cameras::CameraArgs;
use super::lease::Lease;
use super::operate::Endpoint;
use super::stop_at_signals;
use crate::arms;
use crate::calibration::Calibration;
use crate::description::ArmDescription;
use crate::eyes::Cameras;
use crate::recorder::{KeepError, Moment, Record, Recorder};
pub use episodes::EpisodesArgs;
use episodes::{Episodes, Key, Keys, Turn};
use leader::{Leader, Pose, Track};

/// Drive an arm with another one, and record it.
#[derive(Debug, Clone, clap::Args)]
pub struct TeleopArgs {
    #[command(flatten)]
    pub(super) session: TeleopSession,
    /// The new file that it is recorded to, for `replay` and `engraft view`.
    #[arg(long, value_name = "LOG")]
    pub(super) out: PathBuf,
}

/// A leader, a follower, and what is between them.
#[derive(Debug, Clone, clap::Args)]
pub struct TeleopSession {
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
    /// What sees what is done.
    #[command(flatten)]
    pub(super) cameras: CameraArgs,
    /// Columns and rows that pictures are recorded with; without it, the camera's own.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_size, requires = "cameras")]
    pub(super) size: Option<(usize, usize)>,
    /// What is done, in words, for whoever reads the recording.
    #[arg(long, value_name = "TEXT", default_value = "teleoperation")]
    pub(super) task: String,
    /// How often the leader is read, in a second.
    #[arg(long, value_name = "HZ", default_value_t = 50)]
    pub(super) hz: u32,
    /// How many episodes, and how long.
    #[command(flatten)]
    pub(super) episodes: EpisodesArgs,
}

fn parse_size(text: &str) -> Result<(usize, usize), String> {
    let (width, height) = text.split_once('x').unwrap_or((text, ""));
    let side = |side: &str| side.parse().ok().filter(|side| (1..=4096).contains(side));
    let sides = side(width).zip(side(height));
    sides.ok_or_else(|| format!("expected WIDTHxHEIGHT, such as 320x240, found `{text}`"))
}

/// Periods of a plan by which the follower is late.
const LATE: u64 = 2;
/// Seconds around a tick's beginning in which nobody can be sure which one it is.
const UNSURE_SECS: f64 = 0.006;
/// How far the leader may be from the follower when it takes over, in radians.
const NEAR_RAD: f64 = 0.1;
/// How often a terminal is written to.
const SHOW: Duration = Duration::from_millis(200);
/// How often the follower goes to where the leader is before it takes over.
const APPROACHES: usize = 5;

/// What was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Recorded {
    /// Episodes that were kept.
    pub episodes: u32,
    /// Steps of all of them, and of those that were not kept.
    pub steps: usize,
    /// Longest distance of a joint from where the leader's was when it was told to be there, in
    /// radians.
    pub furthest_rad: f64,
}

/// Drives and records. 0 is done; Ctrl-C is how it is done.
pub(super) fn teleop(args: &TeleopArgs) -> anyhow::Result<ExitCode> {
    let stop = stop_at_signals();
    let Recorded { episodes, steps, furthest_rad } = teleop_until(args, &stop)?;
    writeln!(
        io::stdout(),
        "recorded {episodes} episode(s), {steps} steps to {}; the follower was {furthest_rad:.3} \
         rad from the leader's course at most",
        args.out.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

fn teleop_until(args: &TeleopArgs, stop: &AtomicBool) -> anyhow::Result<Recorded> {
    ensure!(!args.out.exists(), "{} exists: record to a new file", args.out.display());
    session(&args.session, || Ok(Recorder::create(&args.out, false)?), stop)
}

/// Drives, and hands everything that is recorded to `keep`, on a thread of its own: each episode's
/// beginning, steps and end, which is [`Outcome::Stopped`] where it is not to be kept.
///
/// # Errors
///
/// When the leader or the bridge fails, a camera goes blind, or `keep` does.
pub fn teleop_record(
    args: &TeleopSession,
    keep: impl FnOnce(&Receiver<Record>) -> Result<(), KeepError> + Send + 'static,
) -> anyhow::Result<Recorded> {
    session(args, || Ok(Recorder::start(keep, false)?), &stop_at_signals())
}

fn session(
    args: &TeleopSession,
    recorder: impl FnOnce() -> anyhow::Result<Recorder>,
    stop: &AtomicBool,
) -> anyhow::Result<Recorded> {
    ensure!((10..=200).contains(&args.hz), "--hz must be from 10 to 200, found {}", args.hz);
    args.episodes.check(Keys::possible())?;
    let mut lease = Lease::connect(&args.endpoint)?;
    let mut arm = ArmDescription::find(&args.leader_arm)?;
    let calibration = args.leader_calibration.as_deref().map(Calibration::read).transpose()?;
    let scales = arms::scales(&arm, calibration.as_ref())?;
    arm.setpoint_hz = args.hz; // it may take as long to answer as we wait between two questions
    let motors = arms::open(&arm, &args.leader_port, calibration.as_ref())?;
    let mut leader = Leader::new(&arm, scales, motors, &lease.status.joints)?;
    let cameras = cameras(args, stop)?;
    lease.take("teleop-record")?;
    let Some(()) = meet(&mut lease, &mut leader, stop)? else {
        return Ok(Recorded::default());
    };
    let mut teleop = Teleop {
        spec: spec(&lease.status, args.hz, cameras.views()),
        task: &args.task,
        leader_name: &arm.name,
        period_secs: 1.0 / f64::from(args.hz),
        lease,
        leader,
        cameras,
        // Until here Ctrl-C is a signal, and from here on a key.
        keys: Keys::open()?,
        recorder: recorder()?,
        episodes: Episodes::new(args.episodes.clone()),
        recorded: Recorded::default(),
        shown: Instant::now(),
    };
    let driven = teleop.drive(stop);
    // Whatever happened, the follower comes to rest, and what was recorded is kept.
    let rested = teleop.lease.rest();
    if teleop.episodes.is_recording() {
        teleop.recorder.end(if driven.is_ok() { Outcome::Unknown } else { Outcome::Stopped });
        teleop.recorded.episodes += u32::from(driven.is_ok());
    }
    let (recorder, recorded) = (teleop.recorder, teleop.recorded);
    drop((teleop.keys, teleop.lease));
    let dropped = recorder.finish()?;
    driven?;
    rested?;
    ensure!(dropped == 0, "{dropped} steps were lost to a slow disk: record elsewhere");
    Ok(recorded)
}

fn cameras(args: &TeleopSession, stop: &AtomicBool) -> anyhow::Result<Cameras> {
    let wanted = args.size.map(|(width, height)| {
        let view = |name: &str| ViewSpec { name: name.into(), width, height, depth: false };
        args.cameras.cameras.iter().map(|camera| view(&camera.name)).collect::<Vec<_>>()
    });
    args.cameras.open(wanted.as_deref(), stop)
}

/// What is recorded: joints in the units that a policy for this arm speaks.
fn spec(status: &BridgeStatus, hz: u32, views: &[ViewSpec]) -> RobotSpec {
    let dimensions = status.joints.iter().map(|joint: &JointStatus| {
        let [a, b] = joint.bounds_rad.map(|bound| joint.value(bound) as f32);
        let unit = if joint.unit.is_empty() { "rad" } else { &joint.unit };
        Dimension::new(&joint.name, unit).within(a.min(b), a.max(b))
    });
    let dimensions: Vec<_> = dimensions.collect();
    RobotSpec {
        name: status.arm.clone(),
        control_hz: hz as f32,
        views: views.to_vec(),
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

struct Teleop<'a> {
    spec: RobotSpec,
    task: &'a str,
    leader_name: &'a str,
    /// Between two readings of the leader.
    period_secs: f64,
    lease: Lease,
    leader: Leader,
    cameras: Cameras,
    keys: Keys,
    recorder: Recorder,
    episodes: Episodes,
    recorded: Recorded,
    shown: Instant,
}

impl Teleop<'_> {
    /// The follower goes where the leader goes, until `stop`, or until there are enough episodes.
    fn drive(&mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        let tick_secs = self.lease.status.plan_period_secs;
        let mut track = Track::new(LATE as f64 * tick_secs + 1.0);
        let (mut begin_secs, mut steps) = (self.lease.now_secs(), 0_usize);
        let (mut next_secs, mut last_secs) = (begin_secs, f64::NEG_INFINITY);
        while !stop.load(Ordering::Relaxed) {
            self.sleep_until(next_secs);
            // A period that was missed is not made up for.
            next_secs = (next_secs + self.period_secs).max(self.lease.now_secs());
            let pose = self.leader.sense()?;
            track.push(self.lease.now_secs(), pose.angles.clone());
            self.follow(&mut track, tick_secs)?;
            match self.turn()? {
                Some(Turn::Finished) => break,
                Some(Turn::Begin) => (begin_secs, steps) = (self.lease.now_secs(), 0),
                _ => {}
            }
            let time_secs = self.lease.status.time_secs;
            self.show(steps)?;
            if !self.episodes.is_recording() || time_secs <= last_secs || time_secs < begin_secs {
                continue;
            }
            last_secs = time_secs;
            if let Some(told) = track.at(time_secs - LATE as f64 * tick_secs)
                && steps > 0
            {
                let joints = told.iter().zip(&self.lease.status.joints);
                let off = joints.map(|(told, joint)| (told - joint.position_rad).abs());
                self.recorded.furthest_rad = off.fold(self.recorded.furthest_rad, f64::max);
            }
            self.record(time_secs - begin_secs, &pose)?;
            steps += 1;
        }
        if self.keys.exist() {
            write!(io::stderr(), "\r\n")?;
        }
        Ok(())
    }

    /// Tells the follower where to be in the next periods of its plan.
    fn follow(&mut self, track: &mut Track, tick_secs: f64) -> anyhow::Result<()> {
        let now_secs = self.lease.now_secs();
        let left_secs = tick_secs - now_secs % tick_secs;
        if left_secs < UNSURE_SECS {
            self.sleep_until(now_secs + left_secs + UNSURE_SECS);
        } else if tick_secs - left_secs < UNSURE_SECS {
            self.sleep_until(now_secs + UNSURE_SECS);
        }
        let tick = self.lease.tick();
        // What lies after the last that is known is for a pause of ours: the leader's newest pose.
        let wanted = (tick + 1..=tick + LATE + 1).filter_map(|tick| {
            track.at(tick.saturating_sub(LATE) as f64 * tick_secs).map(<[f64]>::to_vec)
        });
        self.lease.go(wanted.collect(), false)
    }

    /// Begins and ends episodes as the clock and the keys say.
    fn turn(&mut self) -> anyhow::Result<Option<Turn>> {
        let key = self.keys.pressed()?;
        if key == Some(Key::Estop) {
            self.lease.estop()?;
            bail!("emergency stop: `firmware-bridge reset` leads out of it");
        }
        let turn = self.episodes.turn(self.lease.now_secs(), key);
        match turn {
            Some(Turn::Begin) => self.recorder.begin(&self.spec, self.task, self.leader_name, 0),
            Some(Turn::Keep) => self.recorder.end(Outcome::Unknown),
            Some(Turn::Discard) => self.recorder.end(Outcome::Stopped),
            Some(Turn::Finished) | None => {}
        }
        self.recorded.episodes = self.episodes.kept();
        if let Some(said) = turn.and_then(|turn| self.episodes.said(turn)) {
            // In raw mode a line's end does not go back to its beginning.
            let (clear, end) = if self.keys.exist() { ("\r\x1b[K", "\r\n") } else { ("", "\n") };
            write!(io::stderr(), "{clear}{said}{end}")?;
        }
        Ok(turn)
    }

    fn record(&mut self, time_secs: f64, pose: &Pose) -> anyhow::Result<()> {
        ensure!(!self.recorder.has_failed(), "stopped, for nothing can be recorded any more");
        let joints = &self.lease.status.joints;
        let values = |angles: &mut dyn Iterator<Item = f64>| {
            joints.iter().zip(angles).map(|(joint, angle)| joint.value(angle) as f32).collect()
        };
        let proprio = values(&mut joints.iter().map(|joint| joint.position_rad));
        let action = values(&mut pose.angles.iter().copied());
        let views = self.cameras.look().context("stopped, for a camera is blind")?;
        self.recorder.step(Moment {
            time_secs,
            observation: Arc::new(Observation { views, proprio }),
            chunk: None,
            action,
            limited: pose.limited.clone(),
            attention: Vec::new(),
        });
        self.recorded.steps += 1;
        Ok(())
    }

    /// Where we are, on a terminal, some times a second.
    fn show(&mut self, steps: usize) -> io::Result<()> {
        if !self.keys.exist() || self.shown.elapsed() < SHOW {
            return Ok(());
        }
        self.shown = Instant::now();
        let line = self.episodes.line(self.lease.now_secs(), steps);
        write!(io::stderr(), "\r\x1b[K{line}")
    }

    fn sleep_until(&self, due_secs: f64) {
        let left = Duration::try_from_secs_f64(due_secs - self.lease.now_secs());
        std::thread::sleep(left.unwrap_or_default());
    }
}
