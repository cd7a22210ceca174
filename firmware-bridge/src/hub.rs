//! The thread behind the control thread: it keeps what happened, counts it and tells whoever
//! listens, so that the control thread need not.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engraft_wire::journal::{JournalError, JournalWriter};
use engraft_wire::operator::{BridgeStatus, JointStatus, Occurrence, Telemetry};
use engraft_wire::{Publisher, SocketError};

use crate::control::{Controls, Happening, Moment};
use crate::description::ArmDescription;
use crate::machine::State;
use crate::units::JointScales;

/// Lateness is counted in steps of a microsecond up to this many.
const LATENESS_STEPS: usize = 20_000;
/// Between two looks at what happened.
const LOOK: Duration = Duration::from_millis(1);
/// Telemetry of the state goes out this many times a second.
const STATE_HZ: u32 = 50;

/// How late the control loop was, counted.
#[derive(Debug, Clone)]
pub struct Lateness {
    counts: Vec<u64>,
    total: u64,
    worst: Duration,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { counts: vec![0; LATENESS_STEPS + 1], total: 0, worst: Duration::ZERO }
    }
}

impl Lateness {
    /// Counts one period.
    pub fn count(&mut self, late: Duration) {
        let step = usize::try_from(late.as_micros()).unwrap_or(usize::MAX).min(LATENESS_STEPS);
        if let Some(count) = self.counts.get_mut(step) {
            *count += 1;
        }
        self.total += 1;
        self.worst = self.worst.max(late);
    }

    /// The lateness that `part` of the periods did not exceed, in microseconds.
    pub fn percentile_micros(&self, part: f64) -> u64 {
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        let step = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted && seen > 0
        });
        step.map_or(0, |step| step as u64)
    }

    /// Median, p99, p99.9 and the worst, in microseconds.
    pub fn summary_micros(&self) -> [u64; 4] {
        let [a, b, c] = [0.5, 0.99, 0.999].map(|part| self.percentile_micros(part));
        [a, b, c, u64::try_from(self.worst.as_micros()).unwrap_or(u64::MAX)]
    }
}

/// Why the hub cannot begin, or what it could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Nobody can be told.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its thread cannot be started.
    #[error("cannot start the hub's thread")]
    Thread(#[source] io::Error),
    /// Its thread panicked.
    #[error("the hub's thread panicked")]
    Panicked,
}

/// What others may look at, at any time.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    status: BridgeStatus,
    moment: Option<Moment>,
    connected: bool,
}

impl Board {
    fn with<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How things are.
    pub fn status(&self) -> BridgeStatus {
        self.with(|inside| inside.status.clone())
    }

    /// The newest period.
    pub fn moment(&self) -> Option<Moment> {
        self.with(|inside| inside.moment)
    }

    /// Whether an arm has answered.
    pub fn is_connected(&self) -> bool {
        self.with(|inside| inside.connected)
    }

    /// The newest trouble, in words.
    pub fn trouble(&self) -> Option<String> {
        self.with(|inside| inside.status.trouble.clone())
    }

    /// Says who has the lease.
    pub fn set_holder(&self, holder: Option<String>) {
        self.with(|inside| inside.status.holder = holder);
    }

    /// Says how many seconds are between two waypoints of a plan.
    pub fn set_plan_period(&self, secs: f64) {
        self.with(|inside| inside.status.plan_period_secs = secs);
    }

    /// Says what went wrong.
    pub fn set_trouble(&self, trouble: String) {
        self.with(|inside| inside.status.trouble = Some(trouble));
    }
}

/// The running hub.
#[derive(Debug)]
pub struct Hub {
    thread: JoinHandle<Result<(), HubError>>,
}

impl Hub {
    /// Starts to look at what happens, until the control thread ends.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(
        arm: &ArmDescription,
        scales: &[JointScales],
        happenings: Receiver<Happening>,
        controls: &Controls,
        board: Board,
        publisher: Option<Publisher>,
        journal: Option<JournalWriter>,
    ) -> Result<Self, HubError> {
        let joints = arm.joints.iter().zip(scales).map(|(joint, scales)| {
            let value = |angle| scales.radians.convert(angle, scales.policy);
            JointStatus {
                name: joint.name.clone(),
                bounds_rad: [joint.min_rad, joint.max_rad],
                unit: joint.unit.name().into(),
                value_of_rad: [value(0.0), value(1.0) - value(0.0)],
                ..JointStatus::default()
            }
        });
        let joints: Vec<_> = joints.collect();
        board.with(|inside| {
            inside.status.arm.clone_from(&arm.name);
            inside.status.setpoint_hz = f64::from(arm.setpoint_hz);
            inside.status.joints = joints;
            inside.status.state = State::Disconnected.name().into();
        });
        let every = u64::from((arm.setpoint_hz / STATE_HZ).max(1));
        let sentinel = controls.sentinel();
        let mut inside = Work {
            board,
            publisher,
            journal,
            every,
            lateness: Lateness::default(),
            state: State::Disconnected,
        };
        let thread = thread::Builder::new().name("hub".into()).spawn(move || {
            let _sentinel = sentinel;
            let mut trouble = Ok(());
            while let Some(happening) = next(&happenings) {
                // A disk that is full ends the journal, not the telemetry and not the arm.
                if let Err(error) = inside.take(happening)
                    && trouble.is_ok()
                {
                    inside.board.set_trouble(error.to_string());
                    inside.journal = None;
                    trouble = Err(error);
                }
            }
            if let Some(journal) = &mut inside.journal {
                journal.sync()?;
            }
            trouble
        });
        Ok(Self { thread: thread.map_err(HubError::Thread)? })
    }

    /// Waits until everything is kept; to be called after the control thread has ended.
    ///
    /// # Errors
    ///
    /// What could not be kept or told.
    pub fn finish(self) -> Result<(), HubError> {
        self.thread.join().map_err(|_| HubError::Panicked)?
    }
}

