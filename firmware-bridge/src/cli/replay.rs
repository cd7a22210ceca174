//! Plays the actions of a recorded episode on a running bridge, as an operator: every limit holds.

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use engraft_core::Rollout;
use engraft_wire::operator::{BridgeStatus, JointStatus};
use engraft_wire::read_log;

use super::lease::Lease;
use super::operate::Endpoint;
use super::stop_at_signals;

/// Play a recorded episode.
#[derive(Debug, Clone, clap::Args)]
pub struct ReplayArgs {
    /// The rollout log: of `run --log`, or of `teleop-record`.
    #[arg(value_name = "LOG")]
    pub(super) log: PathBuf,
    /// How it is played.
    #[command(flatten)]
    pub(super) play: PlayArgs,
}

/// How an episode is played.
#[derive(Debug, Clone, clap::Args)]
pub struct PlayArgs {
    /// Which of its episodes, from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub episode: usize,
    /// Part of its own speed, above 0 and at most 1.
    #[arg(long, value_name = "PART", default_value_t = 1.0)]
    pub speed: f64,
    /// Where the bridge is.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// Waypoints that are handed over ahead of time.
const AHEAD: u64 = 20;
/// How often they are, in seconds.
const EVERY_SECS: f64 = 0.1;
/// How long the arm may take to stand after the last action, in seconds.
const REST_SECS: f64 = 5.0;

/// Beyond this part of its range outside its bounds, no action was meant for this joint.
const FAR: f64 = 0.25;

/// Where the joints are to be when: straight lines through the actions.
#[derive(Debug, Clone, PartialEq)]
struct Course {
    /// Seconds since the first action, rising.
    times: Vec<f64>,
    /// Angles in radians, in the bridge's order.
    poses: Vec<Vec<f64>>,
}

/// How far a joint was from its action at most.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Furthest {
    /// In radians.
    pub(super) off_rad: f64,
    /// Which joint.
    pub(super) joint: String,
    /// When, in seconds since the first action.
    pub(super) at_secs: f64,
}

/// Plays an episode of a log. 0 is done, 1 is stopped by a signal.
pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let recording = read_log(&args.log)?;
    let (count, wanted) = (recording.rollouts.len(), args.play.episode);
    let rollout = recording.rollouts.get(wanted).with_context(|| {
        format!("{} has {count} episode(s), counted from 0: found --episode {wanted}", {
            args.log.display()
        })
    })?;
    play_rollout(rollout, &args.play)
}

/// Plays the actions of an episode on the arm of a running bridge, within every limit. 0 is done, 1
/// is stopped by a signal.
///
/// # Errors
///
/// When it is of another arm, or the bridge does not do it.
pub fn play_rollout(rollout: &Rollout, args: &PlayArgs) -> anyhow::Result<ExitCode> {
    let stop = stop_at_signals();
    let Some((course, furthest)) = play_until(rollout, args, &stop)? else {
        return Ok(ExitCode::from(1));
    };
    let far = if furthest.joint.is_empty() {
        "every joint was where its action was".to_owned()
    } else {
        let Furthest { off_rad, joint, at_secs } = &furthest;
        let at_secs = at_secs / args.speed;
        format!("furthest from its action was {joint}, {off_rad:.3} rad, after {at_secs:.1} s")
    };
    let secs = course.secs() / args.speed;
    writeln!(io::stdout(), "played {} actions in {secs:.1} s; {far}", course.poses.len())?;
    Ok(ExitCode::SUCCESS)
}

fn play_until(
    rollout: &Rollout,
    args: &PlayArgs,
    stop: &AtomicBool,
) -> anyhow::Result<Option<(Course, Furthest)>> {
    ensure!(args.speed > 0.0 && args.speed <= 1.0, "--speed must be above 0 and at most 1");
    let mut lease = Lease::connect(&args.endpoint)?;
    let course = Course::new(rollout, &lease.status.joints)?;
    lease.take("replay")?;
    let played = course.play(&mut lease, args.speed, stop);
    if played.is_err() {
        let _ = lease.rest(); // the first error is the one to be told
    }
    Ok(played?.map(|furthest| (course, furthest)))
}

