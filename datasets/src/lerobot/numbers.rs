//! The statistics that LeRobot keeps of every episode and of the whole.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, ListArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::Field;
use engraft_core::{DepthImage, RgbImage};
use serde_json::{Value, json};

use super::json::Ordered;

/// The quantiles that are kept, by their name.
const QUANTILES: [(&str, f64); 5] =
    [("q01", 0.01), ("q10", 0.10), ("q50", 0.50), ("q90", 0.90), ("q99", 0.99)];

/// Statistics of one feature: a value per dimension, or per channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FeatureStats {
    /// Shape of a statistic: `[dim]`, or `[channels, 1, 1]`.
    shape: Vec<usize>,
    /// Whether the values are whole, so that the smallest and the largest are, too.
    whole: bool,
    /// Steps.
    pub(super) count: u64,
    min: Vec<f64>,
    max: Vec<f64>,
    mean: Vec<f64>,
    std: Vec<f64>,
    quantiles: [Vec<f64>; 5],
}

/// How often each value occurs in each channel of an episode's pictures.
#[derive(Debug)]
pub(super) struct Histogram {
    channels: Vec<Vec<u64>>,
    /// What a value of 1 stands for.
    unit: f64,
    num_pictures: u64,
}

impl Histogram {
    /// Of pictures, which LeRobot scales to 0..1.
    pub(super) fn of_rgb() -> Self {
        Self { channels: vec![vec![0; 256]; 3], unit: 1.0 / 255.0, num_pictures: 0 }
    }

    /// Of depth, in metres.
    pub(super) fn of_depth() -> Self {
        Self { channels: vec![vec![0; 1 << 16]], unit: 1e-3, num_pictures: 0 }
    }

    /// Counts the pixels of a picture.
    pub(super) fn push_rgb(&mut self, image: &RgbImage) {
        for pixel in image.pixels().chunks_exact(3) {
            for (channel, &value) in self.channels.iter_mut().zip(pixel) {
                channel[usize::from(value)] += 1;
            }
        }
        self.num_pictures += 1;
    }

    /// Counts the pixels of a depth map, to the millimetre.
    pub(super) fn push_depth(&mut self, depth: &DepthImage) {
        for metres in depth.metres() {
            self.channels[0][usize::from((metres * 1000.0).round() as u16)] += 1;
        }
        self.num_pictures += 1;
    }

    /// The statistics of what was counted, which is at least one picture.
    pub(super) fn finish(&self) -> FeatureStats {
        let each = |of: &dyn Fn(&[u64]) -> f64| {
            self.channels.iter().map(|bins| of(bins) * self.unit).collect()
        };
        let total = |bins: &[u64]| bins.iter().sum::<u64>() as f64;
        let power = |bins: &[u64], power: i32| {
            let weighted = bins.iter().enumerate();
            weighted.map(|(v, &n)| (v as f64).powi(power) * n as f64).sum::<f64>() / total(bins)
        };
        let quantile = |bins: &[u64], q: f64| {
            let rank = q * (total(bins) - 1.0);
            let mut below = 0.0;
            let reached = bins.iter().position(|&n| {
                below += n as f64;
                below > rank
            });
            reached.unwrap_or(0) as f64
        };
        FeatureStats {
            shape: vec![self.channels.len(), 1, 1],
            whole: false,
            count: self.num_pictures,
            min: each(&|bins| bins.iter().position(|&n| n > 0).unwrap_or(0) as f64),
            max: each(&|bins| bins.iter().rposition(|&n| n > 0).unwrap_or(0) as f64),
            mean: each(&|bins| power(bins, 1)),
            std: each(&|bins| (power(bins, 2) - power(bins, 1).powi(2)).max(0.0).sqrt()),
            quantiles: QUANTILES.map(|(_, q)| each(&|bins| quantile(bins, q))),
        }
    }
}

