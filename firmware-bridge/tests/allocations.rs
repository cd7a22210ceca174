//! The control thread takes and frees no memory while an arm is connected, whatever happens.
//!
//! Each arm's motors run against their emulator on a thread on which every allocation and every
//! release counts. Only to look for an arm and to switch torque, when nothing moves, memory may be
//! taken.

#![allow(clippy::unwrap_used)] // A test that cannot go on says so by panicking.
#![allow(clippy::print_stdout)] // Figures, for whoever asks with `--nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use assert_no_alloc::{AllocDisabler, assert_no_alloc, permit_alloc, violation_count};
use firmware_bridge::arms::dynamixel::{DynamixelMotors, Options as DynamixelOptions};
use firmware_bridge::arms::feetech::FeetechMotors;
use firmware_bridge::arms::xarm::XarmMotors;
use firmware_bridge::codecs::dynamixel::HardwareError;
use firmware_bridge::codecs::xarm::Fault;
use firmware_bridge::control::{ControlLoop, ControlOptions, Controls, Happening, Moment, Request};
use firmware_bridge::description::ArmDescription;
use firmware_bridge::emulate::xarm::{Controller, ControllerOptions};
use firmware_bridge::emulate::{Emulator, Faults, Options, dynamixel, feetech};
use firmware_bridge::machine::{Cause, Event, State};
use firmware_bridge::motors::{Health, Identity, Motors, MotorsError, Sensed};
use firmware_bridge::pilot::{Input, Pilot, PilotConfig};
use firmware_bridge::plan::Plan;
use firmware_bridge::units::Scale;

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

const SOON: Duration = Duration::from_secs(20);
const SETPOINT_HZ: u32 = 100;
/// Seconds between two waypoints of a plan.
const PLAN_SECS: f64 = 0.05;

/// Motors that say, at each reading, what this thread has allocated and freed so far.
struct Counting {
    motors: Box<dyn Motors>,
    counted: Arc<AtomicU32>,
    wasteful: Arc<AtomicBool>,
}

impl Motors for Counting {
    fn joints(&self) -> &[String] {
        self.motors.joints()
    }

    fn identify(&mut self) -> Result<Vec<Identity>, MotorsError> {
        permit_alloc(|| self.motors.identify())
    }

    fn sense(&mut self, sensed: &mut Sensed) -> Result<(), MotorsError> {
        self.counted.store(violation_count(), Ordering::Relaxed);
        if self.wasteful.load(Ordering::Relaxed) {
            drop(std::hint::black_box(Box::new(1)));
        }
        self.motors.sense(sensed)
    }

    fn command(&mut self, goals: &[i32]) -> Result<(), MotorsError> {
        self.motors.command(goals)
    }

    fn torque(&mut self, on: bool) -> Result<(), MotorsError> {
        permit_alloc(|| self.motors.torque(on))
    }

    fn examine(&mut self, joint: usize) -> Result<Health, MotorsError> {
        self.motors.examine(joint)
    }

    fn acknowledge(&mut self) -> Result<(), MotorsError> {
        self.motors.acknowledge()
    }

    fn when_abandoned(&self) -> &'static str {
        self.motors.when_abandoned()
    }
}

/// A control thread that is counted.
struct Bench {
    arm: ArmDescription,
    controls: Controls,
    happenings: Receiver<Happening>,
    counted: Arc<AtomicU32>,
    wasteful: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    moment: Option<Moment>,
    troubles: usize,
    plans: u64,
    seen: u32,
    periods: u64,
}

impl Bench {
    fn start(arm: ArmDescription, motors: Box<dyn Motors>, per_turn: f64, zero: i32) -> Self {
        let scales = vec![Scale::radians(per_turn, zero, false); arm.joints.len()];
        let [gap, lease] = [Duration::from_millis(400), Duration::from_mins(5)];
        let config = PilotConfig {
            gap,
            lease_stale: lease,
            lease_lost: lease,
            plan_period_secs: PLAN_SECS,
            ..PilotConfig::default()
        };
        let pilot = Pilot::new(&arm, &scales, None, config).unwrap();
        let counted = Arc::new(AtomicU32::new(0));
        let wasteful = Arc::new(AtomicBool::new(false));
        let (seen, wastes) = (counted.clone(), wasteful.clone());
        let motors = Box::new(Counting { motors, counted: seen, wasteful: wastes });
        let options = ControlOptions { setpoint_hz: arm.setpoint_hz, realtime: false };
        let (control_loop, controls, happenings) = ControlLoop::new(motors, pilot, options);
        let thread = thread::spawn(move || assert_no_alloc(|| control_loop.run()));
        Self {
            arm,
            controls,
            happenings,
            counted,
            wasteful,
            thread: Some(thread),
            moment: None,
            troubles: 0,
            plans: 0,
            seen: 0,
            periods: 0,
        }
    }

