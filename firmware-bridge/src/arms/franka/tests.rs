//! What needs no control box: words, aim, and a box that says nothing.
//!
//! `tests/judges/franka.py` drives the real bridge against a simulator of a whole arm.

use std::net::TcpListener;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use franka::rate_limiting::{
    JOINT_POSITION_LIMITS, MAX_JOINT_ACCELERATION, MAX_JOINT_JERK,
    compute_lower_limits_joint_velocity, compute_upper_limits_joint_velocity,
};
use franka::{
    ControlException, ERROR_NAMES, Errors, FrankaError, MoveStatus, RobotMode, RobotState,
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::follower::{Echo, Follower, SetPoint};
use super::motion::{Motion, PATIENCE, is_abandoned};
use super::session::Shared;
use super::words::{help, obstacle};
use super::*;
use crate::arms::{check_built_in, open, scales};
use crate::motion::joint::Target;
use crate::motion::trajectory::{Aim as Wanted, Trajectory};

fn arm() -> ArmDescription {
    ArmDescription::find("fr3").unwrap()
}

fn place() -> Place {
    FrankaMotors::new(&arm(), "robot").unwrap().plant.place
}

fn limits() -> [MotionLimits; JOINTS] {
    FrankaMotors::new(&arm(), "robot").unwrap().plant.limits
}

fn flagged(name: &str, status: MoveStatus) -> FrankaError {
    let mut flags = Errors::default();
    flags.0[Errors::index_of(name).unwrap()] = true;
    let mut exception = ControlException::new("libfranka: Move command aborted: by reflex!");
    (exception.move_status, exception.last_motion_errors) = (Some(status), flags);
    FrankaError::Control(exception)
}

#[test]
fn the_arm_is_built_in_and_counts_microradians_from_the_makers_zero() {
    check_built_in(&arm()).unwrap();
    let motors = open(&arm(), "robot", None).unwrap();
    assert_eq!(motors.joints().len(), JOINTS);
    let scales = scales(&arm(), None).unwrap();
    assert!((scales[3].radians.value(-1_500_000) + 1.5).abs() < 1e-9);
    assert_eq!(
        (microradians(-1.5), microradians(f64::NAN), microradians(3000.0)),
        (Some(-1_500_000), None, None)
    );
}

#[test]
fn its_limits_lie_inside_libfrankas() {
    let (lower, upper) = JOINT_POSITION_LIMITS;
    let quickest = quickest();
    for (i, limits) in limits().iter().enumerate() {
        assert!(limits.min > lower[i] + 0.05, "joint {i}");
        assert!(limits.max < upper[i] - 0.05, "joint {i}");
        let quickest = quickest[i];
        assert!(quickest.acceleration <= 0.9 * MAX_JOINT_ACCELERATION[i], "joint {i}");
        assert!(quickest.jerk <= 0.9 * MAX_JOINT_JERK[i], "joint {i}");
        assert!(quickest.velocity > limits.velocity, "joint {i}");
        assert!(quickest.acceleration > limits.acceleration, "joint {i}");
    }
}

#[test]
fn braking_for_a_bound_stays_well_below_the_velocity_that_is_allowed_there() {
    for (i, (limits, quickest)) in limits().iter().zip(quickest()).enumerate() {
        for hundredth in 0..200 {
            let way = f64::from(hundredth) * 0.01;
            let velocity = (2.0 * quickest.acceleration * way).sqrt();
            let least = velocity.min(quickest.velocity) + 0.095;
            let mut at = [0.0; JOINTS];
            at[i] = limits.max - way;
            let most = compute_upper_limits_joint_velocity(&at)[i];
            assert!(least < most, "joint {i}, {way} rad before its end: {least}, {most}");
            at[i] = limits.min + way;
            let most = -compute_lower_limits_joint_velocity(&at)[i];
            assert!(least < most, "joint {i}, {way} rad before its start: {least}, {most}");
        }
    }
}

/// The bridge's own set-points, followed in every millisecond; each comes `late` after its time.
struct Chase {
    trajectory: Trajectory,
    follower: Follower,
    period_secs: f64,
    set_point: SetPoint,
    /// When it came, and now, in seconds.
    came: f64,
    now: f64,
    /// What was commanded, millisecond after millisecond.
    commands: Vec<[f64; JOINTS]>,
}

impl Chase {
    fn new() -> Self {
        let period_secs = arm().period_secs();
        let start = middle();
        let leashed = limits().map(|limits| (limits, 10.0));
        let mut trajectory = Trajectory::new(&leashed, period_secs);
        trajectory.reset(&start).unwrap();
        let mut follower = Follower::new(&quickest(), period_secs);
        follower.rest_at(start);
        let set_point = SetPoint { position_rad: start, ..SetPoint::default() };
        Self {
            trajectory,
            follower,
            period_secs,
            set_point,
            came: 0.0,
            now: 0.0,
            commands: vec![start],
        }
    }

    /// One set-point towards parts of each joint's way to its end, as whole microradians.
    fn set(&mut self, parts: [f64; JOINTS]) {
        let (limits, start) = (limits(), middle());
        let targets: [Target; JOINTS] = std::array::from_fn(|i| Target {
            position: start[i] + parts[i] * (limits[i].max - start[i]),
            velocity: 0.0,
        });
        self.trajectory.step(Wanted::Follow(&targets), &start).unwrap();
        let mut rounded = [0.0; JOINTS];
        for (rounded, state) in rounded.iter_mut().zip(self.trajectory.states()) {
            *rounded = f64::from(microradians(state.position).unwrap()) * 1e-6;
        }
        self.set_point = self.set_point.next(rounded, &limits, self.period_secs);
        self.came = self.now;
    }

    fn command(&mut self, millis: u64) {
        for _ in 0..millis {
            self.cycle(1e-3);
        }
    }

    /// One command of a box whose millisecond takes so long.
    fn cycle(&mut self, secs: f64) {
        let since = Duration::from_secs_f64(self.now - self.came);
        self.commands.push(self.follower.follow(&self.set_point, since));
        self.now += secs;
    }

    /// How far each joint is from its set-point.
    fn off(&self) -> f64 {
        let states = self.follower.states().zip(self.set_point.position_rad);
        states.map(|(state, wanted)| (state.position - wanted).abs()).fold(0.0, f64::max)
    }

    /// Every command keeps every limit.
    fn check(&self) {
        let limits = quickest();
        let differences = |values: &[[f64; JOINTS]]| -> Vec<[f64; JOINTS]> {
            let pairs = values.windows(2);
            pairs.map(|pair| std::array::from_fn(|i| (pair[1][i] - pair[0][i]) / 1e-3)).collect()
        };
        let velocities = differences(&self.commands);
        let accelerations = differences(&velocities);
        let jerks = differences(&accelerations);
        for (i, limits) in limits.iter().enumerate() {
            let most =
                |all: &[[f64; JOINTS]]| all.iter().map(|all| all[i].abs()).fold(0.0, f64::max);
            let within = |command: &[f64; JOINTS]| (limits.min..=limits.max).contains(&command[i]);
            assert!(self.commands.iter().all(within), "joint {i} is out of bounds");
            assert!(most(&velocities) <= limits.velocity * (1.0 + 1e-6), "joint {i}");
            assert!(most(&accelerations) <= limits.acceleration * (1.0 + 1e-6), "joint {i}");
            // Differences of positions of some radians know it no better.
            assert!(most(&jerks) <= limits.jerk * 1.01, "joint {i}: {}", most(&jerks));
        }
    }
}

fn middle() -> [f64; JOINTS] {
    limits().map(|limits| f64::midpoint(limits.min, limits.max))
}

fn quickest() -> [MotionLimits; JOINTS] {
    super::follower::limits(&limits(), FciVersion::V10)
}

const ENDS: [f64; JOINTS] = [0.95, 0.9, -0.95, 0.3, 0.05, -0.6, 1.0];

#[test]
fn commands_are_where_the_set_points_are() {
    let mut chase = Chase::new();
    let mut furthest: f64 = 0.0;
    for tick in 0..5500 {
        chase.set(if tick < 2000 { ENDS } else { [0.5; JOINTS] });
        chase.command(2);
        furthest = furthest.max(chase.off());
    }
    // At 1.5 rad/s a millisecond is 1.5 mrad.
    assert!(furthest < 2e-3, "{furthest} rad behind");
    assert!(chase.off() < 1e-6, "{} rad off at the end", chase.off());
    chase.check();
}

#[test]
fn a_late_set_point_makes_the_arm_late_and_not_rough() {
    let mut chase = Chase::new();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for tick in 0..1500 {
        chase.set(if tick % 300 < 150 { ENDS } else { [-0.4; JOINTS] });
        let late = if random.random_range(0..20) == 0 { random.random_range(1..40) } else { 0 };
        chase.command(2 + late);
    }
    chase.check();
}

#[test]
fn a_box_whose_clock_is_slow_is_late_and_does_not_run_past_the_goal() {
    let mut chase = Chase::new();
    let goal: [f64; JOINTS] =
        std::array::from_fn(|i| middle()[i] + ENDS[i] * (limits()[i].max - middle()[i]));
    let mut beyond: f64 = 0.0;
    for tick in 1..=3000 {
        chase.set(ENDS);
        while chase.now < f64::from(tick) * chase.period_secs {
            chase.cycle(1.15e-3);
        }
        for (i, state) in chase.follower.states().enumerate() {
            beyond = beyond.max((state.position - goal[i]) * ENDS[i].signum());
        }
    }
    assert!(beyond < 5e-3, "{beyond} rad past the goal");
    assert!(chase.off() < 1e-5, "{} rad off at the end", chase.off());
}

#[test]
fn an_arm_that_is_told_nothing_more_comes_to_rest() {
    let mut chase = Chase::new();
    for _ in 0..400 {
        chase.set(ENDS);
        chase.command(2);
    }
    let (before, speed) = (chase.set_point.position_rad[0], chase.set_point.velocity_rad_s[0]);
    assert!(speed > 1.1, "{speed}");
    chase.command(1000);
    assert!(chase.follower.is_at_rest());
    // 10 ms of coasting, and from 1.2 rad/s within 5 rad/s^2 some 0.18 rad.
    let way = chase.commands[chase.commands.len() - 1][0] - before;
    assert!((0.14..0.25).contains(&way), "{way}");
    chase.set([0.0; JOINTS]);
    chase.command(2);
    chase.check();
}

#[test]
fn where_the_box_lost_commands_the_arm_goes_on_from_where_that_led() {
    let mut chase = Chase::new();
    for _ in 0..200 {
        chase.set(ENDS);
        chase.command(2);
    }
    let states: Vec<_> = chase.follower.states().collect();
    let echo = |secs: f64| {
        let at = |i: usize| states[i].after(0.0, secs);
        Echo {
            position: std::array::from_fn(|i| at(i).position),
            velocity: std::array::from_fn(|i| at(i).velocity),
            acceleration: std::array::from_fn(|i| at(i).acceleration),
        }
    };
    // What comes back in single precision is what was sent.
    let mut same = echo(0.0);
    same.position = same.position.map(|angle| f64::from(angle as f32));
    same.velocity = [9.0; JOINTS];
    chase.follower.agree(&same);
    assert!(chase.follower.states().eq(states.iter().copied()));
    chase.follower.agree(&echo(0.005));
    let led: Vec<_> = states.iter().map(|state| state.after(0.0, 0.005)).collect();
    assert!(chase.follower.states().eq(led));
}

#[test]
fn a_step_is_no_velocity() {
    let first = SetPoint::default();
    let second = first.next([0.002; JOINTS], &limits(), 0.002);
    assert_eq!((second.velocity_rad_s[0], second.number), (1.0, 1));
    let jumped = second.next([0.5; JOINTS], &limits(), 0.002);
    assert_eq!((jumped.velocity_rad_s[0], jumped.number), (0.0, 2));
}

#[test]
fn a_motion_is_stopped_when_set_points_stay_away_for_100_ms() {
    assert!(!is_abandoned(Duration::ZERO));
    assert!(!is_abandoned(PATIENCE));
    assert!(is_abandoned(Duration::from_millis(101)));
    assert!(is_abandoned(Duration::MAX));
}

/// Answers a box that does what it is told, until the motion is said to be over.
fn play(motion: &mut Motion<'_>, mut state: RobotState) {
    for _ in 0..500 {
        let command = motion.command(&state);
        assert_eq!(command.q, state.q_d, "nobody wants it to move");
        state.q_d = command.q;
        if command.motion_finished {
            return;
        }
    }
    panic!("it never ends");
}

#[test]
fn a_motion_begins_where_the_arm_is_and_ends_when_asked_or_when_nobody_leads_it() {
    let plant = FrankaMotors::new(&arm(), "robot").unwrap().plant;
    let state = RobotState { q_d: middle(), ..RobotState::default() };
    let (shared, (asks, asked)) = (Shared::new(plant), sync_channel(1));
    let begin = || {
        let (answer, begun) = sync_channel(1);
        let follower = Follower::new(&quickest(), arm().period_secs());
        let mut motion = Motion::new(&shared, &asked, follower, answer);
        assert_eq!(motion.command(&state).q, middle());
        assert!(begun.try_recv().unwrap().is_ok());
        motion
    };
    let mut led = begin();
    let (answer, ended) = sync_channel(1);
    asks.try_send((Ask::End, answer)).unwrap();
    play(&mut led, state);
    assert!(led.over(Ok(())).is_none() && ended.try_recv().unwrap().is_ok());

    let mut left = begin();
    std::thread::sleep(PATIENCE + Duration::from_millis(10));
    play(&mut left, state);
    let trouble = left.over(Ok(())).unwrap().to_string();
    assert!(trouble.starts_with("the arm refuses: no set-point came for "), "{trouble}");
}

#[test]
fn every_error_of_the_box_says_what_helps() {
    let error = flagged("communication_constraints_violation", MoveStatus::ReflexAborted);
    let text = place().explain(&error, None).to_string();
    assert!(text.starts_with("the arm refuses: communication_constraints_violation: "), "{text}");
    assert!(text.contains("PREEMPT_RT"), "{text}");
    let error = flagged("joint_reflex", MoveStatus::ReflexAborted);
    let text = place().explain(&error, Some(3)).to_string();
    assert!(
        text.starts_with("joint joint4 (id 4) reports joint_reflex: it hit something"),
        "{text}"
    );
    let error = flagged("joint_reflex", MoveStatus::EmergencyAborted);
    let text = place().explain(&error, None).to_string();
    assert!(text.contains("user stop was pressed: release it"), "{text}");
    for name in ERROR_NAMES {
        let error = flagged(name, MoveStatus::ReflexAborted);
        let text = place().explain(&error, None).to_string();
        assert!(text.contains(name) && text.contains(help(name)), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
fn a_lost_box_is_looked_for_and_a_refusal_is_told() {
    let lost = FrankaError::Network("libfranka: UDP receive: Timeout".into());
    assert!(matches!(place().explain(&lost, None), MotorsError::HungUp { .. }));
    let refused = FrankaError::Command(
        "libfranka: Automatic Error Recovery command rejected: manual error recovery required!"
            .into(),
    );
    let text = place().explain(&refused, None).to_string();
    assert!(text.ends_with("required: Desk leads through the recovery"), "{text}");
    let other = FrankaError::IncompatibleVersion { server_version: 7, library_version: 10 };
    let text = place().unreachable(&other).to_string();
    assert!(text.contains("is 7, expected 10 (FR3) or 5 (Panda)"), "{text}");
}

#[test]
fn an_arm_gets_torque_only_when_it_is_ready_for_it() {
    assert_eq!(obstacle(RobotMode::Idle), None);
    for mode in 0..=6 {
        let mode = RobotMode::from_u8(mode).unwrap();
        assert_eq!(obstacle(mode).is_none(), mode == RobotMode::Idle, "{mode}");
    }
}

#[test]
fn other_arms_are_refused_by_their_description() {
    let mut six = arm();
    six.joints.pop();
    let error = FrankaMotors::new(&six, "robot").unwrap_err().to_string();
    assert!(error.contains("a Franka has 7 joints, the description of fr3 has 6"), "{error}");
    let mut mixed = arm();
    mixed.joints[2].model = "panda".into();
    let error = FrankaMotors::new(&mixed, "robot").unwrap_err().to_string();
    assert!(error.contains("joint joint3 (id 3): model in the description is panda"), "{error}");
}

#[test]
fn a_box_that_says_nothing_is_waited_for_no_longer_than_it_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let mut motors = FrankaMotors::new(&arm(), &host).unwrap();
    let short = Duration::from_millis(200);
    motors.timings.connect = short;
    motors.timings.settle = short;
    let began = Instant::now();
    assert!(matches!(motors.identify(), Err(MotorsError::Silent { .. })));
    // The first attempt still waits, and there is never a second beside it.
    assert!(matches!(motors.identify(), Err(MotorsError::Silent { .. })));
    assert!(motors.sense(&mut Sensed::new(JOINTS)).is_err());
    assert!(motors.torque(true).is_err());
    assert!(motors.command(&[0; JOINTS]).is_err());
    // A second and a half is what it may take; the rest is for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(listener);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !matches!(motors.identify(), Err(MotorsError::Port { .. })) {
        assert!(Instant::now() < deadline, "it is never looked for anew");
    }
}