impl FeatureStats {
    /// Of vectors of `dim` numbers, of which there is at least one.
    pub(super) fn of_vectors(values: &[f64], dim: usize) -> Self {
        let count = values.len() / dim;
        let mut stats = Self {
            shape: vec![dim],
            whole: false,
            count: count as u64,
            min: vec![],
            max: vec![],
            mean: vec![],
            std: vec![],
            quantiles: Default::default(),
        };
        for i in 0..dim {
            let mut column: Vec<f64> = values.iter().skip(i).step_by(dim).copied().collect();
            column.sort_by(f64::total_cmp);
            let mean = column.iter().sum::<f64>() / count as f64;
            let square = column.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            stats.min.push(column[0]);
            stats.max.push(column[count - 1]);
            stats.mean.push(mean);
            stats.std.push((square / count as f64).sqrt());
            for (all, (_, q)) in stats.quantiles.iter_mut().zip(QUANTILES) {
                let rank = q * (count - 1) as f64;
                let (below, above) = (column[rank.floor() as usize], column[rank.ceil() as usize]);
                all.push(below + (above - below) * rank.fract());
            }
        }
        stats
    }

    /// Of a counter, one per step.
    pub(super) fn of_counter(values: &[f64]) -> Self {
        Self { whole: true, ..Self::of_vectors(values, 1) }
    }

    /// Adds another episode's: exact but for the quantiles, which become an envelope.
    pub(super) fn merge(&mut self, other: &Self) {
        let (ours, theirs) = (self.count as f64, other.count as f64);
        let total = ours + theirs;
        for i in 0..self.mean.len() {
            let mean = (self.mean[i] * ours + other.mean[i] * theirs) / total;
            let spread = |stats: &Self| stats.std[i].powi(2) + (stats.mean[i] - mean).powi(2);
            self.std[i] = ((spread(self) * ours + spread(other) * theirs) / total).sqrt();
            self.mean[i] = mean;
            self.min[i] = self.min[i].min(other.min[i]);
            self.max[i] = self.max[i].max(other.max[i]);
            for (at, (_, q)) in QUANTILES.iter().enumerate() {
                let (ours, theirs) = (self.quantiles[at][i], other.quantiles[at][i]);
                self.quantiles[at][i] = if *q <= 0.5 { ours.min(theirs) } else { ours.max(theirs) };
            }
        }
        self.count += other.count;
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, &Vec<f64>)> {
        let first =
            [("min", &self.min), ("max", &self.max), ("mean", &self.mean), ("std", &self.std)];
        let quantiles = QUANTILES.iter().zip(&self.quantiles);
        first.into_iter().chain(quantiles.map(|((name, _), values)| (*name, values)))
    }

    /// As `stats.json` has it.
    pub(super) fn to_json(&self) -> Value {
        let nest = |name: &str, values: &Vec<f64>| match self.shape.len() {
            1 if self.whole && is_bound(name) => values.iter().map(|&v| json!(v as i64)).collect(),
            1 => json!(values),
            _ => values.iter().map(|value| json!([[value]])).collect(),
        };
        let named = self.named().map(|(name, values)| (name.to_owned(), nest(name, values)));
        let mut all: Vec<(String, Value)> = named.collect();
        all.insert(4, ("count".into(), json!([self.count])));
        serde_json::to_value(Ordered(all)).expect("plain JSON")
    }

    /// The inverse of [`to_json`](Self::to_json); `None` where something is missing.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        fn flat(value: &Value, into: &mut Vec<f64>) -> Option<()> {
            match value {
                Value::Array(all) => all.iter().try_for_each(|one| flat(one, into)),
                one => one.as_f64().map(|one| into.push(one)),
            }
        }
        let read = |name: &str| {
            let mut values = Vec::new();
            flat(value.get(name)?, &mut values)?;
            Some(values)
        };
        let mut quantiles = <[Vec<f64>; 5]>::default();
        for (all, (name, _)) in quantiles.iter_mut().zip(QUANTILES) {
            *all = read(name)?;
        }
        let mean = read("mean")?;
        let is_picture = value.get("mean")?.get(0)?.is_array();
        let whole = value.get("min")?.get(0)?.is_i64();
        let stats = Self {
            shape: if is_picture { vec![mean.len(), 1, 1] } else { vec![mean.len()] },
            whole,
            count: value.get("count")?.get(0)?.as_u64()?,
            min: read("min")?,
            max: read("max")?,
            std: read("std")?,
            mean,
            quantiles,
        };
        let dim = stats.mean.len();
        let whole = stats.named().all(|(_, values)| values.len() == dim);
        whole.then_some(stats)
    }
}

