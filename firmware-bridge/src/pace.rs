//! When the next period begins: by the clock, or as soon as the last one is done.

use std::thread;
use std::time::{Duration, Instant};

/// The rhythm of the control loop, and the only clock it reads.
#[derive(Debug, Clone)]
pub enum Pace {
    /// Absolute deadlines on a monotonic clock. Periods that were missed are not made up for: the
    /// rhythm begins anew.
    RealTime {
        /// Where the clock began.
        epoch: Instant,
        /// When the next period begins.
        next: Duration,
        /// Its length.
        period: Duration,
    },
    /// Simulated time: a period lasts as long as the arm and the policy take. The policy's answer
    /// is waited for, so an episode is the same on a fast and a slow machine.
    Lockstep {
        /// The simulated time.
        now: Duration,
        /// A period's length.
        period: Duration,
    },
}

impl Pace {
    /// The rhythm of the clock.
    pub fn real_time(period: Duration) -> Self {
        Self::RealTime { epoch: Instant::now(), next: Duration::ZERO, period }
    }

    /// Simulated time.
    pub fn lockstep(period: Duration) -> Self {
        Self::Lockstep { now: Duration::ZERO, period }
    }

    /// Now.
    pub fn now(&self) -> Duration {
        match self {
            Self::RealTime { epoch, .. } => epoch.elapsed(),
            Self::Lockstep { now, .. } => *now,
        }
    }

    /// Whether the policy's answer is waited for.
    pub fn is_lockstep(&self) -> bool {
        matches!(self, Self::Lockstep { .. })
    }

    /// Lets simulated time pass, as it does while nobody answers.
    pub fn pass(&mut self, time: Duration) {
        if let Self::Lockstep { now, .. } = self {
            *now += time;
        }
    }

    /// The next period begins now, whatever was due.
    pub fn restart(&mut self) {
        if let Self::RealTime { epoch, next, .. } = self {
            *next = epoch.elapsed();
        }
    }

    /// Waits for the next period; how late it begins.
    pub fn wait(&mut self) -> Duration {
        match self {
            Self::Lockstep { now, period } => {
                *now += *period;
                Duration::ZERO
            }
            Self::RealTime { epoch, next, period } => {
                let early = next.saturating_sub(epoch.elapsed());
                if !early.is_zero() {
                    thread::sleep(early);
                }
                let late = epoch.elapsed().saturating_sub(*next);
                // From where it was due, so that lateness does not add up; or from now, when a
                // whole period was missed, so that periods do not come in a burst.
                *next += if late < *period { *period } else { late + *period };
                late
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_at_absolute_times() {
        let period = Duration::from_millis(5);
        let mut pace = Pace::real_time(period);
        for _ in 0..20 {
            pace.wait();
            thread::sleep(Duration::from_millis(2));
        }
        // Nineteen periods lie between the first and the last; the work is inside them.
        let passed = pace.now();
        assert!(passed >= period * 19, "{passed:?}");
    }

    #[test]
    fn missed_periods_are_not_made_up_for() {
        let period = Duration::from_millis(10);
        let mut pace = Pace::real_time(period);
        pace.wait();
        thread::sleep(period * 5);
        assert!(pace.wait() >= period * 3);
        let before = pace.now();
        pace.wait();
        assert!(
            pace.now().saturating_sub(before) >= period / 2,
            "the next one is a full period away"
        );
    }

    #[test]
    fn simulated_time_is_a_count() {
        let mut pace = Pace::lockstep(Duration::from_millis(100));
        for _ in 0..10 {
            assert!(pace.wait().is_zero());
        }
        assert_eq!(pace.now(), Duration::from_secs(1));
    }
}
