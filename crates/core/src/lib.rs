//! The words every part of engraft speaks: observations, actions, windows, statistics.
//!
//! No tensors, no files, no sockets. Everything here is plain data in physical units
//! (metres, radians, seconds), and pure functions over it.
//!
//! Axes always stand in this order: batch, frames, views, channels, height, width.

mod action;
mod chunks;
mod environment;
mod observation;
mod rate;
mod rollout;
mod spec;
mod stats;
mod window;

pub use action::{ActionChunk, ChunkError};
pub use chunks::{ChunkQueue, Merge, MergeError};
pub use environment::{Environment, Transition};
pub use observation::{DepthImage, ImageError, Observation, RgbImage, View};
pub use rate::{Rate, wilson};
pub use rollout::{AttentionMap, Outcome, Rollout, RolloutStep};
pub use spec::{Dimension, RobotSpec, SpecError, ViewSpec, hex};
pub use stats::{RunningStats, Stats};
pub use window::{Sample, chunk_steps, frame_stack};
