//! Holds what servos heard against what an arm may do, and knows nothing of the bridge.

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::time::Duration;

use firmware_bridge::codecs::feetech::{decode_signed, register as reg, word};
use firmware_bridge::description::ArmDescription;
use firmware_bridge::emulate::Device;
use firmware_bridge::emulate::feetech::{Bus, Written};

/// Rounding to whole ticks puts a goal off by half a tick, and a step between two by one.
const ROUNDING: f64 = 1.0 + 1e-6;
/// Set-points that begin anew, as after a pause, begin where the joint was read a moment before;
/// this long it may have moved on since, at the cap that its servo has.
const READ_BEFORE: Duration = Duration::from_millis(40);
/// A servo's own cap of velocity, in parts of the description's.
const CAP: f64 = 1.25;
/// The emulator hears a packet when its thread runs: so much earlier or later than it was sent.
const HEARD: Duration = Duration::from_millis(250);
/// Over which the mean velocity is held against the limit.
const WINDOW: Duration = Duration::from_secs(1);
/// How long a goal may still go to a joint that lost its torque: each is looked at twice a second,
/// a damaged answer is waited for once more, and a machine that does other things is slower.
const NOTICED: Duration = Duration::from_secs(3);
/// How long an arm may take to rest after a stop that latches: 70 ms by its limits, the rest is
/// for this machine.
const REST: Duration = Duration::from_secs(1);
/// Slower than this a joint stands, in ticks per second.
const STILL: f64 = 8.0;

/// Registers that a set-up writes, with torque off alone, and what may be written there.
const SET_UP: [(u8, &[u8]); 8] = [
    (reg::RETURN_DELAY, &[0]),
    (reg::RESPONSE_LEVEL, &[1]),
    (reg::PHASE, &[12]),
    (reg::P, &[16]),
    (reg::I, &[0]),
    (reg::D, &[32]),
    (reg::MODE, &[0]),
    (reg::LOCK, &[0, 1]),
];

#[derive(Debug)]
struct Joint {
    name: String,
    /// Ticks.
    bounds: [f64; 2],
    /// Ticks per second.
    velocity: f64,
    last: Option<(Duration, i32)>,
    window: VecDeque<(Duration, i32)>,
    /// Whether its goal was set to where it is since torque was last switched.
    prepared: bool,
    /// When it was last known to have torque, or could not be asked.
    torque_at: Duration,
    /// When its power failed, or it could not be asked since, until it is given torque anew.
    forgot_at: Option<Duration>,
}

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Goals that were heard.
    pub(crate) goals: u64,
    /// Times that a joint's goals began anew.
    pub(crate) anew: u64,
    /// Times that torque was switched on.
    pub(crate) torque_on: u64,
    /// Looks at an arm that had to stand.
    pub(crate) rests: u64,
}

/// The auditor of one arm.
#[derive(Debug)]
pub(crate) struct Audit {
    joints: Vec<Joint>,
    period: f64,
    /// Since when nothing may move.
    latched: Option<Duration>,
    /// When what kept joints from their goals was last taken away.
    cured: Duration,
    /// Whether a servo cannot know where its joint is: it turns for ever, whoever tells it what.
    runs_away: bool,
    /// Whether joints can be asked at all: no silence, no damage.
    audible: bool,
    pub(crate) checked: Checked,
}

impl Audit {
    pub(crate) fn new(arm: &ArmDescription) -> Self {
        let per_rad = 4096.0 / TAU;
        let joints = arm.joints.iter().map(|joint| {
            let zero = f64::from(joint.zero_ticks.unwrap_or(2048));
            let sign = if joint.inverted { -1.0 } else { 1.0 };
            let [a, b] = [joint.min_rad, joint.max_rad].map(|rad| zero + sign * rad * per_rad);
            Joint {
                name: joint.name.clone(),
                bounds: [a.min(b), a.max(b)],
                velocity: joint.max_velocity * per_rad,
                last: None,
                window: VecDeque::new(),
                prepared: false,
                torque_at: Duration::ZERO,
                forgot_at: None,
            }
        });
        Self {
            joints: joints.collect(),
            period: arm.period_secs(),
            latched: None,
            cured: Duration::ZERO,
            runs_away: false,
            audible: true,
            checked: Checked::default(),
        }
    }

    /// An emergency stop was answered, or a fault was told: from now on nothing may move.
    pub(crate) fn latch(&mut self, now: Duration) {
        self.latched.get_or_insert(now);
    }

    /// A reset is about to be asked for.
    pub(crate) fn release(&mut self) {
        self.latched = None;
    }

    /// A wall or an alarm is gone: a servo may go where it was last sent, by itself.
    pub(crate) fn cured(&mut self, now: Duration) {
        (self.cured, self.runs_away) = (now, false);
    }

    /// A servo's encoder is stuck.
    pub(crate) fn runs_away(&mut self) {
        self.runs_away = true;
    }

