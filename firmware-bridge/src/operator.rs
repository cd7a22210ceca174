//! The operator's side of the bridge: verbs in, answers out, and who may move the arm.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engraft_wire::operator::{Answer, Verb};
use engraft_wire::{OperatorDesk, SocketError};
use rand::RngExt;

use crate::control::{Controls, Request};
use crate::hub::Board;
use crate::machine::{Event, State};
use crate::pilot::Input;
use crate::plan::{MAX_WAYPOINTS, Plan};

/// How long the control thread may take to answer; switching torque takes the longest.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the board may take to show what was just done: some periods.
const SHOWN: Duration = Duration::from_millis(500);
/// How long an arm may take to come to rest before a lease is stolen.
const REST: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Lease {
    id: u64,
    holder: String,
}

/// Who may move the arm: one at a time. Policies and operators take the same lease.
#[derive(Debug, Clone)]
pub struct Leases {
    lease: Arc<Mutex<Option<Lease>>>,
    controls: Controls,
    board: Board,
}

impl Leases {
    /// Nobody's.
    pub fn new(controls: Controls, board: Board) -> Self {
        Self { lease: Arc::default(), controls, board }
    }

    fn event(&self, event: Event) -> Result<State, String> {
        self.controls.ask(Request::Input(Input::Event(event)), PATIENCE)
    }

