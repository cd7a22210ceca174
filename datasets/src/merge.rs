//! Several datasets as one, and one as several.

use std::path::{Path, PathBuf};

use engraft_core::SpecError;

use crate::convert::{Converted, convert, count_steps, difference, verify};
use crate::{Dataset, DatasetError, LerobotWriter, Version, open, split};

/// Writes all episodes of `datasets`, one dataset after the other, as a LeRobot dataset in folder
/// `out`, which is new or empty; then reads both and holds them against each other.
///
/// `progress` is told how many steps of all are done, each of which is written and then verified.
///
/// # Errors
///
/// When there is no dataset; when one is of another robot than the first (names, order and units
/// of dimensions, cameras, picture sizes or rate), with what was expected and what was found; when
/// an episode cannot be read or written; when what was written differs.
pub fn merge(
    datasets: &[&dyn Dataset],
    out: &Path,
    version: Version,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Converted, DatasetError> {
    let Some(first) = datasets.first() else {
        return Err(DatasetError::content("datasets", "one or more to merge", "none", out));
    };
    for other in &datasets[1..] {
        first.spec().check(other.spec()).map_err(|error| mismatch(&error, *other))?;
    }
    let total = 2 * datasets.iter().map(|dataset| dataset.num_steps() as u64).sum::<u64>();
    let mut writer = LerobotWriter::create(out, first.spec(), version)?;
    let mut merged = Converted::default();
    let mut done = 0;
    for dataset in datasets {
        let all: Vec<usize> = (0..dataset.num_episodes()).collect();
        let one =
            convert(*dataset, &mut writer, &all, &mut |step, _| progress(done + step, total))?;
        done += one.num_steps as u64;
        merged.num_episodes += one.num_episodes;
        merged.num_steps += one.num_steps;
        let more = one.left_behind.into_iter();
        merged
            .left_behind
            .extend(more.filter(|name| !merged.left_behind.contains(name)).collect::<Vec<_>>());
    }
    let written = open(out)?;
    let mut offset = 0;
    for dataset in datasets {
        for episode in 0..dataset.num_episodes() {
            let found = difference(*dataset, episode, &*written, offset + episode, 0);
            found.map_or(Ok(()), |line| Err(differs(line, out)))?;
            done += dataset.episode_len(episode) as u64;
            progress(done, total);
        }
        offset += dataset.num_episodes();
    }
    Ok(merged)
}

fn mismatch(error: &SpecError, found_in: &dyn Dataset) -> DatasetError {
    let path = found_in.path().unwrap_or(Path::new("."));
    match error {
        SpecError::Mismatch { field, expected, found } => {
            DatasetError::content(format!("robot: {field}"), expected, found, path)
        }
        other => {
            DatasetError::content("robot", "that of the first dataset", other.to_string(), path)
        }
    }
}

fn differs(line: String, out: &Path) -> DatasetError {
    DatasetError::content("copy", "what was read", line, out)
}

/// Episodes that go to one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitPart {
    /// Where they go: a new or empty folder.
    pub out: PathBuf,
    /// Which they are, in the order in which they are written.
    pub episodes: Vec<usize>,
}

/// Writes parts of a dataset as LeRobot datasets of their own, and verifies each.
///
/// # Errors
///
/// When an episode stands in two parts or does not exist, before anything is written; when one
/// cannot be read or written; when what was written differs.
pub fn split_off(
    dataset: &dyn Dataset,
    parts: &[SplitPart],
    version: Version,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Converted>, DatasetError> {
    let mut taken = vec![false; dataset.num_episodes()];
    let mut total = 0;
    for part in parts {
        total += count_steps(dataset, &part.episodes)?;
        for &episode in &part.episodes {
            if std::mem::replace(&mut taken[episode], true) {
                let found = format!("episode {episode} twice");
                return Err(DatasetError::content("parts", "each episode once", found, &part.out));
            }
        }
    }
    let mut done = 0;
    let mut converted = Vec::new();
    for part in parts {
        let mut writer = LerobotWriter::create(&part.out, dataset.spec(), version)?;
        let one = convert(dataset, &mut writer, &part.episodes, &mut |step, _| {
            progress(done + step, total);
        })?;
        done += one.num_steps as u64;
        let differences = verify(dataset, &*open(&part.out)?, &part.episodes, 0, &mut |_, _| {});
        if let Some(line) = differences.into_iter().next() {
            return Err(differs(line, &part.out));
        }
        converted.push(one);
    }
    Ok(converted)
}

/// Draws episodes into parts, of which each has about its fraction; equal arguments give equal
/// parts, on every machine. The last part takes what rounding leaves.
///
/// ```
/// let parts = engraft_datasets::split_by_fractions(10, &[0.5, 0.3, 0.2], 7);
/// let lengths: Vec<usize> = parts.iter().map(Vec::len).collect();
/// assert_eq!(lengths, [5, 3, 2]);
/// ```
pub fn split_by_fractions(num_episodes: usize, fractions: &[f64], seed: u64) -> Vec<Vec<usize>> {
    let sum: f64 = fractions.iter().sum();
    let mut rest: Vec<usize> = (0..num_episodes).collect();
    let mut parts = Vec::with_capacity(fractions.len());
    let (mut before, mut taken) = (0.0, 0);
    for (at, fraction) in fractions.iter().enumerate() {
        before += fraction / sum;
        let end = (before * num_episodes as f64).round() as usize;
        let wanted = end.min(num_episodes).saturating_sub(taken);
        if at + 1 == fractions.len() {
            parts.push(std::mem::take(&mut rest));
            break;
        }
        taken += wanted;
        parts.push(draw(&mut rest, wanted, seed.wrapping_add(at as u64)));
    }
    parts
}

/// Takes `wanted` of `rest` at random; both stay ascending.
fn draw(rest: &mut Vec<usize>, wanted: usize, seed: u64) -> Vec<usize> {
    if wanted == 0 || wanted >= rest.len() {
        return if wanted == 0 { Vec::new() } else { std::mem::take(rest) };
    }
    let places = split(rest.len(), wanted as f32 / rest.len() as f32, seed);
    let drawn = places.val.iter().map(|&place| rest[place]).collect();
    *rest = places.train.iter().map(|&place| rest[place]).collect();
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_episode_is_in_one_part() {
        for num_episodes in 0..12 {
            let parts = split_by_fractions(num_episodes, &[0.6, 0.25, 0.15], 3);
            let mut all = parts.concat();
            all.sort_unstable();
            assert_eq!(all, (0..num_episodes).collect::<Vec<_>>());
            assert_eq!(parts, split_by_fractions(num_episodes, &[0.6, 0.25, 0.15], 3));
        }
        assert_ne!(split_by_fractions(12, &[0.5, 0.5], 0), split_by_fractions(12, &[0.5, 0.5], 1));
    }
}
