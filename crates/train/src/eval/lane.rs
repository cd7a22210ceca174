//! One episode in closed loop.

use std::collections::VecDeque;

use engraft_core::{Environment, Observation, Outcome, RobotSpec, Rollout, RolloutStep};
use engraft_policies::Prediction;

use super::EpisodeRow;

/// An episode being played.
pub(super) struct Playing {
    /// Its place in the plan.
    pub(super) index: usize,
    seed: u64,
    instance: String,
    /// The last observations, oldest first, as many as the policy sees.
    pub(super) frames: VecDeque<Observation>,
    steps: usize,
    success: bool,
    /// Steps as they were lived, if anybody wants them.
    lived: Option<Vec<RolloutStep>>,
}

/// How lanes play.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) num_frames: usize,
    pub(super) executed: usize,
    pub(super) max_steps: usize,
    pub(super) period_secs: f64,
    pub(super) records: bool,
}

impl Rules {
    /// Begins an episode of the plan.
    pub(super) fn begin(
        self,
        environment: &mut dyn Environment,
        index: usize,
        (instance, seed): (usize, u64),
    ) -> Playing {
        let first = environment.reset(instance, seed);
        Playing {
            index,
            seed,
            instance: environment.instance_name(instance),
            frames: VecDeque::from(vec![first; self.num_frames.max(1)]),
            steps: 0,
            success: false,
            lived: self.records.then(Vec::new),
        }
    }

    /// Plays the first actions of a chunk; says whether the episode is over.
    pub(super) fn play(
        self,
        environment: &mut dyn Environment,
        playing: &mut Playing,
        prediction: Prediction,
    ) -> bool {
        let last = self.executed.min(self.max_steps - playing.steps);
        let Prediction { chunk, attention } = prediction;
        let mut attention = Some(attention);
        for step in 0..last {
            let action = chunk.action(step);
            let seen = playing.lived.is_some().then(|| playing.newest().clone());
            // A frame that leaves the stack before the next chunk need not be drawn.
            if self.records || last - step <= self.num_frames {
                let transition = environment.step(action);
                playing.success = transition.success;
                playing.frames.pop_front();
                playing.frames.push_back(transition.observation);
            } else {
                playing.success = environment.advance(action);
            }
            if let (Some(lived), Some(observation)) = (&mut playing.lived, seen) {
                lived.push(RolloutStep {
                    time_secs: playing.steps as f64 * self.period_secs,
                    observation,
                    chunk: (step == 0).then(|| chunk.clone()),
                    action: action.to_vec(),
                    limited: Vec::new(),
                    attention: attention.take().unwrap_or_default(),
                });
            }
            playing.steps += 1;
            if playing.success {
                return true;
            }
        }
        playing.steps >= self.max_steps
    }
}

impl Playing {
    fn newest(&self) -> &Observation {
        self.frames.back().expect("a stack holds at least one frame")
    }

    pub(super) fn row(&self) -> EpisodeRow {
        let Self { instance, seed, success, steps, .. } = self;
        EpisodeRow { instance: instance.clone(), seed: *seed, success: *success, steps: *steps }
    }

    pub(super) fn rollout(self, spec: &RobotSpec, task: &str) -> Option<Rollout> {
        let outcome = if self.success { Outcome::Success } else { Outcome::Failure };
        Some(Rollout {
            spec: spec.clone(),
            task: task.to_owned(),
            instance: self.instance,
            seed: self.seed,
            outcome,
            steps: self.lived?,
        })
    }
}