    /// Takes the lease; its number.
    ///
    /// # Errors
    ///
    /// When somebody else has it, or the arm has no torque.
    pub fn take(&self, holder: &str, steal: bool) -> Result<u64, String> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_lost() {
            *lease = None;
        }
        if let Some(other) = &*lease {
            if !steal {
                return Err(format!(
                    "{} has the lease: wait, or take it away with --steal",
                    other.holder
                ));
            }
            let _ = self.event(Event::Stop); // it may stand still already
            self.wait_for_rest()?;
            let _ = self.event(Event::LeaseLost); // and then there is none to lose
        }
        *lease = None;
        // An arm that still comes to rest from what was before can be leased in a moment.
        let began = Instant::now();
        while let Err(error) = self.event(Event::Leased) {
            let rests = self.state().is_some_and(|state| !matches!(state, State::Stopping { .. }));
            if rests && began.elapsed() > SHOWN || began.elapsed() > REST {
                return Err(self.why_not_armed(&error));
            }
            thread::sleep(Duration::from_millis(5));
        }
        // Whoever looks at the board before it shows the lease would take it for lost.
        let began = Instant::now();
        while !self.state().is_some_and(is_leased) && began.elapsed() < SHOWN {
            thread::sleep(Duration::from_millis(1));
        }
        let id = rand::rng().random_range(1..u64::MAX);
        *lease = Some(Lease { id, holder: holder.to_owned() });
        self.board.set_holder(Some(holder.to_owned()));
        Ok(id)
    }

    /// Whether whoever had the lease has it no more: by silence, a fault or an operator.
    fn is_lost(&self) -> bool {
        self.state().is_some_and(|state| !is_leased(state))
    }

    fn state(&self) -> Option<State> {
        self.board.moment().map(|moment| moment.state)
    }

    fn why_not_armed(&self, error: &str) -> String {
        match self.state() {
            Some(State::Idle) => "torque is off: `firmware-bridge torque on` first".into(),
            Some(State::Fault(cause)) => {
                format!("a fault is latched ({cause}): `firmware-bridge reset` first")
            }
            Some(State::Estop) => {
                "the emergency stop is latched: `firmware-bridge reset` first".into()
            }
            Some(State::Disconnected) | None => "the arm is not connected".into(),
            _ => error.to_owned(),
        }
    }

    fn wait_for_rest(&self) -> Result<(), String> {
        let began = Instant::now();
        while self
            .state()
            .is_some_and(|state| state.is_moving() || matches!(state, State::Stopping { .. }))
        {
            if began.elapsed() > REST {
                return Err("the arm does not come to rest".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether `id` is the lease.
    ///
    /// # Errors
    ///
    /// When it is not, with who has it.
    pub fn check(&self, id: u64) -> Result<(), String> {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        match &*lease {
            Some(lease) if lease.id == id && self.is_lost() => {
                Err("the lease was lost: take it anew".into())
            }
            Some(lease) if lease.id == id => Ok(()),
            Some(lease) => Err(format!("no lease: {} has it", lease.holder)),
            None => Err("no lease: take it first".into()),
        }
    }

    /// Says that whoever has the lease is there.
    ///
    /// # Errors
    ///
    /// When it is not the lease, or was lost.
    pub fn keep(&self, id: u64) -> Result<(), String> {
        self.check(id)?;
        self.controls.tell(Input::Heartbeat);
        Ok(())
    }

    /// Gives the lease back; an arm that moves comes to rest.
    ///
    /// # Errors
    ///
    /// When it is not the lease.
    pub fn release(&self, id: u64) -> Result<(), String> {
        self.check(id)?;
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.board.set_holder(None);
        let _ = self.event(Event::LeaseLost); // lost already is as good
        Ok(())
    }
}

fn is_leased(state: State) -> bool {
    match state {
        State::Armed | State::Running { .. } | State::Hold { .. } => true,
        State::Stopping { leased, .. } => leased,
        _ => false,
    }
}

/// Answers an operator's verbs until the control thread is told to end.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn serve(
    desk: OperatorDesk,
    leases: Leases,
    plan_period_secs: f64,
) -> io::Result<JoinHandle<Result<(), SocketError>>> {
    let sentinel = leases.controls.sentinel();
    let mut operator = Desk { leases, plan_period_secs, episode: 1 << 31, number: 0 };
    thread::Builder::new().name("operator".into()).spawn(move || {
        let _sentinel = sentinel;
        while !operator.leases.controls.is_shutting_down() {
            let Some((who, verb)) = desk.receive(Duration::from_millis(100))? else { continue };
            let done = verb
                .map_err(|error| format!("not a verb: {error}"))
                .and_then(|verb| operator.on(verb));
            let mut status = operator.leases.board.status();
            let (ok, detail, lease) = match done {
                Ok(Done { lease, state }) => {
                    // The board is up to a period behind what was just done.
                    if let Some(state) = state {
                        state.name().clone_into(&mut status.state);
                    }
                    (true, String::new(), lease)
                }
                Err(detail) => (false, detail, None),
            };
            desk.answer(who, &Answer { ok, detail, lease, status })?;
        }
        Ok(())
    })
}

struct Desk {
    leases: Leases,
    plan_period_secs: f64,
    /// Operators' motions are episodes of their own, apart from a policy's.
    episode: u32,
    number: u64,
}

/// What came of a verb.
#[derive(Default)]
struct Done {
    state: Option<State>,
    lease: Option<u64>,
}

impl Desk {
    fn on(&mut self, verb: Verb) -> Result<Done, String> {
        let leases = self.leases.clone();
        let done = |state: State| Done { state: Some(state), lease: None };
        let nothing = |()| Done::default();
        match verb {
            Verb::Status => Ok(Done::default()),
            Verb::Torque { on } => leases.controls.ask(Request::Torque(on), PATIENCE).map(done),
            Verb::Take { holder, steal } => {
                let lease = Some(leases.take(&holder, steal)?);
                Ok(Done { lease, state: Some(State::Armed) })
            }
            Verb::Keep { lease } => leases.keep(lease).map(nothing),
            Verb::Release { lease } => leases.release(lease).map(nothing),
            Verb::Go { lease, period_secs, waypoints_rad, last } => {
                leases.keep(lease)?;
                self.go(period_secs, &waypoints_rad, last).map(done)
            }
            Verb::Start => leases.event(Event::Start).map(done),
            Verb::Stop => leases.event(Event::Stop).map(done),
            Verb::Estop => {
                leases.controls.estop();
                Ok(Done::default())
            }
            Verb::Reset => leases.event(Event::Reset).map(done),
            Verb::Shutdown => {
                leases.controls.shut_down();
                Ok(Done::default())
            }
            _ => Err("this bridge does not know the verb".into()),
        }
    }

    /// Waypoints at the bridge's own rate, from now on; those given are met on straight lines.
    fn go(
        &mut self,
        period_secs: f64,
        waypoints: &[Vec<f64>],
        last: bool,
    ) -> Result<State, String> {
        let moment = self.leases.board.moment().ok_or("the arm is not connected")?;
        let joints = self.leases.board.status().joints.len();
        if let Some(row) = waypoints.iter().find(|row| row.len() != joints) {
            return Err(format!("a waypoint has {joints} angle(s), found {}", row.len()));
        }
        if !(period_secs.is_finite() && period_secs > 0.0) {
            return Err(format!("period_secs must be above 0, found {period_secs}"));
        }
        let secs = period_secs * waypoints.len() as f64;
        let rows = (secs / self.plan_period_secs - 1e-9).ceil();
        if !(1.0..=MAX_WAYPOINTS as f64).contains(&rows) {
            let most = self.plan_period_secs * MAX_WAYPOINTS as f64;
            return Err(format!("a motion takes up to {most:.1} s, found {secs:.1}: split it"));
        }
        let from = moment.goal_rad.get(..joints).unwrap_or_default();
        let waypoints_rad = resample(from, waypoints, period_secs, self.plan_period_secs);
        // The board may be a period behind a lease that was just taken.
        if !moment.state.is_moving() {
            self.episode = self.episode.wrapping_add(1) | 1 << 31;
            self.leases.controls.tell(Input::Episode(self.episode));
            self.leases.event(Event::Start)?;
        }
        self.number += 1;
        let plan = Plan {
            episode: self.episode,
            number: self.number,
            observed: moment.now,
            first_tick: (moment.now.as_secs_f64() / self.plan_period_secs) as u64 + 1,
            waypoints_rad,
            last,
        };
        self.leases.controls.ask(Request::Input(Input::Plan(Box::new(plan))), PATIENCE)
    }
}

/// Waypoints `to_secs` apart on straight lines from `from` through `waypoints`, which are
/// `period_secs` apart. The way to a single one begins and ends gently.
pub fn resample(from: &[f64], waypoints: &[Vec<f64>], period_secs: f64, to_secs: f64) -> Vec<f64> {
    let count = waypoints.len();
    let rows = (period_secs * count as f64 / to_secs - 1e-9).ceil().max(1.0) as usize;
    let mut resampled = Vec::with_capacity(rows * from.len());
    for row in 1..=rows {
        let at = (row as f64 * to_secs / period_secs).min(count as f64);
        let leg = ((at - 1e-9).floor().max(0.0) as usize).min(count.saturating_sub(1));
        let part = at - leg as f64;
        let part = if count == 1 { ease(part) } else { part };
        let Some(to) = waypoints.get(leg) else { break };
        let start =
            leg.checked_sub(1).and_then(|leg| waypoints.get(leg)).map_or(from, Vec::as_slice);
        resampled.extend(start.iter().zip(to).map(|(start, to)| start + (to - start) * part));
    }
    resampled
}

/// From 0 to 1 with the least jerk.
fn ease(part: f64) -> f64 {
    part * part * part * (10.0 + part * (6.0 * part - 15.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::Rig;
    use crate::description::ArmDescription;
    use crate::hub::Hub;

    #[test]
    fn fault_08_a_second_operator_gets_no_lease_unless_it_steals_it_at_rest() {
        let rig = Rig::new();
        let board = Board::default();
        let arm = ArmDescription::find("so101").unwrap();
        let (controls, happenings) = rig.into_parts();
        let scales = crate::arms::scales(&arm, None).unwrap();
        let hub =
            Hub::start(&arm, &scales, happenings, &controls.controls(), board.clone(), None, None);
        let leases = Leases::new(controls.controls(), board.clone());
        let began = Instant::now();
        while leases.state() != Some(State::Idle) {
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", leases.state());
            thread::sleep(Duration::from_millis(5));
        }
        let error = leases.take("first", false).unwrap_err();
        assert_eq!(error, "torque is off: `firmware-bridge torque on` first");
        leases.controls.ask(Request::Torque(true), PATIENCE).unwrap();
        let first = leases.take("first", false).unwrap();
        let error = leases.take("second", false).unwrap_err();
        assert_eq!(error, "first has the lease: wait, or take it away with --steal");
        assert_eq!(leases.keep(first), Ok(()));
        let second = leases.take("second", true).unwrap();
        assert_eq!(leases.keep(first).unwrap_err(), "no lease: second has it");
        assert_eq!(leases.keep(second), Ok(()));
        assert_eq!(board.status().holder.as_deref(), Some("second"));
        assert_eq!(leases.release(second), Ok(()));
        assert!(leases.keep(second).is_err());
        controls.stop();
        hub.unwrap().finish().unwrap();
    }

    #[test]
    fn waypoints_are_met_on_straight_lines() {
        let waypoints = [vec![1.0], vec![0.0]];
        let close = |found: Vec<f64>, expected: &[f64]| {
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
        };
        close(resample(&[0.0], &waypoints, 0.2, 0.1), &[0.5, 1.0, 0.5, 0.0]);
        close(resample(&[0.0], &waypoints, 0.1, 0.1), &[1.0, 0.0]);
        close(resample(&[0.0], &waypoints[..1], 0.05, 0.1), &[1.0]);
        close(resample(&[0.0], &waypoints[..1], 0.2, 0.1), &[0.5, 1.0]);
        close(resample(&[0.0], &waypoints[..1], 0.3, 0.2), &[ease(2.0 / 3.0), 1.0]);
    }
}