    /// A servo's power failed for a moment.
    pub(crate) fn forgot(&mut self, id: u8, now: Duration) {
        let joint = usize::from(id).checked_sub(1).and_then(|i| self.joints.get_mut(i));
        if let Some(joint) = joint {
            joint.forgot_at = Some(now);
        }
    }

    /// Whether something keeps joints from being asked.
    pub(crate) fn set_audible(&mut self, audible: bool) {
        self.audible = audible;
    }

    /// Looks at all that was heard since the last time.
    pub(crate) fn look(&mut self, bus: &mut Bus, now: Duration) -> Result<(), String> {
        let writes: Vec<Written> = bus.writes().cloned().collect();
        bus.forget_writes();
        for write in &writes {
            self.heard(write).map_err(|wrong| format!("at {:?}: {wrong}", write.at))?;
        }
        if !self.audible {
            for joint in &mut self.joints {
                joint.torque_at = now;
                joint.forgot_at = joint.forgot_at.map(|_| now);
            }
        }
        // With its cable out an arm goes where it was last sent, latched or not.
        let stands = self.latched.is_some_and(|since| now > since.max(self.cured) + 2 * REST);
        if stands && !self.runs_away {
            for (joint, plant) in self.joints.iter().zip(&bus.plant().joints) {
                if plant.velocity.abs() > STILL {
                    let (name, velocity) = (&joint.name, plant.velocity);
                    return Err(format!("{name} moves at {velocity:.1} ticks/s while latched"));
                }
            }
            self.checked.rests += 1;
        }
        Ok(())
    }

    fn heard(&mut self, write: &Written) -> Result<(), String> {
        let Self { joints, period, latched, checked, .. } = self;
        let joint = usize::from(write.id).checked_sub(1).and_then(|i| joints.get_mut(i));
        let Some(joint) = joint else { return Err(format!("nobody has id {}", write.id)) };
        if write.torque {
            joint.torque_at = joint.torque_at.max(write.at);
        }
        match (write.address, write.bytes.as_slice()) {
            (reg::GOAL_POSITION, &[_, _]) => {
                checked.goals += 1;
                let goal = decode_signed(word(&write.bytes, 0).unwrap_or_default(), 15);
                let began_anew = joint.goal(write, goal, *period)?;
                checked.anew += u64::from(began_anew);
                joint.latched(write, goal, *latched)?;
                joint.last = Some((write.at, goal));
                Ok(())
            }
            // Acceleration, goal, time, velocity and torque limit, before torque.
            (reg::ACCELERATION, caps @ &[acceleration, ..]) if caps.len() == 9 => {
                let goal = decode_signed(word(caps, 1).unwrap_or_default(), 15);
                let velocity = f64::from(word(caps, 5).unwrap_or_default());
                let off = f64::from(goal.abs_diff(write.position));
                if off > 3.0 + joint.velocity * CAP * READ_BEFORE.as_secs_f64() {
                    return Err(format!(
                        "{} is at {} and would get torque with goal {goal}",
                        joint.name, write.position
                    ));
                }
                if acceleration == 0 || !(1.0..=joint.velocity * CAP + 1.0).contains(&velocity) {
                    return Err(format!("{} gets no caps: {caps:?}", joint.name));
                }
                joint.prepared = true;
                joint.window.clear();
                joint.last = Some((write.at, goal));
                Ok(())
            }
            (reg::TORQUE, &[1]) => {
                if !std::mem::take(&mut joint.prepared) {
                    // Written once more where it was not confirmed.
                    let again = write.torque;
                    if !again {
                        return Err(format!("{} gets torque without a goal", joint.name));
                    }
                }
                (joint.torque_at, joint.forgot_at) = (write.at, None);
                checked.torque_on += 1;
                Ok(())
            }
            (reg::TORQUE, &[0]) => Ok(()),
            (address, &[byte]) => {
                let known =
                    |(known, values): &&(u8, &[u8])| *known == address && values.contains(&byte);
                match (SET_UP.iter().find(known), write.torque) {
                    (Some(_), false) => Ok(()),
                    _ => Err(joint.wrong(write)),
                }
            }
            _ => Err(joint.wrong(write)),
        }
    }
}

impl Joint {
    fn wrong(&self, write: &Written) -> String {
        let Written { address, bytes, torque, .. } = write;
        format!("{}: register {address} is written {bytes:?} (torque {torque})", self.name)
    }

