//! The lease of a running bridge, for verbs that move its arm for a while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use engraft_wire::OperatorSocket;
use engraft_wire::operator::{BridgeStatus, Verb};

use super::operate::{Endpoint, ask, connect, insist};
use crate::plan::MAX_WAYPOINTS;

/// Part of its range that a joint travels in a second on average on its way to a beginning.
const GENTLY: f64 = 0.2;
/// How often the lease is kept while nothing else is said.
pub(super) const KEEP: Duration = Duration::from_millis(20);
/// How far from its goal a set-point may end, in radians.
const THERE_RAD: f64 = 0.01;
/// How long an arm may take to come to rest.
const REST: Duration = Duration::from_secs(5);

/// A bridge, and the lease once it is taken. Dropping it gives the lease back.
pub(super) struct Lease {
    socket: OperatorSocket,
    id: Option<u64>,
    /// How things were when the bridge last answered.
    pub(super) status: BridgeStatus,
    began: Instant,
    /// The bridge's clock less ours: each answer comes a little after what it says, so the largest
    /// difference is the nearest.
    ahead_secs: f64,
    /// Whether waypoints were handed over.
    streams: bool,
}

impl Lease {
    /// A bridge that nobody moves yet.
    pub(super) fn connect(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let mut socket = connect(endpoint)?;
        let status = insist(&mut socket, &Verb::Status)?.status;
        let ahead_secs = f64::NEG_INFINITY;
        let (began, streams) = (Instant::now(), false);
        let mut lease = Self { socket, id: None, status, began, ahead_secs, streams };
        lease.hear();
        let period = lease.status.plan_period_secs;
        ensure!(
            period.is_finite() && period > 0.0,
            "the bridge does not say when waypoints are due: run one of this version"
        );
        Ok(lease)
    }

    /// Takes the lease.
    pub(super) fn take(&mut self, verb: &str) -> anyhow::Result<()> {
        let holder = format!("{verb} ({})", std::process::id());
        let answer = insist(&mut self.socket, &Verb::Take { holder, steal: false })?;
        self.id = Some(answer.lease.context("the bridge gave no lease")?);
        self.status = answer.status;
        self.hear();
        Ok(())
    }

    /// Seconds on the bridge's clock.
    pub(super) fn now_secs(&self) -> f64 {
        self.ahead_secs + self.began.elapsed().as_secs_f64()
    }

    /// The tick of plans that it is now.
    pub(super) fn tick(&self) -> u64 {
        (self.now_secs() / self.status.plan_period_secs).max(0.0) as u64
    }

    /// Keeps the lease.
    pub(super) fn keep(&mut self) -> anyhow::Result<()> {
        let lease = self.id()?;
        self.ask(&Verb::Keep { lease })
    }

    /// Keeps the lease until it is `due` on the bridge's clock; `look` is shown every answer.
    pub(super) fn keep_until(
        &mut self,
        due_secs: f64,
        mut look: impl FnMut(&BridgeStatus),
    ) -> anyhow::Result<()> {
        loop {
            let left = Duration::try_from_secs_f64(due_secs - self.now_secs()).unwrap_or_default();
            thread::sleep(left.min(KEEP));
            if left <= KEEP {
                return Ok(());
            }
            self.keep()?;
            look(&self.status);
        }
    }

    /// Hands waypoints over, a plan's period apart: the first is due at the next tick. An arm that
    /// somebody stopped since the first of them is not set in motion again.
    pub(super) fn go(&mut self, waypoints_rad: Vec<Vec<f64>>, last: bool) -> anyhow::Result<()> {
        let (lease, period_secs) = (self.id()?, self.status.plan_period_secs);
        if self.streams {
            self.keep()?;
            self.still_going()?;
        }
        let gone = self.ask(&Verb::Go { lease, period_secs, waypoints_rad, last });
        gone.with_context(|| format!("stopped in {}: was it told to?", self.status.state))?;
        self.streams = true;
        self.still_going()
    }

