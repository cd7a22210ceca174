//! Faults of network, policy, clock and operator, injected into whole motions.
//!
//! Each test carries the number of its row in the README's table of faults. What the bus may do is
//! tested beside each arm's motors, what a client may do beside the sockets.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::rig::{HOME, Rig};
use super::*;

/// Holds every set-point against the limits, with code that shares nothing with the gate's.
struct Checker {
    /// Ticks per period, ticks per period and period, smallest and largest.
    bounds: Vec<[f64; 4]>,
    last: Option<([i32; MAX_JOINTS], [f64; MAX_JOINTS])>,
}

impl Checker {
    fn new(rig: &Rig) -> Self {
        let period = rig.arm.period_secs();
        let per_rad = 4096.0 / std::f64::consts::TAU;
        let bounds = rig.arm.joints.iter().map(|joint| {
            [
                joint.max_velocity * period * per_rad + 1.0,
                joint.max_acceleration * period * period * per_rad + 2.0,
                f64::from(HOME) + joint.min_rad * per_rad,
                f64::from(HOME) + joint.max_rad * per_rad,
            ]
        });
        Self { bounds: bounds.collect(), last: None }
    }

    /// Nothing is sent, or set-points begin anew.
    fn forget(&mut self) {
        self.last = None;
    }

    fn check(&mut self, goals: &[i32; MAX_JOINTS]) -> Result<(), String> {
        let mut steps = [0.0; MAX_JOINTS];
        for (i, &[velocity, acceleration, min, max]) in self.bounds.iter().enumerate() {
            let goal = f64::from(goals[i]);
            if !(min..=max).contains(&goal) {
                return Err(format!("joint {i} is sent to {goal}, outside {min} to {max}"));
            }
            let Some((last, last_steps)) = &self.last else { continue };
            steps[i] = goal - f64::from(last[i]);
            let change = steps[i] - last_steps[i];
            if steps[i].abs() > velocity + 1e-6 {
                return Err(format!("joint {i} steps {} ticks, at most {velocity}", steps[i]));
            }
            if change.abs() > acceleration + 1e-6 {
                return Err(format!("joint {i} changes {change} ticks, at most {acceleration}"));
            }
        }
        self.last = Some((*goals, steps));
        Ok(())
    }
}

/// Every set-point that a rig sent keeps every limit.
fn assert_limits(rig: &Rig) {
    let mut checker = Checker::new(rig);
    for (i, goals) in rig.sent.iter().enumerate() {
        checker.check(goals).unwrap_or_else(|error| panic!("set-point {i}: {error}"));
    }
}

fn still(rig: &Rig) -> bool {
    matches!(rig.sent[..], [.., a, b] if a == b)
}

#[test]
fn fault_01_02_a_server_that_is_gone_is_played_out_and_then_the_arm_holds() {
    let mut rig = Rig::started();
    let end = rig.now + Duration::from_secs_f64(30.0 * 0.05);
    rig.go(0.6, 30);
    while matches!(rig.state(), State::Running { .. }) {
        rig.run(1);
    }
    let late = rig.now.saturating_sub(end).as_millis();
    println!("faults 01, 02: held {late} ms after the last action");
    assert!(late <= 100, "held {late} ms after the last action");
    rig.run(60);
    assert!(still(&rig));
    // A server that comes back moves nothing by that alone.
    rig.event(Event::Leased);
    rig.run(60);
    assert!(still(&rig) && matches!(rig.state(), State::Hold { .. }), "{:?}", rig.state());
    assert_limits(&rig);
}

