//! Which episodes there are, and in which files.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::{Array, RecordBatch};
use serde::Deserialize;

use super::Version;
use super::columns::{doubles, integers, string_lists, strings};
use super::features::Info;
use super::tables::read_columns;
use crate::DatasetError;
use crate::files::{inside, read_text};

/// What metadata says of an episode.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EpisodeMeta {
    /// `episode_index` in the data.
    pub(super) index: u64,
    /// Steps.
    pub(super) num_steps: usize,
    /// What was asked, the first of several.
    pub(super) task: String,
    /// The data file, relative to the dataset.
    pub(super) file: PathBuf,
    /// Chunk and file index of the data, in v3.
    pub(super) place: (usize, usize),
    /// Where its videos are, in the order of the features that are videos.
    pub(super) videos: Vec<VideoPlace>,
}

/// Where an episode lies in a video.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VideoPlace {
    /// The file, relative to the dataset.
    pub(super) file: PathBuf,
    /// When the episode begins in it.
    pub(super) from_secs: f64,
    /// When it ends in it, where that is said.
    pub(super) to_secs: Option<f64>,
}

#[derive(Deserialize)]
struct EpisodeLine {
    episode_index: u64,
    #[serde(default)]
    tasks: Vec<String>,
    length: usize,
}

/// Any line that is about an episode.
#[derive(Deserialize)]
pub(super) struct LineOf {
    pub(super) episode_index: u64,
}

#[derive(Deserialize)]
struct TaskLine {
    task_index: u64,
    task: String,
}

/// The tasks and their indices, in order.
pub(super) fn read_tasks(
    root: &Path,
    version: Version,
) -> Result<Vec<(i64, String)>, DatasetError> {
    let mut tasks: Vec<(i64, String)> = Vec::new();
    if version == Version::V30 {
        let path = root.join("meta/tasks.parquet");
        let batches = read_columns(&path, |name| {
            matches!(name, "task" | "task_index" | "__index_level_0__")
        })?;
        for batch in &batches {
            let text = ["task", "__index_level_0__"].into_iter().find(|n| has(batch, n));
            let texts = strings(batch, text.unwrap_or("task"), &path)?;
            tasks.extend(integers(batch, "task_index", &path)?.into_iter().zip(texts));
        }
    } else {
        let path = root.join("meta/tasks.jsonl");
        for line in lines::<TaskLine>(&path)? {
            tasks.push((line.task_index as i64, line.task));
        }
    }
    tasks.sort();
    Ok(tasks)
}

/// The episodes, by their index.
pub(super) fn read_episodes(root: &Path, info: &Info) -> Result<Vec<EpisodeMeta>, DatasetError> {
    let mut episodes = if info.version == Version::V30 {
        episodes_of_parquet(root, info)?
    } else {
        episodes_of_lines(root, info)?
    };
    episodes.sort_by_key(|entry| entry.index);
    if let Some(pair) = episodes.windows(2).find(|pair| pair[0].index == pair[1].index) {
        let found = format!("episode {} twice", pair[0].index);
        let path = root.join("meta");
        return Err(DatasetError::content("episode_index", "each episode once", found, &path));
    }
    Ok(episodes)
}

fn episodes_of_lines(root: &Path, info: &Info) -> Result<Vec<EpisodeMeta>, DatasetError> {
    let path = root.join("meta/episodes.jsonl");
    let entry = |line: EpisodeLine| {
        let chunk = line.episode_index as usize / info.chunks_size;
        let values = [("episode_chunk", chunk), ("episode_index", line.episode_index as usize)];
        Ok(EpisodeMeta {
            index: line.episode_index,
            num_steps: line.length,
            task: line.tasks.into_iter().next().unwrap_or_default(),
            file: data_file(root, info, &values)?,
            place: (chunk, line.episode_index as usize),
            videos: info
                .video_keys()
                .map(|key| {
                    let file = video_file(root, info, key, &values)?;
                    Ok(VideoPlace { file, from_secs: 0.0, to_secs: None })
                })
                .collect::<Result<_, DatasetError>>()?,
        })
    };
    lines::<EpisodeLine>(&path)?.into_iter().map(entry).collect()
}

/// Of one camera: its feature, and per episode the chunk, the file, the beginning and the end.
type VideoColumns<'a> = (&'a str, Vec<i64>, Vec<i64>, Vec<f64>, Option<Vec<f64>>);

