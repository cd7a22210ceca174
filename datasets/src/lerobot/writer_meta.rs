//! The files of metadata that we write.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Schema};
use serde::Serialize;
use serde_json::{Value, json};

use super::features::{Feature, INFO_PATH, default_data_path};
use super::json::Ordered;
use super::meta::LineOf;
use super::numbers::{FeatureStats, stats_columns};
use super::{Version, tables};
use crate::DatasetError;
use crate::files::{append_line, read_text, replace_bytes};

/// Files per folder.
pub(super) const CHUNKS_SIZE: usize = 1000;
/// Statistics of each episode, in v2.1.
const EPISODES_STATS_PATH: &str = "meta/episodes_stats.jsonl";
/// The episodes, in v2.1.
const EPISODES_PATH: &str = "meta/episodes.jsonl";
/// Statistics of the whole, in v3.
const STATS_PATH: &str = "meta/stats.json";

/// What is known of an episode that was written.
#[derive(Debug)]
pub(super) struct EpisodeRow {
    pub(super) episode: usize,
    pub(super) task: String,
    pub(super) num_steps: usize,
    /// Steps of all episodes before.
    pub(super) first_index: usize,
    /// The data file, counted through all chunks.
    pub(super) file: usize,
    pub(super) stats: Vec<FeatureStats>,
}

/// `meta/info.json`, in LeRobot's order.
#[derive(Serialize)]
struct InfoFile<'a> {
    codebase_version: &'static str,
    robot_type: &'a str,
    total_episodes: usize,
    total_frames: usize,
    total_tasks: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_videos: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_chunks: Option<usize>,
    chunks_size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_files_size_in_mb: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video_files_size_in_mb: Option<usize>,
    fps: Value,
    splits: Value,
    data_path: &'static str,
    video_path: Option<&'static str>,
    features: &'a Ordered<Feature>,
}

/// The dataset as a whole.
pub(super) struct Totals<'a> {
    pub(super) version: Version,
    pub(super) robot: &'a str,
    pub(super) fps: f32,
    pub(super) num_episodes: usize,
    pub(super) num_steps: usize,
    pub(super) num_tasks: usize,
    pub(super) features: &'a Ordered<Feature>,
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain JSON");
    bytes.push(b'\n');
    bytes
}

/// Writes `meta/info.json`.
pub(super) fn write_info(root: &Path, totals: &Totals<'_>) -> Result<(), DatasetError> {
    let v3 = totals.version == Version::V30;
    let (only_v2, only_v3) = (|value| (!v3).then_some(value), |value| v3.then_some(value));
    let file = InfoFile {
        codebase_version: totals.version.as_str(),
        robot_type: totals.robot,
        total_episodes: totals.num_episodes,
        total_frames: totals.num_steps,
        total_tasks: totals.num_tasks,
        total_videos: only_v2(0),
        total_chunks: only_v2(totals.num_episodes.div_ceil(CHUNKS_SIZE)),
        chunks_size: CHUNKS_SIZE,
        data_files_size_in_mb: only_v3(100),
        video_files_size_in_mb: only_v3(200),
        // LeRobot has whole rates; another is kept as it is rather than rounded.
        fps: if totals.fps.fract() == 0.0 { json!(totals.fps as u64) } else { json!(totals.fps) },
        splits: json!({ "train": format!("0:{}", totals.num_episodes) }),
        data_path: default_data_path(totals.version),
        video_path: None,
        features: totals.features,
    };
    replace_bytes(&root.join(INFO_PATH), &pretty(&file))
}

/// Writes the table of tasks.
pub(super) fn write_tasks(
    root: &Path,
    version: Version,
    tasks: &[String],
) -> Result<(), DatasetError> {
    if version != Version::V30 {
        let line = |(at, task)| format!("{}\n", json!({ "task_index": at, "task": task }));
        let lines: String = tasks.iter().enumerate().map(line).collect();
        return replace_bytes(&root.join("meta/tasks.jsonl"), lines.as_bytes());
    }
    let path = root.join("meta/tasks.parquet");
    let indices: ArrayRef = Arc::new(Int64Array::from_iter_values(0..tasks.len() as i64));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(tasks));
    let columns = vec![("task_index".to_owned(), indices), ("task".to_owned(), texts)];
    let batch = table(columns).map_err(DatasetError::parquet(&path))?;
    // pandas makes the task the index, as LeRobot expects.
    let column = |name: &str, pandas_type: &str, numpy_type: &str| {
        json!({
            "name": name, "field_name": name, "pandas_type": pandas_type,
            "numpy_type": numpy_type, "metadata": null,
        })
    };
    let pandas = json!({
        "index_columns": ["task"],
        "column_indexes": [{
            "name": null, "field_name": null, "pandas_type": "unicode",
            "numpy_type": "object", "metadata": { "encoding": "UTF-8" },
        }],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": { "library": "engraft", "version": env!("CARGO_PKG_VERSION") },
        "pandas_version": "2.0.0",
    });
    tables::write(&path, &batch, &[], Some(("pandas", pandas.to_string())))
}

