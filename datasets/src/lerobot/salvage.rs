//! Episodes told by their rows, where the list of episodes was lost in a crash.

use std::collections::BTreeMap;
use std::path::Path;

use super::columns::integers;
use super::features::Info;
use super::meta::{EpisodeMeta, parquet_files, read_episodes, read_tasks};
use super::{LerobotSource, is_lerobot, tables};
use crate::demonstrations::Demonstrations;
use crate::{Dataset, DatasetError, Mapping, chain};

/// A dataset whose list of episodes was made anew.
pub struct Salvaged {
    /// What could be saved, to be read as any other; [`repair`](crate::repair()) writes it down.
    pub dataset: Box<dyn Dataset>,
    /// What could not be read, one line each.
    pub lost: Vec<String>,
}

/// Opens a LeRobot dataset whose list of episodes or of tasks cannot be read, as a recording that
/// was cut off leaves it: episodes are told by the rows of the data files that are whole.
///
/// Nothing is written. Where both lists can be read this is [`open`](crate::open).
///
/// # Errors
///
/// When `meta/info.json` cannot be read, when no data file is whole, or when the dataset has
/// videos, since only the list of episodes says where in them an episode begins.
pub fn salvage(dir: impl AsRef<Path>) -> Result<Salvaged, DatasetError> {
    let root = dir.as_ref();
    if !is_lerobot(root) {
        return Err(DatasetError::UnknownFormat { path: root.to_owned() });
    }
    let info = Info::read(root)?;
    let mut lost = Vec::new();
    let tasks = read_tasks(root, info.version).unwrap_or_else(|error| {
        lost.push(chain(&error));
        Vec::new()
    });
    let metas = match read_episodes(root, &info) {
        Ok(metas) => metas,
        Err(error) => {
            lost.push(chain(&error));
            if let Some(key) = info.video_keys().next() {
                let path = root.join("meta/episodes");
                let expected = "pictures in the data files to save without the list of episodes";
                return Err(DatasetError::content(key, expected, "video", &path));
            }
            from_rows(root, &tasks, &mut lost)?
        }
    };
    let source = LerobotSource::new(root, info, tasks, metas)?;
    let dataset = Box::new(Demonstrations::new(source, &Mapping::default())?);
    Ok(Salvaged { dataset, lost })
}

/// The episodes whose rows the data files hold; an episode that stands in two is taken once.
fn from_rows(
    root: &Path,
    tasks: &[(i64, String)],
    lost: &mut Vec<String>,
) -> Result<Vec<EpisodeMeta>, DatasetError> {
    let folder = root.join("data");
    let mut metas: BTreeMap<u64, EpisodeMeta> = BTreeMap::new();
    for path in parquet_files(&folder)? {
        let found = match rows_of(&path) {
            Ok(found) => found,
            Err(error) => {
                lost.push(chain(&error));
                continue;
            }
        };
        let file = path.strip_prefix(root).unwrap_or(&path).to_owned();
        for (index, (num_steps, task)) in found {
            let Ok(index) = u64::try_from(index) else { continue };
            let known = tasks.iter().find(|(known, _)| *known == task);
            let task = known.map_or(String::new(), |(_, task)| task.clone());
            let meta = EpisodeMeta {
                index,
                num_steps,
                task,
                file: file.clone(),
                place: (0, 0), // whoever wants to append repairs first
                videos: Vec::new(),
            };
            if let Some(other) = metas.get(&index) {
                let (file, other) = (file.display(), other.file.display());
                lost.push(format!("{file} holds episode {index}, which {other} holds, too"));
            } else {
                metas.insert(index, meta);
            }
        }
    }
    if metas.is_empty() {
        let found = "none that is whole";
        return Err(DatasetError::content("data files", "rows of an episode", found, &folder));
    }
    Ok(metas.into_values().collect())
}

/// Rows and first task of each episode in a data file, by its index.
fn rows_of(path: &Path) -> Result<BTreeMap<i64, (usize, i64)>, DatasetError> {
    let mut found = BTreeMap::new();
    for batch in tables::read_columns(path, |name| matches!(name, "episode_index" | "task_index"))?
    {
        let episodes = integers(&batch, "episode_index", path)?;
        let tasks = integers(&batch, "task_index", path).unwrap_or_default();
        for (row, episode) in episodes.into_iter().enumerate() {
            let task = tasks.get(row).copied().unwrap_or(-1);
            found.entry(episode).or_insert((0, task)).0 += 1;
        }
    }
    Ok(found)
}
