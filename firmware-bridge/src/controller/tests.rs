//! Whole episodes without a clock: a server that answers, lags, dies, lies.

use super::*;
use crate::limits::from_spec;
use crate::testing;
use engraft_core::ActionChunk;
use engraft_wire::{ErrorCode, Refusal};

const PERIOD: Duration = Duration::from_millis(100);

/// A controller with a clock that only tests turn.
struct Rig {
    controller: Controller,
    now: Duration,
    tick: u64,
    angle: f32,
    asked: Vec<u64>,
    played: Vec<f32>,
}

impl Rig {
    fn new() -> Self {
        let mut limits = from_spec(&testing::spec());
        limits[0].max_velocity = 3.0;
        let controller =
            Controller::new(testing::spec(), limits, ControlConfig::default()).unwrap();
        let now = PERIOD;
        let mut rig =
            Self { controller, now, tick: 0, angle: 0.25, asked: Vec::new(), played: Vec::new() };
        rig.hear(LinkEvent::Welcome(Box::new(testing::welcome())));
        rig.controller.start(0, &testing::observation(rig.angle), now);
        rig
    }

    fn hear(&mut self, heard: LinkEvent) -> bool {
        self.controller.hear(heard, self.now, &mut Outputs::default())
    }

    /// One period; a reply made of `answer` comes at once when there is a question.
    fn period(&mut self, answer: Option<[f32; 4]>) {
        let observation = Arc::new(testing::observation(self.angle));
        self.controller.set_tick(self.tick);
        let asked = self.controller.sense(observation, self.now);
        if let Some(ask) = asked {
            assert_eq!((ask.tick, ask.t_obs), (self.tick, self.now));
            assert_eq!(ask.frames.len(), 2);
            self.asked.push(ask.tick);
            if let Some(values) = answer {
                let mut reply = testing::reply(&testing::welcome(), ask.tick, &values);
                reply.t_obs_nanos = ask.t_obs.as_nanos() as u64;
                self.hear(replied(reply));
            }
        }
        let mut outputs = Outputs::default();
        if self.controller.act(self.now, &mut outputs) {
            self.angle = outputs.action[0];
            self.played.push(self.angle);
        }
        self.tick += 1;
        self.now += PERIOD;
    }
}

fn replied(reply: engraft_wire::Reply) -> LinkEvent {
    LinkEvent::Reply { reply: Box::new(reply), round_trip: Duration::from_millis(3) }
}

#[test]
fn it_asks_at_half_a_chunk_and_plays_each_action_at_its_tick() {
    let mut rig = Rig::new();
    for _ in 0..2 {
        rig.period(Some([0.3, 0.4, 0.5, 0.6]));
    }
    rig.period(Some([0.35, 0.45, 0.55, 0.65]));
    rig.period(None);
    assert_eq!(rig.asked, [0, 2]);
    assert_eq!(rig.played, [0.3, 0.4, 0.35, 0.45]);
}

#[test]
fn a_server_dead_in_mid_episode_leads_to_hold_and_fault_and_the_arm_stands_still() {
    let mut rig = Rig::new();
    rig.period(Some([0.3, 0.4, 0.5, 0.6]));
    rig.hear(LinkEvent::Lost("gone".into()));
    for _ in 0..3 {
        rig.period(None);
        assert!(matches!(rig.controller.state(), State::Running { .. }));
    }
    // What was buffered is played out, then the arm stays where it is.
    let mut periods = 0;
    while !rig.controller.state().is_latched() {
        rig.period(None);
        periods += 1;
    }
    assert_eq!(rig.controller.fault(), Some((Cause::Underrun, Some("gone"))));
    assert_eq!(periods, 22, "two seconds of patience and one period to notice");
    assert_eq!(rig.played[..4], [0.3, 0.4, 0.5, 0.6]);
    assert!(rig.played[4..].iter().all(|&angle| angle == 0.6), "{:?}", rig.played);
    // A server that comes back does not move a latched arm.
    rig.hear(LinkEvent::Welcome(Box::new(testing::welcome())));
    rig.period(Some([0.9; 4]));
    assert_eq!(rig.angle, 0.6);
}

#[test]
fn a_server_that_comes_back_in_time_goes_on() {
    let mut rig = Rig::new();
    rig.period(Some([0.3, 0.4, 0.5, 0.6]));
    for _ in 0..8 {
        rig.period(None);
    }
    assert!(matches!(rig.controller.state(), State::Hold { cause: Cause::Underrun, .. }));
    rig.hear(LinkEvent::Lost("gone".into()));
    let mut again = testing::welcome();
    again.session.0[0] ^= 1;
    rig.hear(LinkEvent::Welcome(Box::new(again.clone())));
    let observation = Arc::new(testing::observation(rig.angle));
    rig.controller.set_tick(rig.tick);
    let ask = rig.controller.sense(observation, rig.now).unwrap();
    let mut reply = testing::reply(&again, ask.tick, &[0.7; 4]);
    reply.t_obs_nanos = ask.t_obs.as_nanos() as u64;
    // The old session's chunk is refused, the new one's is taken.
    let mut old = reply.clone();
    old.session = testing::welcome().session;
    assert!(!rig.hear(replied(old)));
    assert!(rig.hear(replied(reply)));
    assert!(matches!(rig.controller.state(), State::Running { .. }));
}

