//! What an operator and a bridge say to each other: verbs, answers, telemetry.
//!
//! A verb is one ZeroMQ request to the bridge's control socket (`tcp://127.0.0.1:5557` by
//! default): an empty frame, which a REQ socket sends by itself, and one frame, a msgpack map whose
//! `verb` names it. The bridge answers each with an [`Answer`]. Verbs say what should be so, so one
//! that arrives twice does no harm. `stop` and `estop` need no lease.
//!
//! Telemetry goes out of a PUB socket (`tcp://127.0.0.1:5556`): one frame of a topic, a zero byte
//! and a msgpack map, so that a subscriber may keep the newest alone (`CONFLATE`). The topic
//! `state` carries a [`BridgeStatus`] fifty times a second, `event` an [`Occurrence`] for each
//! change of state.

use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::native::{body, header, value};

/// Joints that an arm may have.
pub const MAX_JOINTS: usize = 8;

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verb {
    /// To know how things are.
    Status,
    /// Torque on, with every goal where the joint is, or off. Not while the arm moves.
    Torque {
        /// Which of both.
        on: bool,
    },
    /// The lease: who has it may move the arm.
    Take {
        /// Who asks, for others to read.
        holder: String,
        /// Whether it is taken from somebody who has it; the arm comes to rest first.
        #[serde(default)]
        steal: bool,
    },
    /// To keep the lease; at least ten times a second while the arm moves.
    Keep {
        /// The lease.
        lease: u64,
    },
    /// To give the lease back.
    Release {
        /// The lease.
        lease: u64,
    },
    /// Waypoints to go through, the first as soon as the arm can be there.
    Go {
        /// The lease.
        lease: u64,
        /// Seconds between two waypoints.
        period_secs: f64,
        /// Angles of all joints in radians, waypoint after waypoint.
        waypoints_rad: Vec<Vec<f64>>,
        /// Whether the arm stops at the last; otherwise more is to come.
        last: bool,
    },
    /// The policy, where one is connected and fits, to begin an episode.
    Start,
    /// The arm to come to rest within its limits.
    Stop,
    /// The same, latched until a reset.
    Estop,
    /// A fault or an emergency stop acknowledged.
    Reset,
    /// The bridge to bring the arm to rest and end.
    Shutdown,
}

/// What a bridge answers to a verb.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it is so now, or on its way.
    pub ok: bool,
    /// Why not, with what to do.
    pub detail: String,
    /// The lease, after it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// How things are now.
    pub status: BridgeStatus,
}

/// One joint, as an operator sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JointStatus {
    /// Its name.
    pub name: String,
    /// Where it is, in radians.
    pub position_rad: f64,
    /// Where it is sent to, in radians; where it is, when nothing is sent.
    pub goal_rad: f64,
    /// How fast it moves, in radians per second.
    pub velocity_rad_s: f64,
    /// How hard it pushes, as a part of its most, where it says so.
    pub load: f64,
    /// Smallest and largest angle it may have, in radians.
    pub bounds_rad: [f64; 2],
    /// Supply voltage, where it says so.
    pub voltage_v: Option<f32>,
    /// Temperature, where it says so.
    pub temperature_c: Option<f32>,
    /// What a policy's numbers for this joint mean: `rad`, or `1` of a gripper from open to closed.
    #[serde(default)]
    pub unit: String,
    /// The line from an angle in radians to that: offset and slope. Both 0 where nobody says.
    #[serde(default)]
    pub value_of_rad: [f64; 2],
}

impl JointStatus {
    /// An angle in radians in the joint's own unit; in radians where nobody says.
    pub fn value(&self, angle_rad: f64) -> f64 {
        let [offset, slope] = self.line();
        offset + slope * angle_rad
    }

    /// The angle in radians of a value in the joint's own unit.
    pub fn angle_rad(&self, value: f64) -> f64 {
        let [offset, slope] = self.line();
        (value - offset) / slope
    }

    fn line(&self) -> [f64; 2] {
        if self.value_of_rad == [0.0; 2] { [0.0, 1.0] } else { self.value_of_rad }
    }
}

/// How a bridge and its arm are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeStatus {
    /// Seconds since the bridge began, on a clock that never goes back.
    pub time_secs: f64,
    /// The arm's name.
    pub arm: String,
    /// The state machine's state: `Running`.
    pub state: String,
    /// Why it holds or is in fault.
    pub cause: Option<String>,
    /// The last thing that went wrong, in words.
    pub trouble: Option<String>,
    /// Whether torque is on.
    pub torque: bool,
    /// Who has the lease.
    pub holder: Option<String>,
    /// The running episode, or the next one.
    pub episode: u32,
    /// The joints, from the base outwards.
    pub joints: Vec<JointStatus>,
    /// Set-points per second that are asked for.
    pub setpoint_hz: f64,
    /// Seconds between two waypoints of a plan: each is due at a multiple of this.
    #[serde(default)]
    pub plan_period_secs: f64,
    /// Set-points since the bridge began.
    pub ticks: u64,
    /// How late the control loop was, in microseconds: the median, p99, p99.9 and the worst.
    pub lateness_micros: [u64; 4],
    /// Readings that failed.
    pub misses: u64,
    /// Plans that were taken.
    pub plans: u64,
    /// Plans that were refused.
    pub refused: u64,
    /// Set-points that a limit changed.
    pub limited: u64,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Occurrence {
    /// Seconds since the bridge began.
    pub time_secs: f64,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why, where there is a cause.
    pub cause: Option<String>,
    /// In words.
    pub detail: Option<String>,
}

