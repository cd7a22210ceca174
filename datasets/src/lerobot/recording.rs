//! Recording an episode step by step, with the true time of each.

use engraft_core::Observation;
use rayon::prelude::*;

use super::features::CAPTURES;
use super::recorded::{Encoded, Recorder, encode, misfit};
use super::{LerobotSource, LerobotWriter};
use crate::source::{Source, Track};
use crate::{DatasetError, DatasetWriter, Step};

/// Bytes of pictures that an open episode may hold in memory.
pub(super) const EPISODE_BYTES: usize = 4 << 30;
/// How far the effective rate may lie from the nominal one without a word: two percent.
const RATE_TOLERANCE: f64 = 0.02;
/// Steps that are encoded at once when an episode is written as a whole.
const STEPS_AT_ONCE: usize = 32;

/// What is recorded beside observations and actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordingOptions {
    /// Whether the dataset keeps when each step was captured, as the features `capture_time`
    /// (seconds since the episode's first step) and `dropped_frames` (nominal frames that were
    /// skipped before the step).
    ///
    /// `timestamp` is nominal either way, since the `lerobot` package refuses any other.
    pub capture_times: bool,
}

/// An episode that is being recorded; dropping it discards it.
///
/// Its pictures are encoded as they come and stay in memory, at most four gigabytes of them.
/// Nothing on disk changes before [`finish`](Self::finish).
#[derive(Debug)]
pub struct Recording<'a> {
    writer: &'a mut LerobotWriter,
    task: String,
    recorder: Recorder,
    clock: Clock,
}

/// What was recorded of an episode.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Recorded {
    /// The episode's index in its dataset.
    pub episode: usize,
    /// Steps.
    pub num_steps: usize,
    /// Nominal frames that were skipped between its steps.
    pub dropped_frames: u64,
    /// Steps per second that were reached; nothing is known of a single step.
    pub effective_hz: Option<f64>,
    /// What to tell the operator: the effective rate is not the nominal one.
    pub warning: Option<String>,
}

impl LerobotWriter {
    /// Begins an episode.
    pub fn begin(&mut self, task: &str) -> Recording<'_> {
        let recorder = Recorder::new(&self.spec, self.options.capture_times);
        let clock = Clock::new(f64::from(self.spec.control_hz));
        Recording { writer: self, task: task.to_owned(), recorder, clock }
    }

    /// Checks, encodes and takes one step.
    pub(super) fn push_to(
        &self,
        recorder: &mut Recorder,
        observation: &Observation,
        action: &[f32],
    ) -> Result<(), DatasetError> {
        let at = recorder.num_steps();
        let encoded = encode(&self.spec, at, observation, action);
        let encoded = encoded.map_err(|refusal| self.refused(at, refusal))?;
        recorder.take(observation, action, encoded, self.episode_bytes)
    }

    /// Writes an episode whose steps may fail to be read, encoding on every core.
    pub(super) fn add_fallible(
        &mut self,
        task: &str,
        steps: &mut dyn Iterator<Item = Result<Step, DatasetError>>,
    ) -> Result<usize, DatasetError> {
        if self.options.capture_times {
            return Err(misfit(0, "the time of each step, as `begin` takes it", "none"));
        }
        let mut recorder = Recorder::new(&self.spec, false);
        loop {
            let taken = steps.take(STEPS_AT_ONCE).collect::<Result<Vec<Step>, _>>()?;
            if taken.is_empty() {
                return self.keep(task, recorder);
            }
            let first = recorder.num_steps();
            let encoded: Vec<Result<Encoded, _>> = taken
                .par_iter()
                .enumerate()
                .map(|(at, (observation, action))| {
                    encode(&self.spec, first + at, observation, action)
                })
                .collect();
            for ((observation, action), encoded) in taken.iter().zip(encoded) {
                let at = recorder.num_steps();
                let encoded = encoded.map_err(|refusal| self.refused(at, refusal))?;
                recorder.take(observation, action, encoded, self.episode_bytes)?;
            }
        }
    }
}

impl DatasetWriter for LerobotWriter {
    fn add_episode(
        &mut self,
        task: &str,
        steps: &mut dyn Iterator<Item = Result<Step, DatasetError>>,
    ) -> Result<usize, DatasetError> {
        self.add_fallible(task, steps)
    }

