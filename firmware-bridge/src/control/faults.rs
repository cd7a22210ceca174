//! Faults of bus and servos, through the control thread, the real motors and a pseudo-terminal.
//!
//! Each test carries the number of its row in the README's table of faults. What was written to
//! which register is asked of the emulator, which heard it, and not of the bridge.

mod rig;

use std::thread::sleep;
use std::time::Instant;

use super::*;
use crate::codecs::dynamixel::HardwareError;
use crate::description::ArmDescription;
use crate::emulate::{Faults, dynamixel, feetech};
use crate::testing::patiently;
use rig::{Bench, Goal, HOME, SOON, Servos};

/// Long enough for anything that would happen by itself to happen.
const A_WHILE: Duration = Duration::from_millis(300);
/// What a machine that builds and tests other things may add to any time.
const BUSY: Duration = Duration::from_millis(250);

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Whether every goal that was heard is within the limits, and none more than a period's step from
/// the one before.
fn gentle(arm: &ArmDescription, goals: &[Goal]) -> Result<(), String> {
    let period = arm.period_secs();
    let per_rad = 4096.0 / std::f64::consts::TAU;
    for (joint, description) in arm.joints.iter().enumerate() {
        let most = description.max_velocity * period * per_rad + 1.0;
        let of_joint: Vec<_> = goals.iter().filter(|goal| goal.joint == joint).collect();
        for pair in of_joint.windows(2) {
            let step = f64::from(pair[1].ticks - pair[0].ticks).abs();
            if step > most {
                return Err(format!("joint {joint} steps {step} ticks, at most {most}"));
            }
        }
        let bounds = [description.min_rad, description.max_rad].map(|rad| rad * per_rad);
        for goal in of_joint {
            let off = f64::from(goal.ticks - HOME);
            if !(bounds[0]..=bounds[1]).contains(&off) {
                return Err(format!("joint {joint} is sent to {off}"));
            }
        }
    }
    Ok(())
}

fn damaged_wire<D: Servos>(mut bench: Bench<D>, both_ways: bool) {
    bench.go(0.3, 4.0);
    bench.emulator.with(D::forget);
    let before = bench.misses();
    bench.emulator.faults(|faults| {
        (faults.flip, faults.lose, faults.insert) = (1e-3, 1e-3, 1e-3);
        faults.both_ways = both_ways;
    });
    // To the end of the way, and at rest there.
    bench.wait(|state| !state.is_moving() && !matches!(state, State::Stopping { .. }));
    assert!(matches!(bench.state, State::Armed), "{:?}: {:?}", bench.state, bench.troubles);
    bench.emulator.faults(|faults| *faults = Faults::default());
    bench.periods(3);
    assert!((bench.measured_rad(0) - 1.2).abs() < 0.02, "{}", bench.measured_rad(0));
    let goals = bench.emulator.with(D::goals);
    // Where both ways are damaged, some goals are lost: the steps between the rest are larger.
    if !both_ways {
        assert_eq!(gentle(&bench.arm, &goals), Ok(()));
    }
    assert_eq!(bench.emulator.with(D::other_writes), Vec::new(), "goals alone were written");
    let (missed, name) = (bench.misses() - before, &bench.arm.name);
    let ways = if both_ways { "both ways" } else { "from the servos" };
    println!("fault 16, {name}, 1e-3 {ways}: {missed} of some 200 readings lost");
}

#[test]
fn fault_16_a_damaged_wire_stops_nothing_and_writes_no_wrong_register() {
    patiently(|| {
        for both_ways in [false, true] {
            damaged_wire(Bench::feetech(50), both_ways);
            damaged_wire(Bench::dynamixel(50), both_ways);
        }
    });
}

