//! Open loop: what the policy would have done at every step of recorded episodes.

use engraft_core::{ActionChunk, Observation, Sample};
use engraft_datasets::{Dataset, PastEnd, sample};
use engraft_policies::Checkpoint;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::EvalError;

/// What to look at.
#[derive(Debug, Clone)]
pub struct OpenLoop {
    /// Episodes; all of them if `None`.
    pub episodes: Option<Vec<usize>>,
    /// Steps looked at, evenly spread over the episodes; all of them if `None`.
    pub max_samples: Option<usize>,
    /// Samples that go through the policy at once.
    pub batch_size: usize,
}

impl Default for OpenLoop {
    fn default() -> Self {
        Self { episodes: None, max_samples: None, batch_size: 32 }
    }
}

/// Errors of one action dimension, in its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DimensionError {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Mean absolute error.
    pub mae: f64,
    /// Root of the mean squared error.
    pub rmse: f64,
    /// Mean absolute error of always predicting the mean of the training data.
    pub mean_mae: f64,
    /// Root of the mean squared error of that.
    pub mean_rmse: f64,
}

/// What the policy would have done at every step of recorded episodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenLoopReport {
    /// Episodes looked at.
    pub num_episodes: usize,
    /// Steps looked at.
    pub num_samples: usize,
    /// Errors per dimension, over all steps of the chunk that lie inside the episode.
    pub dimensions: Vec<DimensionError>,
    /// Mean squared error of each step of the chunk, as a share of what predicting the mean has.
    pub steps: Vec<f64>,
    /// Mean squared error of all, as a share of what predicting the mean has: 0 is perfect, 1 is
    /// no better than the mean. Each dimension counts by its own spread.
    pub relative_mse: f64,
}

/// Sums over samples, `[horizon, action_dim]` each.
struct Sums {
    action_dim: usize,
    count: Vec<f64>,
    absolute: [Vec<f64>; 2],
    squared: [Vec<f64>; 2],
}

impl Sums {
    fn new(horizon: usize, action_dim: usize) -> Self {
        let zeros = || vec![0.0; horizon * action_dim];
        Self {
            action_dim,
            count: vec![0.0; horizon],
            absolute: [zeros(), zeros()],
            squared: [zeros(), zeros()],
        }
    }

    fn add(&mut self, sample: &Sample, guesses: [&ActionChunk; 2]) {
        for (step, _) in sample.mask.iter().enumerate().filter(|(_, inside)| **inside) {
            self.count[step] += 1.0;
            let truth = sample.actions.action(step);
            for (which, guess) in guesses.iter().enumerate() {
                let pairs = guess.action(step).iter().zip(truth);
                for (i, (guess, truth)) in pairs.enumerate() {
                    let error = f64::from(guess - truth);
                    let at = step * self.action_dim + i;
                    self.absolute[which][at] += error.abs();
                    self.squared[which][at] += error * error;
                }
            }
        }
    }

    /// The mean of `sums` over the steps of the chunk, for dimension `i`.
    fn mean(&self, sums: &[f64], i: usize) -> f64 {
        let sum: f64 = sums.iter().skip(i).step_by(self.action_dim).sum();
        sum / self.count.iter().sum::<f64>().max(1.0)
    }

    /// The squared error at `step` (all steps if `None`) over that of predicting the mean, each
    /// dimension divided by its spread; a dimension without spread is left out.
    fn relative(&self, step: Option<usize>) -> f64 {
        let ratio = |i: usize| {
            let spread = self.mean(&self.squared[1], i);
            let (error, base) = match step {
                None => (self.mean(&self.squared[0], i), spread),
                Some(step) => {
                    let (at, n) = (step * self.action_dim + i, self.count[step].max(1.0));
                    (self.squared[0][at] / n, self.squared[1][at] / n)
                }
            };
            (spread > 1e-12).then(|| (error / spread, base / spread))
        };
        let (errors, bases): (Vec<f64>, Vec<f64>) = (0..self.action_dim).filter_map(ratio).unzip();
        let base: f64 = bases.iter().sum();
        if base > 0.0 { errors.iter().sum::<f64>() / base } else { 0.0 }
    }
}

