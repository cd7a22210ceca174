//! The LeRobot dataset that is recorded to: a new one, or one that is carried on with.

use std::path::PathBuf;

use anyhow::Context;
use engraft_core::RobotSpec;
use engraft_datasets::{DatasetWriter, LerobotWriter, RecordingOptions};

use crate::data::Format;

/// Where a recording goes.
#[derive(clap::Args, Clone)]
pub(crate) struct DatasetArgs {
    /// The folder to write; it must be new or empty, unless --append.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Version of the LeRobot format.
    #[arg(long, value_enum, default_value = "v3.0")]
    pub(crate) format: Format,
    /// Carry on with the dataset that is there.
    #[arg(long)]
    pub(crate) append: bool,
    /// Keep when each step was captured, and how many frames were dropped before it.
    #[arg(long)]
    pub(crate) capture_times: bool,
}

/// A dataset that begins with its first episode, when the robot is known.
pub(crate) struct Dataset {
    args: DatasetArgs,
    writer: Option<LerobotWriter>,
}

impl Dataset {
    /// Nothing is written yet; one that is carried on with is read.
    pub(crate) fn new(args: &DatasetArgs) -> anyhow::Result<Self> {
        let taken = std::fs::read_dir(&args.out).is_ok_and(|mut all| all.next().is_some());
        if taken && !args.append {
            anyhow::bail!("{} holds something: name a new folder, or --append", args.out.display());
        }
        let writer = taken.then(|| LerobotWriter::append(&args.out)).transpose()?;
        Ok(Self { args: args.clone(), writer })
    }

    /// What writes the episodes of such a robot.
    pub(crate) fn writer(&mut self, spec: &RobotSpec) -> anyhow::Result<&mut LerobotWriter> {
        let Self { args, writer } = self;
        let out = args.out.display();
        if let Some(writer) = writer {
            writer.spec().check(spec).with_context(|| format!("{out} is of another robot"))?;
            return Ok(writer);
        }
        let options = RecordingOptions { capture_times: args.capture_times };
        let new = LerobotWriter::create_with(&args.out, spec, args.format.into(), options)?;
        Ok(writer.insert(new))
    }

    /// Ends it; where it is.
    pub(crate) fn finish(mut self) -> anyhow::Result<String> {
        if let Some(writer) = &mut self.writer {
            writer.finish()?;
        }
        Ok(self.args.out.display().to_string())
    }
}
