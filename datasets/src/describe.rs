//! What the numbers of a dataset look like, dimension by dimension.

use engraft_core::Dimension;
use serde::Serialize;

use crate::convert::count_steps;
use crate::{Dataset, DatasetError};

/// Values that are kept for quantiles, over all dimensions: 128 MiB of them.
const MAX_VALUES: usize = 32 << 20;

/// What the numbers of a dataset look like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// Episodes looked at.
    pub num_episodes: usize,
    /// Steps looked at.
    pub num_steps: usize,
    /// Of proprio.
    pub proprio: Vec<DimensionStats>,
    /// Of the actions.
    pub actions: Vec<DimensionStats>,
}

/// What one dimension looks like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DimensionStats {
    /// Its name.
    pub name: String,
    /// Its unit, empty where the dataset does not say.
    pub unit: String,
    /// Steps.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the population.
    pub std: f64,
    /// The smallest value.
    pub min: f32,
    /// The largest value.
    pub max: f32,
    /// One hundredth lies below.
    pub q01: f32,
    /// Half lies below.
    pub q50: f32,
    /// One hundredth lies above.
    pub q99: f32,
    /// Every how many steps a value was taken for the quantiles; they are exact where it is 1.
    pub quantile_stride: usize,
}

/// Describes proprio and actions over every step of `episodes`, without decoding a picture.
///
/// Mean, deviation and bounds are of every step. Quantiles are, too, as long as all values fit
/// into 128 MiB; beyond, they are of every second step, or of every third, and so on.
///
/// # Errors
///
/// When an episode does not exist or cannot be read.
pub fn describe(
    dataset: &dyn Dataset,
    episodes: &[usize],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Description, DatasetError> {
    let spec = dataset.spec();
    let total = count_steps(dataset, episodes)?;
    let width = spec.proprio_dim() + spec.action_dim();
    let stride = (total as usize).saturating_mul(width).div_ceil(MAX_VALUES).max(1);
    let dimensions = |all: &[Dimension]| all.iter().map(|_| Column::default()).collect();
    let mut proprio: Vec<Column> = dimensions(&spec.proprio);
    let mut actions: Vec<Column> = dimensions(&spec.actions);
    let mut at = 0;
    for &index in episodes {
        let episode = dataset.episode(index)?;
        let chunk = episode.actions(0..episode.num_steps())?;
        for step in 0..episode.num_steps() {
            let keep = at % stride == 0;
            let sensed = proprio.iter_mut().zip(episode.proprio(step)?);
            sensed.for_each(|(column, &value)| column.push(value, keep));
            let done = actions.iter_mut().zip(chunk.action(step));
            done.for_each(|(column, &value)| column.push(value, keep));
            at += 1;
        }
        progress(at as u64, total);
    }
    let finish = |columns: Vec<Column>, all: &[Dimension]| {
        columns.into_iter().zip(all).map(|(column, one)| column.finish(one, stride)).collect()
    };
    Ok(Description {
        num_episodes: episodes.len(),
        num_steps: at,
        proprio: finish(proprio, &spec.proprio),
        actions: finish(actions, &spec.actions),
    })
}

/// One dimension on its way.
#[derive(Default)]
struct Column {
    count: u64,
    mean: f64,
    squares: f64,
    min: f32,
    max: f32,
    kept: Vec<f32>,
}

impl Column {
    fn push(&mut self, value: f32, keep: bool) {
        (self.min, self.max) = match self.count {
            0 => (value, value),
            _ => (self.min.min(value), self.max.max(value)),
        };
        self.count += 1;
        let off = f64::from(value) - self.mean;
        self.mean += off / self.count as f64;
        self.squares += off * (f64::from(value) - self.mean);
        if keep {
            self.kept.push(value);
        }
    }

    fn finish(mut self, dimension: &Dimension, quantile_stride: usize) -> DimensionStats {
        self.kept.sort_by(f32::total_cmp);
        let quantile = |q: f64| {
            let rank = q * self.kept.len().saturating_sub(1) as f64;
            let at = |rank: f64| self.kept.get(rank as usize).copied().unwrap_or(0.0);
            let (below, above) = (at(rank.floor()), at(rank.ceil()));
            below + (above - below) * rank.fract() as f32
        };
        let variance = if self.count == 0 { 0.0 } else { self.squares / self.count as f64 };
        DimensionStats {
            name: dimension.name.clone(),
            unit: dimension.unit.clone(),
            count: self.count,
            mean: self.mean,
            std: variance.max(0.0).sqrt(),
            min: self.min,
            max: self.max,
            q01: quantile(0.01),
            q50: quantile(0.5),
            q99: quantile(0.99),
            quantile_stride,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::CountingSet;

    #[test]
    fn a_dimension_is_described_by_its_values() {
        let dataset = CountingSet::new(&[3, 5]);
        let mut calls = Vec::new();
        let found = describe(&dataset, &[0, 1], &mut |done, of| calls.push((done, of))).unwrap();
        assert_eq!(calls, [(3, 8), (8, 8)]);
        assert_eq!((found.num_episodes, found.num_steps), (2, 8));
        let one = &found.actions[0];
        // 0, 1, 2 and 0, 1, 2, 3, 4.
        assert_eq!((&*one.name, &*one.unit, one.count), ("step", "rad", 8));
        assert_eq!((one.mean, one.min, one.max, one.q50), (1.625, 0.0, 4.0, 1.5));
        assert!((one.std - 1.734_375_f64.sqrt()).abs() < 1e-12);
        assert!((one.q99 - 3.93).abs() < 1e-6 && one.quantile_stride == 1);
        assert!(describe(&dataset, &[2], &mut |_, _| {}).is_err());
    }

    #[test]
    fn nothing_is_described_without_a_division_by_zero() {
        let found = describe(&CountingSet::new(&[3]), &[], &mut |_, _| {}).unwrap();
        assert_eq!((found.actions[0].count, found.actions[0].std), (0, 0.0));
    }
}