    fn still_going(&self) -> anyhow::Result<()> {
        let state = self.status.state.as_str();
        ensure!(matches!(state, "Running" | "Hold"), "stopped in {state}: was it told to?");
        Ok(())
    }

    /// Goes gently to a pose, as far as the bounds allow, and waits until the arm stands there.
    /// Whether it does: not when `stop` was set.
    pub(super) fn approach(&mut self, pose: &[f64], stop: &AtomicBool) -> anyhow::Result<bool> {
        let joints = &self.status.joints;
        ensure!(pose.len() == joints.len(), "a pose has {} angles", joints.len());
        let bounded = joints.iter().zip(pose).map(|(joint, angle)| {
            let [min, max] = joint.bounds_rad;
            angle.max(min).min(max)
        });
        let pose: Vec<f64> = bounded.collect();
        let slowest = joints.iter().zip(&pose).map(|(joint, angle)| {
            let [min, max] = joint.bounds_rad;
            (angle - joint.goal_rad).abs() / ((max - min) * GENTLY)
        });
        let most = self.status.plan_period_secs * MAX_WAYPOINTS as f64;
        let period_secs = slowest.fold(0.2_f64, f64::max).min(most);
        let lease = self.id()?;
        let waypoints_rad = vec![pose.clone()];
        self.ask(&Verb::Go { lease, period_secs, waypoints_rad, last: true })?;
        let began = Instant::now();
        let patience = Duration::from_secs_f64(period_secs) + REST;
        loop {
            thread::sleep(KEEP);
            self.keep()?;
            if stop.load(Ordering::Relaxed) {
                self.rest()?;
                return Ok(false);
            }
            if self.status.state == "Armed" {
                break;
            }
            ensure!(began.elapsed() < patience, "not at the beginning after {patience:?}");
        }
        for (joint, angle) in self.status.joints.iter().zip(&pose) {
            let off = (joint.goal_rad - angle).abs();
            ensure!(off < THERE_RAD, "{} stopped {off:.3} rad short: was it told to?", joint.name);
        }
        Ok(true)
    }

    /// Brings the arm to rest, and waits until it is.
    pub(super) fn rest(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.status = insist(&mut self.socket, &Verb::Status)?.status;
        while moves(&self.status.state) {
            ensure!(began.elapsed() < REST, "the arm does not come to rest within {REST:?}");
            if self.status.state != "Stopping" {
                // It may stand by the time that this is heard, and has then nothing to do.
                ask(&mut self.socket, &Verb::Stop)?;
            }
            thread::sleep(KEEP);
            self.status = insist(&mut self.socket, &Verb::Status)?.status;
        }
        Ok(())
    }

    /// Stops the arm at once, latched.
    pub(super) fn estop(&mut self) -> anyhow::Result<()> {
        insist(&mut self.socket, &Verb::Estop).map(|_| ())
    }

    fn id(&self) -> anyhow::Result<u64> {
        self.id.context("no lease was taken")
    }

    fn ask(&mut self, verb: &Verb) -> anyhow::Result<()> {
        let answer = ask(&mut self.socket, verb)?;
        self.status = answer.status;
        self.hear();
        if matches!(self.status.state.as_str(), "Fault" | "Estop" | "Disconnected" | "Idle") {
            let BridgeStatus { state, cause, trouble, .. } = &self.status;
            let why = cause.as_ref().or(trouble.as_ref());
            bail!("the bridge is in {state}: {}", why.map_or("it was told to", String::as_str));
        }
        ensure!(answer.ok, "{}", answer.detail);
        Ok(())
    }

    fn hear(&mut self) {
        let ahead = self.status.time_secs - self.began.elapsed().as_secs_f64();
        self.ahead_secs = self.ahead_secs.max(ahead);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(lease) = self.id.take() {
            // A fault may have taken it already, or the bridge may be gone.
            let _ = self.socket.ask(&Verb::Release { lease }, Duration::from_secs(1));
        }
    }
}

/// Whether an arm is on its way, or on its way to rest.
fn moves(state: &str) -> bool {
    matches!(state, "Running" | "Hold" | "Stopping")
}
