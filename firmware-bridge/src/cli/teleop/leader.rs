//! The arm in the person's hands.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use engraft_wire::operator::JointStatus;

use crate::description::ArmDescription;
use crate::motors::{Motors, MotorsError, Sensed};
use crate::units::{JointScales, Unit};

/// How long a leader may be silent while it leads.
const SILENCE: Duration = Duration::from_millis(300);
/// How often it is asked before it leads.
const TRIES: usize = 5;

/// What one of its joints means to the follower.
#[derive(Debug, Clone, Copy)]
struct Joint {
    scales: JointScales,
    /// A gripper is as far open as the leader's, whatever angle that is.
    hand: Option<[f64; 2]>,
    bounds_rad: [f64; 2],
}

/// Where the leader wants the follower.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pose {
    /// Angles in radians, within the follower's bounds.
    pub(super) angles: Vec<f64>,
    /// Joints that the leader has beyond those.
    pub(super) limited: Vec<usize>,
}

/// An arm without torque that is only read.
pub(super) struct Leader {
    motors: Box<dyn Motors>,
    joints: Vec<Joint>,
    sensed: Sensed,
    heard: Instant,
}

impl Leader {
    /// Connects to it and switches its torque off.
    pub(super) fn new(
        arm: &ArmDescription,
        scales: Vec<JointScales>,
        mut motors: Box<dyn Motors>,
        follower: &[JointStatus],
    ) -> anyhow::Result<Self> {
        let names: Vec<_> = arm.joints.iter().map(|joint| joint.name.as_str()).collect();
        let others: Vec<_> = follower.iter().map(|joint| joint.name.as_str()).collect();
        ensure!(
            names == others,
            "the follower's joints are {}, the leader's {}",
            others.join(", "),
            names.join(", ")
        );
        let joints = arm.joints.iter().zip(scales).zip(follower);
        let joints = joints.map(|((joint, scales), follower)| Joint {
            scales,
            hand: (joint.unit == Unit::Gripper).then_some([joint.min_rad, joint.max_rad]),
            bounds_rad: follower.bounds_rad,
        });
        let joints = joints.collect();
        motors.identify().context("the leader does not answer as described")?;
        motors.torque(false).context("the leader keeps its torque")?;
        Ok(Self { motors, joints, sensed: Sensed::new(arm.joints.len()), heard: Instant::now() })
    }

    /// Where it is, asked until it says so.
    pub(super) fn read(&mut self) -> anyhow::Result<Vec<f64>> {
        let mut tried = self.motors.sense(&mut self.sensed);
        for _ in 1..TRIES {
            if tried.is_ok() {
                break;
            }
            tried = self.motors.sense(&mut self.sensed);
        }
        tried.context("the leader is silent")?;
        self.heard = Instant::now();
        Ok(self.pose().angles)
    }

    /// Where it is, or was a moment ago.
    pub(super) fn sense(&mut self) -> anyhow::Result<Pose> {
        match self.motors.sense(&mut self.sensed) {
            Ok(()) => self.heard = Instant::now(),
            Err(error) => {
                let gone = matches!(error, MotorsError::HungUp { .. } | MotorsError::Port { .. });
                if gone || self.heard.elapsed() > SILENCE {
                    return Err(error).context("the leader is silent, so the follower was stopped");
                }
            }
        }
        Ok(self.pose())
    }

    fn pose(&self) -> Pose {
        let mut pose = Pose { angles: Vec::with_capacity(self.joints.len()), limited: Vec::new() };
        for (i, (joint, &ticks)) in self.joints.iter().zip(&self.sensed.position).enumerate() {
            let (angle, within) = joint.angle(ticks);
            pose.angles.push(within);
            if (angle - within).abs() > f64::EPSILON {
                pose.limited.push(i);
            }
        }
        pose
    }
}

impl Joint {
    /// The follower's angle, and the nearest within its bounds.
    fn angle(&self, ticks: i32) -> (f64, f64) {
        let [min, max] = self.bounds_rad;
        let mut angle = self.scales.radians.value(ticks);
        if let Some([open, closed]) = self.hand {
            angle = min + (angle - open) / (closed - open) * (max - min);
        }
        (angle, angle.max(min).min(max))
    }
}

/// Where the leader was when, for a while.
#[derive(Debug)]
pub(super) struct Track {
    poses: VecDeque<(f64, Vec<f64>)>,
    /// Between two poses.
    between: Vec<f64>,
    kept_secs: f64,
}

impl Track {
    pub(super) fn new(kept_secs: f64) -> Self {
        Self { poses: VecDeque::new(), between: Vec::new(), kept_secs }
    }

    /// Adds a pose that was sensed at a time, which must not be before the last.
    pub(super) fn push(&mut self, secs: f64, pose: Vec<f64>) {
        self.poses.push_back((secs, pose));
        while self.poses.front().is_some_and(|(old, _)| *old < secs - self.kept_secs) {
            self.poses.pop_front();
        }
    }

    pub(super) fn newest(&self) -> Option<&[f64]> {
        self.poses.back().map(|(_, pose)| pose.as_slice())
    }

    /// Where it was, on straight lines: the oldest before, the newest after.
    pub(super) fn at(&mut self, secs: f64) -> Option<&[f64]> {
        let next = self.poses.partition_point(|(time, _)| *time <= secs);
        let Some((after, to)) = self.poses.get(next) else { return self.newest() };
        let Some((before, from)) = next.checked_sub(1).and_then(|last| self.poses.get(last)) else {
            return Some(to);
        };
        let part = (secs - before) / (after - before);
        self.between.clear();
        self.between.extend(from.iter().zip(to).map(|(from, to)| from + (to - from) * part));
        Some(&self.between)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Scale;

    #[test]
    fn a_track_is_straight_between_poses_and_keeps_a_while_of_them() {
        let mut track = Track::new(1.0);
        assert_eq!(track.at(0.0), None);
        for (secs, angle) in [(1.0, 0.0), (1.5, 1.0), (2.0, 3.0)] {
            track.push(secs, vec![angle]);
        }
        for (secs, angle) in [(0.0, 0.0), (1.25, 0.5), (1.5, 1.0), (1.75, 2.0), (9.0, 3.0)] {
            assert_eq!(track.at(secs), Some([angle].as_slice()), "at {secs} s");
        }
        track.push(2.6, vec![4.0]);
        assert_eq!(track.at(0.0), Some([3.0].as_slice()), "the oldest are gone");
        assert_eq!(track.newest(), Some([4.0].as_slice()));
    }

    #[test]
    fn a_hand_is_as_far_open_as_the_leader_s_and_bounds_are_kept() {
        let radians = Scale::radians(4096.0, 2048, false);
        let scales = JointScales { radians, policy: radians };
        let hand = Joint { scales, hand: Some([0.0, 2.0]), bounds_rad: [-1.0, 0.0] };
        let (angle, _) = hand.angle(2048 + 652); // 1.0002 rad: half shut
        assert!((angle + 0.5).abs() < 1e-3, "{angle}");
        let joint = Joint { scales, hand: None, bounds_rad: [-1.0, 0.5] };
        let (angle, within) = joint.angle(2048 + 652);
        assert!((angle - 1.0).abs() < 1e-3);
        assert_eq!(within, 0.5);
    }
}
