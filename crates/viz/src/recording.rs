//! Recordings for the rerun viewer: rollouts, datasets, training runs.

use std::collections::BTreeSet;
use std::path::Path;

use engraft_core::{Observation, Outcome, RobotSpec, Rollout, RolloutStep};
use rerun::{Scalars, SeriesLines, TextDocument, TextLog, TextLogLevel};

use crate::robot_log::RobotLog;
use crate::stream::{RecordingError, Sink, Stream, path};
use crate::style::{outcome, series};
use crate::{Curve, layout};

/// What a rollout is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The task in words.
    pub task: String,
    /// The instance's name.
    pub instance: String,
    /// The episode's seed.
    pub seed: u64,
}

/// A rollout that is being recorded on this thread; see [`Recorder`](crate::Recorder) for one
/// that never holds its caller up.
pub struct RolloutRecording {
    stream: Stream,
    log: RobotLog,
    about: About,
    attention: BTreeSet<(String, String)>,
}

/// A dataset that is being recorded. Its episodes follow each other on one timeline.
pub struct DatasetRecording {
    stream: Stream,
    log: RobotLog,
    next_step: usize,
}

/// Training runs that are being recorded.
pub struct TrainingRecording {
    stream: Stream,
    metrics: BTreeSet<String>,
    runs: Vec<String>,
    named: BTreeSet<(String, String)>,
}

fn dimensions(spec: &RobotSpec) -> String {
    let list = |all: &[engraft_core::Dimension]| {
        all.iter().map(crate::trace::title).collect::<Vec<_>>().join(", ")
    };
    format!(
        "| robot | {} |\n| --- | --- |\n| rate | {} Hz |\n| proprio | {} |\n| actions | {} |\n",
        spec.name,
        spec.control_hz,
        list(&spec.proprio),
        list(&spec.actions),
    )
}

impl RolloutRecording {
    /// Opens a recording of one episode.
    ///
    /// # Errors
    ///
    /// When a sink cannot be opened.
    pub fn open(spec: RobotSpec, about: About, sinks: &[Sink]) -> Result<Self, RecordingError> {
        let name = format!("{}, seed {}", about.instance, about.seed);
        let stream = Stream::open("engraft_rollout", &name, sinks)?;
        let log = RobotLog::new(spec, &stream)?;
        let recording = Self { stream, log, about, attention: BTreeSet::new() };
        recording.stream.lay_out(&layout::robot(&recording.log, &recording.attention))?;
        recording.describe(None)?;
        Ok(recording)
    }

    fn describe(&self, judged: Option<Outcome>) -> Result<(), RecordingError> {
        let About { task, instance, seed } = &self.about;
        let word = judged.map_or("running", |judged| outcome(judged).0);
        let text = format!(
            "# {task}\n\n**{word}**\n\ninstance {instance}, seed {seed}\n\n{}",
            dimensions(&self.log.spec)
        );
        self.stream.log_static(path(&["about"]), &TextDocument::from_markdown(text))
    }

    /// Records one control period; `index` counts them from zero.
    ///
    /// # Errors
    ///
    /// When rerun does not take it.
    pub fn step(&mut self, index: usize, step: &RolloutStep) -> Result<(), RecordingError> {
        let Self { stream, log, .. } = self;
        stream.at(index, step.time_secs);
        log.observation(stream, &step.observation)?;
        log.action(stream, &step.action, &step.limited)?;
        if !step.limited.is_empty() {
            let names: Vec<&str> =
                step.limited.iter().filter_map(|i| Some(log.actions.get(*i)?.as_str())).collect();
            let text = TextLog::new(format!("a limit changed {}", names.join(", ")));
            stream.log(path(&["events"]), &text.with_level(TextLogLevel::WARN))?;
        }
        let seen = log.attention(stream, &step.observation, &step.attention)?;
        if let Some(chunk) = &step.chunk {
            log.chunk(stream, chunk, index, step.time_secs)?;
        }
        if !seen.is_subset(&self.attention) {
            self.attention.extend(seen);
            self.stream.lay_out(&layout::robot(&self.log, &self.attention))?;
        }
        Ok(())
    }

    /// Writes how it ended, and what is left.
    ///
    /// # Errors
    ///
    /// When not all of it reached its place.
    pub fn finish(self, judged: Outcome) -> Result<(), RecordingError> {
        let (word, [r, g, b]) = outcome(judged);
        let text = TextLog::new(format!("outcome: {word}")).with_level(TextLogLevel::INFO);
        self.stream.log(path(&["events"]), &text.with_color([r, g, b]))?;
        self.describe(Some(judged))?;
        self.stream.finish()
    }
}

impl DatasetRecording {
    /// Opens a recording of episodes.
    ///
    /// # Errors
    ///
    /// When a sink cannot be opened.
    pub fn open(name: &str, spec: RobotSpec, sinks: &[Sink]) -> Result<Self, RecordingError> {
        let stream = Stream::open("engraft_dataset", name, sinks)?;
        let log = RobotLog::new(spec, &stream)?;
        stream.lay_out(&layout::robot(&log, &BTreeSet::new()))?;
        let text = format!("# {name}\n\n{}", dimensions(&log.spec));
        stream.log_static(path(&["about"]), &TextDocument::from_markdown(text))?;
        Ok(Self { stream, log, next_step: 0 })
    }

