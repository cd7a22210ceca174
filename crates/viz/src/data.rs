//! The small plain things that figures are drawn from.

use serde::{Deserialize, Serialize};

/// A number that changed as something went on: one metric of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The run; curves of one run share a colour.
    pub run: String,
    /// The metric, such as `train loss`; curves of one name share a stroke.
    pub name: String,
    /// Step (or epoch) and value, in order.
    pub points: Vec<[f64; 2]>,
}

/// Some episodes, and how many of them succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bar {
    /// What bars stand together under, such as the split.
    pub group: String,
    /// What is compared within a group, such as the policy.
    pub label: String,
    /// Episodes that succeeded.
    pub successes: u64,
    /// Episodes in all.
    pub trials: u64,
}

impl Curve {
    /// A curve through `points`.
    pub fn new(run: impl Into<String>, name: impl Into<String>, points: Vec<[f64; 2]>) -> Self {
        Self { run: run.into(), name: name.into(), points }
    }
}

impl Bar {
    /// Successes over trials; zero where nothing was tried.
    pub fn rate(&self) -> f64 {
        if self.trials == 0 { 0.0 } else { self.successes as f64 / self.trials as f64 }
    }
}

/// The 95 % Wilson score interval of a success rate, low and high.
///
/// ```
/// let [low, high] = engraft_viz::wilson(8, 10);
/// assert!((low - 0.4902).abs() < 1e-4 && (high - 0.9433).abs() < 1e-4);
/// assert_eq!(engraft_viz::wilson(0, 0), [0.0, 1.0]); // nothing tried, nothing known
/// ```
pub fn wilson(successes: u64, trials: u64) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if trials == 0 {
        return [0.0, 1.0];
    }
    let n = trials as f64;
    let rate = successes.min(trials) as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let middle = (rate + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_all_or_nothing_stays_open_on_one_side() {
        let [low, high] = wilson(0, 20);
        assert!(low.abs() < 1e-12 && (high - 0.1611).abs() < 1e-4);
        let [low, high] = wilson(20, 20);
        assert!((low - 0.8389).abs() < 1e-4 && (high - 1.0).abs() < 1e-12);
    }

    #[test]
    fn no_trials_have_rate_zero() {
        let bar = Bar { group: "held-out".into(), label: "lfs".into(), successes: 0, trials: 0 };
        assert_eq!(bar.rate(), 0.0);
    }
}
