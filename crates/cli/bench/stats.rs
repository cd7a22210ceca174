//! What is said about a row of measurements.

use serde::Serialize;

/// Order statistics of samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Number of samples.
    pub(crate) samples: usize,
    /// Smallest.
    pub(crate) min: f64,
    /// A quarter lies below.
    pub(crate) q1: f64,
    /// Half lies below.
    pub(crate) median: f64,
    /// Three quarters lie below.
    pub(crate) q3: f64,
    /// 99 of 100 lie below.
    pub(crate) p99: f64,
}

impl Summary {
    /// Of at least one sample; `None` of none.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let min = *sorted.first()?;
        let at = |share| quantile(&sorted, share);
        let samples = sorted.len();
        Some(Self { samples, min, q1: at(0.25), median: at(0.5), q3: at(0.75), p99: at(0.99) })
    }

    /// The middle half's width, as a share of the median.
    pub(crate) fn spread(&self) -> f64 {
        (self.q3 - self.q1) / self.median
    }
}

/// The value below which `share` of the sorted values lie, between two of them on a line.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((summary.samples, summary.min, summary.median), (4, 1.0, 2.5));
        assert_eq!((summary.q1, summary.q3), (1.75, 3.25));
        assert!((summary.p99 - 3.97).abs() < 1e-12);
        assert!((summary.spread() - 0.6).abs() < 1e-12);
    }

    #[test]
    fn one_sample_is_all_of_its_statistics_and_none_has_none() {
        let summary = Summary::of(&[7.0]).unwrap();
        assert_eq!(
            (summary.q1, summary.median, summary.p99, summary.spread()),
            (7.0, 7.0, 7.0, 0.0)
        );
        assert_eq!(Summary::of(&[]), None);
    }
}