#[test]
fn fault_03_late_and_reordered_plans_never_lead_backwards() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut rig = Rig::started();
    let began = rig.now;
    let wanted = |at: f64| 0.15 * (at - began.as_secs_f64());
    let mut on_their_way: Vec<(Duration, Plan)> = Vec::new();
    for period in 0..1600 {
        if period % 40 == 0 {
            let mut plan = rig.plan(0.0, 40);
            let first = plan.first_tick;
            for (i, row) in plan.waypoints_rad.chunks_exact_mut(6).enumerate() {
                row.fill(wanted((first + i as u64) as f64 * 0.05));
            }
            let delay = Duration::from_millis(random.random_range(0..800));
            on_their_way.push((rig.now + delay, plan));
        }
        let (due, rest) = on_their_way.into_iter().partition(|(due, _)| *due <= rig.now);
        on_their_way = rest;
        let arrived: Vec<(Duration, Plan)> = due;
        for (_, plan) in arrived {
            rig.pilot.step(&Input::Plan(Box::new(plan)), rig.now);
        }
        rig.run(1);
    }
    let backwards = rig.sent.windows(2).filter(|pair| pair[1][0] < pair[0][0]).count();
    println!("fault 03: {backwards} of {} set-points backwards", rig.sent.len());
    assert_eq!(backwards, 0);
    assert!(rig.angle() > 1.0, "{}", rig.angle());
    assert_limits(&rig);
}

#[test]
fn fault_04_what_comes_twice_changes_nothing() {
    let play = |twice: bool| {
        let mut rig = Rig::started();
        let mut old = Vec::new();
        for i in 0..20 {
            let plan = rig.plan(0.02 * f64::from(i), 20);
            old.push(plan.clone());
            rig.pilot.step(&Input::Plan(Box::new(plan)), rig.now);
            for _ in 0..20 {
                if twice {
                    for plan in &old {
                        rig.pilot.step(&Input::Plan(Box::new(plan.clone())), rig.now);
                    }
                }
                rig.run(1);
            }
        }
        rig.sent
    };
    let (once, twice) = (play(false), play(true));
    println!("fault 04: the same {} set-points", once.len());
    assert_eq!(once, twice);
}

#[test]
fn fault_09_numbers_that_are_none_or_absurd_never_reach_the_wire() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -1e30, 1e-310] {
        let mut rig = Rig::started();
        rig.go(0.2, 20);
        rig.run(30);
        let mut plan = rig.plan(0.25, 20);
        plan.waypoints_rad[31] = value;
        rig.pilot.step(&Input::Plan(Box::new(plan)), rig.now);
        assert_eq!(rig.pilot.counters().refused, u64::from(!value.is_finite()), "{value}");
        rig.run(200);
        assert_limits(&rig);
    }
}

#[test]
fn fault_10_a_square_wave_at_the_policy_s_own_rate_is_shaped() {
    let mut rig = Rig::started();
    for i in 0..200 {
        rig.go(if i % 2 == 0 { 1.5 } else { -1.5 }, 1 + i % 3);
        rig.run(10);
        assert!(!rig.state().is_latched(), "{:?} {:?}", rig.state(), rig.pilot.trouble());
    }
    println!("fault 10: {} set-points", rig.sent.len());
    assert_limits(&rig);
}

#[test]
fn fault_12_a_policy_that_repeats_itself_is_stale() {
    let mut rig = Rig::started();
    let plan = rig.plan(0.3, 20);
    let end = rig.now + Duration::from_secs(1);
    while matches!(rig.state(), State::Hold { .. } | State::Running { .. }) {
        rig.pilot.step(&Input::Plan(Box::new(plan.clone())), rig.now);
        let before = rig.state();
        rig.run(1);
        if matches!(before, State::Running { .. }) && matches!(rig.state(), State::Hold { .. }) {
            let late = rig.now.saturating_sub(end).as_millis();
            println!("fault 12: held {late} ms after the last action");
            assert!(late <= 150, "held {late} ms after the last action");
        }
    }
    assert!(rig.state().is_latched());
}

#[test]
fn fault_13_a_burst_after_an_underrun_goes_on_within_every_limit() {
    let mut rig = Rig::started();
    for i in 0..12 {
        for k in 0..4 {
            rig.go(0.05 * f64::from(i) + 0.01 * f64::from(k), 6);
        }
        rig.run(120); // twice as long as there is anything to play
        assert!(matches!(rig.state(), State::Hold { .. }), "{:?}", rig.state());
    }
    println!("fault 13: {} set-points", rig.sent.len());
    assert_limits(&rig);
}

