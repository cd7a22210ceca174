//! One motion: from torque on to torque off, with an answer to the box in every millisecond.

use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use franka::{JointPositions, RobotState};

use super::follower::{Echo, Follower, SetPoint};
use super::session::{Answer, Ask, Asked, Shared};
use crate::motors::MotorsError;

/// Silence of whoever moves the arm after which its motion is ended.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// Cycles of rest before a motion is said to be over.
const RESTING_CYCLES: u32 = 50;

/// Whether a motion is to be ended, since nobody sent a set-point for so long.
pub(super) fn is_abandoned(silence: Duration) -> bool {
    silence > PATIENCE
}

/// A motion that runs, or is about to.
pub(super) struct Motion<'a> {
    shared: &'a Shared,
    asked: &'a Asked,
    follower: Follower,
    set_point: Option<(SetPoint, Instant)>,
    /// Whoever waits for it to begin.
    begin: Option<Answer<()>>,
    began: Option<Instant>,
    /// Whoever waits for its end.
    end: Option<Answer<()>>,
    ending: bool,
    /// The silence for which it ends by itself.
    abandoned: Option<Duration>,
    resting: u32,
}

impl<'a> Motion<'a> {
    /// A motion that has not begun. Whoever waits for that is told so by the first command.
    pub(super) fn new(
        shared: &'a Shared,
        asked: &'a Asked,
        follower: Follower,
        begin: Answer<()>,
    ) -> Self {
        Self {
            shared,
            asked,
            follower,
            set_point: None,
            begin: Some(begin),
            began: None,
            end: None,
            ending: false,
            abandoned: None,
            resting: 0,
        }
    }

    /// The answer to what the box says. Neither waits nor allocates.
    pub(super) fn command(&mut self, state: &RobotState) -> JointPositions {
        self.shared.hear(state);
        let now = Instant::now();
        let Some(began) = self.began else {
            // The first command is where the arm is held.
            self.follower.rest_at(state.q_d);
            self.began = Some(now);
            if let Some(begin) = self.begin.take() {
                let _ = begin.try_send(Ok(())); // whoever asked may have given up
            }
            return JointPositions::new(state.q_d);
        };
        self.listen();
        if self.resting == 0 {
            self.follower.agree(&Echo {
                position: state.q_d,
                velocity: state.dq_d,
                acceleration: state.ddq_d,
            });
        }
        self.shared.take_latest(&mut self.set_point);
        let silence =
            self.set_point.map_or(now - began, |(_, at)| now.saturating_duration_since(at));
        if !self.ending && is_abandoned(silence) {
            (self.ending, self.abandoned) = (true, Some(silence));
        }
        let command = match self.set_point {
            Some((set_point, _)) if !self.ending => self.follower.follow(&set_point, silence),
            _ => self.follower.stop(),
        };
        let rests = self.ending && self.follower.is_at_rest();
        self.resting = if rests { self.resting + 1 } else { 0 };
        let mut command = JointPositions::new(command);
        command.motion_finished = self.resting > RESTING_CYCLES;
        command
    }

    fn listen(&mut self) {
        match self.asked.try_recv() {
            Ok((Ask::End, answer)) => (self.ending, self.end) = (true, Some(answer)),
            // It moves: there is nothing to begin or to recover from.
            Ok((Ask::Begin | Ask::Recover, answer)) => {
                let _ = answer.try_send(Ok(()));
            }
            Err(TryRecvError::Disconnected) => self.ending = true,
            Err(TryRecvError::Empty) => {}
        }
    }

    /// Tells how it ended to whoever wants to know. Left over is what nobody was told.
    pub(super) fn over(self, ended: Result<(), MotorsError>) -> Option<MotorsError> {
        let ended = match (ended, self.abandoned) {
            (Ok(()), Some(silence)) => Err(MotorsError::Refused {
                detail: format!(
                    "no set-point came for {silence:?}, its motion was ended: is the machine \
                     overloaded?"
                )
                .into(),
            }),
            (ended, _) => ended,
        };
        match self.begin.or(self.end) {
            Some(answer) => {
                let _ = answer.try_send(ended);
                None
            }
            None => ended.err(),
        }
    }
}
