//! `engraft data doctor`: what is wrong with a dataset, and a new one with what is sound of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use engraft_datasets::{
    Dataset, Diagnosis, Examination, Finding, Mapping, Severity, examine, repair, salvage,
};
use serde_json::json;

use crate::mapping::MappingArgs;
use crate::progress::{Bar, note, say};
use crate::quickstart::is_free;

/// What is wrong with a dataset: exit 1 if anything is.
///
/// Finds numbers that are not finite, pictures that do not decode, frozen or swapped cameras,
/// constant dimensions, changed units, duplicated episodes and, in LeRobot's files, timestamps,
/// totals, statistics, videos and unfinished recordings.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The dataset's folder or file.
    dir: PathBuf,
    /// Write what is sound to this new folder; nothing is changed in place.
    #[arg(long, value_name = "OUT")]
    repair: Option<PathBuf>,
    /// Decode every picture rather than some of each second.
    #[arg(long)]
    every_picture: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    columns: MappingArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Said before the examination, which may take a while.
    if let Some(out) = &args.repair
        && !is_free(out)
    {
        bail!("expected a new or empty folder, found something in it (path: {})", out.display());
    }
    let dataset = open(args)?;
    let options = Examination { every_picture: args.every_picture, ..Examination::default() };
    let mut bar = Bar::new("examining", 1);
    let diagnosis = examine(&*dataset, &options, &mut |done, total| bar.reach(done, total));
    bar.clear();
    if !args.json {
        describe(&diagnosis)?;
    }
    let repaired = match &args.repair {
        Some(out) => Some(mend(&*dataset, &diagnosis, out, args.json)?),
        None => None,
    };
    if args.json {
        let value = json!({ "diagnosis": diagnosis, "repaired": repaired });
        say(serde_json::to_string_pretty(&value)?)?;
    }
    let sick = !diagnosis.is_healthy();
    if sick && args.repair.is_none() && diagnosis.findings.iter().any(|found| found.repairable) {
        note(format_args!("next: engraft data doctor {} --repair OUT", args.dir.display()));
    }
    Ok(ExitCode::from(u8::from(sick && args.repair.is_none())))
}

/// Opens the dataset; where its list of episodes is lost, what its data files tell of it.
fn open(args: &Args) -> anyhow::Result<Box<dyn Dataset>> {
    let error = match args.columns.open(&args.dir) {
        Ok(dataset) => return Ok(dataset),
        // Whoever names columns is told about columns.
        Err(error) if args.columns.mapping() != Mapping::default() => return Err(error),
        Err(error) => error,
    };
    // Why it does not open says more than why nothing could be saved.
    let Ok(saved) = salvage(&args.dir) else { return Err(error) };
    note(format_args!("{error:#}"));
    note("the episodes are told by the data files instead");
    for line in saved.lost {
        note(format_args!("lost     {line}"));
    }
    if args.repair.is_none() {
        note(format_args!("next: engraft data doctor {} --repair OUT", args.dir.display()));
    }
    Ok(saved.dataset)
}

fn describe(diagnosis: &Diagnosis) -> anyhow::Result<()> {
    for finding in &diagnosis.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        say(format_args!(
            "{severity:<8} {}{}: {}",
            place(finding),
            finding.check,
            finding.message
        ))?;
        if let Some(remedy) = &finding.remedy {
            say(format_args!("{:<8} {remedy}", ""))?;
        }
    }
    let [errors, warnings, notes] =
        [Severity::Error, Severity::Warning, Severity::Note].map(|s| diagnosis.count(s));
    say(format_args!(
        "{errors} errors, {warnings} warnings, {notes} notes in {} episodes of {} steps, pictures \
         of {} steps decoded",
        diagnosis.num_episodes, diagnosis.num_steps, diagnosis.num_steps_seen
    ))
}

fn place(finding: &Finding) -> String {
    match (finding.episode, finding.step) {
        (Some(episode), Some(step)) => format!("episode {episode}, step {step}: "),
        (Some(episode), None) => format!("episode {episode}: "),
        _ => String::new(),
    }
}

fn mend(
    dataset: &dyn Dataset,
    diagnosis: &Diagnosis,
    out: &Path,
    quiet: bool,
) -> anyhow::Result<engraft_datasets::Repaired> {
    let mut bar = Bar::new("repairing", 1);
    let repaired = repair(dataset, diagnosis, out, &mut |done, total| bar.reach(done, total))?;
    bar.clear();
    if !quiet {
        for dropped in &repaired.dropped {
            say(format_args!("left out episode {}: {}", dropped.episode, dropped.reason))?;
        }
        for changed in &repaired.changed {
            say(format_args!("changed  {changed}"))?;
        }
        say(format_args!(
            "{}: LeRobot {}, {} episodes, {} steps",
            out.display(),
            repaired.version,
            repaired.num_episodes,
            repaired.num_steps
        ))?;
    }
    Ok(repaired)
}
