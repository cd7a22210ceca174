//! What was measured, as rows of a table and of a JSON file.

use std::collections::BTreeMap;
use std::fmt::Write as _; // A string takes everything.

use serde::Serialize;
use serde_json::Value;

use super::cases::{Case, Statistic, Unit, bar};
use super::measure::Contender;
use super::stats::Summary;

/// What all rows share: the machine, and how it was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Conditions {
    pub(crate) threads: usize,
    pub(crate) cpu: String,
    /// The system's load over the minute before the start; none of it is the benchmark's.
    pub(crate) load_before: Option<f64>,
    /// Whether it was too short to judge by.
    pub(crate) quick: bool,
    pub(crate) versions: Value,
    /// What a square matrix product of `f32` reached on all threads.
    pub(crate) peak_gflops: f64,
}

/// One side's numbers, or why it has none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    Measured(Summary),
    Failed { error: String },
}

/// One line of the result.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// Which number of the samples the ratio is of.
    pub(crate) statistic: &'static str,
    /// engraft's over the best of the others.
    pub(crate) ratio: Option<f64>,
    /// The same of the smallest samples, which other work on the machine disturbs least.
    pub(crate) ratio_of_fastest: Option<f64>,
    pub(crate) bar: Option<f64>,
    pub(crate) pass: Option<bool>,
    pub(crate) engraft: Outcome,
    pub(crate) others: BTreeMap<String, Outcome>,
    /// Which of the others the ratio is to.
    pub(crate) best: Option<String>,
    /// Why the two sides cannot be compared.
    pub(crate) differs: Option<String>,
    /// Shape of the output.
    pub(crate) shape: Vec<usize>,
    pub(crate) params: Option<usize>,
    /// Floating-point operations of an iteration.
    pub(crate) flops: Option<f64>,
    /// engraft's rate, and its share of the machine's matrix rate.
    pub(crate) gflops: Option<f64>,
    pub(crate) share_of_peak: Option<f64>,
    /// Share of the machine's time that other processes took meanwhile.
    pub(crate) busy_elsewhere: Option<f64>,
    #[serde(flatten)]
    pub(crate) conditions: Conditions,
}

/// What is known of a case besides its samples.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) shape: Vec<usize>,
    pub(crate) params: Option<usize>,
    pub(crate) flops: Option<f64>,
    pub(crate) differs: Option<String>,
    /// Share of the machine's time that other processes took meanwhile.
    pub(crate) busy_elsewhere: Option<f64>,
}

/// Shares of the machine from which on a row says that others had it.
const DISTURBED: f64 = 0.05;

impl Statistic {
    fn name(self) -> &'static str {
        match self {
            Self::Median => "median",
            Self::P50 => "p50",
            Self::P99 => "p99",
        }
    }

    /// The number of a summary.
    pub(crate) fn of(self, summary: &Summary) -> f64 {
        match self {
            Self::Median | Self::P50 => summary.median,
            Self::P99 => summary.p99,
        }
    }
}

impl Outcome {
    fn of(contender: &Contender<'_>) -> Self {
        let error = contender.sample.as_ref().err().cloned();
        match (error, Summary::of(&contender.samples)) {
            (None, Some(summary)) => Self::Measured(summary),
            (error, _) => Self::Failed { error: error.unwrap_or_else(|| "not measured".into()) },
        }
    }

    fn number(&self, statistic: Statistic) -> Option<f64> {
        match self {
            Self::Measured(summary) => Some(statistic.of(summary)),
            Self::Failed { .. } => None,
        }
    }
}

