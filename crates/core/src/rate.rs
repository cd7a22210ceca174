//! A success rate and how sure one may be of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The quantile of the normal distribution that leaves 2.5 % above it.
const Z_95: f64 = 1.959_963_984_540_054;

/// Successes out of episodes, with the 95 % Wilson interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Episodes that succeeded.
    pub successes: usize,
    /// Episodes.
    pub episodes: usize,
    /// Their ratio, 0 if there was no episode.
    pub rate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Rate {
    /// The rate of `successes` out of `episodes`.
    pub fn new(successes: usize, episodes: usize) -> Self {
        let [low, high] = wilson(successes, episodes);
        let rate = if episodes == 0 { 0.0 } else { successes as f64 / episodes as f64 };
        Self { successes, episodes, rate, low, high }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { successes, episodes, rate, low, high } = self;
        let percent = |share: f64| 100.0 * share;
        write!(
            f,
            "{:.0} % ({successes} of {episodes}; 95 % interval {:.0} to {:.0} %)",
            percent(*rate),
            percent(*low),
            percent(*high)
        )
    }
}

/// The 95 % Wilson score interval of a proportion.
///
/// ```
/// let [low, high] = engraft_core::wilson(8, 10);
/// assert!((low - 0.4902).abs() < 1e-4 && (high - 0.9433).abs() < 1e-4);
/// ```
pub fn wilson(successes: usize, episodes: usize) -> [f64; 2] {
    if episodes == 0 {
        return [0.0, 1.0];
    }
    let n = episodes as f64;
    let p = successes.min(episodes) as f64 / n;
    let z2 = Z_95 * Z_95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // The ends are exact where the proportion is: rounding must not say 99.9... %.
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes >= episodes { 1.0 } else { (centre + half).min(1.0) };
    [low, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_agrees_with_published_tables() {
        // Newcombe 1998, table I, method 3.
        for (successes, episodes, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let found = wilson(successes, episodes);
            assert!((found[0] - low).abs() < 5e-5 && (found[1] - high).abs() < 5e-5, "{found:?}");
        }
        assert_eq!(wilson(20, 20)[1], 1.0);
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }

    #[test]
    fn a_rate_is_written_with_its_interval() {
        assert_eq!(Rate::new(8, 10).to_string(), "80 % (8 of 10; 95 % interval 49 to 94 %)");
        assert_eq!(Rate::new(0, 0).rate, 0.0);
    }
}
