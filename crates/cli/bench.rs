//! `engraft bench`: how fast it is, beside PyTorch on the same work.

mod augment;
mod cases;
mod files;
mod machine;
mod measure;
mod memory;
mod ours;
mod peer;
mod report;
mod stats;

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, bail};
use burn::tensor::Device;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::device::DeviceName;
use crate::progress::{Bar, note, say};
use cases::{Case, Kind};
use measure::{Contender, Plan};
use peer::Peer;
use report::{Conditions, Facts, Row};

/// Measure how fast engraft is on this machine, beside PyTorch on the same work.
///
/// Both sides take turns, iteration by iteration, on the same shapes and threads. A ratio is
/// engraft's median over that of PyTorch's fastest variant, so below 1 engraft is faster. Exit 1 if
/// a bar is missed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Whom to compare with; without it engraft alone is measured.
    #[arg(long, value_enum, value_name = "WHOM")]
    against: Option<Whom>,
    /// Write the rows as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the ratios.
    #[arg(long, value_name = "FILE.svg")]
    figure: Option<PathBuf>,
    /// Only the cases whose names contain this, such as forward/ or /lfs/.
    #[arg(long, value_name = "SUBSTRING")]
    only: Option<String>,
    /// A few iterations of each: does it run? Too few to judge by.
    #[arg(long)]
    quick: bool,
    /// Threads of each side; all cores if absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Which of PyTorch's variants, with commas between; all if absent.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(cases::VARIANT_NAMES))]
    variants: Vec<String>,
    /// An interpreter that has PyTorch, instead of a virtual environment in engraft's cache.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Print the names of the cases and measure nothing.
    #[arg(long)]
    list: bool,
    /// Do what a memory case does, in this process, and print its peak.
    #[arg(long, hide = true, value_name = "CASE")]
    child: Option<String>,
}

/// Whom engraft is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Whom {
    Pytorch,
}

/// How everything is measured.
pub(crate) struct Settings {
    pub(crate) threads: usize,
    pub(crate) quick: bool,
    pub(crate) scratch: Rc<files::Scratch>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let cases = chosen(args)?;
    if args.list {
        cases.iter().try_for_each(|case| say(case.name()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores, usize::from);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let (quick, device) = (args.quick, DeviceName::Cpu.open()?);
    let settings = Settings { threads, quick, scratch: Rc::new(files::Scratch::new()?) };
    if args.child.as_ref().is_some_and(|name| name.starts_with("memory-server")) {
        engraft_kernels::use_small_pages(); // as `engraft serve` does
    } else {
        engraft_kernels::keep_freed_memory(); // as `engraft train` does
    }
    if let Some(name) = &args.child {
        memory::child(name, &settings, &device)?;
        return Ok(ExitCode::SUCCESS);
    }
    let load_before = machine::load();
    if let Some(load) = load_before.filter(|&load| load > 0.3) {
        note(format_args!("this machine is busy (load {load:.1}): expect noise"));
    }
    let peer = match args.against {
        Some(Whom::Pytorch) => Some(RefCell::new(Peer::start(args.python.as_deref(), threads)?)),
        None => None,
    };
    let mut versions = json!({ "engraft": env!("CARGO_PKG_VERSION") });
    if let (Some(peer), Some(all)) = (&peer, versions.as_object_mut()) {
        all.extend(peer.borrow().versions.as_object().cloned().unwrap_or_default());
    }
    let cpu = machine::cpu();
    let peak_gflops = machine::matrix_gflops(&device, quick)?;
    note(format_args!(
        "{cpu}, {threads} thread(s), {peak_gflops:.0} GFLOP/s in matrix products ({versions})"
    ));
    let conditions = Conditions { threads, cpu, load_before, quick, versions, peak_gflops };
    let bench = Bench { settings, device, peer, variants: args.variants.clone(), conditions };
    let rows = bench.all(&cases)?;
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&rows)? + "\n";
        std::fs::write(path, text)
            .with_context(|| format!("cannot write (path: {})", path.display()))?;
    }
    if let Some(path) = &args.figure {
        std::fs::write(path, figure(&rows))
            .with_context(|| format!("cannot write (path: {})", path.display()))?;
    }
    let missed = |row: &&Row| row.pass == Some(false) || row.differs.is_some();
    let failed = |row: &&Row| matches!(row.engraft, report::Outcome::Failed { .. });
    let bad = rows.iter().filter(|row| missed(row) || failed(row)).count();
    Ok(ExitCode::from(u8::from(bad > 0)))
}

fn chosen(args: &Args) -> anyhow::Result<Vec<Case>> {
    let mut cases = cases::all();
    if let Some(part) = &args.only {
        cases.retain(|case| case.rows().iter().any(|(name, _)| name.contains(part)));
        if cases.is_empty() {
            bail!("no case has {part:?} in its name; `engraft bench --list` lists them");
        }
    }
    Ok(cases)
}

fn figure(rows: &[Row]) -> String {
    let ratios: Vec<engraft_viz::Ratio> = rows
        .iter()
        .filter_map(|row| {
            let (name, bar) = (row.name.clone(), row.bar);
            Some(engraft_viz::Ratio { name, ratio: row.ratio?, bar })
        })
        .collect();
    let title = "engraft beside the best of PyTorch (below 1: engraft takes less)";
    engraft_viz::ratio_bars(title, &ratios)
}

/// Everything that measuring needs.
struct Bench {
    settings: Settings,
    device: Device,
    peer: Option<RefCell<Peer>>,
    variants: Vec<String>,
    conditions: Conditions,
}