impl Course {
    /// The actions of an episode, for an arm of these joints.
    fn new(rollout: &Rollout, joints: &[JointStatus]) -> anyhow::Result<Self> {
        let dimensions = &rollout.spec.actions;
        let expected: Vec<_> = joints.iter().map(|joint| joint.name.as_str()).collect();
        // As LeRobot names them.
        let name = |name: &'_ str| name.strip_suffix(".pos").unwrap_or(name).to_owned();
        let found: Vec<_> = dimensions.iter().map(|dimension| name(&dimension.name)).collect();
        ensure!(
            expected == found,
            "the bridge's joints are {}, the recording's {}",
            expected.join(", "),
            found.join(", ")
        );
        let units = dimensions.iter().zip(joints);
        let units = units.map(|(dimension, joint)| Meaning::of(&dimension.unit, joint));
        let units = units.collect::<anyhow::Result<Vec<_>>>()?;
        let (mut times, mut poses) = (Vec::new(), Vec::new());
        for (number, step) in rollout.steps.iter().enumerate() {
            let values = step.action.iter().zip(&units).zip(joints);
            let pose: Vec<f64> = values
                .map(|((&value, unit), joint)| unit.angle_rad(f64::from(value), joint))
                .collect();
            let sound = pose.len() == joints.len() && pose.iter().all(|angle| angle.is_finite());
            ensure!(sound, "step {number} of the episode has an action that is none");
            for (joint, angle) in joints.iter().zip(&pose) {
                let [min, max] = joint.bounds_rad;
                let far = (max - min) * FAR;
                ensure!(
                    (min - far..=max + far).contains(angle),
                    "step {number} sends {} to {angle:.2} rad, far outside {min:.2} to {max:.2}: was \
                     it recorded in another unit?",
                    joint.name
                );
            }
            let time = step.time_secs;
            let later = times.last().is_none_or(|&last| time > last);
            ensure!(
                time.is_finite() && later,
                "step {number} of the episode is not after the last"
            );
            times.push(time);
            poses.push(pose);
        }
        let first = *times.first().context("the episode has no steps")?;
        for time in &mut times {
            *time -= first;
        }
        Ok(Self { times, poses })
    }

    fn secs(&self) -> f64 {
        self.times.last().copied().unwrap_or_default()
    }

    /// Where to be; the first action before, the last one after.
    fn at(&self, secs: f64) -> Vec<f64> {
        let next = self.times.partition_point(|&time| time <= secs);
        let pose = |i: usize| self.poses.get(i).cloned().unwrap_or_default();
        let (Some(before), Some(after)) = (next.checked_sub(1), self.times.get(next)) else {
            return pose(next.saturating_sub(1));
        };
        let from = self.times.get(before).copied().unwrap_or_default();
        let part = (secs - from) / (after - from);
        let both = pose(before).into_iter().zip(pose(next));
        both.map(|(a, b)| a + (b - a) * part).collect()
    }

