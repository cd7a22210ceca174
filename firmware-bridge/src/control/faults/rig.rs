//! An emulated arm, real motors, a control thread, and what was heard of each.

use std::time::Instant;

use super::super::*;
use crate::arms::dynamixel::{DynamixelMotors, Options as DynamixelOptions};
use crate::arms::feetech::FeetechMotors;
use crate::codecs::dynamixel::register;
use crate::codecs::feetech::register as reg;
use crate::description::ArmDescription;
use crate::emulate::{Device, Emulator, Options, dynamixel, feetech};
use crate::pilot::PilotConfig;
use crate::plan::Plan;
use crate::units::Scale;

/// How long anything may take.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// Where a joint's angle is zero, in ticks.
pub(super) const HOME: i32 = 2048;

/// A goal that a servo heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Goal {
    pub(super) joint: usize,
    pub(super) ticks: i32,
    /// Whether it had torque.
    pub(super) torque: bool,
}

/// What the tests ask of an emulated bus of either make. Ids count from 1.
pub(super) trait Servos: Device {
    fn goals(&mut self) -> Vec<Goal>;
    /// Writes to anything else: id and register.
    fn other_writes(&mut self) -> Vec<(u8, u16)>;
    fn forget(&mut self);
    /// Power fails for a moment.
    fn restarts(&mut self, id: u8);
    /// Reboots that somebody asked for.
    fn num_reboots(&mut self) -> usize;
}

impl Servos for feetech::Bus {
    fn goals(&mut self) -> Vec<Goal> {
        let goals = self.writes().filter(|write| write.address == reg::GOAL_POSITION);
        let goals = goals.map(|write| Goal {
            joint: usize::from(write.id) - 1,
            ticks: i32::from(u16::from_le_bytes([write.bytes[0], write.bytes[1]])),
            torque: write.torque,
        });
        goals.collect()
    }

    fn other_writes(&mut self) -> Vec<(u8, u16)> {
        let goal = |write: &&feetech::Written| {
            (write.address, write.bytes.len()) != (reg::GOAL_POSITION, 2)
        };
        self.writes().filter(goal).map(|write| (write.id, write.address.into())).collect()
    }

    fn forget(&mut self) {
        self.forget_writes();
    }

    fn restarts(&mut self, id: u8) {
        self.restart(id);
    }

    fn num_reboots(&mut self) -> usize {
        0 // these servos know no such instruction
    }
}

impl Servos for dynamixel::Bus {
    fn goals(&mut self) -> Vec<Goal> {
        let address = register::GOAL_POSITION.address;
        let goals = self.written().iter().filter(|write| write.address == address);
        let goals = goals.map(|write| Goal {
            joint: usize::from(write.id) - 1,
            ticks: write.data.as_slice().try_into().map_or(i32::MAX, i32::from_le_bytes),
            torque: self.register(write.id, register::TORQUE_ENABLE) == Some(1),
        });
        goals.collect()
    }

    fn other_writes(&mut self) -> Vec<(u8, u16)> {
        let address = register::GOAL_POSITION.address;
        let goal = |write: &&dynamixel::Written| (write.address, write.data.len()) != (address, 4);
        self.written().iter().filter(goal).map(|write| (write.id, write.address)).collect()
    }

    fn forget(&mut self) {
        self.forget_written();
    }

    fn restarts(&mut self, id: u8) {
        self.restart(id);
    }

    fn num_reboots(&mut self) -> usize {
        self.reboots()
    }
}

pub(super) struct Bench<D: Device> {
    pub(super) arm: ArmDescription,
    pub(super) emulator: Emulator<D>,
    pub(super) controls: Controls,
    _control: Control,
    happenings: Receiver<Happening>,
    _folder: tempfile::TempDir,
    pub(super) state: State,
    pub(super) torque: bool,
    /// When the newest period began.
    pub(super) now: Duration,
    position_rad: [f64; MAX_JOINTS],
    misses: u64,
    /// Inputs without outputs: readings, misses, events.
    pub(super) records: Vec<Record>,
    pub(super) troubles: Vec<String>,
    plans: u64,
}