#[test]
fn fault_15_after_a_pause_nothing_is_sent_before_it_is_read_where_the_arm_is() {
    let mut rig = Rig::started();
    rig.go(1.2, 100);
    rig.run(60);
    let before = rig.ticks;
    // It went on to where it was sent last, and the first two readings after the pause fail.
    rig.now += Duration::from_secs(1);
    rig.ticks = before.map(|ticks| ticks + 90);
    for _ in 0..2 {
        rig.pilot.step(&Input::Missed, rig.now);
        let output = rig.pilot.step(&Input::Tick, rig.now).unwrap();
        assert_eq!(output.goals, None, "it would go back to {before:?}");
        rig.now += Duration::from_secs_f64(rig.arm.period_secs());
    }
    let goals = rig.period().unwrap();
    let near = goals.iter().zip(&rig.ticks).take(6).all(|(goal, at)| (goal - at).abs() <= 1);
    assert!(near, "{goals:?}, and it is at {:?}", rig.ticks);
    rig.run(20);
    assert!(still(&rig) && matches!(rig.state(), State::Hold { .. }), "{:?}", rig.state());
}

#[test]
fn fault_21_an_encoder_that_is_stuck_is_a_fault_and_one_that_wraps_is_not_believed() {
    let mut rig = Rig::started();
    rig.go(1.2, 100);
    rig.free = false; // the arm moves, its encoder says nothing of it
    let mut periods = 0;
    while !rig.state().is_latched() {
        rig.run(1);
        periods += 1;
    }
    assert_eq!(rig.state(), State::Fault(Cause::Following));
    let secs = f64::from(periods) * rig.arm.period_secs();
    println!("fault 21: a fault {:.0} ms after the encoder stuck", secs * 1e3);
    // 0.25 rad of leash and 300 ms.
    assert!(periods < 150, "{periods} periods");
    assert_limits(&rig);

    let mut rig = Rig::started();
    rig.go(0.1, 100);
    rig.run(20);
    rig.ticks[0] -= 4096;
    rig.free = false;
    rig.run(5);
    assert_eq!(rig.state(), State::Fault(Cause::Arm));
}

#[test]
fn fault_20_a_joint_that_gave_way_is_not_led_back_once_it_has_its_strength_again() {
    let mut rig = Rig::started();
    rig.go(0.3, 40);
    rig.run(300);
    rig.event(Event::Failed(Cause::Alarm));
    rig.run(100);
    assert!(still(&rig));
    // Its motor is off, by itself, and it falls further than its leash.
    rig.free = false;
    rig.ticks[1] -= 400;
    rig.run(100);
    let (goals, fell) = (rig.sent[rig.sent.len() - 1], rig.ticks[1]);
    assert!((goals[1] - fell).abs() <= 1, "it would go from {fell} to {}", goals[1]);
    assert_eq!((still(&rig), rig.state()), (true, State::Fault(Cause::Alarm)));
}

#[test]
fn fault_16_torque_does_not_go_on_where_the_arm_could_not_be_read() {
    let mut rig = Rig::new();
    // It was moved by hand, and the reading of that was lost.
    rig.ticks = [HOME + 800; MAX_JOINTS];
    rig.pilot.step(&Input::Missed, rig.now);
    rig.event(Event::TorqueOn);
    assert_eq!((rig.state(), rig.pilot.torque()), (State::Idle, false));
    let trouble = rig.pilot.trouble().map(ToString::to_string).unwrap_or_default();
    assert!(trouble.starts_with("the joints could not be read"), "{trouble}");
    rig.now += Duration::from_secs(1);
    rig.period();
    rig.event(Event::TorqueOn);
    assert_eq!(rig.state(), State::Ready);
    assert!((rig.period().unwrap()[0] - HOME - 800).abs() <= 1);
}