    fn now(&self) {
        self.stream.at(self.next_step, self.next_step as f64 * self.log.spec.period_secs());
    }

    /// Begins an episode.
    ///
    /// # Errors
    ///
    /// When rerun does not take it.
    pub fn episode(&mut self, index: usize, task: &str) -> Result<(), RecordingError> {
        self.now();
        let text = TextLog::new(format!("episode {index}: {task}"));
        self.stream.log(path(&["events"]), &text.with_level(TextLogLevel::INFO))
    }

    /// Records the next step of the episode.
    ///
    /// # Errors
    ///
    /// When rerun does not take it.
    pub fn step(&mut self, seen: &Observation, action: &[f32]) -> Result<(), RecordingError> {
        self.now();
        self.log.observation(&self.stream, seen)?;
        self.log.action(&self.stream, action, &[])?;
        self.next_step += 1;
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// When not all of it reached its place.
    pub fn finish(self) -> Result<(), RecordingError> {
        self.stream.finish()
    }
}

impl TrainingRecording {
    /// Opens a recording of training curves.
    ///
    /// # Errors
    ///
    /// When a sink cannot be opened.
    pub fn open(name: &str, sinks: &[Sink]) -> Result<Self, RecordingError> {
        let stream = Stream::open("engraft_training", name, sinks)?;
        Ok(Self { stream, metrics: BTreeSet::new(), runs: vec![], named: BTreeSet::new() })
    }

    /// The entity of a curve, which gets its name and colour, and its plot, when it is new.
    fn entity(&mut self, run: &str, metric: &str) -> Result<rerun::EntityPath, RecordingError> {
        let entity = path(&["training", metric, run]);
        if self.named.insert((run.into(), metric.into())) {
            if !self.runs.iter().any(|known| known == run) {
                self.runs.push(run.into());
            }
            let place = self.runs.iter().position(|known| known == run).unwrap_or(0);
            let style = SeriesLines::new().with_names([run]).with_colors([series(place)]);
            self.stream.log_static(entity.clone(), &style)?;
            if self.metrics.insert(metric.into()) {
                self.stream.lay_out(&layout::training(&self.metrics))?;
            }
        }
        Ok(entity)
    }

    /// Records one value of a run's metric.
    ///
    /// # Errors
    ///
    /// When rerun does not take it.
    pub fn point(
        &mut self,
        run: &str,
        metric: &str,
        step: u64,
        value: f64,
    ) -> Result<(), RecordingError> {
        let entity = self.entity(run, metric)?;
        self.stream.at_step(step as i64);
        self.stream.log(entity, &Scalars::single(value))
    }

    /// Records a whole curve.
    ///
    /// # Errors
    ///
    /// When rerun does not take it.
    pub fn curve(&mut self, curve: &Curve) -> Result<(), RecordingError> {
        let entity = self.entity(&curve.run, &curve.name)?;
        let steps = curve.points.iter().map(|[step, _]| step.round() as i64);
        self.stream.log_series(entity, steps, None, curve.points.iter().map(|[_, value]| *value))
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// When not all of it reached its place.
    pub fn finish(self) -> Result<(), RecordingError> {
        self.stream.finish()
    }
}

/// Writes a rollout as a `.rrd` file.
///
/// # Errors
///
/// When the file cannot be written.
pub fn rollout_to_rrd(rollout: &Rollout, path: &Path) -> Result<(), RecordingError> {
    let about = About {
        task: rollout.task.clone(),
        instance: rollout.instance.clone(),
        seed: rollout.seed,
    };
    let sinks = [Sink::File(path.to_owned())];
    let mut recording = RolloutRecording::open(rollout.spec.clone(), about, &sinks)?;
    for (index, step) in rollout.steps.iter().enumerate() {
        recording.step(index, step)?;
    }
    recording.finish(rollout.outcome)
}

/// Writes episodes as a `.rrd` file: for each its task, its observations and its actions.
///
/// [`DatasetRecording`] takes them one at a time, which needs less memory.
///
/// # Errors
///
/// When the file cannot be written.
pub fn dataset_to_rrd(
    name: &str,
    spec: &RobotSpec,
    episodes: impl IntoIterator<Item = (String, Vec<(Observation, Vec<f32>)>)>,
    path: &Path,
) -> Result<(), RecordingError> {
    let sinks = [Sink::File(path.to_owned())];
    let mut recording = DatasetRecording::open(name, spec.clone(), &sinks)?;
    for (index, (task, steps)) in episodes.into_iter().enumerate() {
        recording.episode(index, &task)?;
        for (observation, action) in &steps {
            recording.step(observation, action)?;
        }
    }
    recording.finish()
}

/// Writes training curves as a `.rrd` file.
///
/// # Errors
///
/// When the file cannot be written.
pub fn curves_to_rrd(name: &str, curves: &[Curve], path: &Path) -> Result<(), RecordingError> {
    let mut recording = TrainingRecording::open(name, &[Sink::File(path.to_owned())])?;
    for curve in curves {
        recording.curve(curve)?;
    }
    recording.finish()
}

#[cfg(test)]
#[path = "recording_tests.rs"]
pub(crate) mod tests;
