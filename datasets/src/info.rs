//! What a dataset says about itself, for those who look before they train.

use std::path::PathBuf;

use engraft_core::Dimension;
use serde::Serialize;

use crate::Mapping;

/// What a dataset says about itself, and where its data disagrees.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetInfo {
    /// The format and its version.
    pub format: String,
    /// The folder.
    pub path: PathBuf,
    /// The robot's name.
    pub robot: String,
    /// Steps per second.
    pub fps: f32,
    /// Episodes, counted.
    pub num_episodes: usize,
    /// Steps, counted.
    pub num_steps: usize,
    /// Seconds of demonstration at `fps`.
    pub duration_secs: f64,
    /// Steps of the shortest, of the mean and of the longest episode.
    pub episode_steps: EpisodeSteps,
    /// Bytes of the data files.
    pub num_bytes: u64,
    /// What was asked of the demonstrator.
    pub tasks: Vec<String>,
    /// Every feature, in the dataset's order.
    pub features: Vec<FeatureInfo>,
    /// Which columns are what, guesses included.
    pub mapping: Mapping,
    /// Where the dataset disagrees with itself, or leaves open what a policy needs.
    pub warnings: Vec<String>,
}

/// How long episodes are.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct EpisodeSteps {
    /// The shortest.
    pub min: usize,
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub max: usize,
}

/// What a feature is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A camera's picture.
    View,
    /// A camera's depth.
    Depth,
    /// What the robot senses of itself.
    Proprio,
    /// What the demonstrator did.
    Action,
    /// Time and counters.
    Index,
    /// Not read.
    Other,
}

/// One column of the data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureInfo {
    /// Its name.
    pub name: String,
    /// What it is to us.
    pub role: Role,
    /// Its element type, in the dataset's words.
    pub dtype: String,
    /// Its shape, in the dataset's order of axes.
    pub shape: Vec<usize>,
    /// Names, units and bounds of its dimensions, where it is proprio or action.
    ///
    /// A unit that ends in `?` is guessed from the name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<Dimension>,
}

impl EpisodeSteps {
    /// Over the lengths of all episodes.
    pub(crate) fn of(lengths: impl Iterator<Item = usize> + Clone) -> Self {
        let (count, sum) = lengths.clone().fold((0, 0), |(n, sum), len| (n + 1, sum + len));
        Self {
            min: lengths.clone().min().unwrap_or(0),
            mean: if count == 0 { 0.0 } else { sum as f64 / f64::from(count) },
            max: lengths.max().unwrap_or(0),
        }
    }
}

/// The unit that a dimension's name hints at, marked as a guess; empty where it hints at none.
pub(crate) fn guess_unit(name: &str) -> &'static str {
    let name = name.to_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if ends(&["_rad_per_s", "_rad_s"]) {
        "rad/s?"
    } else if ends(&["_m_per_s", "_m_s"]) {
        "m/s?"
    } else if ends(&["_rad", ".rad"]) {
        "rad?"
    } else if ends(&["_deg", ".deg"]) {
        "deg?"
    } else if ends(&["_mm"]) {
        "mm?"
    } else if ends(&["_m", ".m"]) {
        "m?"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guessed_unit_says_that_it_is_a_guess() {
        assert_eq!(guess_unit("elbow_rad"), "rad?");
        assert_eq!(guess_unit("lift_m"), "m?");
        assert_eq!(guess_unit("arm"), "");
    }

    #[test]
    fn lengths_of_no_episode_are_zero() {
        assert_eq!(EpisodeSteps::of(std::iter::empty()), EpisodeSteps::default());
        let three = EpisodeSteps::of([2, 4, 6].into_iter());
        assert_eq!((three.min, three.mean, three.max), (2, 4.0, 6));
    }
}
