//! Whole stretches of motion without a clock or an arm.

use super::rig::{HOME, Rig};
use super::*;

#[test]
fn nothing_is_sent_before_torque_and_the_first_set_point_is_where_the_arm_is() {
    let mut rig = Rig::new();
    assert_eq!((rig.state(), rig.period()), (State::Idle, None));
    rig.ticks = [HOME + 37; MAX_JOINTS];
    rig.now += Duration::from_secs(1);
    rig.period();
    rig.event(Event::TorqueOn);
    let first = rig.period().unwrap();
    assert_eq!(first[..6], [HOME + 37; 6]);
    assert_eq!(rig.state(), State::Ready);
}

#[test]
fn a_plan_that_comes_in_the_period_of_torque_begins_one_period_later() {
    // Of a microradian a tick, so that even the first period of a jerk is more than one.
    let arm = ArmDescription::find("xarm7").unwrap();
    let scales = vec![Scale::through((0, 0.0), (1_000_000, 1.0)); 7];
    let mut pilot = Pilot::new(&arm, &scales, None, PilotConfig::default()).unwrap();
    let mut now = Duration::from_secs(1);
    let place = Input::Sensed { position: [0; MAX_JOINTS], velocity: [0; MAX_JOINTS] };
    pilot.step(&Input::Event(Event::Connected), now);
    pilot.step(&place, now);
    for event in [Event::TorqueOn, Event::Leased, Event::Start] {
        pilot.step(&Input::Event(event), now);
    }
    let plan = Plan {
        episode: 0,
        number: 1,
        observed: now,
        first_tick: 21,
        waypoints_rad: [0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0].repeat(20),
        last: false,
    };
    pilot.step(&Input::Plan(Box::new(plan)), now);
    let mut sent = Vec::new();
    for _ in 0..10 {
        pilot.step(&Input::Heartbeat, now);
        pilot.step(&place, now);
        let output = pilot.step(&Input::Tick, now).unwrap();
        sent.extend(output.goals.map(|goals| goals[0]));
        now += Duration::from_millis(5);
    }
    assert!(matches!(pilot.state(), State::Running { .. }), "{:?}", pilot.trouble());
    assert_eq!(sent[0], 0);
    assert!(sent[1] > 0 && sent.is_sorted() && sent[9] > 100, "{sent:?}");
}

#[test]
fn an_arm_outside_its_limits_gets_no_torque() {
    let mut rig = Rig::new();
    rig.ticks[2] = HOME + 1100;
    rig.now += Duration::from_secs(10);
    rig.period();
    rig.event(Event::TorqueOn);
    assert_eq!((rig.state(), rig.period()), (State::Idle, None));
    let trouble = rig.pilot.trouble().unwrap().to_string();
    assert!(trouble.starts_with("joint 2 is at 1.687 rad, outside -1.498 to 1.498"), "{trouble}");
}

#[test]
fn a_plan_is_played_and_when_it_ends_the_arm_holds_and_then_faults() {
    let mut rig = Rig::started();
    rig.go(0.4, 40);
    rig.run(1);
    assert!(matches!(rig.state(), State::Running { .. }), "{:?}", rig.state());
    rig.run(399);
    assert!((rig.angle() - 0.4).abs() < 0.002, "{}", rig.angle());
    // Two seconds of waypoints, then nothing.
    rig.run(20);
    assert!(matches!(rig.state(), State::Hold { cause: Cause::Underrun | Cause::Stale, .. }));
    rig.run(410);
    assert!(rig.state().is_latched(), "{:?}", rig.state());
    assert!((rig.angle() - 0.4).abs() < 0.002);
    // A plan does not move a latched arm.
    rig.go(0.0, 40);
    rig.run(50);
    assert!((rig.angle() - 0.4).abs() < 0.002);
}

#[test]
fn after_a_hold_it_goes_on_only_from_where_it_stands() {
    let mut rig = Rig::started();
    rig.go(0.2, 10);
    rig.run(150);
    assert!(matches!(rig.state(), State::Hold { .. }));
    rig.go(0.6, 10);
    assert!(matches!(rig.state(), State::Hold { .. }), "0.4 rad away, and the leash is 0.25");
    assert!(matches!(rig.pilot.trouble(), Some(Trouble::Plan(PlanError::Far { joint: 0, .. }))));
    rig.go(0.3, 10);
    assert!(matches!(rig.state(), State::Running { .. }));
}

#[test]
fn silence_holds_after_300_ms_and_takes_the_lease_after_two_seconds() {
    let mut rig = Rig::started();
    rig.go(1.0, 100);
    let began = rig.now;
    let mut held = None;
    while !matches!(rig.state(), State::Ready | State::Fault(_)) {
        rig.period();
        if matches!(rig.state(), State::Hold { cause: Cause::Lease, .. }) {
            held.get_or_insert(rig.now.saturating_sub(began));
        }
        assert!(rig.now.saturating_sub(began) < Duration::from_secs(5), "{:?}", rig.state());
    }
    let held = held.unwrap().as_millis();
    assert!((300..=310).contains(&held), "{held} ms");
    assert_eq!(rig.state(), State::Ready);
}

