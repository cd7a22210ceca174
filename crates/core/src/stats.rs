//! Statistics over the training split: streaming, and the scaling they give.

use serde::{Deserialize, Serialize};

/// The smallest standard deviation that is divided by; a constant dimension stays where it is.
const MIN_STD: f32 = 1e-4;

/// Mean, standard deviation and range of each dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Vectors seen.
    pub count: u64,
    /// Mean of each dimension.
    pub mean: Vec<f32>,
    /// Population standard deviation of each dimension.
    pub std: Vec<f32>,
    /// Smallest value of each dimension.
    pub min: Vec<f32>,
    /// Largest value of each dimension.
    pub max: Vec<f32>,
}

impl Stats {
    /// Statistics that leave values as they are.
    pub fn identity(dim: usize) -> Self {
        Self {
            count: 0,
            mean: vec![0.0; dim],
            std: vec![1.0; dim],
            min: vec![-1.0; dim],
            max: vec![1.0; dim],
        }
    }

    /// Number of dimensions.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// What dimension `i` is divided by: its standard deviation, or 1 where it is constant.
    pub fn scale(&self, i: usize) -> f32 {
        if self.std[i] < MIN_STD { 1.0 } else { self.std[i] }
    }

    /// Physical units to zero mean and unit deviation, in place; `values` holds whole vectors.
    pub fn normalize(&self, values: &mut [f32]) {
        for vector in values.chunks_exact_mut(self.dim().max(1)) {
            for (i, value) in vector.iter_mut().enumerate() {
                *value = (*value - self.mean[i]) / self.scale(i);
            }
        }
    }

    /// The inverse of [`normalize`](Self::normalize).
    pub fn denormalize(&self, values: &mut [f32]) {
        for vector in values.chunks_exact_mut(self.dim().max(1)) {
            for (i, value) in vector.iter_mut().enumerate() {
                *value = *value * self.scale(i) + self.mean[i];
            }
        }
    }
}

/// Gathers [`Stats`] one vector at a time (Welford's method, in double precision).
#[derive(Debug, Clone)]
pub struct RunningStats {
    count: u64,
    mean: Vec<f64>,
    squares: Vec<f64>,
    min: Vec<f32>,
    max: Vec<f32>,
}

impl RunningStats {
    /// Nothing seen yet.
    pub fn new(dim: usize) -> Self {
        Self {
            count: 0,
            mean: vec![0.0; dim],
            squares: vec![0.0; dim],
            min: vec![f32::INFINITY; dim],
            max: vec![f32::NEG_INFINITY; dim],
        }
    }

    /// Takes one vector.
    ///
    /// # Panics
    ///
    /// When its width is another.
    pub fn push(&mut self, vector: &[f32]) {
        assert_eq!(vector.len(), self.mean.len(), "width of a vector");
        self.count += 1;
        for (i, &value) in vector.iter().enumerate() {
            let delta = f64::from(value) - self.mean[i];
            self.mean[i] += delta / self.count as f64;
            self.squares[i] += delta * (f64::from(value) - self.mean[i]);
            self.min[i] = self.min[i].min(value);
            self.max[i] = self.max[i].max(value);
        }
    }

    /// The statistics so far; the identity when nothing was seen.
    pub fn finish(&self) -> Stats {
        if self.count == 0 {
            return Stats::identity(self.mean.len());
        }
        let variance = |square: &f64| (square / self.count as f64).max(0.0);
        Stats {
            count: self.count,
            mean: self.mean.iter().map(|&mean| mean as f32).collect(),
            std: self.squares.iter().map(|square| variance(square).sqrt() as f32).collect(),
            min: self.min.clone(),
            max: self.max.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streaming_equals_the_definition() {
        let mut running = RunningStats::new(2);
        for vector in [[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [6.0, 5.0]] {
            running.push(&vector);
        }
        let stats = running.finish();
        assert_eq!(stats.mean, [3.0, 5.0]);
        assert_eq!(stats.std, [3.5_f32.sqrt(), 0.0]);
        assert_eq!((stats.min[0], stats.max[0]), (1.0, 6.0));
    }

    #[test]
    fn normalize_and_back_is_the_identity_also_where_a_dimension_is_constant() {
        let stats =
            Stats { count: 4, mean: vec![3.0, 5.0], std: vec![2.0, 0.0], ..Stats::identity(2) };
        let mut values = [7.0, 6.0, 1.0, 5.0];
        stats.normalize(&mut values);
        assert_eq!(values, [2.0, 1.0, -1.0, 0.0]);
        stats.denormalize(&mut values);
        assert_eq!(values, [7.0, 6.0, 1.0, 5.0]);
    }
}
