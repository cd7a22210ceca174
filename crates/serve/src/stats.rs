//! Counters, and the latencies of the last answers.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engraft_wire::{ErrorCode, Model, Percentiles, Status, Timings};
use tracing::warn;

/// Answers that percentiles are taken over: enough for one in a thousand.
const WINDOW: usize = 8192;
/// Refusals that are logged in a second.
const ALOUD: u64 = 10;

#[derive(Debug)]
struct Counters {
    /// The one that answers at present.
    model: Arc<Model>,
    /// Of the socket, at present.
    clients: usize,
    received: u64,
    replied: u64,
    /// Answers that took longer than they should.
    late: u64,
    stale: u64,
    refused: u64,
    aloud: Aloud,
    /// Microseconds of each stage, of all answers.
    spent: [u64; 5],
    recent: VecDeque<Timings>,
}

impl Counters {
    fn new(model: Arc<Model>) -> Self {
        Self {
            model,
            clients: 0,
            received: 0,
            replied: 0,
            late: 0,
            stale: 0,
            refused: 0,
            aloud: Aloud::default(),
            spent: [0; 5],
            recent: VecDeque::with_capacity(WINDOW),
        }
    }
}

/// Whose turn it is to be logged: a flood of refusals must not fill a disk.
#[derive(Debug, Default)]
struct Aloud {
    since: Option<Instant>,
    said: u64,
    unsaid: u64,
}