    /// Whether its goals begin anew with this one.
    fn goal(&mut self, write: &Written, goal: i32, period: f64) -> Result<bool, String> {
        let (name, at) = (&self.name, f64::from(goal));
        let [min, max] = self.bounds;
        if !(min - 1.0..=max + 1.0).contains(&at) {
            return Err(format!("{name} is sent to {goal}, outside {min:.0} to {max:.0}"));
        }
        let without = write.at.saturating_sub(self.torque_at);
        // One that switched its motor off by itself may be told to stay where it is.
        let stays = self.last.is_some_and(|(_, last)| last == goal);
        if !write.torque && without > NOTICED && !stays {
            return Err(format!("{name} is sent to {goal}, {without:?} without torque"));
        }
        let forgot = self.forgot_at.map(|at| write.at.saturating_sub(at));
        if let Some(since) = forgot.filter(|since| *since > NOTICED) {
            return Err(format!("{name} is sent to {goal}, {since:?} after its power failed"));
        }
        let Some((last_at, last)) = self.last else {
            return Err(format!("{name} is sent to {goal} before it was given torque"));
        };
        let step = f64::from(goal.abs_diff(last));
        let most = self.velocity * period + ROUNDING;
        let anew = step > most;
        if anew {
            let read = 2.0 + self.velocity * CAP * READ_BEFORE.as_secs_f64();
            let off = f64::from(goal.abs_diff(write.position));
            if off > read {
                return Err(format!(
                    "{name} steps {step} ticks to {goal} after {:?}, at most {most:.1}, and {off} \
                     from where it is",
                    write.at.saturating_sub(last_at)
                ));
            }
            self.window.clear();
        }
        while self.window.front().is_some_and(|(at, _)| write.at.saturating_sub(*at) > WINDOW) {
            self.window.pop_front();
        }
        if let Some(&(from_at, from)) = self.window.front() {
            let elapsed = write.at.saturating_sub(from_at) + HEARD;
            let (went, most) = (goal.abs_diff(from), self.velocity * elapsed.as_secs_f64());
            if f64::from(went) > most + ROUNDING {
                return Err(format!("{name} goes {went} ticks in {elapsed:?}, at most {most:.0}"));
            }
        }
        self.window.push_back((write.at, goal));
        Ok(anew)
    }

    /// After a stop that latches a goal stays, or comes to where the joint is.
    fn latched(&self, write: &Written, goal: i32, since: Option<Duration>) -> Result<(), String> {
        let Some(since) = since.filter(|since| write.at > *since + REST) else { return Ok(()) };
        let Some((_, last)) = self.last else { return Ok(()) };
        if goal == last || goal.abs_diff(write.position) <= 2 {
            return Ok(());
        }
        let late = write.at.saturating_sub(since);
        Err(format!("{} is sent from {last} to {goal}, {late:?} after the stop", self.name))
    }
}

#[test]
fn the_auditor_can_fail() {
    let arm = ArmDescription::find("tabletop").unwrap();
    let write = |millis, address, bytes: &[u8], position, torque| Written {
        at: Duration::from_millis(millis),
        id: 1,
        address,
        bytes: bytes.into(),
        position,
        torque,
    };
    let goal = |millis, ticks: u16, position| {
        write(millis, reg::GOAL_POSITION, &ticks.to_le_bytes(), position, true)
    };
    // An arm that has torque and stands at 2048.
    let ready = || {
        let mut audit = Audit::new(&arm);
        let caps = [100, 0, 8, 0, 0, 0, 4, 0xE8, 3];
        audit.heard(&write(0, reg::ACCELERATION, &caps, 2048, false)).unwrap();
        audit.heard(&write(0, reg::TORQUE, &[1], 2048, false)).unwrap();
        audit.heard(&goal(5, 2048, 2048)).unwrap();
        audit
    };
    assert_eq!(ready().heard(&goal(10, 2053, 2048)), Ok(()));
    let wrong = |audit: &mut Audit, write: &Written| audit.heard(write).unwrap_err();
    assert!(wrong(&mut ready(), &goal(10, 2148, 2048)).contains("steps 100 ticks"));
    assert!(wrong(&mut ready(), &goal(10, 4000, 2048)).contains("outside"));
    assert!(wrong(&mut ready(), &write(10, 21, &[99], 2048, true)).contains("register 21"));
    assert!(wrong(&mut ready(), &write(10, reg::LOCK, &[0], 2048, true)).contains("register 55"));
    let limp = write(4000, reg::GOAL_POSITION, &[2, 8], 2048, false);
    assert!(wrong(&mut ready(), &limp).contains("without torque"));
    let mut audit = ready();
    audit.forgot(1, Duration::from_millis(10));
    let stays = write(4000, reg::GOAL_POSITION, &[0, 8], 2048, false);
    assert!(wrong(&mut audit, &stays).contains("after its power failed"));
    let blind = write(10, reg::TORQUE, &[1], 2048, false);
    assert!(wrong(&mut ready(), &blind).contains("without a goal"));
    let mut audit = ready();
    audit.latch(Duration::from_millis(10));
    assert_eq!(audit.heard(&goal(100, 2052, 2048)), Ok(()), "it is still coming to rest");
    assert!(wrong(&mut audit, &goal(1100, 2056, 2048)).contains("after the stop"));
    // As fast as it may be in each period, and twice as often.
    let mut audit = ready();
    let fast =
        (0..600).find_map(|i| audit.heard(&goal(10 + i * 2, 2048 + 5 * i as u16, 2048)).err());
    assert!(fast.unwrap().contains("goes"));
}
