//! `engraft weights`: trained backbones, by name.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use engraft_backbones::weights::{Cache, Import, Progress, Verdict, Weights};
use engraft_backbones::{Architecture, Normalization};
use serde_json::json;

use crate::device::DeviceName;
use crate::progress::{Bar, note, say};
use crate::word::word;

/// Get, import and check the weights of frozen backbones.
///
/// They are kept in $ENGRAFT_CACHE, else $XDG_CACHE_HOME/engraft, else ~/.cache/engraft.
#[derive(Subcommand)]
pub(crate) enum Args {
    /// Which weights engraft knows, and which are on this machine.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Get weights by name.
    Pull {
        /// Names from `engraft weights list`.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Copy a weight file of your own into the cache, after checking that it fills the network.
    Import(ImportArgs),
    /// Check checksums and that the files fill their networks; exit 1 if one does not.
    Verify {
        /// Names; all that are on this machine if none is given.
        names: Vec<String>,
    },
}

#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// A .pth, .pt or .safetensors file.
    file: PathBuf,
    /// The network it fills, such as resnet50 or dino-vits8.
    #[arg(long)]
    arch: Architecture,
    /// What to call it; the file's name if absent.
    #[arg(long)]
    name: Option<String>,
    /// Read only the tensors below this prefix, such as `module.convnet.`.
    #[arg(long)]
    prefix: Option<String>,
    /// How it was trained to see pixels, if not as usual for the network.
    #[arg(long, value_parser = word::<Normalization>)]
    normalization: Option<Normalization>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let cache = Cache::open()?;
    match args {
        Args::List { json } => list(&cache, *json)?,
        Args::Pull { names } => {
            for name in names {
                pull(&cache, name)?;
            }
        }
        Args::Import(args) => {
            let import = Import {
                file: args.file.clone(),
                architecture: args.arch,
                name: args.name.clone(),
                prefix: args.prefix.clone(),
                normalization: args.normalization,
            };
            let weights = cache.import(&import, &DeviceName::Cpu.open()?)?;
            say(format_args!("{}: {} ({})", weights.name, weights.about, weights.architecture))?;
        }
        Args::Verify { names } => return verify(&cache, names),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(cache: &Cache, as_json: bool) -> anyhow::Result<()> {
    let all = cache.list()?;
    if as_json {
        let rows = all.iter().map(|weights| {
            let mut row = serde_json::to_value(weights)?;
            row["here"] = json!(cache.has(weights));
            row["path"] = json!(cache.path(weights));
            Ok(row)
        });
        let rows = rows.collect::<Result<Vec<_>, serde_json::Error>>()?;
        return say(serde_json::to_string_pretty(&rows)?);
    }
    let width = all.iter().map(|weights| weights.name.len()).max().unwrap_or(0);
    for weights in &all {
        let here = if cache.has(weights) { "here" } else { "" };
        say(format_args!(
            "{:<width$}  {here:<4}  {:<20}  {}",
            weights.name, weights.licence, weights.about
        ))?;
    }
    Ok(())
}

/// Gets weights by name, with a bar while they come.
pub(crate) fn pull(cache: &Cache, name: &str) -> anyhow::Result<PathBuf> {
    let mut bar: Option<Bar> = None;
    let path = cache.pull(name, &mut |progress: Progress| {
        let (done, total) = (progress.done / 1000, progress.total.unwrap_or(0) / 1000);
        if total > 0 {
            let bar = bar.get_or_insert_with(|| Bar::new(format!("pulling {name}"), total));
            bar.set(done, &format!("kB, {}", progress.stage));
        }
    })?;
    if let Some(bar) = bar {
        bar.finish("done");
    }
    say(format_args!("{name}: {}", path.display()))?;
    Ok(path)
}

fn verify(cache: &Cache, names: &[String]) -> anyhow::Result<ExitCode> {
    let all = cache.list()?;
    let here = all.iter().filter(|weights| cache.has(weights)).map(|weights| weights.name.clone());
    let names = if names.is_empty() { here.collect() } else { names.to_vec() };
    if names.is_empty() {
        note(format_args!("no weights here; get some with `engraft weights pull {}`", first(&all)));
    }
    let device = DeviceName::Cpu.open()?;
    let mut bad = 0;
    for name in &names {
        match cache.verify(name, &device) {
            Ok(Verdict::Good { sha256, num_tensors }) => {
                say(format_args!("{name}: good, {num_tensors} tensors, sha256 {sha256}"))?;
            }
            Ok(Verdict::NotPulled) => {
                bad += 1;
                say(format_args!("{name}: not here, `engraft weights pull {name}` gets it"))?;
            }
            Err(error) => {
                bad += 1;
                say(format_args!("{name}: {:#}", anyhow::Error::from(error)))?;
            }
        }
    }
    Ok(ExitCode::from(u8::from(bad > 0)))
}

fn first(all: &[Weights]) -> &str {
    all.first().map_or("NAME", |weights| weights.name.as_str())
}