#[test]
fn a_late_tick_makes_no_larger_step_and_a_gap_holds_where_the_arm_is() {
    let mut rig = Rig::started();
    rig.go(1.2, 60);
    rig.run(60);
    let step = |rig: &Rig| {
        let [.., a, b] = rig.sent[..] else { panic!("nothing sent") };
        (b[0] - a[0]).abs()
    };
    rig.now += Duration::from_millis(30);
    rig.run(1);
    // 2.5 rad/s at 200 Hz is 8 ticks and a rounding.
    assert!(step(&rig) <= 9, "{}", step(&rig));
    assert!(matches!(rig.state(), State::Running { .. }));
    rig.now += Duration::from_secs(3);
    rig.ticks = [HOME + 300; MAX_JOINTS];
    let goals = rig.period().unwrap();
    assert_eq!(goals[0], HOME + 300);
    assert!(!matches!(rig.state(), State::Running { .. }), "{:?}", rig.state());
}

#[test]
fn an_estop_brings_it_to_rest_within_one_tick_and_its_deceleration_and_stays() {
    let mut rig = Rig::started();
    rig.go(1.4, 100);
    rig.run(120);
    let before = rig.sent.len();
    rig.event(Event::Estop);
    rig.run(200);
    assert_eq!(rig.state(), State::Estop);
    let moving = rig.sent[before..].windows(2).filter(|pair| pair[0] != pair[1]).count();
    // At most 2.5 rad/s at 15 rad/s^2, and the jerk's share on both ends.
    let bound = ((2.5 / 15.0 + 15.0 / 150.0) * 200.0) as usize + 1;
    assert!(moving <= bound, "{moving} periods, at most {bound}");
    let stopped = rig.angle();
    rig.go(0.0, 100);
    rig.event(Event::Start);
    rig.run(100);
    assert_eq!(rig.angle(), stopped);
    rig.event(Event::Reset);
    assert_eq!(rig.state(), State::Disconnected);
}

#[test]
fn a_few_missed_readings_are_bridged_and_five_are_a_fault() {
    let mut rig = Rig::started();
    rig.go(0.5, 60);
    rig.run(10);
    for _ in 0..4 {
        rig.pilot.step(&Input::Missed, rig.now);
    }
    rig.run(5);
    assert!(matches!(rig.state(), State::Running { .. }));
    for _ in 0..5 {
        rig.pilot.step(&Input::Missed, rig.now);
    }
    assert_eq!(rig.state(), State::Fault(Cause::Arm));
    // The others are held, not released.
    assert!(rig.period().is_some());
}

#[test]
fn a_blocked_arm_is_pushed_no_harder_than_the_leash_and_then_it_is_a_fault() {
    let mut rig = Rig::started();
    rig.go(0.1, 100);
    rig.run(60);
    rig.free = false;
    let stuck = rig.ticks[0];
    rig.go(1.4, 100);
    let leash = (0.25 / std::f64::consts::TAU * 4096.0) as i32 + 1;
    for _ in 0..400 {
        rig.run(1);
        assert!((rig.sent.last().unwrap()[0] - stuck).abs() <= leash);
    }
    assert_eq!(rig.state(), State::Fault(Cause::Following));
}

#[test]
fn an_encoder_that_jumps_is_not_believed() {
    let mut rig = Rig::started();
    rig.go(0.3, 60);
    rig.run(20);
    let good = rig.ticks;
    rig.ticks[1] += 4096;
    rig.run(1);
    rig.ticks = good;
    rig.run(3);
    assert!(matches!(rig.state(), State::Running { .. }));
    assert_eq!(rig.pilot.counters().misses, 1);
}

#[test]
fn hostile_plans_are_refused_and_change_nothing() {
    let play = |hostile: bool| {
        let mut rig = Rig::started();
        rig.go(0.5, 80);
        for i in 0..200 {
            rig.run(1);
            if hostile {
                let mut plan = rig.plan(0.2, 10);
                rig.number -= 1;
                match i % 4 {
                    0 => plan.waypoints_rad[7] = [f64::NAN, f64::INFINITY, -f64::NAN][i % 3],
                    1 => plan.episode = 9,
                    2 => plan.number = 0,
                    _ => plan.observed = Duration::MAX,
                }
                rig.pilot.step(&Input::Plan(Box::new(plan)), rig.now);
            }
        }
        (rig.sent, rig.pilot.counters().refused)
    };
    let ((honest, none), (attacked, refused)) = (play(false), play(true));
    assert_eq!((none, refused), (0, 200));
    assert_eq!(honest, attacked);
}

#[test]
fn a_plan_with_an_end_arrives_there_however_long_it_takes() {
    let mut rig = Rig::started();
    let mut plan = rig.plan(0.0, 80);
    for (i, row) in plan.waypoints_rad.chunks_exact_mut(6).enumerate() {
        row.fill(0.9 * (i + 1) as f64 / 80.0);
    }
    plan.last = true;
    rig.pilot.step(&Input::Plan(Box::new(plan)), rig.now);
    let mut periods = 0;
    while rig.state() != State::Armed {
        rig.run(1);
        periods += 1;
        assert!(periods < 1000, "{:?}", rig.state());
    }
    assert!(periods > 800, "{periods}");
    assert!((rig.angle() - 0.9).abs() < 0.003, "{}", rig.angle());
}
