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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_trials_have_rate_zero() {
        let bar = Bar { group: "held-out".into(), label: "lfs".into(), successes: 0, trials: 0 };
        assert_eq!(bar.rate(), 0.0);
    }
}