    /// Goes to the first action, and through all others. `None` when `stop` was set.
    fn play(
        &self,
        lease: &mut Lease,
        speed: f64,
        stop: &AtomicBool,
    ) -> anyhow::Result<Option<Furthest>> {
        if !lease.approach(&self.at(0.0), stop)? {
            return Ok(None);
        }
        let period = lease.status.plan_period_secs;
        let every = (EVERY_SECS / period).max(1.0) as u64;
        let start = lease.tick() + 2;
        let begin_secs = start as f64 * period;
        let end = start + (self.secs() / (period * speed)).ceil() as u64;
        let mut furthest = Furthest::default();
        let mut look = |status: &BridgeStatus| {
            self.compare(status, (status.time_secs - begin_secs) * speed, &mut furthest);
        };
        let mut done = false;
        let mut tick = lease.tick();
        while !done {
            // In the middle of a tick nobody can be wrong about which it is.
            lease.keep_until((tick as f64 + 0.5) * period, &mut look)?;
            if stop.load(Ordering::Relaxed) {
                lease.rest()?;
                return Ok(None);
            }
            tick = lease.tick();
            done = tick + AHEAD >= end;
            let ticks = tick + 1..=(tick + AHEAD).min(end.max(tick + 1));
            let due = |tick: u64| (tick as f64 - start as f64) * period * speed;
            lease.go(ticks.map(|tick| self.at(due(tick))).collect(), done)?;
            look(&lease.status);
            tick += every;
            progress((lease.now_secs() - begin_secs).max(0.0), self.secs() / speed)?;
        }
        // The rest is the bridge's: it only wants to hear that we are there.
        while lease.status.state != "Armed" {
            let now = lease.now_secs();
            ensure!(now < end as f64 * period + REST_SECS, "the arm does not come to rest");
            lease.keep_until(now + 2.0 * EVERY_SECS, &mut look)?;
            if stop.load(Ordering::Relaxed) {
                lease.rest()?;
                return Ok(None);
            }
            progress((now - begin_secs).max(0.0), self.secs() / speed)?;
        }
        if io::stderr().is_terminal() {
            writeln!(io::stderr())?;
        }
        ensure!(
            lease.now_secs() > end as f64 * period,
            "stopped {:.1} s before its end: was it told to?",
            end as f64 * period - lease.now_secs()
        );
        Ok(Some(furthest))
    }

    /// How far the joints are from where they should be, while there is somewhere.
    fn compare(&self, status: &BridgeStatus, secs: f64, furthest: &mut Furthest) {
        if !(0.0..=self.secs()).contains(&secs) {
            return;
        }
        for (joint, angle) in status.joints.iter().zip(self.at(secs)) {
            let off_rad = (joint.position_rad - angle).abs();
            if off_rad > furthest.off_rad {
                *furthest = Furthest { off_rad, joint: joint.name.clone(), at_secs: secs };
            }
        }
    }
}

/// What the numbers of a recording mean for one joint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Radians.
    Rad,
    /// The joint's own unit, which the bridge says.
    Own,
    /// From the joint's first bound, 0, to its second, 1.
    Part,
}

impl Meaning {
    fn of(unit: &str, joint: &JointStatus) -> anyhow::Result<Self> {
        Ok(match unit {
            "rad" => Self::Rad,
            // LeRobot does not write units down: they are what the arm is described with, if that
            // is one of LeRobot's.
            "" => {
                ensure!(
                    !matches!(joint.unit.as_str(), "" | "rad"),
                    "{}: nobody wrote down what unit this was recorded in: give the joint its \
                     `unit` in the arm's description, such as \"lerobot_deg\"",
                    joint.name
                );
                Self::Own
            }
            unit if unit == joint.unit => Self::Own,
            "1" => Self::Part,
            unit => {
                let own = if joint.unit.is_empty() { "rad" } else { &joint.unit };
                anyhow::bail!(
                    "{}: expected actions in `{own}`, or in `rad`, found `{unit}`: give the joint \
                     this unit in the arm's description",
                    joint.name
                )
            }
        })
    }

    fn angle_rad(self, value: f64, joint: &JointStatus) -> f64 {
        let [first, second] = joint.bounds_rad;
        match self {
            Self::Rad => value,
            Self::Own => joint.angle_rad(value),
            Self::Part => first + value * (second - first),
        }
    }
}

fn progress(secs: f64, of_secs: f64) -> io::Result<()> {
    let mut out = io::stderr();
    if !out.is_terminal() {
        return Ok(());
    }
    write!(out, "\r{:>6.1} of {of_secs:.1} s", secs.min(of_secs))?;
    out.flush()
}
