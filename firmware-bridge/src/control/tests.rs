//! A control thread and motors that tests can break.

use super::*;
use crate::description::ArmDescription;
use crate::motors::{Health, Identity};
use crate::pilot::PilotConfig;
use crate::plan::Plan;
use crate::units::Scale;
use std::sync::Mutex;
use std::time::Instant;

/// What the fake motors do next, and what was done to them.
#[derive(Debug, Default)]
struct World {
    position: i32,
    torque: bool,
    commands: Vec<i32>,
    sense_fails: Option<fn() -> MotorsError>,
    silent: bool,
    /// For how long the next answer lies there, and how far the arm goes on meanwhile.
    suspended: Option<(Duration, i32)>,
    /// Whether it falls silent as soon as torque is on.
    silent_with_torque: bool,
}

struct Fake {
    names: Vec<String>,
    world: Arc<Mutex<World>>,
}

impl Motors for Fake {
    fn joints(&self) -> &[String] {
        &self.names
    }

    fn identify(&mut self) -> Result<Vec<Identity>, MotorsError> {
        Ok(vec![Identity { model: "fake".into(), firmware: "1".into() }; self.names.len()])
    }

    fn sense(&mut self, sensed: &mut Sensed) -> Result<(), MotorsError> {
        let mut world = self.world.lock().unwrap();
        if let Some(fail) = world.sense_fails {
            return Err(fail());
        }
        if world.silent {
            let waited = Duration::from_millis(1);
            return Err(MotorsError::Silent { joint: "elbow_flex".into(), id: 3, waited });
        }
        sensed.position.fill(world.position);
        if let Some((time, further)) = world.suspended.take() {
            world.position += further;
            drop(world);
            thread::sleep(time);
        }
        Ok(())
    }

    fn command(&mut self, goals: &[i32]) -> Result<(), MotorsError> {
        let mut world = self.world.lock().unwrap();
        world.position = goals[0];
        world.commands.push(goals[0]);
        Ok(())
    }

    fn torque(&mut self, on: bool) -> Result<(), MotorsError> {
        let mut world = self.world.lock().unwrap();
        (world.torque, world.silent) = (on, on && world.silent_with_torque);
        Ok(())
    }

    fn examine(&mut self, _: usize) -> Result<Health, MotorsError> {
        Ok(Health { torque: self.world.lock().unwrap().torque, ..Health::default() })
    }

    fn when_abandoned(&self) -> &'static str {
        "it is gone"
    }
}

pub(crate) struct Rig {
    control: Control,
    controls: Controls,
    happenings: Receiver<Happening>,
    world: Arc<Mutex<World>>,
    records: Vec<Record>,
    state: State,
}

const SOON: Duration = Duration::from_secs(5);

fn pilot() -> Pilot {
    let arm = ArmDescription::find("so101").unwrap();
    let scales = vec![Scale::radians(4096.0, 2048, false); 6];
    Pilot::new(&arm, &scales, None, PilotConfig::default()).unwrap()
}

impl Rig {
    pub(crate) fn new() -> Self {
        let world = Arc::new(Mutex::new(World { position: 2048, ..World::default() }));
        let names = (0..6).map(|joint| format!("joint{joint}")).collect();
        let motors = Box::new(Fake { names, world: world.clone() });
        let options = ControlOptions { setpoint_hz: 200, realtime: false };
        let (control, happenings) = Control::start(motors, pilot(), options).unwrap();
        let controls = control.controls();
        let state = State::Disconnected;
        Self { control, controls, happenings, world, records: Vec::new(), state }
    }

    pub(crate) fn into_parts(self) -> (Control, Receiver<Happening>) {
        (self.control, self.happenings)
    }

    fn wait(&mut self, what: impl Fn(State) -> bool) {
        let began = Instant::now();
        while !what(self.state) {
            assert!(began.elapsed() < SOON, "still {:?}", self.state);
            match self.happenings.recv_timeout(SOON).unwrap() {
                Happening::Moment(moment) => self.state = moment.state,
                Happening::Record(record) => self.records.push(record),
                _ => {}
            }
        }
    }

    fn event(&self, event: Event) -> Result<State, String> {
        self.controls.ask(Request::Input(Input::Event(event)), SOON)
    }

    /// On its way for `secs` to a place some way off.
    fn go(&mut self, secs: f64) {
        self.wait(|state| state == State::Idle);
        assert_eq!(self.controls.ask(Request::Torque(true), SOON), Ok(State::Ready));
        assert_eq!(self.event(Event::Leased), Ok(State::Armed));
        assert!(matches!(self.event(Event::Start), Ok(State::Hold { .. })));
        let now = self.records.last().unwrap().now;
        let rows = (secs / 0.05) as usize;
        let plan = Plan {
            episode: 0,
            number: 1,
            observed: now,
            first_tick: (now.as_secs_f64() / 0.05) as u64 + 1,
            waypoints_rad: vec![1.0; rows * 6],
            last: false,
        };
        let state = self.controls.ask(Request::Input(Input::Plan(Box::new(plan))), SOON);
        assert!(matches!(state, Ok(State::Running { .. })), "{state:?}");
    }
}