/// What comes over the telemetry socket.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Telemetry {
    /// How things are.
    State(Box<BridgeStatus>),
    /// What changed.
    Event(Occurrence),
}

/// Topic of [`Telemetry::State`].
const STATE: &[u8] = b"state\0";
/// Topic of [`Telemetry::Event`].
const EVENT: &[u8] = b"event\0";

/// A verb as a frame.
///
/// # Errors
///
/// When it is larger than a frame may be.
pub fn encode_verb(verb: &Verb) -> Result<Vec<u8>, WireError> {
    header(verb)
}

/// A verb out of a frame.
///
/// # Errors
///
/// When it is none.
pub fn decode_verb(frame: &[u8]) -> Result<Verb, WireError> {
    body(value(frame)?)
}

/// An answer as a frame.
///
/// # Errors
///
/// When it is larger than a frame may be.
pub fn encode_answer(answer: &Answer) -> Result<Vec<u8>, WireError> {
    header(answer)
}

/// An answer out of a frame.
///
/// # Errors
///
/// When it is none.
pub fn decode_answer(frame: &[u8]) -> Result<Answer, WireError> {
    body(value(frame)?)
}

/// Telemetry as a frame.
///
/// # Errors
///
/// When it is larger than a frame may be.
pub fn encode_telemetry(telemetry: &Telemetry) -> Result<Vec<u8>, WireError> {
    let (topic, payload) = match telemetry {
        Telemetry::State(status) => (STATE, header(status.as_ref())?),
        Telemetry::Event(occurrence) => (EVENT, header(occurrence)?),
    };
    Ok([topic, &payload].concat())
}

/// Telemetry out of a frame.
///
/// # Errors
///
/// When it is none, or of a topic that is not known.
pub fn decode_telemetry(frame: &[u8]) -> Result<Telemetry, WireError> {
    if let Some(payload) = frame.strip_prefix(STATE) {
        return Ok(Telemetry::State(Box::new(body(value(payload)?)?)));
    }
    if let Some(payload) = frame.strip_prefix(EVENT) {
        return Ok(Telemetry::Event(body(value(payload)?)?));
    }
    Err(WireError::Header { detail: "expected the topic `state` or `event`".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> BridgeStatus {
        let joint = JointStatus { name: "elbow".into(), position_rad: 0.1, ..Default::default() };
        BridgeStatus { arm: "so101".into(), joints: vec![joint; 7], ..Default::default() }
    }

    #[test]
    fn everything_comes_back_as_it_went() {
        let go = Verb::Go {
            lease: u64::MAX,
            period_secs: 0.1,
            waypoints_rad: vec![vec![0.1, -0.2], vec![1.0 / 3.0, f64::MIN_POSITIVE]],
            last: true,
        };
        for verb in [Verb::Status, Verb::Torque { on: true }, go, Verb::Estop] {
            assert_eq!(decode_verb(&encode_verb(&verb).unwrap()).unwrap(), verb);
        }
        let answer = Answer { ok: false, detail: "no".into(), lease: Some(7), status: status() };
        assert_eq!(decode_answer(&encode_answer(&answer).unwrap()).unwrap(), answer);
        let occurrence = Occurrence {
            time_secs: 1.5,
            from: "Running".into(),
            to: "Hold".into(),
            cause: Some("Underrun".into()),
            detail: None,
        };
        for telemetry in [Telemetry::State(Box::new(status())), Telemetry::Event(occurrence)] {
            let frame = encode_telemetry(&telemetry).unwrap();
            assert_eq!(decode_telemetry(&frame).unwrap(), telemetry);
        }
    }

    #[test]
    fn a_joint_s_value_is_a_line_from_its_angle_and_radians_where_nobody_says() {
        let mut joint = JointStatus::default();
        assert_eq!((joint.value(0.5), joint.angle_rad(0.5)), (0.5, 0.5));
        joint.value_of_rad = [1.0, -0.5]; // a gripper that closes from 2 rad to 0
        assert_eq!((joint.value(2.0), joint.value(0.0)), (0.0, 1.0));
        assert_eq!(joint.angle_rad(0.25), 1.5);
    }

    #[test]
    fn every_truncation_is_an_error_not_a_panic() {
        let frame = encode_verb(&Verb::Take { holder: "me".into(), steal: false }).unwrap();
        let telemetry = encode_telemetry(&Telemetry::State(Box::new(status()))).unwrap();
        for len in 0..frame.len() {
            assert!(decode_verb(&frame[..len]).is_err(), "{len} bytes decoded");
        }
        for len in 0..telemetry.len() {
            assert!(decode_telemetry(&telemetry[..len]).is_err(), "{len} bytes decoded");
        }
        assert!(
            decode_verb(
                &encode_answer(&Answer {
                    ok: true,
                    detail: String::new(),
                    lease: None,
                    status: status()
                })
                .unwrap()
            )
            .is_err()
        );
    }
}