    /// Looks at what happens until `done`.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < SOON, "{what}: still {:?}", self.moment);
            match self.happenings.try_recv() {
                Ok(Happening::Moment(moment)) => {
                    self.moment = Some(moment);
                    self.periods += 1;
                }
                Ok(Happening::Trouble(_)) => self.troubles += 1,
                Ok(_) => {}
                Err(TryRecvError::Empty) => thread::sleep(Duration::from_millis(1)),
                Err(TryRecvError::Disconnected) => panic!("{what}: the thread has ended"),
            }
        }
    }

    fn state(&self) -> Option<State> {
        self.moment.map(|moment| moment.state)
    }

    fn wait(&mut self, what: &str, state: impl Fn(State) -> bool) {
        self.until(what, |bench| bench.state().is_some_and(&state));
    }

    /// So many periods more, and nothing was allocated or freed since the last time.
    fn counts_nothing(&mut self, what: &str, periods: u64) {
        let end = self.periods + periods;
        self.until(what, |bench| bench.periods >= end);
        let counted = self.counted.load(Ordering::Relaxed);
        let more = counted - std::mem::replace(&mut self.seen, counted);
        let name = &self.arm.name;
        println!("{name}, {what}: {more} allocations and releases in {periods} periods");
        assert_eq!(more, 0, "{name}, {what}");
    }

    fn ask(&self, request: Request) -> Result<State, String> {
        self.controls.ask(request, SOON)
    }

    fn event(&self, event: Event) -> Result<State, String> {
        self.ask(Request::Input(Input::Event(event)))
    }

    fn plan(&mut self, secs: f64, last: bool) -> Result<State, String> {
        self.plans += 1;
        let (now, joints) = (self.controls.now(), self.arm.joints.len());
        let towards = if self.plans.is_multiple_of(2) { 0.0 } else { -0.1 };
        let plan = Plan {
            episode: 0,
            number: self.plans,
            observed: now,
            first_tick: (now.as_secs_f64() / PLAN_SECS) as u64 + 1,
            waypoints_rad: vec![towards; (secs / PLAN_SECS) as usize * joints],
            last,
        };
        self.ask(Request::Input(Input::Plan(Box::new(plan))))
    }

    fn torque(&mut self) {
        if self.state().is_some_and(State::is_latched) {
            self.event(Event::Reset).unwrap();
        }
        self.wait("a look for the arm", |state| state == State::Idle);
        self.ask(Request::Torque(true)).unwrap();
        self.event(Event::Leased).unwrap();
        self.wait("torque", |state| state == State::Armed);
    }

    /// What every arm does: stands, runs, holds, is refused something, stops.
    fn goes(&mut self) {
        self.wait("a look for the arm", |state| state == State::Idle);
        self.counts_nothing("idle", 100);
        self.torque();
        self.counts_nothing("armed", 100);
        self.event(Event::Start).unwrap();
        for _ in 0..8 {
            self.plan(0.6, false).unwrap();
            self.counts_nothing("running", 50);
        }
        self.wait("an underrun", |state| matches!(state, State::Hold { .. }));
        self.counts_nothing("holding", 50);
        self.plan(0.0, false).unwrap_err();
        self.event(Event::Leased).unwrap_err();
        self.ask(Request::Torque(true)).unwrap_err();
        self.controls.tell(Input::Heartbeat);
        self.counts_nothing("refusing", 50);
        self.plan(0.5, true).unwrap();
        self.wait("the end of the way", |state| state == State::Armed);
        self.counts_nothing("coming to rest", 100);
        self.event(Event::Start).unwrap();
        self.plan(1.0, false).unwrap();
        self.controls.estop();
        self.wait("an emergency stop", |state| state == State::Estop);
        self.counts_nothing("stopped", 200);
        self.torque();
        self.counts_nothing("reset", 100);
    }

    /// A fault of the arm, which lasts.
    fn fails(&mut self, what: &str, cause: Cause) {
        self.wait(what, |state| state == State::Fault(cause));
        self.counts_nothing(what, 200);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.controls.shut_down();
        if let Some(thread) = self.thread.take()
            && !thread::panicking()
        {
            thread.join().unwrap();
        }
    }
}

fn described(name: &str) -> ArmDescription {
    let mut arm = ArmDescription::find(name).unwrap();
    arm.setpoint_hz = SETPOINT_HZ;
    arm
}

fn noisy(faults: &mut Faults) {
    (faults.flip, faults.lose, faults.insert) = (2e-3, 2e-3, 2e-3);
}