#[test]
fn a_server_that_comes_back_with_another_model_is_a_fault() {
    let mut rig = Rig::new();
    rig.period(Some([0.3; 4]));
    let mut other = testing::welcome();
    other.model.hash = "beef".into();
    rig.hear(LinkEvent::Welcome(Box::new(other)));
    assert_eq!(rig.controller.fault().unwrap().0, Cause::Mismatch);
}

#[test]
fn a_policy_for_another_robot_never_arms() {
    let limits = from_spec(&testing::spec());
    let mut controller =
        Controller::new(testing::spec(), limits, ControlConfig::default()).unwrap();
    let mut welcome = testing::welcome();
    welcome.contract.spec.actions[0].unit = "deg".into();
    let heard = LinkEvent::Welcome(Box::new(welcome));
    controller.hear(heard, PERIOD, &mut Outputs::default());
    let (cause, detail) = controller.fault().unwrap();
    assert_eq!(cause, Cause::Mismatch);
    let expected = "robot mismatch in actions: expected elbow [deg], found elbow [rad]";
    assert_eq!(detail, Some(expected));
    controller.start(0, &testing::observation(0.0), PERIOD);
    assert!(controller.state().is_latched());
}

#[test]
fn nothing_that_is_not_a_number_gets_through_and_the_arm_holds() {
    let mut rig = Rig::new();
    rig.period(Some([0.3, 0.4, 0.5, 0.6]));
    for _ in 0..10 {
        rig.period(Some([0.3, f32::NAN, f32::INFINITY, 1e30]));
    }
    assert!(rig.controller.counters().rejected > 0);
    assert_eq!(rig.angle, 0.6);
    assert!(matches!(rig.controller.state(), State::Hold { .. }));
}

#[test]
fn a_jump_is_limited_to_the_velocity_and_said_so() {
    let mut rig = Rig::new();
    rig.period(Some([1.0; 4]));
    assert!((rig.angle - 0.55).abs() < 1e-6, "0.25 rad and 3 rad/s for 0.1 s: {}", rig.angle);
    assert_eq!(rig.controller.counters().limited_dimensions.get(&0), Some(&1));
}

#[test]
fn a_question_that_is_never_answered_is_asked_again() {
    let mut rig = Rig::new();
    for _ in 0..45 {
        rig.period(None);
    }
    assert_eq!(rig.asked, [0, 20, 40]);
    rig.hear(LinkEvent::Failed(Refusal {
        code: ErrorCode::Internal,
        detail: "no weights".into(),
        seq: None,
    }));
    rig.period(None);
    assert_eq!(rig.asked.last(), Some(&45), "an error is an answer");
    assert_eq!(rig.controller.last_trouble(), Some("INTERNAL: no weights"));
}

#[test]
fn a_stop_ramps_to_rest_and_ends_ready() {
    let mut limits = from_spec(&testing::spec());
    limits[0].max_acceleration = 4.0;
    let mut rig = Rig::new();
    rig.controller.limiter = Limiter::new(limits, 0.1).unwrap();
    rig.controller.limiter.reset(&[Some(0.25)]);
    for _ in 0..2 {
        rig.period(Some([1.0; 4]));
    }
    let before = rig.angle;
    rig.controller.on(Event::Stop, rig.now);
    for _ in 0..10 {
        rig.period(Some([1.0; 4]));
    }
    assert_eq!(rig.controller.state(), State::Armed);
    assert!(rig.angle > before && rig.angle < before + 0.1, "{before} to {}", rig.angle);
}

#[test]
fn a_late_chunk_is_played_from_where_time_is() {
    let mut rig = Rig::new();
    rig.period(None);
    rig.period(None);
    rig.controller.set_tick(2);
    let reply = testing::reply(&testing::welcome(), 0, &[0.3, 0.4, 0.5, 0.6]);
    let mut outputs = Outputs::default();
    let heard = replied(reply.clone());
    assert!(rig.controller.hear(heard, rig.now, &mut outputs));
    assert_eq!(outputs.chunk.unwrap().values(), [0.5, 0.6], "what is left of it");
    assert!(!rig.hear(replied(reply)), "a duplicate is dropped");
    rig.period(None);
    assert_eq!(rig.angle, 0.5, "tick 2");
    let chunk = ActionChunk::new(4, 1, vec![0.9; 4]).unwrap();
    let future = engraft_wire::Reply { chunk, ..testing::reply(&testing::welcome(), 9, &[0.9; 4]) };
    assert!(!rig.hear(replied(future)));
}

#[test]
fn a_chunk_that_is_all_past_does_not_end_a_hold() {
    let mut rig = Rig::new();
    for _ in 0..6 {
        rig.period(None);
    }
    let reply = testing::reply(&testing::welcome(), 0, &[0.9; 4]);
    assert!(!rig.hear(replied(reply)));
    assert!(matches!(rig.controller.state(), State::Hold { .. }));
}