    fn finish(&mut self) -> Result<(), DatasetError> {
        self.finish_info()
    }
}

impl Recording<'_> {
    /// Takes one step, captured at `captured_secs` on any clock that never runs backwards.
    ///
    /// # Errors
    ///
    /// When the step does not fit the robot or is not finite, when its time is not after that of
    /// the step before, or when the episode has become too large: the steps before are kept, and
    /// can be finished.
    pub fn push(
        &mut self,
        observation: &Observation,
        action: &[f32],
        captured_secs: f64,
    ) -> Result<(), DatasetError> {
        let (next, secs, dropped) = self.clock.after(self.recorder.num_steps(), captured_secs)?;
        self.writer.push_to(&mut self.recorder, observation, action)?;
        self.recorder.captured(secs, dropped);
        self.clock = next;
        Ok(())
    }

    /// Steps so far.
    pub fn num_steps(&self) -> usize {
        self.recorder.num_steps()
    }

    /// Writes the episode; when this returns, it is safe.
    ///
    /// # Errors
    ///
    /// When there is no step or a file cannot be written.
    pub fn finish(self) -> Result<Recorded, DatasetError> {
        let num_steps = self.recorder.num_steps();
        let episode = self.writer.keep(&self.task, self.recorder)?;
        let (nominal, effective_hz) = (self.clock.hz, self.clock.effective_hz(num_steps));
        let off = effective_hz.filter(|hz| (hz / nominal - 1.0).abs() > RATE_TOLERANCE);
        let warning = off.map(|hz| {
            format!(
                "episode {episode} ran at {hz:.2} steps per second, the dataset says {nominal}: \
                 played at its nominal rate it is {:.2} times as fast as it was",
                nominal / hz
            )
        });
        let dropped_frames = self.clock.dropped;
        Ok(Recorded { episode, num_steps, dropped_frames, effective_hz, warning })
    }
}

/// The times of an episode's steps, held against the nominal rate.
#[derive(Debug, Clone, Copy)]
struct Clock {
    hz: f64,
    first: f64,
    last: f64,
    /// The nominal frame of the last step.
    frame: u64,
    dropped: u64,
}

impl Clock {
    fn new(hz: f64) -> Self {
        Self { hz, first: 0.0, last: 0.0, frame: 0, dropped: 0 }
    }

    /// The clock after the step `at`, seconds since the first step, and frames dropped before it.
    fn after(self, at: usize, secs: f64) -> Result<(Self, f64, i64), DatasetError> {
        if !secs.is_finite() {
            return Err(misfit(at, "a finite time", secs.to_string()));
        }
        if at == 0 {
            return Ok((Self { first: secs, last: secs, ..self }, 0.0, 0));
        }
        if secs <= self.last {
            let expected = format!("a time after {} s", self.last);
            return Err(misfit(at, expected, format!("{secs} s")));
        }
        let since = secs - self.first;
        // Counted from the first step, so that a rate that is a little too low adds up.
        let frame = ((since * self.hz).round() as u64).max(self.frame + 1);
        let dropped = frame - self.frame - 1;
        let next = Self { last: secs, frame, dropped: self.dropped + dropped, ..self };
        Ok((next, since, dropped as i64))
    }

    fn effective_hz(&self, num_steps: usize) -> Option<f64> {
        let span = self.last - self.first;
        (num_steps > 1 && span > 0.0).then(|| (num_steps - 1) as f64 / span)
    }
}

/// Capture times and dropped frames of an episode on disk.
pub(super) fn captures(
    source: &LerobotSource,
    episode: usize,
) -> Result<Vec<(f64, i64)>, DatasetError> {
    let columns = &source.about().columns;
    let place = |name: &str| columns.iter().position(|column| column.name == name);
    let wanted: Vec<usize> = CAPTURES.iter().filter_map(|(name, _)| place(name)).collect();
    let tracks = source.load(episode, &wanted)?;
    let [Track::Numbers(secs), Track::Numbers(dropped)] = &tracks[..] else {
        let path = &source.about().path;
        return Err(DatasetError::content("features", "both capture features", "one", path));
    };
    let each = secs.iter().zip(dropped);
    Ok(each.map(|(&secs, &dropped)| (f64::from(secs), dropped as i64)).collect())
}