/// A description that a machine keeps up with which tests other things meanwhile.
fn arm(name: &str, setpoint_hz: u32) -> ArmDescription {
    let mut arm = ArmDescription::find(name).unwrap();
    arm.setpoint_hz = setpoint_hz;
    arm
}

impl Bench<feetech::Bus> {
    pub(super) fn feetech(setpoint_hz: u32) -> Self {
        Self::feetech_at(setpoint_hz, false)
    }

    /// With joints ten ticks apart, and an adapter that repeats what it is told.
    pub(super) fn feetech_at(setpoint_hz: u32, apart: bool) -> Self {
        let arm = arm("so101", setpoint_hz);
        let bus = feetech::Bus::new(&arm);
        Self::start(arm, bus, apart, |arm, path| Box::new(FeetechMotors::new(arm, path)))
    }
}

impl Bench<dynamixel::Bus> {
    pub(super) fn dynamixel(setpoint_hz: u32) -> Self {
        Self::dynamixel_at(setpoint_hz, false)
    }

    pub(super) fn dynamixel_at(setpoint_hz: u32, apart: bool) -> Self {
        let arm = arm("koch", setpoint_hz);
        let bus = dynamixel::Bus::new(&arm).unwrap();
        Self::start(arm, bus, apart, |arm, path| {
            // A watchdog of its default length would count this machine's pauses.
            let [margin, watchdog] = [8, 2540].map(Duration::from_millis);
            let options = DynamixelOptions { margin, watchdog, calibration: None };
            Box::new(DynamixelMotors::open(arm, path, options).unwrap())
        })
    }
}