fn silent_servo<D: Servos>(mut bench: Bench<D>) {
    bench.go(0.3, 5.0);
    bench.records.clear();
    bench.emulator.faults(|faults| faults.silent = vec![3]);
    let began = Instant::now();
    bench.wait(|state| state == State::Fault(Cause::Arm));
    let (took, misses) = (began.elapsed(), bench.misses_in_a_row());
    assert_eq!(misses, 5, "four readings may be missed, the fifth is a fault");
    let named = |trouble: &String| trouble.contains("elbow_flex (id 3)");
    assert!(bench.troubles.iter().any(named), "{:?}", bench.troubles);
    bench.periods(25); // it has come to rest
    bench.emulator.with(D::forget);
    bench.periods(10);
    let goals = bench.emulator.with(D::goals);
    for joint in [0, 1, 3, 4, 5] {
        let held: Vec<_> = goals.iter().filter(|goal| goal.joint == joint).collect();
        assert!(held.len() >= 8, "joint {joint} is held by {} goals", held.len());
        assert!(held.iter().all(|goal| goal.ticks == held[0].ticks && goal.torque));
    }
    assert_eq!(bench.emulator.with(D::other_writes), Vec::new(), "nothing is let go");
    let (name, hz) = (&bench.arm.name, bench.arm.setpoint_hz);
    println!("fault 17, {name}: a fault {:.0} ms after, at {hz} Hz", millis(took));
}

#[test]
fn fault_17_a_silent_servo_is_named_and_the_others_are_held() {
    patiently(|| {
        silent_servo(Bench::feetech(50));
        silent_servo(Bench::dynamixel(50));
    });
}

#[test]
fn fault_17_at_200_hz_five_misses_take_no_longer_than_their_periods() {
    patiently(|| {
        // A machine that does other things may lose readings by itself: the best of a few.
        let fastest = (0..6).filter_map(|_| {
            let mut bench = Bench::feetech(200);
            bench.torque().then_some(())?;
            bench.emulator.faults(|faults| faults.silent = vec![3]);
            let began = bench.controls.now();
            bench.try_wait(|state| state == State::Fault(Cause::Arm)).then_some(())?;
            Some(bench.now.saturating_sub(began))
        });
        let fastest = fastest.min().expect("one of six gets torque");
        println!("fault 17, so101: a fault {:.1} ms after, at 200 Hz", millis(fastest));
        // Five misses and the period in which it fell silent, and as long again for this machine.
        assert!(fastest <= Duration::from_millis(60), "{fastest:?}");
    });
}

fn pulled_cable<D: Servos>(mut bench: Bench<D>) {
    bench.go(0.3, 5.0);
    let began = bench.controls.now();
    bench.emulator.hang_up();
    let pulled = bench.controls.now();
    bench.wait(|state| state == State::Fault(Cause::HungUp));
    // While the emulator's thread ends, the line is dead or not: at most from the call on.
    let took = bench.now.saturating_sub(began);
    let period = Duration::from_secs_f64(bench.arm.period_secs());
    assert!(took <= pulled.saturating_sub(began) + period + BUSY, "{took:?}");
    let hung_up = |trouble: &String| trouble.ends_with("hung up");
    assert!(bench.troubles.iter().any(hung_up), "{:?}", bench.troubles);

    // Nothing there yet, whatever an operator says.
    assert_eq!(bench.event(Event::Reset), Ok(State::Disconnected));
    assert!(bench.ask(Request::Torque(true)).is_err());
    sleep(A_WHILE);
    bench.drain();
    assert_eq!(bench.state, State::Disconnected);
    // The same name leads to another terminal. It is found by itself, and moves nothing.
    bench.emulator.with(D::forget);
    bench.emulator.plug_in().unwrap();
    bench.wait(|state| state == State::Idle);
    sleep(A_WHILE);
    let at = bench.positions();
    sleep(A_WHILE);
    bench.drain();
    assert_eq!((bench.state, bench.torque), (State::Idle, false));
    assert_eq!(bench.positions(), at);
    assert_eq!(bench.emulator.with(D::goals).len(), 0, "no goal without torque");
    assert_eq!(bench.ask(Request::Torque(true)), Ok(State::Ready));
    sleep(A_WHILE);
    let moved = bench.positions().into_iter().zip(&at).map(|(a, b)| (a - b).abs());
    assert!(moved.fold(0.0, f64::max) <= 2.0, "{at:?} {:?}", bench.positions());
    println!("fault 18, {}: a fault {:.0} ms after", bench.arm.name, millis(took));
}

#[test]
fn fault_18_a_cable_pulled_is_a_fault_and_torque_waits_for_an_operator() {
    patiently(|| {
        pulled_cable(Bench::feetech(50));
        pulled_cable(Bench::dynamixel(50));
    });
}