fn episodes_of_parquet(root: &Path, info: &Info) -> Result<Vec<EpisodeMeta>, DatasetError> {
    let mut episodes = Vec::new();
    for path in episode_files(root)? {
        // Statistics fill most of these files, and none of them is needed here.
        let wanted = |name: &str| !name.starts_with("stats/");
        for batch in read_columns(&path, wanted)? {
            let column = |name: &str| integers(&batch, name, &path);
            let indices = column("episode_index")?;
            let lengths = if has(&batch, "length") {
                column("length")?
            } else {
                let (from, to) = (column("dataset_from_index")?, column("dataset_to_index")?);
                to.iter().zip(from).map(|(to, from)| to.saturating_sub(from)).collect()
            };
            let (chunks, files) = (column("data/chunk_index")?, column("data/file_index")?);
            let tasks = string_lists(&batch, "tasks", &path)?;
            let mut videos = Vec::new();
            for key in info.video_keys() {
                let name = |what: &str| format!("videos/{key}/{what}");
                videos.push((
                    key,
                    column(&name("chunk_index"))?,
                    column(&name("file_index"))?,
                    doubles(&batch, &name("from_timestamp"), &path)?,
                    doubles(&batch, &name("to_timestamp"), &path).ok(),
                ));
            }
            for row in 0..batch.num_rows() {
                let count = |what: &str, value: i64| {
                    usize::try_from(value).map_err(|_| {
                        DatasetError::content(what, "no negative number", value.to_string(), &path)
                    })
                };
                let place = (
                    count("data/chunk_index", chunks[row])?,
                    count("data/file_index", files[row])?,
                );
                let values = [("chunk_index", place.0), ("file_index", place.1)];
                let video = |(key, chunks, files, from, to): &VideoColumns<'_>| {
                    let chunk = count("videos/*/chunk_index", chunks[row])?;
                    let file = count("videos/*/file_index", files[row])?;
                    let values = [("chunk_index", chunk), ("file_index", file)];
                    let file = video_file(root, info, key, &values)?;
                    let to_secs = to.as_ref().map(|to| to[row]);
                    Ok(VideoPlace { file, from_secs: from[row], to_secs })
                };
                let videos = videos.iter().map(video).collect::<Result<_, DatasetError>>()?;
                episodes.push(EpisodeMeta {
                    index: count("episode_index", indices[row])? as u64,
                    num_steps: count("length", lengths[row])?,
                    task: tasks[row].first().cloned().unwrap_or_default(),
                    file: data_file(root, info, &values)?,
                    place,
                    videos,
                });
            }
        }
    }
    Ok(episodes)
}

/// The parquet files under `meta/episodes`, in order.
pub(super) fn episode_files(root: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    parquet_files(&root.join("meta/episodes"))
}

/// The parquet files in the folders under `folder`, in order.
pub(super) fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, DatasetError> {
        let entries = fs::read_dir(folder).map_err(DatasetError::read(folder))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<Result<_, _>>().map_err(DatasetError::read(folder))
    };
    let mut files = Vec::new();
    for chunk in list(folder)?.into_iter().filter(|path| path.is_dir()) {
        let found = list(&chunk)?.into_iter();
        files.extend(found.filter(|path| path.extension().is_some_and(|ext| ext == "parquet")));
    }
    files.sort();
    Ok(files)
}

fn has(batch: &RecordBatch, name: &str) -> bool {
    batch.column_by_name(name).is_some_and(|column| column.len() == batch.num_rows())
}

/// Every line of a file of JSON.
fn lines<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>, DatasetError> {
    let text = read_text(path)?;
    let filled = text.lines().filter(|line| !line.trim().is_empty());
    filled.map(|line| serde_json::from_str(line).map_err(DatasetError::json(path))).collect()
}

/// The data file that the dataset's template names, relative to the dataset.
fn data_file(root: &Path, info: &Info, values: &[(&str, usize)]) -> Result<PathBuf, DatasetError> {
    file_inside(root, "data_path", &info.data_path, values)
}

/// The same for the video of a camera.
fn video_file(
    root: &Path,
    info: &Info,
    key: &str,
    values: &[(&str, usize)],
) -> Result<PathBuf, DatasetError> {
    // A brace in a feature's name would be taken for a field.
    let template = info.video_path.replace("{video_key}", &key.replace(['{', '}'], "_"));
    file_inside(root, "video_path", &template, values)
}

fn file_inside(
    root: &Path,
    what: &str,
    template: &str,
    values: &[(&str, usize)],
) -> Result<PathBuf, DatasetError> {
    let path = root.join(super::features::INFO_PATH);
    let wrong = |found: String| {
        let expected = "a path inside the dataset with known fields";
        DatasetError::content(what, expected, found, &path)
    };
    let relative = expand(template, values).ok_or_else(|| wrong(template.to_owned()))?;
    inside(root, &relative).ok_or_else(|| wrong(relative.clone()))?;
    Ok(PathBuf::from(relative))
}

/// Fills `{name}` and `{name:0Nd}`; `None` where there is anything else in braces.
pub(super) fn expand(template: &str, values: &[(&str, usize)]) -> Option<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (field, after) = after.split_once('}')?;
        let (name, format) = field.split_once(':').unwrap_or((field, "d"));
        let &(_, value) = values.iter().find(|(known, _)| *known == name)?;
        let digits = format.strip_suffix('d')?;
        let width = match digits.strip_prefix('0') {
            Some(width) => width.parse().ok().filter(|width| *width <= 20_usize)?,
            None if digits.is_empty() => 0,
            None => return None,
        };
        text.push_str(before);
        write!(text, "{value:0width$}").ok()?;
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_know_zero_padding_and_nothing_else() {
        let values = [("chunk_index", 7), ("file_index", 1234)];
        let path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
        assert_eq!(expand(path, &values).unwrap(), "data/chunk-007/file-1234.parquet");
        assert_eq!(expand("{chunk_index}", &values).unwrap(), "7");
        for wild in ["{other}", "{chunk_index:>3}", "{chunk_index", "{chunk_index:099d}"] {
            assert_eq!(expand(wild, &values), None, "{wild}");
        }
    }
}
