//! What a run says of itself: plain lines, a file of numbers, Burn's dashboard.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// One thing that a run says; its `Display` is a plain line.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// Something worth knowing.
    Note(String),
    /// How far the run is, every few seconds.
    Steps {
        /// Optimizer steps done.
        step: u64,
        /// Optimizer steps of the whole run; an estimate under a time limit, none at its start.
        total: Option<u64>,
        /// Mean loss since the last such line.
        loss: f64,
        /// The learning rate.
        learning_rate: f64,
        /// Pictures per second since the last such line.
        images_per_sec: f64,
        /// Share of the time since then that was spent waiting for data.
        waiting: f64,
        /// Time to the end.
        left: Duration,
    },
    /// The end of an epoch.
    Epoch {
        /// Optimizer steps done.
        step: u64,
        /// Mean loss of the epoch.
        loss: f64,
        /// Validation loss, where episodes were held back.
        val_loss: Option<f64>,
        /// Whether it is the best so far.
        best: bool,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(note) => f.write_str(note),
            Self::Steps { step, total, loss, learning_rate, images_per_sec, waiting, left } => {
                let (secs, share) = (left.as_secs(), 100.0 * waiting);
                write!(f, "step {step}")?;
                if let Some(total) = total {
                    write!(f, "/{total}")?;
                }
                write!(
                    f,
                    "  loss {loss:.4}  rate {learning_rate:.1e}  \
                     {images_per_sec:.0} images/s  {share:.0} % waiting for data  \
                     {}:{:02} left",
                    secs / 60,
                    secs % 60
                )
            }
            Self::Epoch { step, loss, val_loss, best } => {
                write!(f, "step {step}: train loss {loss:.4}")?;
                if let Some(val_loss) = val_loss {
                    write!(f, ", validation loss {val_loss:.4}")?;
                }
                f.write_str(if *best { ", the best so far" } else { "" })
            }
        }
    }
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsRow {
    /// Optimizer steps done.
    pub step: u64,
    /// Seconds in the training loop.
    pub elapsed_secs: f64,
    /// The step's loss; absent in rows of a validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// The step's learning rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Joint norm of the step's gradients before clipping: of those clipped, or of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
    /// Pictures per second over the last steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_per_sec: Option<f64>,
    /// Share of these steps' time that was spent waiting for data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<f64>,
    /// Mean loss of the epoch that ends here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_loss: Option<f64>,
    /// Validation loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
}

impl MetricsRow {
    /// A row without numbers.
    pub(crate) fn new(step: u64, elapsed_secs: f64) -> Self {
        Self {
            step,
            elapsed_secs,
            loss: None,
            learning_rate: None,
            gradient_norm: None,
            images_per_sec: None,
            waiting: None,
            epoch_loss: None,
            val_loss: None,
        }
    }
}

/// Reads the numbers of the run in `out`.
///
/// # Errors
///
/// When the file cannot be read or is not one of ours.
pub fn read_metrics(out: &Path) -> Result<Vec<MetricsRow>, TrainError> {
    let path = metrics_path(out);
    let text = fs::read_to_string(&path).map_err(TrainError::file("read", &path))?;
    let row = |line| {
        serde_json::from_str(line).map_err(|error| TrainError::Content {
            message: format!("not a row of numbers: {error}"),
            path: path.clone(),
        })
    };
    text.lines().map(row).collect()
}

fn metrics_path(out: &Path) -> PathBuf {
    out.join("metrics.jsonl")
}

/// `metrics.jsonl`, being written.
pub(crate) struct Metrics {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Metrics {
    /// Opens the file of the run in `out` and drops what lies past `step`: a run that was killed
    /// may have got further than its state.
    pub(crate) fn open(out: &Path, step: u64) -> Result<Self, TrainError> {
        let path = metrics_path(out);
        let kept: String = match fs::read_to_string(&path) {
            Ok(text) => text
                .split_inclusive('\n')
                .take_while(|line| {
                    let row = serde_json::from_str::<MetricsRow>(line);
                    line.ends_with('\n') && row.is_ok_and(|row| row.step <= step)
                })
                .collect(),
            Err(_) => String::new(),
        };
        let kept = if step == 0 { String::new() } else { kept };
        fs::write(&path, kept).map_err(TrainError::file("write", &path))?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = BufWriter::new(file.map_err(TrainError::file("write", &path))?);
        Ok(Self { file, path })
    }

    pub(crate) fn write(&mut self, row: &MetricsRow) -> Result<(), TrainError> {
        let mut line = serde_json::to_vec(row).expect("a row is plain data");
        line.push(b'\n');
        self.file.write_all(&line).map_err(TrainError::file("write", &self.path))
    }

    pub(crate) fn flush(&mut self) -> Result<(), TrainError> {
        self.file.flush().map_err(TrainError::file("write", &self.path))
    }
}

/// Numbers since they were last reported.
pub(crate) struct Window {
    pub(crate) since: Instant,
    pub(crate) losses: (f64, u64),
    pub(crate) num_images: usize,
    pub(crate) waited: Duration,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), losses: (0.0, 0), num_images: 0, waited: Duration::ZERO }
    }

    pub(crate) fn images_per_sec(&self) -> f64 {
        self.num_images as f64 / self.since.elapsed().as_secs_f64().max(1e-9)
    }

    pub(crate) fn waiting(&self) -> f64 {
        self.waited.as_secs_f64() / self.since.elapsed().as_secs_f64().max(1e-9)
    }
}

/// A dashboard that shows nothing, for where the plain lines are enough.
pub(crate) struct Silent;

impl MetricsRendererTraining for Silent {
    fn update_train(&mut self, _: MetricState) {}
    fn update_valid(&mut self, _: MetricState) {}
}

impl MetricsRendererEvaluation for Silent {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl TrainingProgressLogger for Silent {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _: usize) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for Silent {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRenderer for Silent {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _: MetricDefinition) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_a_person_wants_to_know() {
        let line = |total| Progress::Steps {
            step: 120,
            total,
            loss: 0.123_456,
            learning_rate: 3e-4,
            images_per_sec: 412.4,
            waiting: 0.031,
            left: Duration::from_secs(125),
        };
        assert_eq!(
            line(Some(3000)).to_string(),
            "step 120/3000  loss 0.1235  rate 3.0e-4  412 images/s  3 % waiting for data  2:05 left"
        );
        let unknown = line(None).to_string();
        assert!(unknown.starts_with("step 120  loss 0.1235  rate"), "{unknown}");
        let epoch = Progress::Epoch { step: 250, loss: 0.5, val_loss: Some(0.25), best: true };
        let line = "step 250: train loss 0.5000, validation loss 0.2500, the best so far";
        assert_eq!(epoch.to_string(), line);
    }

    #[test]
    fn rows_past_the_state_and_torn_ones_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(folder.path(), 0).unwrap();
        for step in 1..=4 {
            metrics.write(&MetricsRow::new(step, step as f64)).unwrap();
        }
        metrics.flush().unwrap();
        let mut text = fs::read_to_string(metrics_path(folder.path())).unwrap();
        text.push_str("{\"step\":5,");
        fs::write(metrics_path(folder.path()), text).unwrap();
        let mut metrics = Metrics::open(folder.path(), 2).unwrap();
        metrics.write(&MetricsRow::new(3, 9.0)).unwrap();
        metrics.flush().unwrap();
        let steps: Vec<_> =
            read_metrics(folder.path()).unwrap().iter().map(|row| row.step).collect();
        assert_eq!(steps, [1, 2, 3]);
    }
}