/// Readings of another joint among all that reached the pilot since `bench.records` was emptied.
/// Each joint stands ten ticks from the next.
fn assert_own_readings<D: Servos>(bench: &Bench<D>) -> usize {
    let mut read = 0;
    for record in &bench.records {
        let Input::Sensed { position, .. } = &record.input else { continue };
        read += 1;
        for (joint, &ticks) in position.iter().enumerate().take(6) {
            let own = HOME + 10 * joint as i32;
            assert!((ticks - own).abs() <= 1, "joint {joint} is read at {ticks}, it is at {own}");
        }
    }
    read
}

fn lying_bus<D: Servos>(mut bench: Bench<D>, answer_of_before: &[u8]) {
    bench.wait(|state| state == State::Idle);
    assert_eq!(bench.ask(Request::Torque(true)), Ok(State::Ready));
    bench.records.clear();
    let mut read = 0;
    // What lay in the adapter comes first; every few answers are late by more than a period.
    for i in 0..60 {
        bench.emulator.faults(|faults| {
            faults.stale = if i % 3 == 0 { answer_of_before.to_vec() } else { Vec::new() };
            faults.delay = Duration::from_millis(if i % 10 == 9 { 25 } else { 0 });
        });
        bench.periods(1);
    }
    bench.emulator.faults(|faults| (faults.stale, faults.delay) = Default::default());
    read += assert_own_readings(&bench);
    assert!(read >= 30, "{read} periods read: {:?}", bench.troubles);
    // A fault is no shame when answers are late, but nothing false may come of them.
    if bench.state.is_latched() {
        bench.recover();
    }
    // Another answers in the place of one that was asked.
    for impostor in [(3, 4), (2, 1), (6, 77)] {
        bench.records.clear();
        bench.troubles.clear();
        bench.emulator.faults(|faults| faults.impostor = Some(impostor));
        bench.wait(|state| state == State::Fault(Cause::Arm));
        assert_own_readings(&bench);
        let named = |trouble: &String| trouble.contains("(id ");
        assert!(bench.troubles.iter().any(named), "{:?}", bench.troubles);
        bench.emulator.faults(|faults| faults.impostor = None);
        bench.recover();
    }
    println!("fault 19, {}: {read} readings, 0 of another joint", bench.arm.name);
}

#[test]
fn fault_19_late_stale_and_foreign_answers_are_no_readings_of_another_joint() {
    patiently(|| {
        use crate::codecs::{dynamixel, feetech};
        let mut old = Vec::new();
        for id in 1..=6 {
            feetech::status(&mut old, id, 0, &[0, 4, 0, 0]).unwrap(); // another question's
        }
        lying_bus(Bench::feetech_at(50, true), &old);
        let mut old = Vec::new();
        dynamixel::status(&mut old, 2, 0, &[0; 4]).unwrap();
        old.extend_from_slice(&[0xFF, 0xFF, 0xFD]);
        lying_bus(Bench::dynamixel_at(50, true), &old);
    });
}

/// A joint that reports something: the arm holds, and whoever resets it is told until the cause is
/// gone.
fn alarm<D: Servos>(
    mut bench: Bench<D>,
    fault: &str,
    raise: impl Fn(&mut D),
    cure: impl Fn(&mut D),
) {
    bench.go(0.3, 5.0);
    bench.emulator.with(D::forget);
    let began = bench.controls.now();
    bench.emulator.with(&raise);
    bench.wait(|state| state == State::Fault(Cause::Alarm));
    let took = bench.now.saturating_sub(began);
    // At the next reading.
    let period = Duration::from_secs_f64(bench.arm.period_secs());
    assert!(took <= period + BUSY, "{took:?}");
    let told = |trouble: &String| trouble.contains("(id 4)") && trouble.contains(fault);
    assert!(bench.troubles.iter().any(told), "{fault}: {:?}", bench.troubles);
    // It comes to rest, holds, and nobody reboots anything or gives torque back.
    bench.periods(50);
    assert_eq!(bench.state, State::Fault(Cause::Alarm));
    assert_eq!(bench.emulator.with(D::other_writes), Vec::new());
    assert_eq!(bench.emulator.with(D::num_reboots), 0);
    let at = bench.positions();
    sleep(A_WHILE);
    assert_eq!(bench.positions(), at, "it holds");
    // The cause is there still: an operator is told so again, and gets no torque.
    bench.troubles.clear();
    bench.event(Event::Reset).unwrap();
    sleep(A_WHILE);
    bench.drain();
    assert!(bench.ask(Request::Torque(true)).is_err());
    assert!(bench.troubles.iter().any(told), "{fault}: {:?}", bench.troubles);
    bench.emulator.with(&cure);
    bench.recover();
    println!("fault 20, {}, {fault}: a fault {:.0} ms after", bench.arm.name, millis(took));
}

