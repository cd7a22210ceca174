//! What is wrong with a dataset, found before it is learned from.
//!
//! Every episode is read once, on every core. Checks that hold in any format are under
//! `doctor/`; those of a format's own files are the format's
//! ([`Dataset::examine_format`]). What is only likely is a warning with its evidence, and what
//! others refuse or what cannot be read is an error.

mod episodes;
mod gripper;
mod numbers;
mod pictures;
mod series;
mod survey;
#[cfg(test)]
mod tests;
mod units;

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::Dataset;
use crate::parallel::in_parallel;
use survey::{Plan, Survey};

/// Findings of one check that are listed one by one; more of them are counted.
const MAX_PER_CHECK: usize = 50;

/// An episode cannot be read.
pub(crate) const UNREADABLE_EPISODE: &str = "unreadable-episode";
/// A picture cannot be decoded.
pub(crate) const UNREADABLE_PICTURE: &str = "unreadable-picture";
/// A number is NaN or infinite.
pub(crate) const NOT_FINITE: &str = "not-finite";
/// An episode is another one again.
pub(crate) const DUPLICATE_EPISODE: &str = "duplicate-episode";
/// An episode without steps.
pub(crate) const EMPTY_EPISODE: &str = "empty-episode";
/// What [`repair`](crate::repair()) leaves out; each finding of these names its episode.
pub(crate) const DROPPED: [&str; 5] =
    [UNREADABLE_EPISODE, UNREADABLE_PICTURE, NOT_FINITE, DUPLICATE_EPISODE, EMPTY_EPISODE];

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Data that cannot be read, or that other programs refuse.
    Error,
    /// Something that very likely is wrong, and that a policy would learn.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which check found it, in kebab-case.
    pub check: &'static str,
    /// The episode, where it is about one.
    pub episode: Option<usize>,
    /// The step, where it is about one, or the first of several.
    pub step: Option<usize>,
    /// What was expected and what was found, in one sentence.
    pub message: String,
    /// What to do about it, where that is known.
    pub remedy: Option<String>,
    /// Whether [`repair`](crate::repair()) mends it.
    pub repairable: bool,
}

impl Finding {
    fn new(severity: Severity, check: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            severity,
            check,
            episode: None,
            step: None,
            message,
            remedy: None,
            repairable: false,
        }
    }

    pub(crate) fn error(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, check, message)
    }

    pub(crate) fn warning(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, check, message)
    }

    pub(crate) fn note(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, check, message)
    }

    pub(crate) fn in_episode(self, episode: usize) -> Self {
        Self { episode: Some(episode), ..self }
    }

    pub(crate) fn at_step(self, step: usize) -> Self {
        Self { step: Some(step), ..self }
    }

    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    pub(crate) fn repairable(self) -> Self {
        Self { repairable: true, ..self }
    }
}

/// How thoroughly to look.
#[derive(Debug, Clone, PartialEq)]
pub struct Examination {
    /// Whether every picture is decoded, rather than two in [`frozen_secs`](Self::frozen_secs).
    pub every_picture: bool,
    /// How long a camera may show the same picture while the arm moves.
    pub frozen_secs: f32,
}

impl Default for Examination {
    fn default() -> Self {
        Self { every_picture: false, frozen_secs: 1.0 }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The folder or file, where there is one.
    pub path: Option<PathBuf>,
    /// Episodes in the dataset.
    pub num_episodes: usize,
    /// Steps in the dataset.
    pub num_steps: usize,
    /// Steps whose pictures were decoded.
    pub num_steps_seen: usize,
    /// What was found, the worst first, then by place.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// How many findings are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Whether there is no error and no warning.
    pub fn is_healthy(&self) -> bool {
        self.count(Severity::Error) + self.count(Severity::Warning) == 0
    }
}

/// Looks for what is wrong with a dataset of any format.
///
/// `progress` is told how many files and episodes of all are done. Memory holds a few episodes at
/// a time and a summary of each, some kilobytes long.
///
/// ```
/// # use engraft_core::{Dimension, Observation, RobotSpec};
/// # use engraft_datasets::{Examination, LerobotWriter, Version, examine, open};
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let dir = folder.path().join("demonstrations");
/// # let spec = RobotSpec {
/// #     name: "arm".into(), control_hz: 10.0, views: vec![], proprio: vec![],
/// #     actions: vec![Dimension::new("elbow", "rad")],
/// # };
/// # let mut writer = LerobotWriter::create(&dir, &spec, Version::V30)?;
/// # let still = Observation { views: vec![], proprio: vec![] };
/// # writer.add_episode("", [(still.clone(), vec![0.5]), (still, vec![0.5])])?;
/// let dataset = open(&dir)?;
/// let diagnosis = examine(&*dataset, &Examination::default(), &mut |_done, _total| {});
/// assert!(diagnosis.findings.iter().any(|finding| finding.check == "constant-dimension"));
/// # Ok::<(), engraft_datasets::DatasetError>(())
/// ```
pub fn examine(
    dataset: &dyn Dataset,
    options: &Examination,
    progress: &mut dyn FnMut(u64, u64),
) -> Diagnosis {
    let num_episodes = dataset.num_episodes();
    let mut num_files = 0;
    let mut findings = dataset.examine_format(&mut |done, of| {
        num_files = of;
        progress(done, of + num_episodes as u64);
    });
    let plan = Plan::new(dataset, options);
    let total = num_files + num_episodes as u64;
    let surveys =
        in_parallel(num_episodes, |episode| Survey::of(dataset, episode, &plan), &mut |done| {
            progress(num_files + done, total);
        });
    let mut read = Vec::with_capacity(surveys.len());
    for survey in surveys {
        match survey {
            Ok(mut survey) => {
                findings.append(&mut survey.findings);
                read.push(survey);
            }
            Err(finding) => findings.push(finding),
        }
    }
    findings.extend(episodes::examine(dataset, &read));
    findings.extend(numbers::examine(dataset.spec(), &read));
    findings.extend(gripper::examine(dataset.spec(), &plan, &read));
    findings.extend(pictures::examine(dataset.spec(), &read));
    Diagnosis {
        path: dataset.path().map(Into::into),
        num_episodes,
        num_steps: dataset.num_steps(),
        num_steps_seen: read.iter().map(|survey| survey.num_steps_seen).sum(),
        findings: in_order(findings),
    }
}

/// The worst first, then by place; what a check found too often is counted instead.
fn in_order(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| {
        let place = |f: &Finding| (f.severity, f.episode, f.step, f.check);
        place(a).cmp(&place(b))
    });
    let mut seen: HashMap<(&str, Severity), usize> = HashMap::new();
    findings.retain(|finding| {
        let count = seen.entry((finding.check, finding.severity)).or_default();
        *count += 1;
        *count <= MAX_PER_CHECK || DROPPED.contains(&finding.check)
    });
    let mut counted: Vec<Finding> = seen
        .into_iter()
        .filter(|((check, _), count)| *count > MAX_PER_CHECK && !DROPPED.contains(check))
        .map(|((check, severity), count)| {
            let message = format!("{} more findings of this kind", count - MAX_PER_CHECK);
            Finding::new(severity, check, message)
        })
        .collect();
    counted.sort_by_key(|finding| (finding.severity, finding.check));
    for more in counted {
        let last = findings.iter().rposition(|finding| finding.check == more.check);
        findings.insert(last.map_or(findings.len(), |at| at + 1), more);
    }
    findings
}
