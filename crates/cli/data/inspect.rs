//! `engraft data inspect`: what a dataset holds, and how it is read.

use std::path::PathBuf;
use std::process::ExitCode;

use engraft_datasets::{DatasetInfo, Role};
use serde_json::json;

use crate::mapping::{MappingArgs, flags};
use crate::progress::say;

/// What a dataset holds, how it is read, and where it disagrees with itself.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The dataset's folder or file.
    dir: PathBuf,
    /// Read every episode and decode every picture; exit 1 if anything is wrong.
    #[arg(long)]
    check: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    columns: MappingArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let dataset = args.columns.open(&args.dir)?;
    let info = dataset.info()?;
    let problems = if args.check { dataset.check() } else { Vec::new() };
    if args.json {
        let mut value = serde_json::to_value(&info)?;
        if args.check {
            value["problems"] = json!(problems);
        }
        say(serde_json::to_string_pretty(&value)?)?;
    } else {
        describe(&info)?;
        for problem in &problems {
            say(format_args!("problem   {problem}"))?;
        }
        if args.check && problems.is_empty() {
            say("checked   every episode reads and every picture decodes")?;
        }
    }
    Ok(ExitCode::from(u8::from(!problems.is_empty())))
}

fn describe(info: &DatasetInfo) -> anyhow::Result<()> {
    say(format_args!("format    {}", info.format))?;
    say(format_args!("robot     {}", info.robot))?;
    let steps = &info.episode_steps;
    say(format_args!(
        "episodes  {} of {} to {} steps, {} steps in all",
        info.num_episodes, steps.min, steps.max, info.num_steps
    ))?;
    let megabytes = info.num_bytes as f64 / 1e6;
    say(format_args!(
        "time      {:.0} s at {} Hz, {megabytes:.1} MB",
        info.duration_secs, info.fps
    ))?;
    for task in &info.tasks {
        say(format_args!("task      {task}"))?;
    }
    for feature in &info.features {
        let role = match feature.role {
            Role::View => "view",
            Role::Depth => "depth",
            Role::Proprio => "proprio",
            Role::Action => "action",
            Role::Index => "index",
            Role::Other => "not read",
        };
        say(format_args!(
            "feature   {:<28} {:<8} {:<14} {role}",
            feature.name,
            feature.dtype,
            format!("{:?}", feature.shape)
        ))?;
        for (index, dimension) in feature.dimensions.iter().enumerate() {
            let range = match (dimension.min, dimension.max) {
                (Some(min), Some(max)) => format!("{min} to {max}"),
                _ => String::new(),
            };
            let unit = if dimension.unit.is_empty() { "?" } else { &dimension.unit };
            say(format_args!("{:>12}  {:<26} [{unit}] {range}", index, dimension.name))?;
        }
    }
    for flag in flags(&info.mapping) {
        say(format_args!("read as   {flag}"))?;
    }
    for warning in &info.warnings {
        say(format_args!("warning   {warning}"))?;
    }
    Ok(())
}