#[test]
fn fault_20_overload_heat_and_voltage_hold_the_arm_and_say_why() {
    patiently(|| {
        let servo = |bus: &mut feetech::Bus, change: fn(&mut feetech::Servo)| {
            if let Some(servo) = bus.servo(4) {
                change(servo);
            }
        };
        let overload = |bus: &mut feetech::Bus| servo(bus, |servo| servo.alarms = 1 << 5);
        let relief = |bus: &mut feetech::Bus| servo(bus, |servo| servo.alarms = 0);
        alarm(Bench::feetech(50), "overload", overload, relief);
        let heat = |bus: &mut feetech::Bus| servo(bus, |servo| servo.temperature_c = 80);
        let cool = |bus: &mut feetech::Bus| servo(bus, |servo| servo.temperature_c = 30);
        alarm(Bench::feetech(50), "temperature", heat, cool);
        let low = |bus: &mut feetech::Bus| servo(bus, |servo| servo.voltage_decivolt = 30);
        let full = |bus: &mut feetech::Bus| servo(bus, |servo| servo.voltage_decivolt = 74);
        alarm(Bench::feetech(50), "voltage", low, full);
        // A Dynamixel keeps an error until it is rebooted, which is for a person to do.
        for (bits, words) in [
            (HardwareError::OVERLOAD, "overload"),
            (HardwareError::OVERHEATING, "overheating"),
            (HardwareError::VOLTAGE, "input voltage"),
        ] {
            let raise = |bus: &mut dynamixel::Bus| bus.hardware_error(4, bits);
            alarm(Bench::dynamixel(50), words, raise, |bus| bus.restart(4));
        }
    });
}

fn brown_out<D: Servos>(mut bench: Bench<D>) {
    bench.go(0.3, 6.0);
    let began = bench.controls.now();
    bench.emulator.with(|bus| bus.restarts(2));
    bench.wait(State::is_latched);
    assert_eq!(bench.state, State::Fault(Cause::Restarted), "{:?}", bench.troubles);
    let took = bench.now.saturating_sub(began);
    // Each joint is looked at twice a second.
    assert!(took <= Duration::from_millis(600) + BUSY, "{took:?}");
    let named = |trouble: &String| trouble.contains("shoulder_lift (id 2) restarted by itself");
    assert!(bench.troubles.iter().any(named), "{:?}", bench.troubles);
    bench.emulator.with(D::forget);
    sleep(A_WHILE);
    assert_eq!(bench.emulator.with(D::goals), Vec::new(), "it gets no goals");
    assert_eq!(bench.emulator.with(D::other_writes), Vec::new(), "and no torque");
    bench.recover();
    println!("fault 22, {}: a fault {:.0} ms after", bench.arm.name, millis(took));
}

#[test]
fn fault_22_a_servo_that_restarts_by_itself_is_a_fault_and_gets_no_goals() {
    patiently(|| {
        brown_out(Bench::feetech(50));
        brown_out(Bench::dynamixel(50));
    });
}

#[test]
fn the_audit_sees_what_is_written() {
    let mut bench = Bench::feetech(50);
    bench.wait(|state| state == State::Idle);
    bench.emulator.with(feetech::Bus::forget);
    assert_eq!(bench.ask(Request::Torque(true)), Ok(State::Ready));
    assert!(bench.emulator.with(Servos::other_writes).len() >= 12, "torque and caps of six joints");
    let began = Instant::now();
    while bench.emulator.with(Servos::goals).len() < 12 {
        assert!(began.elapsed() < SOON, "no goals");
        bench.periods(1);
    }
    let jump = vec![
        Goal { joint: 0, ticks: HOME, torque: true },
        Goal { joint: 0, ticks: HOME + 40, torque: true },
    ];
    // 40 ticks in 20 ms are more than 2.5 rad/s.
    assert!(gentle(&bench.arm, &jump).unwrap_err().contains("steps 40 ticks"));
}
