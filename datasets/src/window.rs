//! Windows: a frame stack that ends at a step, and the actions that follow from it.

use engraft_core::{ActionChunk, Observation, Sample, chunk_steps, frame_stack};
use serde::{Deserialize, Serialize};

use crate::{Dataset, DatasetError, Episode};

/// What stands in a chunk for actions past the end of the episode.
///
/// Either way, the mask says which actions lie inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PastEnd {
    /// The last action again.
    #[default]
    Repeat,
    /// Zeros, as in SpawnNet's loader. There they count in the loss: whoever wants the paper's
    /// objective uses this and leaves the mask aside.
    Zero,
}

/// The actions from `step` on, padded to `horizon`, and which of them lie inside the episode.
///
/// # Shapes
///
/// `[horizon, action_dim]` and `[horizon]`.
///
/// # Errors
///
/// When `step` lies outside the episode or its data cannot be read.
pub fn target(
    episode: &dyn Episode,
    step: usize,
    horizon: usize,
    past_end: PastEnd,
) -> Result<(ActionChunk, Vec<bool>), DatasetError> {
    let num_steps = episode.num_steps();
    if step >= num_steps {
        return Err(DatasetError::NoStep { step, num_steps });
    }
    let inside = episode.actions(step..(step + horizon).min(num_steps))?;
    let action_dim = inside.action_dim();
    let mut values = inside.values().to_vec();
    let missing = horizon - inside.horizon();
    match past_end {
        PastEnd::Repeat if missing > 0 => {
            let last = inside.action(inside.horizon() - 1);
            values.extend(last.repeat(missing));
        }
        _ => values.resize(horizon * action_dim, 0.0),
    }
    let chunk = ActionChunk::new(horizon, action_dim, values)
        .expect("padding makes a chunk of horizon actions");
    let mask = chunk_steps(step, horizon, num_steps).iter().map(Option::is_some).collect();
    Ok((chunk, mask))
}

/// One training example: the frame stack that ends at `step`, and the actions from `step` on.
///
/// Before the start the first frame repeats. A frame that stands twice is decoded once.
///
/// # Errors
///
/// When `step` lies outside the episode or its data cannot be read.
pub fn sample(
    episode: &dyn Episode,
    step: usize,
    num_frames: usize,
    horizon: usize,
    past_end: PastEnd,
) -> Result<Sample, DatasetError> {
    let (actions, mask) = target(episode, step, horizon, past_end)?;
    let mut frames: Vec<Observation> = Vec::with_capacity(num_frames);
    let mut previous = None;
    for at in frame_stack(step, num_frames) {
        let frame = match frames.last() {
            Some(frame) if previous == Some(at) => frame.clone(),
            _ => episode.observation(at)?,
        };
        frames.push(frame);
        previous = Some(at);
    }
    Ok(Sample { frames, actions, mask })
}

/// One step without its pictures.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// The episode, by its index in the dataset.
    pub episode: usize,
    /// The step.
    pub step: usize,
    /// Proprio at the step.
    pub proprio: &'a [f32],
    /// The actions from the step on: `[horizon, action_dim]`.
    pub actions: &'a ActionChunk,
    /// Which of them lie inside the episode: `[horizon]`.
    pub mask: &'a [bool],
}

/// Visits every step of `episodes` in order, without decoding a picture.
///
/// # Errors
///
/// When an episode cannot be read.
pub fn for_each_window(
    dataset: &dyn Dataset,
    episodes: &[usize],
    horizon: usize,
    past_end: PastEnd,
    mut visit: impl FnMut(Window<'_>),
) -> Result<(), DatasetError> {
    for &index in episodes {
        let episode = dataset.episode(index)?;
        for step in 0..episode.num_steps() {
            let (actions, mask) = target(&*episode, step, horizon, past_end)?;
            let proprio = episode.proprio(step)?;
            visit(Window { episode: index, step, proprio, actions: &actions, mask: &mask });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Counting;

    fn values(episode: &dyn Episode, step: usize, past_end: PastEnd) -> (Vec<f32>, Vec<bool>) {
        let (chunk, mask) = target(episode, step, 3, past_end).unwrap();
        (chunk.values().to_vec(), mask)
    }

    #[test]
    fn past_the_end_the_last_action_repeats_and_the_mask_says_so() {
        let episode = Counting { num_steps: 4 };
        let mask = vec![true, true, false];
        assert_eq!(values(&episode, 2, PastEnd::Repeat), (vec![2.0, 3.0, 3.0], mask.clone()));
        assert_eq!(values(&episode, 2, PastEnd::Zero), (vec![2.0, 3.0, 0.0], mask));
        assert_eq!(values(&episode, 1, PastEnd::Zero), (vec![1.0, 2.0, 3.0], vec![true; 3]));
    }

    #[test]
    fn before_the_start_the_first_frame_repeats() {
        let sample = sample(&Counting { num_steps: 4 }, 1, 4, 2, PastEnd::Repeat).unwrap();
        let steps: Vec<f32> = sample.frames.iter().map(|frame| frame.proprio[0]).collect();
        assert_eq!(steps, [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(sample.actions.values(), [1.0, 2.0]);
    }

    #[test]
    fn a_step_past_the_end_is_an_error_that_says_how_many_there_are() {
        let error = sample(&Counting { num_steps: 4 }, 4, 1, 1, PastEnd::Repeat).unwrap_err();
        assert_eq!(error.to_string(), "expected a step below 4, found 4");
    }
}
