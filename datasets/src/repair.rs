//! A new dataset with what is sound of an old one.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::convert::{Copied, copy, difference, left_behind};
use crate::doctor::DROPPED;
use crate::{Dataset, DatasetError, Diagnosis, Finding, LerobotWriter, Version, chain, open};

/// What a repair came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repaired {
    /// The new dataset.
    pub path: PathBuf,
    /// Its version of the LeRobot format.
    pub version: String,
    /// Episodes in it.
    pub num_episodes: usize,
    /// Steps in it.
    pub num_steps: usize,
    /// Episodes that are not in it.
    pub dropped: Vec<Dropped>,
    /// What is otherwise than it was, one line each.
    pub changed: Vec<String>,
}

/// An episode that was left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dropped {
    /// Its index in the old dataset.
    pub episode: usize,
    /// Why.
    pub reason: String,
}

/// Writes what is sound of `dataset` to folder `out`, which is new or empty, and verifies it.
///
/// The new dataset is of the same version of the LeRobot format (2.1 for 2.0, 3.0 for another
/// format), with counters, times, totals and statistics counted anew. Episodes that cannot be
/// read, hold a NaN, have no step or are another one again are left out. No number and no pixel
/// is changed: what is only suspected is for people to decide.
///
/// # Errors
///
/// When nothing is left, when a file cannot be written, or when what was written differs.
pub fn repair(
    dataset: &dyn Dataset,
    diagnosis: &Diagnosis,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Repaired, DatasetError> {
    let info = dataset.info()?;
    let version = match info.format.strip_prefix("LeRobot ").and_then(Version::parse) {
        Some(Version::V20) => Version::V21,
        Some(version) => version,
        None => Version::V30,
    };
    let mut writer = LerobotWriter::create(out, dataset.spec(), version)?;
    let total = 2 * dataset.num_steps() as u64;
    let mut done = 0;
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for episode in 0..dataset.num_episodes() {
        let is_reason =
            |found: &&Finding| found.episode == Some(episode) && DROPPED.contains(&found.check);
        let reason = match diagnosis.findings.iter().find(is_reason) {
            Some(found) => Some(format!("{}: {}", found.check, found.message)),
            None => match copy(dataset, episode, &mut writer, &mut |step| {
                progress(done + step, total);
            })? {
                Copied::Written => None,
                Copied::Unreadable(error) => Some(chain(&error)),
            },
        };
        match reason {
            Some(reason) => dropped.push(Dropped { episode, reason }),
            None => kept.push(episode),
        }
        done += dataset.episode_len(episode) as u64;
    }
    writer.finish()?;
    if kept.is_empty() {
        let found = format!("{} that cannot be used", dropped.len());
        return Err(DatasetError::content("episodes", "at least one to keep", found, out));
    }
    let written = open(out)?;
    for (at, &episode) in kept.iter().enumerate() {
        if let Some(line) = difference(dataset, episode, &*written, at, 0) {
            return Err(DatasetError::content("copy", "what was read", line, out));
        }
        done += dataset.episode_len(episode) as u64;
        progress(done, total);
    }
    Ok(Repaired {
        path: out.to_owned(),
        version: version.to_string(),
        num_episodes: written.num_episodes(),
        num_steps: written.num_steps(),
        changed: changes(dataset, diagnosis, &info.format, version)?,
        dropped,
    })
}

/// What is otherwise than it was, beside the episodes that are gone.
fn changes(
    dataset: &dyn Dataset,
    diagnosis: &Diagnosis,
    format: &str,
    version: Version,
) -> Result<Vec<String>, DatasetError> {
    let mut changed = Vec::new();
    let target = format!("LeRobot {version}");
    if format != target {
        changed.push(format!("{format} became {target}"));
    }
    let mended = diagnosis.findings.iter().filter(|found| found.repairable);
    for found in mended.filter(|found| !DROPPED.contains(&found.check)) {
        let place = found.episode.map_or(String::new(), |episode| format!("episode {episode}: "));
        changed.push(format!("{}: {place}{}", found.check, found.message));
    }
    let features = dataset.info()?.features;
    let videos = features.iter().filter(|feature| feature.dtype == "video");
    changed.extend(videos.map(|feature| format!("`{}`: video became PNG", feature.name)));
    let left = left_behind(dataset)?.into_iter();
    changed.extend(left.map(|name| format!("`{name}` is left behind")));
    Ok(changed)
}
