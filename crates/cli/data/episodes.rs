//! Lists of episodes, as people type them: `0-9,12`.

use std::str::FromStr;

use anyhow::{anyhow, bail};
use engraft_datasets::Dataset;

/// Episodes in the order in which they were named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Episodes(Vec<(usize, usize)>);

impl FromStr for Episodes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let wrong = || anyhow!("expected episodes such as 0-9,12, found `{text}`");
        let part = |part: &str| -> anyhow::Result<(usize, usize)> {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
            let (from, to) = (number(from)?, number(to)?);
            if from > to { Err(wrong()) } else { Ok((from, to)) }
        };
        text.split(',').map(part).collect::<anyhow::Result<_>>().map(Self)
    }
}

impl Episodes {
    /// Their indices, each of which `dataset` has.
    pub(crate) fn of(&self, dataset: &dyn Dataset) -> anyhow::Result<Vec<usize>> {
        let count = dataset.num_episodes();
        if let Some((_, to)) = self.0.iter().find(|(_, to)| *to >= count) {
            bail!("there is no episode {to}: expected 0 to {}", count.saturating_sub(1));
        }
        Ok(self.0.iter().flat_map(|&(from, to)| from..=to).collect())
    }
}

/// The episodes named, or all.
pub(crate) fn chosen(
    episodes: Option<&Episodes>,
    dataset: &dyn Dataset,
) -> anyhow::Result<Vec<usize>> {
    episodes.map_or_else(|| Ok((0..dataset.num_episodes()).collect()), |list| list.of(dataset))
}