/// What happens next, and nothing once the control thread has ended. It looks now and then: who
/// waits in a channel makes the control thread take a lock to wake them.
fn next(happenings: &Receiver<Happening>) -> Option<Happening> {
    loop {
        match happenings.try_recv() {
            Ok(happening) => return Some(happening),
            Err(TryRecvError::Empty) => thread::sleep(LOOK),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
}

struct Work {
    board: Board,
    publisher: Option<Publisher>,
    journal: Option<JournalWriter>,
    every: u64,
    lateness: Lateness,
    state: State,
}

impl Work {
    fn take(&mut self, happening: Happening) -> Result<(), HubError> {
        match happening {
            Happening::Moment(moment) => self.moment(&moment)?,
            Happening::Record(record) => {
                if let Some(journal) = &mut self.journal {
                    journal.write(&record)?;
                }
            }
            Happening::Connected(_) => self.board.with(|inside| {
                inside.connected = true;
                inside.status.trouble = None;
            }),
            Happening::Examined { joint, health } => self.board.with(|inside| {
                if let Some(joint) = inside.status.joints.get_mut(joint) {
                    joint.voltage_v = health.voltage_v;
                    joint.temperature_c = health.temperature_c;
                }
            }),
            Happening::Trouble(trouble) => self.board.set_trouble(trouble.to_string()),
            Happening::Answered(answered) => drop(answered),
        }
        Ok(())
    }

    fn moment(&mut self, moment: &Moment) -> Result<(), HubError> {
        self.lateness.count(moment.late);
        let due = moment.counters.ticks.is_multiple_of(self.every);
        let changed = moment.state != self.state;
        let lateness = due.then(|| self.lateness.summary_micros());
        let status = self.board.with(|inside| {
            inside.moment = Some(*moment);
            if matches!(moment.state, State::Disconnected) {
                inside.connected = false;
            }
            write(&mut inside.status, moment, lateness);
            (due && self.publisher.is_some()).then(|| inside.status.clone())
        });
        let Some(publisher) = &self.publisher else {
            self.state = moment.state;
            return Ok(());
        };
        if changed && moment.state.name() != self.state.name() {
            let occurrence = Occurrence {
                time_secs: moment.now.as_secs_f64(),
                from: self.state.name().into(),
                to: moment.state.name().into(),
                cause: cause(moment.state),
                detail: self.board.trouble(),
            };
            publisher.publish(&Telemetry::Event(occurrence))?;
        }
        self.state = moment.state;
        if let Some(status) = status {
            publisher.publish(&Telemetry::State(Box::new(status)))?;
        }
        Ok(())
    }
}

fn cause(state: State) -> Option<String> {
    match state {
        State::Fault(cause) | State::Hold { cause, .. } => Some(cause.to_string()),
        _ => None,
    }
}

fn write(status: &mut BridgeStatus, moment: &Moment, lateness: Option<[u64; 4]>) {
    status.time_secs = moment.now.as_secs_f64();
    if status.state != moment.state.name() {
        moment.state.name().clone_into(&mut status.state);
    }
    status.cause = cause(moment.state);
    status.torque = moment.torque;
    status.episode = moment.episode;
    status.ticks = moment.counters.ticks;
    status.misses = moment.counters.misses;
    status.plans = moment.counters.plans;
    status.refused = moment.counters.refused;
    status.limited = moment.counters.limited;
    if let Some(lateness) = lateness {
        status.lateness_micros = lateness;
    }
    for (i, joint) in status.joints.iter_mut().enumerate() {
        let at = |values: &[f64]| values.get(i).copied().unwrap_or_default();
        joint.position_rad = at(&moment.position_rad);
        joint.velocity_rad_s = at(&moment.velocity_rad_s);
        joint.goal_rad = if moment.torque { at(&moment.goal_rad) } else { joint.position_rad };
        let load = moment.load_permille.get(i).copied().unwrap_or_default();
        joint.load = f64::from(load) / 1000.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_counted_to_the_microsecond() {
        let mut lateness = Lateness::default();
        for micros in 0..1000 {
            lateness.count(Duration::from_micros(micros));
        }
        lateness.count(Duration::from_secs(1));
        assert_eq!(lateness.summary_micros(), [500, 990, 999, 1_000_000]);
        assert_eq!(Lateness::default().summary_micros(), [0; 4]);
    }
}