impl<D: Servos> Bench<D> {
    fn start(
        arm: ArmDescription,
        mut bus: D,
        apart: bool,
        motors: impl FnOnce(&ArmDescription, &std::path::Path) -> Box<dyn Motors>,
    ) -> Self {
        if apart {
            for (joint, place) in bus.plant().joints.iter_mut().enumerate() {
                place.position = f64::from(HOME) + 10.0 * joint as f64;
                place.goal = place.position;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let link = Some(folder.path().join("arm"));
        let emulator = Emulator::start(bus, Options { baud: arm.baud, link, seed: 16 }).unwrap();
        emulator.faults(|faults| faults.echo = apart);
        let scales = vec![Scale::radians(4096.0, HOME, false); 6];
        let (gap, lease) = (Duration::from_millis(400), Duration::from_mins(1));
        let config =
            PilotConfig { gap, lease_stale: lease, lease_lost: lease, ..PilotConfig::default() };
        let pilot = Pilot::new(&arm, &scales, None, config).unwrap();
        let motors = motors(&arm, emulator.path());
        let options = ControlOptions { setpoint_hz: arm.setpoint_hz, realtime: false };
        let (control, happenings) = Control::start(motors, pilot, options).unwrap();
        Self {
            arm,
            emulator,
            controls: control.controls(),
            _control: control,
            happenings,
            _folder: folder,
            state: State::Disconnected,
            torque: false,
            now: Duration::ZERO,
            position_rad: [0.0; MAX_JOINTS],
            misses: 0,
            records: Vec::new(),
            troubles: Vec::new(),
            plans: 0,
        }
    }

    fn take(&mut self, happening: Happening) -> bool {
        match happening {
            Happening::Moment(moment) => {
                (self.state, self.torque, self.now) = (moment.state, moment.torque, moment.now);
                (self.position_rad, self.misses) = (moment.position_rad, moment.counters.misses);
                return true;
            }
            Happening::Record(record) => self.records.push(record),
            Happening::Trouble(trouble) => self.troubles.push(trouble.to_string()),
            _ => {}
        }
        false
    }

    /// Looks at what has happened so far.
    pub(super) fn drain(&mut self) {
        while let Ok(happening) = self.happenings.try_recv() {
            self.take(happening);
        }
    }

    /// Whether a state comes in time; what comes after it is left to be looked at.
    pub(super) fn try_wait(&mut self, what: impl Fn(State) -> bool) -> bool {
        let began = Instant::now();
        while !what(self.state) {
            if began.elapsed() > SOON {
                return false;
            }
            if let Ok(happening) = self.happenings.recv_timeout(SOON) {
                self.take(happening);
            }
        }
        true
    }

    pub(super) fn wait(&mut self, what: impl Fn(State) -> bool) {
        self.drain();
        assert!(self.try_wait(what), "still {:?}: {:?}", self.state, self.troubles);
    }

    /// From now on so many periods.
    pub(super) fn periods(&mut self, count: usize) {
        self.drain();
        let (began, mut seen) = (Instant::now(), 0);
        while seen < count {
            assert!(began.elapsed() < SOON + SOON, "{seen} of {count} periods");
            let happening = self.happenings.recv_timeout(SOON).unwrap();
            seen += usize::from(self.take(happening));
        }
    }

    pub(super) fn ask(&self, request: Request) -> Result<State, String> {
        self.controls.ask(request, SOON)
    }

    pub(super) fn event(&self, event: Event) -> Result<State, String> {
        self.ask(Request::Input(Input::Event(event)))
    }

    pub(super) fn torque(&mut self) -> bool {
        self.try_wait(|state| state == State::Idle) && self.ask(Request::Torque(true)).is_ok()
    }

    /// On its way with all joints as fast as `rad_s`, for `secs`.
    pub(super) fn go(&mut self, rad_s: f64, secs: f64) {
        self.wait(|state| state == State::Idle);
        assert_eq!(self.ask(Request::Torque(true)), Ok(State::Ready));
        assert_eq!(self.event(Event::Leased), Ok(State::Armed));
        assert!(matches!(self.event(Event::Start), Ok(State::Hold { .. })));
        self.plans += 1;
        let (now, rows) = (self.controls.now(), (secs / 0.05) as usize);
        // The gripper has a shorter way than the others and stays where it is.
        let row = |row: usize| {
            let angle = rad_s * 0.05 * (row + 1) as f64;
            (0..6).map(move |joint| if joint == 5 { 0.0 } else { angle })
        };
        let plan = Plan {
            episode: 0,
            number: self.plans,
            observed: now,
            first_tick: (now.as_secs_f64() / 0.05) as u64 + 1,
            waypoints_rad: (0..rows).flat_map(row).collect(),
            last: true,
        };
        let state = self.ask(Request::Input(Input::Plan(Box::new(plan))));
        assert!(matches!(state, Ok(State::Running { .. })), "{state:?}");
        self.periods(10);
    }

    /// An operator resets and gives torque, and the arm does not jump.
    pub(super) fn recover(&mut self) {
        self.drain();
        if self.state.is_latched() {
            assert_eq!(self.event(Event::Reset), Ok(State::Disconnected));
        }
        let began = Instant::now();
        while self.state != State::Idle {
            assert!(began.elapsed() < SOON, "still {:?}: {:?}", self.state, self.troubles);
            self.periods(1);
        }
        let at = self.positions();
        assert_eq!(self.ask(Request::Torque(true)), Ok(State::Ready));
        self.periods(10);
        let moved = self.positions().into_iter().zip(&at).map(|(a, b)| (a - b).abs());
        assert!(moved.fold(0.0, f64::max) <= 2.0, "{at:?} {:?}", self.positions());
        assert_eq!(self.state, State::Ready, "{:?}", self.troubles);
    }

    pub(super) fn measured_rad(&self, joint: usize) -> f64 {
        self.position_rad[joint]
    }

    /// Where the joints truly are, in ticks.
    pub(super) fn positions(&self) -> Vec<f64> {
        self.emulator.with(|bus| bus.plant().joints.iter().map(|joint| joint.position).collect())
    }

    pub(super) fn misses(&self) -> u64 {
        self.misses
    }

    /// Readings that failed up to the last one, without one between that did not.
    pub(super) fn misses_in_a_row(&self) -> usize {
        let readings = self.records.iter().rev().filter_map(|record| match record.input {
            Input::Missed => Some(true),
            Input::Sensed { .. } => Some(false),
            _ => None,
        });
        readings.take_while(|missed| *missed).count()
    }
}
