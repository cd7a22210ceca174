//! `engraft data convert`: any format that opens, as LeRobot or robomimic.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use engraft_datasets::{
    DatasetWriter, LerobotWriter, Mapping, RobomimicWriter, Version, convert, open_as, verify,
};

use super::episodes::{Episodes, chosen};
use crate::mapping::MappingArgs;
use crate::progress::{Bar, note, say};

/// Write a dataset of any format as LeRobot or robomimic, and read both to compare.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The dataset's folder or file.
    dir: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value = "lerobot-v3.0")]
    to: Target,
    /// The folder (LeRobot) or file (robomimic) to write; it must be new.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Only these episodes, such as 0-9,12.
    #[arg(long, value_name = "LIST")]
    episodes: Option<Episodes>,
    /// Write GR00T's meta/modality.json too.
    #[arg(long)]
    modality: bool,
    /// Do not read what was written.
    #[arg(long)]
    no_check: bool,
    #[command(flatten)]
    columns: MappingArgs,
}

/// A format that we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    #[value(name = "lerobot-v3.0")]
    LerobotV30,
    #[value(name = "lerobot-v2.1")]
    LerobotV21,
    #[value(name = "robomimic")]
    Robomimic,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let dataset = args.columns.open(&args.dir)?;
    let episodes = chosen(args.episodes.as_ref(), &*dataset)?;
    let spec = dataset.spec();
    let lerobot = |version| -> anyhow::Result<Box<dyn DatasetWriter>> {
        let writer = LerobotWriter::create(&args.out, spec, version)?;
        Ok(Box::new(if args.modality { writer.with_modality()? } else { writer }))
    };
    let mut writer = match args.to {
        Target::LerobotV30 => lerobot(Version::V30)?,
        Target::LerobotV21 => lerobot(Version::V21)?,
        Target::Robomimic if args.modality => {
            bail!("--modality needs a LeRobot dataset, found --to robomimic");
        }
        Target::Robomimic => Box::new(RobomimicWriter::create(&args.out, spec)?),
    };
    let mut bar = Bar::new("converting", 1);
    let progress = &mut |done, total| bar.reach(done, total);
    let converted = convert(&*dataset, &mut *writer, &episodes, progress)?;
    bar.clear();
    let out = args.out.display();
    say(format_args!("{out}: {} episodes, {} steps", converted.num_episodes, converted.num_steps))?;
    if !converted.left_behind.is_empty() {
        note(format_args!("left behind: {}", converted.left_behind.join(", ")));
    }
    if args.no_check {
        return Ok(ExitCode::SUCCESS);
    }
    let written = open_as(&args.out, &Mapping::default())?;
    let mut bar = Bar::new("comparing", 1);
    let progress = &mut |done, total| bar.reach(done, total);
    let differences = verify(&*dataset, &*written, &episodes, 0, progress);
    bar.clear();
    for line in &differences {
        say(format_args!("differs  {line}"))?;
    }
    if differences.is_empty() {
        say("checked  every number and every pixel is the same")?;
    }
    Ok(ExitCode::from(u8::from(!differences.is_empty())))
}