/// The columns `stats/<feature>/<statistic>` of a table with one row per episode.
pub(super) fn stats_columns(feature: &str, rows: &[&FeatureStats]) -> Vec<(String, ArrayRef)> {
    let shape = rows.first().map_or(&[1][..], |stats| &stats.shape);
    let name = |statistic: &str| format!("stats/{feature}/{statistic}");
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    let statistics = rows.first().map_or(Vec::new(), |stats| stats.named().collect());
    for (at, (statistic, _)) in statistics.into_iter().enumerate() {
        let of = |stats: &&FeatureStats| stats.named().nth(at).map(|(_, values)| values.clone());
        let values = rows.iter().filter_map(of).flatten();
        let values: ArrayRef = if is_bound(statistic) && rows.iter().all(|stats| stats.whole) {
            Arc::new(Int64Array::from_iter_values(values.map(|value| value as i64)))
        } else {
            Arc::new(Float64Array::from_iter_values(values))
        };
        columns.push((name(statistic), nest(values, shape)));
    }
    let counts: Vec<i64> = rows.iter().map(|stats| stats.count as i64).collect();
    columns.push((name("count"), nest(Arc::new(Int64Array::from(counts)), &[1])));
    columns
}

/// Whether a statistic is one of the values themselves.
fn is_bound(statistic: &str) -> bool {
    matches!(statistic, "min" | "max")
}

/// Wraps values into lists, innermost dimension first.
fn nest(values: ArrayRef, shape: &[usize]) -> ArrayRef {
    shape.iter().rev().fold(values, |items, &len| {
        let lengths = std::iter::repeat_n(len, items.len() / len);
        let field = Arc::new(Field::new("element", items.data_type().clone(), true));
        Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), items, None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_as_numpy_does() {
        let stats = FeatureStats::of_vectors(&[4.0, 1.0, 3.0, 2.0], 1);
        assert_eq!((stats.min[0], stats.max[0], stats.mean[0]), (1.0, 4.0, 2.5));
        assert_eq!(stats.std[0], 1.25_f64.sqrt());
        let medians: Vec<f64> = stats.quantiles.iter().map(|all| all[0]).collect();
        let expected = [1.03, 1.3, 2.5, 3.7, 3.97];
        assert!(medians.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{medians:?}");
    }

    #[test]
    fn merging_episodes_equals_all_steps_at_once() {
        let values: Vec<f64> = (0..24).map(|i| f64::from(i * i % 17)).collect();
        let mut merged = FeatureStats::of_vectors(&values[..10], 2);
        merged.merge(&FeatureStats::of_vectors(&values[10..], 2));
        let whole = FeatureStats::of_vectors(&values, 2);
        assert_eq!((merged.count, &merged.min, &merged.max), (12, &whole.min, &whole.max));
        for i in 0..2 {
            assert!((merged.mean[i] - whole.mean[i]).abs() < 1e-12);
            assert!((merged.std[i] - whole.std[i]).abs() < 1e-12);
        }
    }

    #[test]
    fn pictures_are_scaled_to_one_and_counted_once() {
        let mut histogram = Histogram::of_rgb();
        histogram.push_rgb(&RgbImage::new(2, 1, vec![0, 51, 255, 102, 51, 255]).unwrap());
        let stats = histogram.finish();
        assert_eq!(stats.count, 1);
        assert_eq!((stats.min[0], stats.max[0]), (0.0, 0.4));
        assert_eq!((stats.mean[0], stats.std[0]), (0.2, 0.2));
        assert_eq!(stats.mean[2], 1.0);
        assert_eq!(stats.to_json()["mean"], json!([[[0.2]], [[0.2]], [[1.0]]]));
    }

    #[test]
    fn statistics_survive_their_json() {
        let stats = FeatureStats::of_vectors(&[4.0, 1.0, 3.0, 2.0], 2);
        assert_eq!(FeatureStats::from_json(&stats.to_json()), Some(stats));
        let counter = FeatureStats::of_counter(&[3.0, 4.0]);
        assert_eq!(counter.to_json()["max"].to_string(), "[4]");
        assert_eq!(FeatureStats::from_json(&counter.to_json()), Some(counter));
        assert_eq!(FeatureStats::from_json(&json!({ "mean": [1.0] })), None);
    }
}