#[test]
fn feetech_motors_run_hold_fail_and_are_reset_without_an_allocation() {
    let arm = described("so101");
    let emulator = Emulator::start(feetech::Bus::new(&arm), Options::default()).unwrap();
    let motors = Box::new(FeetechMotors::new(&arm, emulator.path()));
    let mut bench = Bench::start(arm, motors, 4096.0, 2048);
    bench.goes();
    emulator.faults(noisy);
    bench.counts_nothing("a noisy wire", 400);
    let misses = bench.moment.unwrap().counters.misses;
    assert!(misses > 0, "no noise, no test");
    emulator.faults(|faults| *faults = Faults { silent: vec![3], ..Faults::default() });
    bench.fails("a silent servo", Cause::Arm);
    emulator.faults(|faults| *faults = Faults { impostor: Some((2, 4)), ..Faults::default() });
    bench.counts_nothing("an impostor", 100);
    emulator.faults(|faults| *faults = Faults::default());
    bench.torque();
    bench.counts_nothing("torque again", 50);
    emulator.with(|bus| bus.servo(4).unwrap().alarms = 1 << 5);
    bench.fails("an alarm", Cause::Alarm);
    emulator.with(|bus| bus.servo(4).unwrap().alarms = 0);
    bench.torque();
    bench.counts_nothing("torque again", 50);
    emulator.with(|bus| bus.restart(2));
    bench.fails("a servo that restarted", Cause::Restarted);
    assert!(bench.troubles > 0 && bench.periods > 2000, "{} periods", bench.periods);
}

#[test]
fn dynamixel_motors_run_hold_fail_and_are_reset_without_an_allocation() {
    let arm = described("koch");
    let bus = dynamixel::Bus::new(&arm).unwrap();
    let emulator = Emulator::start(bus, Options::default()).unwrap();
    let [margin, watchdog] = [8, 2540].map(Duration::from_millis);
    let options = DynamixelOptions { margin, watchdog, calibration: None };
    let motors = Box::new(DynamixelMotors::open(&arm, emulator.path(), options).unwrap());
    let mut bench = Bench::start(arm, motors, 4096.0, 2048);
    bench.goes();
    emulator.faults(noisy);
    bench.counts_nothing("a noisy wire", 400);
    assert!(bench.moment.unwrap().counters.misses > 0, "no noise, no test");
    emulator.faults(|faults| *faults = Faults { silent: vec![3], ..Faults::default() });
    bench.fails("a silent servo", Cause::Arm);
    emulator.faults(|faults| *faults = Faults { impostor: Some((2, 4)), ..Faults::default() });
    bench.counts_nothing("an impostor", 100);
    emulator.faults(|faults| *faults = Faults::default());
    bench.torque();
    bench.counts_nothing("torque again", 50);
    emulator.with(|bus| bus.hardware_error(4, HardwareError::OVERLOAD));
    bench.fails("an alarm", Cause::Alarm);
    emulator.with(|bus| bus.restart(4));
    bench.torque();
    bench.counts_nothing("torque again", 50);
    emulator.with(|bus| bus.restart(2));
    bench.fails("a servo that restarted", Cause::Restarted);
    assert!(bench.troubles > 0 && bench.periods > 2000, "{} periods", bench.periods);
}

#[test]
fn xarm_motors_run_hold_fail_and_are_reset_without_an_allocation() {
    let arm = described("xarm7");
    let cabinet = Controller::start(&arm, ControllerOptions::default()).unwrap();
    let mut motors = XarmMotors::at(&arm, cabinet.control(), cabinet.report()).unwrap();
    motors.timings.report_age = Duration::from_millis(400);
    motors.timings.answer = Duration::from_secs(1);
    let mut bench = Bench::start(arm, Box::new(motors), std::f64::consts::TAU * 1e6, 0);
    bench.goes();
    cabinet.with(|cabinet| cabinet.fail(Fault(13)));
    bench.fails("an alarm", Cause::Alarm);
    bench.torque();
    bench.counts_nothing("torque again", 50);
    cabinet.with(|cabinet| cabinet.press_stop(true));
    bench.fails("its emergency stop", Cause::Arm);
    cabinet.with(|cabinet| cabinet.press_stop(false));
    bench.torque();
    bench.counts_nothing("torque again", 50);
    cabinet.faults(|faults| faults.black_hole = true);
    bench.wait("a black hole", State::is_latched);
    assert!(bench.troubles > 0 && bench.periods > 1500, "{} periods", bench.periods);
}

#[test]
fn what_is_allocated_is_counted() {
    let arm = described("so101");
    let emulator = Emulator::start(feetech::Bus::new(&arm), Options::default()).unwrap();
    let motors = Box::new(FeetechMotors::new(&arm, emulator.path()));
    let mut bench = Bench::start(arm, motors, 4096.0, 2048);
    bench.wait("a look for the arm", |state| state == State::Idle);
    bench.wasteful.store(true, Ordering::Relaxed);
    let end = bench.periods + 20;
    bench.until("waste", |bench| bench.periods >= end);
    let counted = bench.counted.load(Ordering::Relaxed);
    assert!(counted >= 30, "one taken and one freed in each period: {counted}");
}