/// Writes one file of `meta/episodes`, whole.
pub(super) fn write_episodes(
    root: &Path,
    file: usize,
    features: &[String],
    rows: &[EpisodeRow],
) -> Result<(), DatasetError> {
    let (chunk, file) = (file / CHUNKS_SIZE, file % CHUNKS_SIZE);
    let path = root.join(format!("meta/episodes/chunk-{chunk:03}/file-{file:03}.parquet"));
    let whole = |of: &dyn Fn(&EpisodeRow) -> usize| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| of(row) as i64)))
    };
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("episode_index".into(), whole(&|row| row.episode)),
        ("tasks".into(), task_lists(rows)),
        ("length".into(), whole(&|row| row.num_steps)),
        ("data/chunk_index".into(), whole(&|row| row.file / CHUNKS_SIZE)),
        ("data/file_index".into(), whole(&|row| row.file % CHUNKS_SIZE)),
        ("dataset_from_index".into(), whole(&|row| row.first_index)),
        ("dataset_to_index".into(), whole(&|row| row.first_index + row.num_steps)),
    ];
    for (at, feature) in features.iter().enumerate() {
        let stats: Vec<&FeatureStats> = rows.iter().map(|row| &row.stats[at]).collect();
        columns.extend(stats_columns(feature, &stats));
    }
    columns.push(("meta/episodes/chunk_index".into(), whole(&|_| chunk)));
    columns.push(("meta/episodes/file_index".into(), whole(&|_| file)));
    let batch = table(columns).map_err(DatasetError::parquet(&path))?;
    tables::write(&path, &batch, &[], None)
}

fn task_lists(rows: &[EpisodeRow]) -> ArrayRef {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.task)));
    let field = Arc::new(Field::new("element", DataType::Utf8, true));
    let lengths = OffsetBuffer::from_lengths(rows.iter().map(|_| 1));
    Arc::new(ListArray::new(field, lengths, texts, None))
}

fn table(columns: Vec<(String, ArrayRef)>) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let field =
        |(name, column): &(String, ArrayRef)| Field::new(name, column.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().map(field).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Adds an episode to the lines of v2.1; the second line makes the episode count.
pub(super) fn append_lines(
    root: &Path,
    row: &EpisodeRow,
    features: &[String],
) -> Result<(), DatasetError> {
    let line = json!({ "episode_index": row.episode, "stats": by_feature(features, &row.stats) });
    append_line(&root.join(EPISODES_STATS_PATH), &line.to_string())?;
    let (episode, length) = (row.episode, row.num_steps);
    let line = json!({ "episode_index": episode, "tasks": [row.task], "length": length });
    append_line(&root.join(EPISODES_PATH), &line.to_string())
}

/// Empty files of lines, for a dataset of v2.1 without episodes.
pub(super) fn start_lines(root: &Path) -> Result<(), DatasetError> {
    replace_bytes(&root.join(EPISODES_STATS_PATH), b"")?;
    replace_bytes(&root.join(EPISODES_PATH), b"")
}

/// Drops statistics of an episode that was never finished.
pub(super) fn repair_lines(root: &Path, num_episodes: usize) -> Result<(), DatasetError> {
    let path = root.join(EPISODES_STATS_PATH);
    let text = read_text(&path)?;
    let mut kept = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let of: LineOf = serde_json::from_str(line).map_err(DatasetError::json(&path))?;
        if of.episode_index < num_episodes as u64 {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    if kept == text { Ok(()) } else { replace_bytes(&path, kept.as_bytes()) }
}

fn by_feature(features: &[String], stats: &[FeatureStats]) -> Ordered<Value> {
    let stats = stats.iter().map(FeatureStats::to_json);
    Ordered(features.iter().cloned().zip(stats).collect())
}

/// Writes `meta/stats.json`.
pub(super) fn write_stats(
    root: &Path,
    features: &[String],
    stats: &[FeatureStats],
) -> Result<(), DatasetError> {
    replace_bytes(&root.join(STATS_PATH), &pretty(&by_feature(features, stats)))
}

/// Reads `meta/stats.json`; `None` where it is not of `num_steps` steps of these features.
pub(super) fn read_stats(
    root: &Path,
    features: &[String],
    num_steps: usize,
) -> Option<Vec<FeatureStats>> {
    let text = read_text(&root.join(STATS_PATH)).ok()?;
    let all: Value = serde_json::from_str(&text).ok()?;
    let one = |name: &String| FeatureStats::from_json(all.get(name)?);
    let stats: Vec<FeatureStats> = features.iter().map(one).collect::<Option<_>>()?;
    let whole = stats.last().is_some_and(|stats| stats.count == num_steps as u64);
    whole.then_some(stats)
}