#[test]
fn torque_is_asked_for_and_what_cannot_follow_is_told_why() {
    let mut rig = Rig::new();
    rig.wait(|state| state == State::Idle);
    assert!(!rig.world.lock().unwrap().torque);
    let error = rig.event(Event::Start).unwrap_err();
    assert_eq!(error, "nothing follows from that in Idle");
    rig.go(2.0);
    let error = rig.controls.ask(Request::Torque(false), SOON).unwrap_err();
    assert_eq!(error, "the arm moves: stop it first");
    // Whoever ends the control thread brings the arm to rest first.
    let (world, before) = (rig.world.clone(), rig.world.lock().unwrap().commands.len());
    rig.control.stop();
    let world = world.lock().unwrap();
    let [.., a, b] = world.commands[..] else { panic!("nothing sent") };
    assert!(world.commands.len() > before && a == b, "it stopped while moving");
    assert!(world.torque, "an arm that is let go falls");
}

#[test]
fn torque_goes_off_again_where_the_arm_cannot_be_read_with_it() {
    let mut rig = Rig::new();
    rig.wait(|state| state == State::Idle);
    rig.world.lock().unwrap().silent_with_torque = true;
    let error = rig.controls.ask(Request::Torque(true), SOON).unwrap_err();
    assert!(error.starts_with("the joints could not be read (3 reading(s) failed)"), "{error}");
    {
        let world = rig.world.lock().unwrap();
        assert_eq!((world.torque, world.commands.len()), (false, 0));
    }
    rig.world.lock().unwrap().silent_with_torque = false;
    rig.wait(|state| state == State::Idle);
    assert_eq!(rig.controls.ask(Request::Torque(true), SOON), Ok(State::Ready));
}

#[test]
fn a_silent_joint_is_a_fault_within_50_ms_and_names_itself() {
    let mut rig = Rig::new();
    rig.go(5.0);
    rig.world.lock().unwrap().silent = true;
    let before = rig.records.len();
    rig.wait(|state| matches!(state, State::Fault(Cause::Arm)));
    let misses: Vec<_> =
        rig.records[before..].iter().filter(|record| record.input == Input::Missed).collect();
    let took = misses.last().unwrap().now.saturating_sub(misses[0].now);
    assert!(took <= Duration::from_millis(50), "{took:?}");
}

#[test]
fn an_estop_is_read_in_the_next_period_and_a_cable_pulled_is_a_fault() {
    let mut rig = Rig::new();
    rig.go(5.0);
    rig.controls.estop();
    rig.wait(|state| state == State::Estop);
    assert_eq!(rig.event(Event::Reset), Ok(State::Disconnected));
    rig.wait(|state| state == State::Idle);
    rig.world.lock().unwrap().sense_fails =
        Some(|| MotorsError::HungUp { port: "/dev/nothing".into() });
    rig.wait(|state| state == State::Fault(Cause::HungUp));
    rig.world.lock().unwrap().sense_fails = None;
    assert_eq!(rig.event(Event::Reset), Ok(State::Disconnected));
    // It is looked for and found, and has no torque until somebody asks.
    rig.wait(|state| state == State::Idle);
}

#[test]
fn fault_15_an_answer_that_lay_there_while_the_process_was_suspended_leads_nowhere() {
    let mut rig = Rig::new();
    rig.go(5.0);
    rig.wait(|state| matches!(state, State::Running { .. }));
    let sent = {
        let mut world = rig.world.lock().unwrap();
        world.suspended = Some((Duration::from_millis(120), 40));
        world.commands.len()
    };
    rig.wait(|state| matches!(state, State::Hold { cause: Cause::Gap, .. }));
    thread::sleep(Duration::from_millis(50));
    let world = rig.world.lock().unwrap();
    let after = &world.commands[sent.saturating_sub(1)..];
    let back = after.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert_eq!(back, 0, "it was led back: {after:?}");
    assert!(after[after.len() - 1] >= after[0] + 39, "{after:?}");
}

#[test]
fn a_panic_beside_it_brings_the_arm_to_rest() {
    let mut rig = Rig::new();
    rig.go(5.0);
    let controls = rig.controls.clone();
    let panicked = thread::spawn(move || {
        let _sentinel = controls.sentinel();
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    let began = Instant::now();
    while !rig.control.is_finished() {
        assert!(began.elapsed() < SOON, "it goes on");
        thread::sleep(Duration::from_millis(5));
    }
    let world = rig.world.lock().unwrap();
    let [.., a, b] = world.commands[..] else { panic!("nothing sent") };
    assert_eq!(a, b);
}

#[test]
fn a_journal_plays_to_the_identical_set_points() {
    let mut rig = Rig::new();
    rig.go(1.0);
    rig.wait(|state| matches!(state, State::Hold { cause: Cause::Lease, .. }));
    let records = std::mem::take(&mut rig.records);
    assert!(records.iter().filter(|record| record.output.is_some()).count() > 20);
    let mut pilot = pilot();
    for (i, record) in records.iter().enumerate() {
        assert_eq!(pilot.step(&record.input, record.now), record.output, "record {i}");
    }
}
