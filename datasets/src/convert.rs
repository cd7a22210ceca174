//! From one format to another, an episode at a time, and proof that nothing was lost.

use std::collections::VecDeque;
use std::sync::Arc;

use engraft_core::{DepthImage, Observation, RgbImage};
use rayon::prelude::*;
use serde::Serialize;

use crate::lerobot::INDICES;
use crate::{Dataset, DatasetError, Episode, Role, chain};

/// What was sensed, and what the demonstrator did.
pub type Step = (Observation, Vec<f32>);

/// Steps that are decoded at once, on every core.
const STEPS_AT_ONCE: usize = 32;
/// Depth at rest is in whole millimetres, so that a conversion may round by half of one.
const DEPTH_TOLERANCE_M: f32 = 0.5e-3 + 1e-6;

/// Something that episodes can be written to, one whole episode at a time.
pub trait DatasetWriter {
    /// Writes an episode and returns its index. An error of `steps` leaves nothing of it.
    ///
    /// # Errors
    ///
    /// The first error of `steps`; when a step does not fit the robot; when a file cannot be
    /// written.
    fn add_episode(
        &mut self,
        task: &str,
        steps: &mut dyn Iterator<Item = Result<Step, DatasetError>>,
    ) -> Result<usize, DatasetError>;

    /// Writes what is left to write.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    fn finish(&mut self) -> Result<(), DatasetError>;
}

/// What a conversion came to.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Converted {
    /// Episodes written.
    pub num_episodes: usize,
    /// Steps written.
    pub num_steps: usize,
    /// Columns of the source that are neither view, proprio nor action, and were left behind: also
    /// the capture times of a recording.
    pub left_behind: Vec<String>,
}