/// Compares the policy with what the demonstrators did.
///
/// # Errors
///
/// When the dataset is of another robot, or cannot be read.
pub fn open_loop(
    checkpoint: &Checkpoint,
    dataset: &dyn Dataset,
    options: &OpenLoop,
) -> Result<OpenLoopReport, EvalError> {
    let contract = &checkpoint.contract;
    contract.spec.check(dataset.spec())?;
    let episodes: Vec<usize> = match &options.episodes {
        Some(episodes) => episodes.clone(),
        None => (0..dataset.num_episodes()).collect(),
    };
    if let Some(missing) = episodes.iter().find(|&&episode| episode >= dataset.num_episodes()) {
        let expected = format!("numbers below {}", dataset.num_episodes());
        return Err(EvalError::option("episodes", expected, &missing));
    }
    let all: Vec<(usize, usize)> = episodes
        .iter()
        .flat_map(|&episode| (0..dataset.episode_len(episode)).map(move |step| (episode, step)))
        .collect();
    if all.is_empty() {
        return Err(EvalError::option("episodes", "at least one step", &"none"));
    }
    let most = options.max_samples.unwrap_or(all.len()).clamp(1, all.len());
    let places: Vec<_> = (0..most).map(|i| all[i * all.len() / most]).collect();
    let mut sums = Sums::new(contract.horizon, contract.spec.action_dim());
    for places in places.chunks(options.batch_size.max(1)) {
        let samples = places
            .par_iter()
            .map(|&(episode, step)| {
                let episode = dataset.episode(episode)?;
                let (frames, horizon) = (contract.num_frames, contract.horizon);
                sample(&*episode, step, frames, horizon, PastEnd::Repeat)
            })
            .collect::<Result<Vec<Sample>, _>>()?;
        let stacks: Vec<&[Observation]> = samples.iter().map(|sample| &sample.frames[..]).collect();
        let guesses = checkpoint.predict(&stacks)?;
        for (sample, guess) in samples.iter().zip(&guesses) {
            sums.add(sample, [guess, &mean_chunk(checkpoint, sample)]);
        }
    }
    let named = contract.spec.actions.iter().enumerate();
    let dimensions = named.map(|(i, dimension)| DimensionError {
        name: dimension.name.clone(),
        unit: dimension.unit.clone(),
        mae: sums.mean(&sums.absolute[0], i),
        rmse: sums.mean(&sums.squared[0], i).sqrt(),
        mean_mae: sums.mean(&sums.absolute[1], i),
        mean_rmse: sums.mean(&sums.squared[1], i).sqrt(),
    });
    Ok(OpenLoopReport {
        num_episodes: episodes.len(),
        num_samples: places.len(),
        dimensions: dimensions.collect(),
        steps: (0..contract.horizon).map(|step| sums.relative(Some(step))).collect(),
        relative_mse: sums.relative(None),
    })
}

/// The mean of the training data, in physical units: what a normalised zero stands for.
fn mean_chunk(checkpoint: &Checkpoint, sample: &Sample) -> ActionChunk {
    let contract = &checkpoint.contract;
    let mut values = checkpoint.transform.action_stats().mean.repeat(contract.horizon);
    let newest = sample.frames.last().map_or(&[][..], |newest| &newest.proprio);
    contract.make_absolute(&mut values, newest);
    ActionChunk::new(contract.horizon, contract.spec.action_dim(), values)
        .expect("a mean per action dimension")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f32], mask: &[bool]) -> Sample {
        let actions = ActionChunk::new(2, 1, values.to_vec()).unwrap();
        Sample { frames: vec![], actions, mask: mask.to_vec() }
    }

    #[test]
    fn errors_count_only_inside_the_episode_and_against_the_mean() {
        let mut sums = Sums::new(2, 1);
        let chunk = |values: [f32; 2]| ActionChunk::new(2, 1, values.to_vec()).unwrap();
        let (guess, mean) = (chunk([1.5, 9.0]), chunk([0.0, 0.0]));
        sums.add(&sample(&[1.0, 5.0], &[true, false]), [&guess, &mean]);
        sums.add(&sample(&[2.0, 7.0], &[true, true]), [&guess, &mean]);
        assert_eq!(sums.count, [2.0, 1.0]);
        assert_eq!(sums.mean(&sums.absolute[0], 0), 1.0); // (0.5 + 0.5 + 2) / 3
        assert_eq!(sums.mean(&sums.squared[1], 0), 18.0); // (1 + 4 + 49) / 3
        assert!((sums.relative(Some(0)) - 0.1).abs() < 1e-12); // (0.25 + 0.25) / (1 + 4)
        assert!((sums.relative(None) - 4.5 / 54.0).abs() < 1e-12);
    }
}
