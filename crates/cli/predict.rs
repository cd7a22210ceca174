//! `engraft predict`: one chunk for one observation in a file.

use std::path::PathBuf;
use std::process::ExitCode;

use engraft_policies::{Precision, predict_file};
use serde_json::json;

use crate::device::DeviceName;
use crate::progress::{note, say};
use crate::train::{open_run_in, otherwise_than_trained};
use crate::word::word;

/// Predict one action chunk for an observation in a .safetensors file.
///
/// It holds `rgb`, u8 or f32 from 0 to 255, as frames, views, 3, height, width; optionally `depth`
/// in metres as frames, views, 1, height, width; and `proprio` as frames, dimensions.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run.
    run: PathBuf,
    /// The observation.
    #[arg(long, value_name = "FILE")]
    observation: PathBuf,
    /// As JSON: {"actions": [[...], ...]}, horizon by action dimension, in physical units.
    #[arg(long)]
    json: bool,
    /// Where to compute: cpu, wgpu[:INDEX] or cuda[:INDEX].
    #[arg(long, default_value_t)]
    device: DeviceName,
    /// Compute frozen features in this precision, single or int8, whatever the run was trained on.
    #[arg(long, value_name = "PRECISION", value_parser = word::<Precision>)]
    frozen: Option<Precision>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let run = open_run_in(&args.run, &args.device.open()?, args.frozen)?;
    otherwise_than_trained(&run).into_iter().for_each(note);
    let chunk = predict_file(&run, &args.observation)?;
    if args.json {
        let actions: Vec<&[f32]> = chunk.actions().collect();
        say(json!({ "actions": actions }))?;
    } else {
        let names = run.contract.spec.actions.iter().map(|dimension| dimension.name.as_str());
        say(format_args!("step  {}", names.collect::<Vec<_>>().join("  ")))?;
        for (step, action) in chunk.actions().enumerate() {
            let values: Vec<_> = action.iter().map(|value| format!("{value:.4}")).collect();
            say(format_args!("{step:>4}  {}", values.join("  ")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
