//! Both sides of a case, in turns.

use std::time::{Duration, Instant};

use super::ours::Sampler;

/// Rest between two samples, in which the other side's threads go to sleep.
const REST: Duration = Duration::from_millis(5);

/// One who takes samples: engraft, or a variant of the other side.
pub(crate) struct Contender<'a> {
    pub(crate) name: String,
    /// Whether it may be the best of the other side.
    pub(crate) counted: bool,
    /// Why it takes no samples, if it does not.
    pub(crate) sample: Result<Sampler<'a>, String>,
    pub(crate) samples: Vec<f64>,
}

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// Rounds at least, whatever they take.
    pub(crate) fewest: usize,
    /// Rounds at most.
    pub(crate) most: usize,
    /// Seconds after which no round begins beyond the fewest.
    pub(crate) budget_secs: f64,
    /// Short work is repeated until a sample takes about this long; 0 repeats nothing.
    pub(crate) sample_secs: f64,
    /// Samples of each side that are thrown away first.
    pub(crate) warm_up: usize,
}

impl<'a> Contender<'a> {
    /// One that is ready, or that failed before it began.
    pub(crate) fn new(name: &str, counted: bool, sample: Result<Sampler<'a>, String>) -> Self {
        Self { name: name.into(), counted, sample, samples: Vec::new() }
    }

    /// One sample; a failure is kept and ends its part.
    fn take(&mut self, repeat: usize) -> Option<f64> {
        let sample = self.sample.as_mut().ok()?;
        match sample(repeat) {
            Ok(value) => Some(value),
            Err(error) => {
                self.sample = Err(format!("{error:#}"));
                self.samples.clear();
                None
            }
        }
    }
}

/// Takes samples in rounds, one of each contender a round, each round begun by the next one.
pub(crate) fn measure(contenders: &mut [Contender<'_>], plan: Plan) {
    let mut repeat = 1;
    if plan.warm_up > 0 {
        let mut fastest = f64::INFINITY;
        for contender in &mut *contenders {
            for _ in 0..plan.warm_up {
                std::thread::sleep(REST);
                fastest = contender.take(1).map_or(fastest, |value| value.min(fastest));
            }
        }
        let times = (plan.sample_secs / fastest).ceil();
        repeat = if times.is_finite() { (times as usize).clamp(1, 64) } else { 1 };
    }
    let began = Instant::now();
    for round in 0..plan.most {
        if round >= plan.fewest && began.elapsed().as_secs_f64() > plan.budget_secs {
            break;
        }
        for turn in 0..contenders.len() {
            let place = (round + turn) % contenders.len();
            std::thread::sleep(REST);
            if let Some(value) = contenders[place].take(repeat) {
                contenders[place].samples.push(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn plan(fewest: usize, most: usize) -> Plan {
        Plan { fewest, most, budget_secs: 0.0, sample_secs: 0.0, warm_up: 1 }
    }

    #[test]
    fn sides_take_turns_and_each_begins_some_rounds() {
        let order = RefCell::new(String::new());
        let side = |name: &'static str| {
            let order = &order;
            let sample: Sampler<'_> = Box::new(move |_| {
                order.borrow_mut().push_str(name);
                Ok(1.0)
            });
            Contender::new(name, true, Ok(sample))
        };
        let mut sides = [side("a"), side("b")];
        measure(&mut sides, plan(3, 9));
        assert_eq!(sides[0].samples.len(), 3);
        drop(sides);
        assert_eq!(order.into_inner(), "ababbaab"); // two of warming up
    }

    #[test]
    fn a_side_that_fails_later_is_left_out_with_its_reason() {
        let mut calls = 0;
        let sample: Sampler<'_> = Box::new(move |_| {
            calls += 1;
            anyhow::ensure!(calls < 3, "out of memory");
            Ok(1.0)
        });
        let mut sides = [
            Contender::new("fails", true, Ok(sample)),
            Contender::new("failed", true, Err("no compiler".into())),
            Contender::new("lasts", true, Ok(Box::new(|_| Ok(2.0)))),
        ];
        measure(&mut sides, plan(4, 4));
        assert_eq!(sides[0].sample.as_ref().err().unwrap(), "out of memory");
        assert!(sides[0].samples.is_empty() && sides[1].samples.is_empty());
        assert_eq!(sides[2].samples, [2.0; 4]);
    }

    #[test]
    fn short_work_is_repeated_within_a_sample() {
        let asked = RefCell::new(Vec::new());
        let sample: Sampler<'_> = Box::new(|repeat| {
            asked.borrow_mut().push(repeat);
            Ok(0.001)
        });
        let mut sides = [Contender::new("quick", true, Ok(sample))];
        measure(&mut sides, Plan { sample_secs: 0.0201, ..plan(1, 1) });
        drop(sides);
        assert_eq!(asked.into_inner(), [1, 21]);
    }
}
