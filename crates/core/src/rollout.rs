//! One episode as it was lived: what was seen, predicted, done.

use serde::{Deserialize, Serialize};

use crate::{ActionChunk, Observation, RobotSpec};

/// Where a policy looked: one tap's weights over one view, summing to one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttentionMap {
    /// Index of the view.
    pub view: usize,
    /// The backbone's tap.
    pub tap: String,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Weights, row by row.
    pub weights: Vec<f32>,
}

/// How an episode ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The task was achieved.
    Success,
    /// Time ran out.
    Failure,
    /// Stopped by a limit, a fault or a person.
    Stopped,
    /// Nobody judged.
    Unknown,
}

/// One control period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutStep {
    /// Seconds since the episode began.
    pub time_secs: f64,
    /// What was sensed.
    pub observation: Observation,
    /// The chunk that arrived at this step, if one did; its first action is for this step.
    pub chunk: Option<ActionChunk>,
    /// What was sent to the arm, after limits.
    pub action: Vec<f32>,
    /// Dimensions of `action` that a limit changed.
    pub limited: Vec<usize>,
    /// Where the policy looked, if it says.
    pub attention: Vec<AttentionMap>,
}

/// One episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The robot.
    pub spec: RobotSpec,
    /// The task in words.
    pub task: String,
    /// The instance's name.
    pub instance: String,
    /// The episode's seed.
    pub seed: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What happened, in order.
    pub steps: Vec<RolloutStep>,
}
