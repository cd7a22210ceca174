//! The flags that say which columns of a dataset are what, shared by every verb that reads one.

use std::path::Path;
use std::str::FromStr;

use anyhow::{anyhow, bail};
use engraft_datasets::{ColumnRef, Dataset, Mapping, ViewRef, open_as};

/// Which columns are what; what is left out is guessed, and `engraft data inspect` shows it.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Columns (guessed where left out)")]
pub(crate) struct MappingArgs {
    /// Columns of proprio, in order; COLUMN[FROM:TO] takes a part.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    proprio: Vec<ColumnRef>,
    /// Columns of the action, in order.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    action: Vec<ColumnRef>,
    /// A camera and its column; repeat it for more.
    #[arg(long, value_name = "NAME=COLUMN")]
    view: Vec<ViewRef>,
    /// A camera and the column of its depth.
    #[arg(long, value_name = "NAME=COLUMN")]
    depth: Vec<ViewRef>,
    /// Steps per second.
    #[arg(long, value_name = "RATE")]
    fps: Option<f32>,
    /// What was asked of the demonstrator.
    #[arg(long, value_name = "TEXT")]
    task: Option<String>,
    /// Only the episodes of this list in the file, such as robomimic's `valid`, or of this split.
    #[arg(long, value_name = "NAME")]
    mask: Option<String>,
    /// Resize every picture to this.
    #[arg(long, value_name = "SIDE or WIDTHxHEIGHT")]
    size: Option<Size>,
}

/// Width and height, as one number or two.
#[derive(Debug, Clone, Copy)]
struct Size(usize, usize);

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let number = |text: &str| -> anyhow::Result<usize> {
            let wrong = || anyhow!("expected SIDE or WIDTHxHEIGHT, found `{text}`");
            text.parse().ok().filter(|side| (1..=8192).contains(side)).ok_or_else(wrong)
        };
        match text.split_once('x') {
            Some((width, height)) => Ok(Self(number(width)?, number(height)?)),
            None => Ok(Self(number(text)?, number(text)?)),
        }
    }
}

impl MappingArgs {
    /// What was said on the command line.
    pub(crate) fn mapping(&self) -> Mapping {
        Mapping {
            proprio: self.proprio.clone(),
            action: self.action.clone(),
            view: self.view.clone(),
            depth: self.depth.clone(),
            fps: self.fps,
            task: self.task.clone(),
            mask: self.mask.clone(),
            size: self.size.map(|Size(width, height)| (width, height)),
        }
    }

    /// Opens the dataset at `path`, read as these flags say.
    pub(crate) fn open(&self, path: &Path) -> anyhow::Result<Box<dyn Dataset>> {
        open_dataset(path, &self.mapping())
    }
}

/// Opens the dataset at `path`, and says it plainly where there is nothing.
pub(crate) fn open_dataset(path: &Path, mapping: &Mapping) -> anyhow::Result<Box<dyn Dataset>> {
    if !path.exists() {
        bail!("no dataset there: expected a folder or a file (path: {})", path.display());
    }
    Ok(open_as(path, mapping)?)
}

/// The flags that say what `mapping` does, to be copied and changed.
pub(crate) fn flags(mapping: &Mapping) -> Vec<String> {
    let list = |flag: &str, all: &[ColumnRef]| {
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        (!all.is_empty()).then(|| format!("--{flag} {}", all.join(",")))
    };
    let mut flags = Vec::new();
    flags.extend(list("proprio", &mapping.proprio));
    flags.extend(list("action", &mapping.action));
    flags.extend(mapping.view.iter().map(|view| format!("--view {view}")));
    flags.extend(mapping.depth.iter().map(|depth| format!("--depth {depth}")));
    flags.extend(mapping.fps.map(|fps| format!("--fps {fps}")));
    flags.extend(mapping.task.iter().map(|task| format!("--task \"{task}\"")));
    flags.extend(mapping.mask.iter().map(|mask| format!("--mask {mask}")));
    flags.extend(mapping.size.map(|(width, height)| format!("--size {width}x{height}")));
    flags
}
