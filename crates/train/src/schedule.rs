//! The learning rate as a function of how far the run is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use serde::{Deserialize, Serialize};

/// How the learning rate changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// One rate throughout.
    Constant,
    /// A linear warm-up, then half a cosine down to `final_share`.
    Cosine {
        /// Rates of the warm-up.
        warmup: usize,
        /// The first rate, as a share of the full one.
        warmup_share: f64,
        /// The rate at the end, as a share of the full one.
        final_share: f64,
        /// Steps that share one rate: 1 changes it at every step.
        #[serde(default = "one")]
        every: usize,
    },
}

fn one() -> usize {
    1
}

impl ScheduleConfig {
    /// The rate of step `step` of `total`, where the full one is `full`.
    ///
    /// `total` may be an estimate that changes during the run.
    pub fn rate(&self, full: f64, step: u64, total: f64) -> f64 {
        match *self {
            Self::Constant => full,
            Self::Cosine { warmup, warmup_share, final_share, every } => {
                let every = every.max(1);
                let (at, total) = ((step / every as u64) as f64, total / every as f64);
                let warmup = warmup as f64;
                if at < warmup {
                    return full * (warmup_share + (1.0 - warmup_share) * at / warmup);
                }
                let part = ((at - warmup) / (total - warmup).max(1.0)).clamp(0.0, 1.0);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * part).cos());
                full * (final_share + (1.0 - final_share) * cosine)
            }
        }
    }
}

/// A schedule at a step, as Burn's learner wants it.
///
/// The total is shared, so that a run with a time limit can correct it while it learns how long
/// a step takes.
#[derive(Debug, Clone)]
pub(crate) struct Scheduler {
    config: ScheduleConfig,
    full: f64,
    step: u64,
    total: Arc<AtomicU64>,
}

/// The number of steps that a run will have had, which may still change.
#[derive(Debug, Clone)]
pub(crate) struct Total(Arc<AtomicU64>);

impl Total {
    pub(crate) fn new(steps: f64) -> Self {
        Self(Arc::new(AtomicU64::new(steps.to_bits())))
    }

    pub(crate) fn set(&self, steps: f64) {
        self.0.store(steps.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl Scheduler {
    pub(crate) fn new(config: ScheduleConfig, full: f64, total: &Total) -> Self {
        Self { config, full, step: 0, total: Arc::clone(&total.0) }
    }
}

impl LrScheduler for Scheduler {
    fn step(&mut self) -> f64 {
        let total = f64::from_bits(self.total.load(Ordering::Relaxed));
        let rate = self.config.rate(self.full, self.step, total);
        self.step += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("step", self.step)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        self.step = record.scalar("step").unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_gives_the_rates_of_the_papers_drawer_run() {
        let schedule =
            ScheduleConfig::Cosine { warmup: 1, warmup_share: 0.1, final_share: 0.0, every: 500 };
        let expected =
            [3.0e-5, 3.0e-4, 2.91e-4, 2.65e-4, 2.25e-4, 1.76e-4, 1.24e-4, 7.5e-5, 3.5e-5, 9.0e-6];
        for (iteration, expected) in expected.into_iter().enumerate() {
            for step in [iteration * 500, iteration * 500 + 499] {
                let rate = schedule.rate(3e-4, step as u64, 5000.0);
                assert!((rate - expected).abs() < 0.6e-6, "{iteration}: {rate} not {expected}");
            }
        }
    }

    #[test]
    fn warmup_rises_in_equal_steps_and_the_end_is_the_final_share() {
        let schedule =
            ScheduleConfig::Cosine { warmup: 4, warmup_share: 0.0, final_share: 0.5, every: 1 };
        let rates: Vec<_> = (0..5).map(|step| schedule.rate(1.0, step, 10.0)).collect();
        assert_eq!(rates, [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(schedule.rate(1.0, 7, 10.0), 0.75);
        assert_eq!(schedule.rate(1.0, 10, 10.0), 0.5);
        assert_eq!(schedule.rate(1.0, 99, 10.0), 0.5);
    }

    #[test]
    fn a_constant_rate_stays() {
        assert_eq!(ScheduleConfig::Constant.rate(3e-4, 123, 7.0), 3e-4);
    }

    #[test]
    fn a_scheduler_goes_on_where_its_record_says() {
        let config =
            ScheduleConfig::Cosine { warmup: 2, warmup_share: 0.1, final_share: 0.0, every: 1 };
        let total = Total::new(9.0);
        let mut whole = Scheduler::new(config.clone(), 1.0, &total);
        let rates: Vec<_> = (0..9).map(|_| whole.step()).collect();
        let mut first = Scheduler::new(config.clone(), 1.0, &total);
        (0..4).for_each(|_| {
            first.step();
        });
        let mut second = Scheduler::new(config, 1.0, &total);
        second.load_record(first.to_record());
        assert_eq!((4..9).map(|_| second.step()).collect::<Vec<_>>(), rates[4..]);
    }
}