impl Aloud {
    /// How many were not logged since the last one that was, if this one is to be.
    fn turn(&mut self) -> Option<u64> {
        if self.since.is_none_or(|since| since.elapsed() > Duration::from_secs(1)) {
            (self.since, self.said) = (Some(Instant::now()), 0);
        }
        if self.said >= ALOUD {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Stats {
    began: Instant,
    slo: Option<Duration>,
    counters: Mutex<Counters>,
}

impl Stats {
    /// Nothing yet; answers that take longer than `slo` will be counted as late.
    pub(crate) fn new(model: Arc<Model>, slo: Option<Duration>) -> Self {
        let counters = Mutex::new(Counters::new(model));
        Self { began: Instant::now(), slo, counters }
    }

    /// The model that answers at present.
    pub(crate) fn model(&self) -> Arc<Model> {
        self.lock().model.clone()
    }

    /// Says that another model answers from now on.
    pub(crate) fn set_model(&self, model: Arc<Model>) {
        self.lock().model = model;
    }

    /// Says how many clients the socket has.
    pub(crate) fn set_clients(&self, clients: usize) {
        self.lock().clients = clients;
    }

    pub(crate) fn clients(&self) -> usize {
        self.lock().clients
    }

    /// Held to count, or to copy what percentiles are taken over.
    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a message.
    pub(crate) fn receive(&self) {
        self.lock().received += 1;
    }

    /// Counts a refusal, and logs it where that tells a person more than the count.
    pub(crate) fn refuse(&self, code: ErrorCode, detail: &str) {
        let mut counters = self.lock();
        if code == ErrorCode::Stale {
            counters.stale += 1;
            return;
        }
        counters.refused += 1;
        let unsaid = counters.aloud.turn();
        drop(counters);
        if let Some(unsaid) = unsaid {
            warn!(code = code.name(), detail, unsaid, "refused");
        }
    }

    /// Counts an answer; whether it came in time.
    pub(crate) fn answered(&self, timings: Timings) -> bool {
        let mut counters = self.lock();
        counters.replied += 1;
        let total: u64 = timings.stages().iter().map(|(_, micros)| u64::from(*micros)).sum();
        let late = self.slo.is_some_and(|slo| Duration::from_micros(total) > slo);
        counters.late += u64::from(late);
        for (spent, (_, micros)) in counters.spent.iter_mut().zip(timings.stages()) {
            *spent += u64::from(micros);
        }
        if counters.recent.len() == WINDOW {
            counters.recent.pop_front();
        }
        counters.recent.push_back(timings);
        !late
    }

    /// What a client is told.
    pub(crate) fn status(&self, clients: usize, (waiting, busy): (usize, bool)) -> Status {
        let counters = self.lock();
        let model = Model::clone(&counters.model);
        let (received, replied) = (counters.received, counters.replied);
        let (stale, refused, late) = (counters.stale, counters.refused, counters.late);
        let recent: Vec<Timings> = counters.recent.iter().copied().collect();
        drop(counters);
        let stages = Timings::default().stages().map(|(stage, _)| stage);
        let mut latency: Vec<_> = (0..stages.len())
            .map(|i| percentiles(stages[i], recent.iter().map(|timings| timings.stages()[i].1)))
            .collect();
        let total = |timings: &Timings| {
            timings.stages().iter().fold(0, |all: u32, (_, micros)| all.saturating_add(*micros))
        };
        latency.push(percentiles("total", recent.iter().map(total)));
        Status {
            model,
            uptime_millis: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            clients,
            waiting,
            busy,
            received,
            replied,
            stale,
            refused,
            late,
            latency,
        }
    }

    /// The same as Prometheus reads it.
    pub(crate) fn prometheus(&self, status: &Status) -> String {
        let spent = self.lock().spent;
        let mut text = String::new();
        let mut gauge = |name: &str, help: &str, kind: &str, samples: &[(String, f64)]| {
            // A string takes everything.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let plain = |value: f64| [(String::new(), value)];
        let model = format!("{{name={:?},hash={:?}}}", status.model.name, status.model.hash);
        gauge("engraft_model_info", "The policy behind the server.", "gauge", &[(model, 1.0)]);
        let uptime = status.uptime_millis as f64 / 1e3;
        gauge("engraft_uptime_seconds", "Since it listens.", "gauge", &plain(uptime));
        gauge("engraft_clients", "Clients at present.", "gauge", &plain(status.clients as f64));
        gauge("engraft_waiting", "Observations waiting.", "gauge", &plain(status.waiting as f64));
        let counted = [
            ("received", status.received),
            ("answered", status.replied),
            ("stale", status.stale),
            ("refused", status.refused),
            ("late", status.late),
        ];
        let counted = counted.map(|(what, count)| (format!("{{what=\"{what}\"}}"), count as f64));
        gauge("engraft_messages_total", "Messages, and what became of them.", "counter", &counted);
        let mut stages = Vec::new();
        for stage in &status.latency {
            let quantiles = [
                ("0.5", stage.p50),
                ("0.95", stage.p95),
                ("0.99", stage.p99),
                ("0.999", stage.p999),
            ];
            for (quantile, micros) in quantiles {
                let labels = format!("{{stage=\"{}\",quantile=\"{quantile}\"}}", stage.stage);
                stages.push((labels, f64::from(micros) / 1e6));
            }
        }
        let help = "Time of each stage of the last answers.";
        gauge("engraft_stage_seconds", help, "gauge", &stages);
        let names = Timings::default().stages().map(|(stage, _)| format!("{{stage=\"{stage}\"}}"));
        let spent: Vec<_> =
            names.into_iter().zip(spent.map(|micros| micros as f64 / 1e6)).collect();
        let help = "Time spent in each stage since the start.";
        gauge("engraft_stage_seconds_total", help, "counter", &spent);
        text
    }
}

fn percentiles(stage: &str, micros: impl Iterator<Item = u32>) -> Percentiles {
    let mut all: Vec<u32> = micros.collect();
    all.sort_unstable();
    let at = |part: usize| all.get(all.len().saturating_sub(1) * part / 1000).copied();
    let [p50, p95, p99, p999] = [500, 950, 990, 999].map(|part| at(part).unwrap_or(0));
    Percentiles { stage: stage.to_owned(), p50, p95, p99, p999 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_of_refusals_the_first_few_are_logged_and_the_rest_is_counted() {
        let mut aloud = Aloud::default();
        let said = (0..1000).filter(|_| aloud.turn().is_some()).count();
        assert!((10..100).contains(&said), "{said} of 1000");
        aloud.since = Instant::now().checked_sub(Duration::from_secs(2));
        assert_eq!(aloud.turn(), Some(1000 - said as u64));
        assert_eq!(aloud.turn(), Some(0));
    }

    #[test]
    fn percentiles_are_those_of_the_last_answers() {
        let model = Arc::new(Model { name: "m".into(), hash: "h".into() });
        let stats = Stats::new(model, Some(Duration::from_millis(5)));
        for infer in 0..10_000 {
            stats.answered(Timings { infer, queue: 1, ..Timings::default() });
        }
        let told = stats.status(1, (0, false));
        let find = |stage| told.latency.iter().find(|found| found.stage == stage).unwrap();
        // 1808 to 9999 are left.
        let infer = find("infer");
        assert_eq!((infer.p50, infer.p95), (1808 + 4095, 1808 + 7781));
        assert_eq!((infer.p99, infer.p999), (1808 + 8109, 1808 + 8182));
        assert_eq!(find("total").p50, 1808 + 4095 + 1);
        assert_eq!(find("decode").p99, 0);
        // 5000 microseconds and one in the queue are too many already.
        assert_eq!(told.late, 5000);
        let text = stats.prometheus(&told);
        assert!(
            text.contains("engraft_stage_seconds{stage=\"infer\",quantile=\"0.999\"} 0.00999\n")
        );
        assert!(text.contains("engraft_messages_total{what=\"answered\"} 10000\n"), "{text}");
        assert!(text.contains("engraft_stage_seconds_total{stage=\"queue\"} 0.01\n"), "{text}");
        let is_sample = |line: &str| line.split(' ').next_back().unwrap().parse::<f64>().is_ok();
        assert!(text.lines().all(|line| line.starts_with("# ") || is_sample(line)), "{text}");
    }
}