/// Writes `episodes` of `from`, in that order, to `to`, and finishes it.
///
/// One episode is in memory at a time. `progress` is told how many steps of all are done.
///
/// # Errors
///
/// When an episode cannot be read or written; those before it are written.
pub fn convert(
    from: &dyn Dataset,
    to: &mut dyn DatasetWriter,
    episodes: &[usize],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Converted, DatasetError> {
    let total: u64 = count_steps(from, episodes)?;
    let mut converted = Converted { left_behind: left_behind(from)?, ..Converted::default() };
    for &episode in episodes {
        let done = converted.num_steps as u64;
        match copy(from, episode, to, &mut |step| progress(done + step, total))? {
            Copied::Written => {}
            Copied::Unreadable(error) => return Err(error),
        }
        converted.num_episodes += 1;
        converted.num_steps += from.episode_len(episode);
    }
    to.finish()?;
    Ok(converted)
}

/// Steps of `episodes`, all of which there are.
pub(crate) fn count_steps(from: &dyn Dataset, episodes: &[usize]) -> Result<u64, DatasetError> {
    let num_episodes = from.num_episodes();
    if let Some(&episode) = episodes.iter().find(|&&episode| episode >= num_episodes) {
        return Err(DatasetError::NoEpisode { episode, num_episodes });
    }
    Ok(episodes.iter().map(|&episode| from.episode_len(episode) as u64).sum())
}

/// The columns that a conversion does not carry over; counters of the format itself are counted
/// anew and are not among them.
pub(crate) fn left_behind(from: &dyn Dataset) -> Result<Vec<String>, DatasetError> {
    let features = from.info()?.features.into_iter();
    let is_left = |role: Role, name: &str| match role {
        Role::Other => true,
        Role::Index => !INDICES.iter().any(|(index, _)| *index == name),
        _ => false,
    };
    let left = features.filter(|feature| is_left(feature.role, &feature.name));
    Ok(left.map(|feature| feature.name).collect())
}

/// How copying an episode ended, where the writer is not to blame.
pub(crate) enum Copied {
    /// It was written.
    Written,
    /// It cannot be read; nothing of it was written.
    Unreadable(DatasetError),
}

/// Copies one episode; `progress` is told the steps that are done.
pub(crate) fn copy(
    from: &dyn Dataset,
    episode: usize,
    to: &mut dyn DatasetWriter,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied, DatasetError> {
    let source = match from.episode(episode) {
        Ok(source) => source,
        Err(error) => return Ok(Copied::Unreadable(error)),
    };
    let task = source.task().to_owned();
    let (mut failed, mut done) = (false, 0);
    let mut steps = Steps::of(source).inspect(|step| {
        failed |= step.is_err();
        done += 1;
        progress(done);
    });
    let written = to.add_episode(&task, &mut steps);
    drop(steps);
    match written {
        Ok(_) => Ok(Copied::Written),
        Err(error) if failed => Ok(Copied::Unreadable(error)),
        Err(error) => Err(error),
    }
}

/// The steps of an episode in order, decoded ahead on every core.
struct Steps {
    episode: Arc<dyn Episode>,
    next: usize,
    ahead: VecDeque<Result<Step, DatasetError>>,
}

impl Steps {
    fn of(episode: Arc<dyn Episode>) -> Self {
        Self { episode, next: 0, ahead: VecDeque::new() }
    }
}

impl Iterator for Steps {
    type Item = Result<Step, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ahead.is_empty() {
            let end = (self.next + STEPS_AT_ONCE).min(self.episode.num_steps());
            let read = |step: usize| -> Result<Step, DatasetError> {
                let action = self.episode.actions(step..step + 1)?.values().to_vec();
                Ok((self.episode.observation(step)?, action))
            };
            let ahead: Vec<_> = (self.next..end).into_par_iter().map(read).collect();
            self.ahead.extend(ahead);
            self.next = end;
        }
        self.ahead.pop_front()
    }
}

/// Holds `to`, whose episodes are `episodes` of `from`, against it: tasks, lengths, every number
/// exactly, and every picture pixel by pixel.
///
/// A channel of a pixel may differ by `tolerance`: zero where pictures are stored without loss.
/// Depth may differ by half a millimetre, to which it is stored. Says what differs, one line for
/// each episode.
pub fn verify(
    from: &dyn Dataset,
    to: &dyn Dataset,
    episodes: &[usize],
    tolerance: u8,
    progress: &mut dyn FnMut(u64, u64),
) -> Vec<String> {
    let mut differences = Vec::new();
    if to.num_episodes() != episodes.len() {
        let (expected, found) = (episodes.len(), to.num_episodes());
        differences.push(format!("episodes: expected {expected}, found {found}"));
    }
    let total = episodes.len().min(to.num_episodes());
    for (copy, &original) in episodes.iter().enumerate().take(total) {
        differences.extend(difference(from, original, to, copy, tolerance));
        progress(copy as u64 + 1, total as u64);
    }
    differences
}

/// The first difference between an episode and its copy.
pub(crate) fn difference(
    from: &dyn Dataset,
    original: usize,
    to: &dyn Dataset,
    copy: usize,
    tolerance: u8,
) -> Option<String> {
    let say = |what: String| Some(format!("episode {copy}, copied from {original}: {what}"));
    let (original, copy) = match (from.episode(original), to.episode(copy)) {
        (Ok(original), Ok(copy)) => (original, copy),
        (Err(error), _) | (_, Err(error)) => return say(chain(&error)),
    };
    if original.task() != copy.task() {
        return say(format!("task: expected {:?}, found {:?}", original.task(), copy.task()));
    }
    if original.num_steps() != copy.num_steps() {
        return say(format!("expected {} steps, found {}", original.num_steps(), copy.num_steps()));
    }
    let at_step = |step: usize| -> Option<String> {
        let found = step_difference(&*original, &*copy, step, tolerance);
        let found = found.unwrap_or_else(|error| Some(chain(&error)))?;
        Some(format!("step {step}: {found}"))
    };
    say((0..copy.num_steps()).into_par_iter().find_map_first(at_step)?)
}

fn step_difference(
    original: &dyn Episode,
    copy: &dyn Episode,
    step: usize,
    tolerance: u8,
) -> Result<Option<String>, DatasetError> {
    let (expected, found) = (original.actions(step..step + 1)?, copy.actions(step..step + 1)?);
    if let Some(line) = numbers_difference("action", expected.values(), found.values()) {
        return Ok(Some(line));
    }
    let (expected, found) = (original.observation(step)?, copy.observation(step)?);
    if let Some(line) = numbers_difference("proprio", &expected.proprio, &found.proprio) {
        return Ok(Some(line));
    }
    if expected.views.len() != found.views.len() {
        let (expected, found) = (expected.views.len(), found.views.len());
        return Ok(Some(format!("expected {expected} views, found {found}")));
    }
    let views = expected.views.iter().zip(&found.views).enumerate();
    Ok(views.into_iter().find_map(|(at, (expected, found))| {
        let line = picture_difference(&expected.rgb, &found.rgb, tolerance);
        let line = line.or_else(|| depth_difference(expected.depth.as_ref(), found.depth.as_ref()));
        line.map(|line| format!("view {at}: {line}"))
    }))
}

fn numbers_difference(what: &str, expected: &[f32], found: &[f32]) -> Option<String> {
    if expected.len() != found.len() {
        let (expected, found) = (expected.len(), found.len());
        return Some(format!("expected {what} of {expected} numbers, found {found}"));
    }
    let at = expected.iter().zip(found).position(|(expected, found)| expected != found)?;
    let (expected, found) = (expected[at], found[at]);
    Some(format!("{what}, dimension {at}: expected {expected}, found {found}"))
}

fn picture_difference(expected: &RgbImage, found: &RgbImage, tolerance: u8) -> Option<String> {
    let size = |image: &RgbImage| (image.width(), image.height());
    if size(expected) != size(found) {
        return Some(format!("expected pixels {:?}, found {:?}", size(expected), size(found)));
    }
    let pairs = expected.pixels().iter().zip(found.pixels());
    let worst = pairs.map(|(expected, found)| expected.abs_diff(*found)).max()?;
    (worst > tolerance).then(|| format!("pixels differ by up to {worst}, allowed {tolerance}"))
}

fn depth_difference(expected: Option<&DepthImage>, found: Option<&DepthImage>) -> Option<String> {
    let (Some(expected), Some(found)) = (expected, found) else {
        let word = |depth: Option<_>| if depth.is_some() { "depth" } else { "no depth" };
        let (expected, found) = (word(expected), word(found));
        return (expected != found).then(|| format!("expected {expected}, found {found}"));
    };
    if expected.metres().len() != found.metres().len() {
        return Some("depth of another size".into());
    }
    // Nothing measured is zero at rest.
    let measured = |metres: f32| if metres.is_nan() { 0.0 } else { metres };
    let mut pairs = expected.metres().iter().zip(found.metres());
    let off = |(a, b): &(&f32, &f32)| (measured(**a) - measured(**b)).abs() > DEPTH_TOLERANCE_M;
    let (expected, found) = pairs.find(off)?;
    Some(format!("depth: expected {expected} m, found {found} m"))
}
