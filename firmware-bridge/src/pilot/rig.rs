//! What the tests of the pilot share: an arm without a bus and a clock that only tests turn.

use super::*;
use crate::description::ArmDescription;

/// An arm that goes where it is told, one period late, and a clock that only the test turns.
pub(crate) struct Rig {
    pub(crate) pilot: Pilot,
    pub(crate) arm: ArmDescription,
    pub(crate) now: Duration,
    pub(crate) ticks: [i32; MAX_JOINTS],
    pub(crate) sent: Vec<[i32; MAX_JOINTS]>,
    /// Whether goals move the arm.
    pub(crate) free: bool,
    pub(crate) number: u64,
}

/// Where every joint begins, in ticks.
pub(crate) const HOME: i32 = 2048;

impl Rig {
    pub(crate) fn new() -> Self {
        let mut arm = ArmDescription::find("so101").unwrap();
        for joint in &mut arm.joints {
            (joint.min_rad, joint.max_rad) = (-1.5, 1.5);
        }
        let scales = vec![Scale::radians(4096.0, HOME, false); 6];
        let pilot = Pilot::new(&arm, &scales, None, PilotConfig::default()).unwrap();
        let ticks = [HOME; MAX_JOINTS];
        let now = Duration::from_secs(1);
        let mut rig = Self { pilot, arm, now, ticks, sent: Vec::new(), free: true, number: 0 };
        rig.event(Event::Connected);
        rig.period();
        rig
    }

    /// One that runs, up to its first plan.
    pub(crate) fn started() -> Self {
        let mut rig = Self::new();
        for event in [Event::TorqueOn, Event::Leased, Event::Start] {
            rig.event(event);
        }
        rig
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.pilot.step(&Input::Event(event), self.now);
    }

    pub(crate) fn state(&self) -> State {
        self.pilot.state()
    }

    /// Senses, ticks, moves the arm, and turns the clock.
    pub(crate) fn period(&mut self) -> Option<[i32; MAX_JOINTS]> {
        let sensed = Input::Sensed { position: self.ticks, velocity: [0; MAX_JOINTS] };
        self.pilot.step(&sensed, self.now);
        let goals = self.pilot.step(&Input::Tick, self.now).unwrap().goals;
        if let Some(goals) = goals {
            self.sent.push(goals);
            if self.free {
                self.ticks = goals;
            }
        }
        self.now += Duration::from_secs_f64(self.arm.period_secs());
        goals
    }

    /// Periods with a heartbeat in each.
    pub(crate) fn run(&mut self, periods: usize) {
        for _ in 0..periods {
            self.pilot.step(&Input::Heartbeat, self.now);
            self.period();
        }
    }

    /// A plan of `rows` times the same angle for all joints, made from now.
    pub(crate) fn plan(&mut self, angle: f64, rows: usize) -> Plan {
        self.number += 1;
        Plan {
            episode: 0,
            number: self.number,
            observed: self.now,
            first_tick: (self.now.as_secs_f64() / 0.05) as u64 + 1,
            waypoints_rad: vec![angle; rows * 6],
            last: false,
        }
    }

    pub(crate) fn go(&mut self, angle: f64, rows: usize) {
        let plan = self.plan(angle, rows);
        self.pilot.step(&Input::Plan(Box::new(plan)), self.now);
    }

    pub(crate) fn angle(&self) -> f64 {
        self.pilot.scales[0].value(self.ticks[0])
    }
}
