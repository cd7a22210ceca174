//! `engraft import`: checkpoints of other stacks become runs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use engraft_backbones::Architecture;
use engraft_policies::{ChannelMask, ImportOptions, Tokens, import_spawnnet};

use crate::device::DeviceName;
use crate::progress::{note, say};
use crate::word::word;

/// Turn a checkpoint of another stack into a run.
#[derive(Subcommand)]
pub(crate) enum Args {
    /// Checkpoints of the SpawnNet repository: SpawnNet and IMPALA encoders with their policy.
    Spawnnet(SpawnnetArgs),
}

#[derive(clap::Args)]
pub(crate) struct SpawnnetArgs {
    /// `encoder_*.ckpt`
    #[arg(long, value_name = "FILE")]
    encoder: PathBuf,
    /// `policy_*.ckpt`
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Observations in a frame stack.
    #[arg(long)]
    frames: Option<usize>,
    /// Cameras.
    #[arg(long)]
    views: Option<usize>,
    /// Actions in a chunk.
    #[arg(long)]
    horizon: Option<usize>,
    /// What the learned stream sees: all, rgb-only, depth-only or no-rgbd.
    #[arg(long, value_parser = word::<ChannelMask>)]
    channel_mask: Option<ChannelMask>,
    /// Which features are fused: dense or cls.
    #[arg(long, value_parser = word::<Tokens>)]
    tokens: Option<Tokens>,
    /// The backbone, where the tensors fit more than one.
    #[arg(long)]
    arch: Option<Architecture>,
    /// The run to write.
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Args::Spawnnet(args) = args;
    let options = ImportOptions {
        encoder: args.encoder.clone(),
        policy: args.policy.clone(),
        frames: args.frames,
        views: args.views,
        horizon: args.horizon,
        channel_mask: args.channel_mask,
        tokens: args.tokens,
        architecture: args.arch,
    };
    let imported = import_spawnnet(&options, &DeviceName::Cpu.open()?)?;
    for line in &imported.notes {
        note(line);
    }
    imported.checkpoint.save(&args.out)?;
    say(format_args!("wrote {}", args.out.display()))?;
    Ok(ExitCode::SUCCESS)
}