impl Bench {
    fn all(&self, cases: &[Case]) -> anyhow::Result<Vec<Row>> {
        let mut bar = Bar::new("bench", cases.len() as u64);
        let (mut rows, mut group, mut columns) = (Vec::new(), "", Vec::new());
        for (done, case) in cases.iter().enumerate() {
            bar.set(done as u64, &case.name());
            let others = self.others(case);
            let found = self.one(case, &others);
            bar.aside(|| -> anyhow::Result<()> {
                if group != case.group {
                    group = case.group;
                    columns = self.columns(cases.iter().filter(|case| case.group == group));
                    say(report::heading(&columns))?;
                }
                for (row, (_, statistic)) in found.iter().zip(case.rows()) {
                    for line in report::lines(row, case, statistic, &columns) {
                        say(line)?;
                    }
                }
                Ok(())
            })?;
            rows.extend(found);
        }
        bar.finish(&format!("{} cases", cases.len()));
        Ok(rows)
    }

    /// Names of the other sides of several cases, each once.
    fn columns<'a>(&self, cases: impl Iterator<Item = &'a Case>) -> Vec<String> {
        let mut columns = Vec::new();
        for name in cases.flat_map(|case| self.others(case)) {
            if !columns.contains(&name) {
                columns.push(name);
            }
        }
        columns
    }

    /// Names of the other sides of a case.
    fn others(&self, case: &Case) -> Vec<String> {
        if case.kind == Kind::Epoch {
            return vec!["uncached".into()];
        }
        if self.peer.is_none() {
            return vec![];
        }
        let picked =
            |name: &str| self.variants.is_empty() || self.variants.iter().any(|v| v == name);
        let names = case.variants().iter().map(|variant| variant.name);
        names.filter(|name| picked(name)).map(str::to_owned).collect()
    }

    /// Measures a case. What fails is in its rows.
    fn one(&self, case: &Case, others: &[String]) -> Vec<Row> {
        let mut facts = Facts::default();
        let ours = ours::prepare(case, &self.settings, &self.device);
        let ours = ours.map(|ready| {
            (facts.shape, facts.params) = (ready.shape, ready.params);
            ready.sample
        });
        let ours = ours.map_err(|error| format!("{error:#}"));
        let mut contenders = vec![Contender::new("engraft", true, ours)];
        if case.kind == Kind::Epoch {
            let uncached = files::epoch(case, false, &self.settings, &self.device);
            let uncached = uncached.map(|ready| ready.sample).map_err(|error| format!("{error:#}"));
            contenders.push(Contender::new("uncached", true, uncached));
        } else if let Some(peer) = &self.peer {
            for name in others {
                contenders.push(self.theirs(case, name, peer, &mut facts));
            }
        }
        let before = machine::Usage::now();
        measure::measure(&mut contenders, self.plan(case));
        let after = machine::Usage::now();
        facts.busy_elsewhere = after.zip(before).map(|(after, then)| after.elsewhere_since(then));
        let rows = report::rows(case, &contenders, &facts, &self.conditions);
        drop(contenders);
        if let Some(peer) = &self.peer
            && let Err(error) = peer.borrow_mut().drop_prepared()
        {
            note(format_args!("{}: {error:#}", case.name()));
        }
        rows
    }

    /// A variant of PyTorch, and whether it does what engraft does.
    fn theirs<'a>(
        &self,
        case: &Case,
        name: &str,
        peer: &'a RefCell<Peer>,
        facts: &mut Facts,
    ) -> Contender<'a> {
        let counted = case.variants().iter().any(|variant| variant.name == name && variant.counted);
        let json = if case.kind == Kind::Train {
            files::train_json(case, &self.settings)
        } else {
            Ok(case.to_json())
        };
        let prepared = json.and_then(|json| peer.borrow_mut().prepare(&json, name));
        let prepared = prepared.map(|prepared| {
            facts.flops = facts.flops.or(prepared.flops);
            let differs = difference(facts, &prepared).map(|what| format!("{name}: {what}"));
            facts.differs = facts.differs.take().or(differs);
        });
        let variant = name.to_owned();
        let sample =
            prepared.map_err(|error| format!("{error:#}")).map(|()| -> ours::Sampler<'a> {
                Box::new(move |repeat| peer.borrow_mut().sample(&variant, repeat))
            });
        Contender::new(name, counted, sample)
    }

    fn plan(&self, case: &Case) -> Plan {
        let (fewest, most, budget_secs, sample_secs, warm_up) = match &case.kind {
            Kind::Observation => (200, 400, 20.0, 0.0, 5),
            Kind::Train | Kind::Epoch => (3, 5, 60.0, 0.0, 0),
            Kind::Memory(_) => (3, 3, 0.0, 0.0, 0),
            _ => (7, 40, 12.0, 0.03, 2),
        };
        let plan = Plan { fewest, most, budget_secs, sample_secs, warm_up };
        match (self.settings.quick, &case.kind) {
            (false, _) => plan,
            (true, Kind::Observation) => Plan { fewest: 20, most: 20, warm_up: 1, ..plan },
            (true, Kind::Train | Kind::Epoch | Kind::Memory(_)) => {
                Plan { fewest: 1, most: 1, ..plan }
            }
            (true, _) => Plan { fewest: 3, most: 3, sample_secs: 0.0, warm_up: 1, ..plan },
        }
    }
}

/// Why the other side's work is not engraft's, if it is not.
fn difference(facts: &Facts, theirs: &peer::Prepared) -> Option<String> {
    if !facts.shape.is_empty() && theirs.shape != facts.shape {
        return Some(format!("expected output {:?}, found {:?}", facts.shape, theirs.shape));
    }
    match (facts.params, theirs.params) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            Some(format!("expected {ours} parameters, found {theirs}"))
        }
        _ => None,
    }
}
