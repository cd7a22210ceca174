//! Counters, and the latencies of the last answers.

use std::collections::VecDeque;
use std::time::Instant;

use engraft_wire::{ErrorCode, Model, Percentiles, Status, Timings};

/// Answers that percentiles are taken over.
const WINDOW: usize = 1024;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Stats {
    began: Instant,
    pub(crate) received: u64,
    pub(crate) replied: u64,
    pub(crate) stale: u64,
    pub(crate) refused: u64,
    recent: VecDeque<Timings>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let recent = VecDeque::with_capacity(WINDOW);
        Self { began: Instant::now(), received: 0, replied: 0, stale: 0, refused: 0, recent }
    }

    /// Counts a refusal.
    pub(crate) fn refuse(&mut self, code: ErrorCode) {
        if code == ErrorCode::Stale {
            self.stale += 1;
        } else {
            self.refused += 1;
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&mut self, timings: Timings) {
        self.replied += 1;
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(timings);
    }

    /// What a client is told.
    pub(crate) fn status(
        &self,
        model: &Model,
        clients: usize,
        (waiting, busy): (usize, bool),
    ) -> Status {
        let stages = Timings::default().stages().map(|(stage, _)| stage);
        let mut latency: Vec<_> = (0..stages.len())
            .map(|i| self.percentiles(stages[i], |timings| timings.stages()[i].1))
            .collect();
        let total = |timings: &Timings| {
            timings.stages().iter().fold(0, |all: u32, (_, micros)| all.saturating_add(*micros))
        };
        latency.push(self.percentiles("total", total));
        Status {
            model: model.clone(),
            uptime_millis: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            clients,
            waiting,
            busy,
            received: self.received,
            replied: self.replied,
            stale: self.stale,
            refused: self.refused,
            latency,
        }
    }

    fn percentiles(&self, stage: &str, micros: impl Fn(&Timings) -> u32) -> Percentiles {
        let mut all: Vec<u32> = self.recent.iter().map(micros).collect();
        all.sort_unstable();
        let at = |part: usize| all.get(all.len().saturating_sub(1) * part / 100).copied();
        let [p50, p99] = [50, 99].map(|part| at(part).unwrap_or(0));
        Percentiles { stage: stage.to_owned(), p50, p99 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_last_answers() {
        let mut stats = Stats::new();
        for infer in 0..2000 {
            stats.answered(Timings { infer, queue: 1, ..Timings::default() });
        }
        let model = Model { name: "m".into(), hash: "h".into() };
        let told = stats.status(&model, 1, (0, false));
        let find = |stage| told.latency.iter().find(|found| found.stage == stage).unwrap();
        // 976 to 1999 are left.
        assert_eq!((find("infer").p50, find("infer").p99), (976 + 511, 976 + 1012));
        assert_eq!(find("total").p50, 976 + 511 + 1);
        assert_eq!(find("decode").p99, 0);
    }
}