/// The rows of a case; the first contender is engraft.
pub(crate) fn rows(
    case: &Case,
    contenders: &[Contender<'_>],
    facts: &Facts,
    conditions: &Conditions,
) -> Vec<Row> {
    let Some((ours, others)) = contenders.split_first() else { return vec![] };
    let ours = Outcome::of(ours);
    let row = |(name, statistic): (String, Statistic)| {
        let mine = ours.number(statistic);
        // The smallest number of those that count: the strictest comparison there is.
        let best = others
            .iter()
            .filter(|other| other.counted)
            .filter_map(|other| Some((other, Outcome::of(other).number(statistic)?)))
            .min_by(|(_, one), (_, other)| one.total_cmp(other));
        let comparable = facts.differs.is_none();
        let ratio = mine.zip(best.as_ref()).filter(|_| comparable).map(|(m, (_, b))| m / b);
        let fastest = |outcome: &Outcome| match outcome {
            Outcome::Measured(summary) => Some(summary.min),
            Outcome::Failed { .. } => None,
        };
        let fastest_of_all = others
            .iter()
            .filter(|other| other.counted)
            .filter_map(|other| fastest(&Outcome::of(other)))
            .min_by(f64::total_cmp);
        let of_fastest = fastest(&ours).zip(fastest_of_all).filter(|_| comparable);
        let bar = bar(&name);
        let timed = case.unit() == Unit::Seconds;
        let gflops = facts.flops.zip(mine).filter(|_| timed).map(|(flops, s)| flops / s / 1e9);
        Row {
            unit: case.unit().name(),
            statistic: statistic.name(),
            ratio,
            ratio_of_fastest: of_fastest.map(|(mine, theirs)| mine / theirs),
            bar,
            pass: ratio.zip(bar).map(|(ratio, bar)| ratio <= bar),
            engraft: ours.clone(),
            others: others.iter().map(|o| (o.name.clone(), Outcome::of(o))).collect(),
            best: best.map(|(other, _)| other.name.clone()),
            differs: facts.differs.clone(),
            shape: facts.shape.clone(),
            params: facts.params,
            flops: facts.flops,
            gflops,
            share_of_peak: gflops.map(|rate| rate / conditions.peak_gflops),
            busy_elsewhere: facts.busy_elsewhere,
            conditions: conditions.clone(),
            name,
        }
    };
    case.rows().into_iter().map(row).collect()
}

/// The line above the rows of a group whose other sides are `others`.
pub(crate) fn heading(others: &[String]) -> String {
    let mut line = format!("{:<34} {:>9}", "", "engraft");
    for name in others {
        let _ = write!(line, " {name:>13}");
    }
    line + &format!(" {:>9} {:>6} {:>6} {:>5}", "spread", "peak", "ratio", "bar")
}

/// A row as a line, and a line for each side that failed.
pub(crate) fn lines(
    row: &Row,
    case: &Case,
    statistic: Statistic,
    others: &[String],
) -> Vec<String> {
    let unit = case.unit();
    let cell = |outcome: Option<&Outcome>| match outcome {
        None => String::new(),
        Some(Outcome::Failed { .. }) => "failed".into(),
        Some(Outcome::Measured(summary)) => unit.say(statistic.of(summary)),
    };
    let percent = |share: f64| format!("{:.0}%", 100.0 * share);
    let spread = |outcome: Option<&Outcome>| match outcome {
        Some(Outcome::Measured(summary)) => percent(summary.spread()),
        _ => "-".into(),
    };
    let mut line = format!("{:<34} {:>9}", row.name, cell(Some(&row.engraft)));
    for name in others {
        let _ = write!(line, " {:>13}", cell(row.others.get(name)));
    }
    let best = row.best.as_ref().and_then(|name| row.others.get(name));
    let mut both = spread(Some(&row.engraft));
    if best.is_some() {
        let _ = write!(both, "/{}", spread(best));
    }
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.2}"));
    let peak = row.share_of_peak.map_or(String::new(), percent);
    let _ = write!(line, " {both:>9} {peak:>6} {:>6} {:>5}", number(row.ratio), number(row.bar));
    line += match row.pass {
        Some(true) => " pass",
        Some(false) => " MISS",
        None => "",
    };
    if let Some(share) = row.busy_elsewhere.filter(|&share| share > DISTURBED) {
        let _ = write!(line, "  (others took {} of the machine)", percent(share));
    }
    let mut lines = vec![line.trim_end().to_owned()];
    let sides = std::iter::once(("engraft", &row.engraft));
    for (name, outcome) in sides.chain(row.others.iter().map(|(name, o)| (name.as_str(), o))) {
        if let Outcome::Failed { error } = outcome {
            lines.push(format!("  {}: {name} failed: {error}", row.name));
        }
    }
    if let Some(differs) = &row.differs {
        lines.push(format!("  {}: not the same work: {differs}", row.name));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::cases::all;
    use super::*;

    fn conditions() -> Conditions {
        Conditions {
            threads: 2,
            cpu: "a processor".into(),
            load_before: Some(0.1),
            quick: false,
            versions: serde_json::json!({ "engraft": "0.1.0" }),
            peak_gflops: 100.0,
        }
    }

    fn side(name: &str, counted: bool, samples: &[f64]) -> Contender<'static> {
        let samples = samples.to_vec();
        Contender { name: name.into(), counted, sample: Ok(Box::new(|_| Ok(0.0))), samples }
    }

    fn case(name: &str) -> Case {
        all().into_iter().find(|case| case.name() == name).unwrap()
    }

    #[test]
    fn the_ratio_is_to_the_fastest_that_counts() {
        let case = case("forward/resnet18/b1");
        let failed = Contender::new("compile", true, Err("no compiler".into()));
        let sides = [
            side("engraft", true, &[0.3, 0.2, 0.25]),
            side("eager", true, &[0.4, 0.5, 0.6]),
            side("channels-last", true, &[0.25, 0.2, 0.3]),
            side("onnxruntime", false, &[0.1]),
            failed,
        ];
        let facts = Facts { flops: Some(10e9), ..Facts::default() };
        let rows = rows(&case, &sides, &facts, &conditions());
        let row = &rows[0];
        assert_eq!(
            (rows.len(), row.ratio, row.best.as_deref()),
            (1, Some(1.0), Some("channels-last"))
        );
        assert_eq!((row.bar, row.pass), (Some(1.0), Some(true)));
        assert_eq!(row.ratio_of_fastest, Some(1.0));
        assert_eq!((row.gflops, row.share_of_peak), (Some(40.0), Some(0.4)));
        let names: Vec<String> =
            ["eager", "channels-last", "compile", "onnxruntime"].map(String::from).into();
        let said = lines(row, &case, Statistic::Median, &names);
        assert!(
            said[0].starts_with("forward/resnet18/b1") && said[0].ends_with("pass"),
            "{said:?}"
        );
        assert!(said[0].contains("250 ms") && said[0].contains("failed"), "{said:?}");
        assert_eq!(said[1], "  forward/resnet18/b1: compile failed: no compiler");
        assert_eq!(said.len(), 2);

        let json = serde_json::to_value(row).unwrap();
        assert_eq!((&json["name"], &json["ratio"]), (&"forward/resnet18/b1".into(), &1.0.into()));
        assert_eq!(json["bar"], 1.0);
        assert_eq!(json["engraft"]["median"], 0.25);
        assert_eq!(json["others"]["eager"]["q3"], 0.55);
        assert_eq!(json["others"]["compile"]["error"], "no compiler");
        assert_eq!((&json["threads"], &json["cpu"]), (&2.into(), &"a processor".into()));
        assert_eq!(json["versions"]["engraft"], "0.1.0");
    }

    #[test]
    fn work_that_differs_has_no_ratio() {
        let sides = [side("engraft", true, &[0.3]), side("eager", true, &[0.4])];
        let differs = Some("3 parameters beside 4".to_owned());
        let facts = Facts { differs, busy_elsewhere: Some(0.31), ..Facts::default() };
        let case = case("step/lfs/224-b32");
        let row = &rows(&case, &sides, &facts, &conditions())[0];
        assert_eq!((row.ratio, row.bar, row.pass), (None, Some(1.0), None));
        let said = lines(row, &case, Statistic::Median, &["eager".into()]);
        assert!(said[0].ends_with("(others took 31% of the machine)"), "{said:?}");
        assert!(said[1].ends_with("not the same work: 3 parameters beside 4"), "{said:?}");
    }

    #[test]
    fn a_p99_is_compared_with_the_best_p99() {
        let slow_at_times: Vec<f64> = (0..100).map(|i| if i < 97 { 0.1 } else { 1.0 }).collect();
        let case = case("latency/lfs/224-p50".trim_end_matches("-p50"));
        let sides = [
            side("engraft", true, &[0.2; 100]),
            side("eager", true, &slow_at_times),
            side("compile", true, &[0.4; 100]),
        ];
        let rows = rows(&case, &sides, &Facts::default(), &conditions());
        assert_eq!((rows[0].ratio, rows[0].best.as_deref()), (Some(2.0), Some("eager")));
        assert_eq!((rows[1].ratio, rows[1].best.as_deref()), (Some(0.5), Some("compile")));
        assert_eq!((rows[0].pass, rows[1].pass), (Some(false), Some(true)));
    }
}
