//! What a control box says, in words that tell an operator what helps.

use std::borrow::Cow;
use std::io;

use franka::{ControlException, FrankaError, MoveStatus, RobotMode};

use crate::motors::{Alarm, Damage, MotorsError};

/// What errors are about: one arm, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The control box's name or address.
    pub host: String,
    /// Name and number of each joint.
    pub joints: Vec<(String, u8)>,
}

/// An error flag's name, or a part of it, and what helps. The first that fits counts.
const HELP: &[(&str, &str)] = &[
    (
        "communication_constraints",
        "set-points came too late for 20 periods of 1 ms: give the bridge a machine with a \
         PREEMPT_RT kernel, real-time priority and a cable straight to the control box",
    ),
    (
        "reflex",
        "it hit something, or carries more than Desk knows of: clear its way, set the load in Desk",
    ),
    ("self_collision", "it came too near to itself: lead it away by hand"),
    ("position_limits", "it came to the end of a joint or of its space: lead it back by hand"),
    (
        "discontinuity",
        "set-points were too rough for it: lower max_acceleration and max_jerk in the description",
    ),
    ("velocity", "it moved too fast for where it is: lower max_velocity in the description"),
    ("power_limit", "it moved too fast for its load: lower max_velocity in the description"),
    ("start_pose_invalid", "the first set-point was not where the arm is: switch torque on again"),
    ("tau_J_range", "a joint is overloaded: take load off, set the load in Desk"),
];

/// What helps where nothing is known.
const DESK: &str = "Desk shows what to do";

/// What helps after an error whose flag has this name.
pub(super) fn help(flag: &str) -> &'static str {
    HELP.iter().find(|(part, _)| flag.contains(part)).map_or(DESK, |(_, help)| help)
}

/// Why an arm in this mode gets no torque; `None` where it may.
pub(super) fn obstacle(mode: RobotMode) -> Option<&'static str> {
    match mode {
        RobotMode::Idle => None,
        RobotMode::Move => Some("another motion still runs: wait for its end"),
        RobotMode::Guiding => Some("it is being guided by hand: let go of it"),
        RobotMode::Reflex => Some("an error waits: `firmware-bridge reset`"),
        RobotMode::UserStopped => Some("the user stop is pressed: release it"),
        RobotMode::AutomaticErrorRecovery => Some("it recovers from an error: wait for its end"),
        RobotMode::Other => Some("its joints are locked: unlock them and activate FCI in Desk"),
    }
}

/// Without the name of the library that says it, on one line.
fn plain(text: &str) -> String {
    let text = text.trim_start_matches("libfranka robot: ").trim_start_matches("libfranka: ");
    text.trim_end_matches(['.', '!']).replace('\n', ", ")
}

fn refused(detail: impl Into<Cow<'static, str>>) -> MotorsError {
    MotorsError::Refused { detail: detail.into() }
}

impl Place {
    /// Why there is no connection.
    pub(super) fn unreachable(&self, error: &FrankaError) -> MotorsError {
        match error {
            FrankaError::IncompatibleVersion { server_version, .. } => MotorsError::Identity {
                joint: self.all().into(),
                id: 0,
                field: "version of the control interface",
                expected: "10 (FR3) or 5 (Panda)".into(),
                found: server_version.to_string(),
            },
            other => MotorsError::Port {
                port: self.host.clone(),
                detail: format!(
                    "{}; expected a Franka's control box, with FCI activated in Desk and no other \
                     client",
                    plain(&other.to_string())
                ),
                source: io::Error::other(other.clone()),
            },
        }
    }

    /// An error of a connected arm as one of ours; `collided` is the joint that reports a contact.
    pub(super) fn explain(&self, error: &FrankaError, collided: Option<usize>) -> MotorsError {
        match error {
            FrankaError::Network(_) => self.hung_up(),
            FrankaError::Protocol(text) => {
                self.damaged(format!("{}: switch the bridge off and on", plain(text)))
            }
            FrankaError::Control(exception) => self.ended(exception, collided),
            FrankaError::Command(text) => refused(format!("{}: {}", plain(text), command(text))),
            other => refused(plain(&other.to_string())),
        }
    }

    /// A motion ended otherwise than by our own wish.
    fn ended(&self, exception: &ControlException, collided: Option<usize>) -> MotorsError {
        let flags = exception.last_motion_errors.names();
        let detail = match (exception.move_status, flags.first()) {
            (Some(MoveStatus::EmergencyAborted), _) => {
                "an emergency stop or the user stop was pressed: release it".into()
            }
            (Some(MoveStatus::Preempted), _) => {
                "the motion was stopped by Desk or by another client: switch torque on again".into()
            }
            (
                Some(
                    MoveStatus::PreemptedDueToActivatedSafetyFunctions
                    | MoveStatus::CommandRejectedDueToActivatedSafetyFunctions,
                ),
                _,
            ) => "a safety function is active: acknowledge it in Desk".into(),
            (_, Some(flag)) => {
                let rate = success_rate(&exception.message).map_or_else(String::new, |rate| {
                    format!(" ({:.0} % of the last answers were in time)", rate * 100.0)
                });
                format!("{}{rate}: {}", flags.join(", "), help(flag))
            }
            (_, None) => format!("{}: {DESK}", plain(&exception.message)),
        };
        match collided.and_then(|joint| self.joints.get(joint)) {
            Some((joint, id)) => MotorsError::Alarm {
                joint: joint.as_str().into(),
                id: *id,
                detail: Alarm::Words(detail.into()),
            },
            None => refused(detail),
        }
    }

    pub(super) fn hung_up(&self) -> MotorsError {
        MotorsError::HungUp { port: self.host.as_str().into() }
    }

    pub(super) fn silent(&self, waited: std::time::Duration) -> MotorsError {
        MotorsError::Silent { joint: self.all().into(), id: 0, waited }
    }

    pub(super) fn damaged(&self, detail: String) -> MotorsError {
        MotorsError::Damaged {
            joint: self.all().into(),
            id: 0,
            detail: Damage::Words(detail.into()),
        }
    }

    /// All joints are behind one box.
    fn all(&self) -> String {
        format!("1 and all others behind {}", self.host)
    }
}

/// The part of the last answers that the box had in time, as libfranka's messages have it.
fn success_rate(message: &str) -> Option<f64> {
    let (_, rest) = message.split_once("control_command_success_rate: ")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// What helps where a command was refused.
fn command(text: &str) -> &'static str {
    if text.contains("User Stop") {
        "release the user stop"
    } else if text.contains("safety function") {
        "acknowledge the safety function in Desk"
    } else if text.contains("manual error recovery") {
        "Desk leads through the recovery"
    } else if text.contains("current mode") {
        "unlock the joints, release the user stop and activate FCI in Desk"
    } else {
        DESK
    }
}