/// A seeded storm of everything that may come, in any order. Gives how many set-points were sent.
fn storm(seed: u64, periods: usize) -> usize {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut rig = Rig::new();
    let mut checker = Checker::new(&rig);
    let mut sent = 0;
    let odd = [f64::NAN, f64::INFINITY, 1e30, -1e30, 1e-310, 3.0, -3.0, 0.0];
    let mut lying = 0_usize;
    for period in 0..periods {
        for _ in 0..random.random_range(0..3) {
            let input = match random.random_range(0..100) {
                0..20 => Input::Heartbeat,
                20..60 => {
                    let rows = random.random_range(1..30);
                    let angle = random.random_range(-1.6..1.6);
                    let mut plan = rig.plan(angle, rows);
                    for value in &mut plan.waypoints_rad {
                        *value += random.random_range(-0.3..0.3);
                    }
                    if random.random_bool(0.2) {
                        let at = random.random_range(0..plan.waypoints_rad.len());
                        plan.waypoints_rad[at] = odd[random.random_range(0..odd.len())];
                    }
                    if random.random_bool(0.1) {
                        plan.first_tick = plan.first_tick.wrapping_add(random.random_range(0..400));
                        plan.first_tick = plan.first_tick.saturating_sub(200);
                    }
                    plan.last = random.random_bool(0.1);
                    Input::Plan(Box::new(plan))
                }
                60..63 => Input::Missed,
                n => Input::Event(match n {
                    63..68 => Event::Start,
                    68..74 => Event::Leased,
                    74..80 => Event::TorqueOn,
                    80..84 => Event::Reset,
                    84..88 => Event::Connected,
                    88 => Event::Estop,
                    89 => Event::Stop,
                    90 => Event::LeaseLost,
                    91 => Event::Gap,
                    92 => Event::Lost,
                    93 if random.random_bool(0.1) => Event::Failed(Cause::Alarm),
                    94 if random.random_bool(0.1) => Event::TorqueOff,
                    95 if random.random_bool(0.1) => Event::Mismatch,
                    _ => Event::Tick,
                }),
            };
            // Torque is only switched while the arm stands, which the control thread sees to.
            let moving = rig.state().is_moving() || matches!(rig.state(), State::Stopping { .. });
            if !(moving && input == Input::Event(Event::TorqueOff)) {
                // Torque begins anew where the arm is.
                if input == Input::Event(Event::TorqueOn) && rig.state() == State::Idle {
                    checker.forget();
                }
                rig.pilot.step(&input, rig.now);
            }
        }
        // Sensors lie, the loop is late, the machine sleeps.
        if random.random_bool(0.002) {
            lying = random.random_range(0..40);
        }
        rig.free = lying == 0;
        lying = lying.saturating_sub(1);
        let pause = if random.random_bool(0.002) { random.random_range(0..3000_u64) } else { 0 };
        rig.now += Duration::from_millis(pause);
        let slept = pause > 45; // with the period itself, longer than a gap
        let before = rig.state();
        match rig.period() {
            Some(goals) => {
                // After a pause set-points begin anew where the arm is.
                if slept {
                    checker.forget();
                }
                sent += 1;
                if let Err(error) = checker.check(&goals) {
                    panic!("seed {seed}, period {period}, {before:?}: {error}");
                }
            }
            None => checker.forget(),
        }
        rig.sent.clear();
    }
    sent
}

#[test]
fn fault_25_storms_of_everything_break_no_limit() {
    // Longer on request, as in `ENGRAFT_STORM_TICKS=100000000`.
    let asked = std::env::var("ENGRAFT_STORM_TICKS").ok().and_then(|text| text.parse().ok());
    let ticks: usize = asked.unwrap_or(300_000);
    let began = std::time::Instant::now();
    let (mut seed, mut sent) = (0, 0);
    while sent < ticks {
        sent += storm(seed, 20_000);
        seed += 1;
    }
    let rate = sent as f64 / began.elapsed().as_secs_f64();
    println!("{sent} set-points of 6 joints from {seed} seed(s), {rate:.0} a second");
}

#[test]
fn the_checker_can_fail() {
    let rig = Rig::new();
    let mut checker = Checker::new(&rig);
    let at = |ticks: i32| [HOME + ticks; MAX_JOINTS];
    assert_eq!(checker.check(&at(0)), Ok(()));
    assert!(checker.check(&at(20)).unwrap_err().contains("steps"));
    let mut checker = Checker::new(&rig);
    for ticks in [0, 2, 4] {
        assert_eq!(checker.check(&at(ticks)), Ok(()));
    }
    assert!(checker.check(&at(0)).unwrap_err().contains("changes"));
    assert!(Checker::new(&rig).check(&at(1100)).unwrap_err().contains("outside"));
}
