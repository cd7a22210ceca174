//! Writes a dataset of many short episodes without pictures and measures what opening it takes.
//!
//! `cargo run --release -p engraft-datasets --example make_many -- DIR EPISODES` writes it, with
//! all rows in one data file and 1000 episodes in each file of metadata, statistics included, as
//! converters lay out large datasets. `make_many DIR` opens it and prints the seconds that took
//! and the largest memory of the process.

#![allow(clippy::print_stdout)] // printing is what it is for

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{
    ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{Field, Schema};
use engraft_datasets::{Examination, examine, open};
use parquet::arrow::ArrowWriter;
use serde_json::json;

const STEPS: usize = 5;
const EPISODES_PER_FILE: usize = 1000;
const FPS: f32 = 10.0;
const FEATURES: [&str; 2] = ["observation.state", "action"];
const STATISTICS: [&str; 9] = ["min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99"];
const INDICES: [&str; 4] = ["frame_index", "episode_index", "index", "task_index"];

type Columns = Vec<(String, ArrayRef)>;

fn whole(values: impl Iterator<Item = usize>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(|value| value as i64)))
}

fn lists(values: ArrayRef, width: usize) -> ArrayRef {
    let lengths = OffsetBuffer::from_lengths(std::iter::repeat_n(width, values.len() / width));
    let item = Arc::new(Field::new("element", values.data_type().clone(), true));
    Arc::new(ListArray::new(item, lengths, values, None))
}

fn write(path: &Path, columns: Columns) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(path.parent().ok_or("a folder")?)?;
    let field =
        |(name, column): &(String, ArrayRef)| Field::new(name, column.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let mut writer = ArrowWriter::try_new(File::create(path)?, Arc::clone(&schema), None)?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    writer.close()?;
    Ok(())
}

fn value(episode: usize, step: usize, dimension: usize) -> f32 {
    (episode as f32 * 0.37 + step as f32 * 0.11 + dimension as f32).sin()
}

fn write_rows(dir: &Path, num_episodes: usize) -> Result<(), Box<dyn Error>> {
    let rows = || (0..num_episodes).flat_map(|episode| (0..STEPS).map(move |step| (episode, step)));
    let vectors = |later: usize| -> ArrayRef {
        let values = rows().flat_map(|(e, s)| (0..7).map(move |d| value(e, s + later, d)));
        lists(Arc::new(Float32Array::from_iter_values(values)), 7)
    };
    let times = Float32Array::from_iter_values(rows().map(|(_, step)| step as f32 / FPS));
    let columns = vec![
        (FEATURES[0].to_owned(), vectors(0)),
        (FEATURES[1].to_owned(), vectors(1)),
        ("timestamp".to_owned(), Arc::new(times) as ArrayRef),
        ("frame_index".to_owned(), whole(rows().map(|(_, step)| step))),
        ("episode_index".to_owned(), whole(rows().map(|(episode, _)| episode))),
        ("index".to_owned(), whole(0..num_episodes * STEPS)),
        ("task_index".to_owned(), whole(rows().map(|_| 0))),
    ];
    write(&dir.join("data/chunk-000/file-000.parquet"), columns)
}

fn write_episodes(dir: &Path, file: usize, episodes: &[usize]) -> Result<(), Box<dyn Error>> {
    let each = || episodes.iter().copied();
    let tasks = StringArray::from_iter_values(each().map(|_| "reach"));
    let mut columns: Columns = vec![
        ("episode_index".to_owned(), whole(each())),
        ("tasks".to_owned(), lists(Arc::new(tasks), 1)),
        ("length".to_owned(), whole(each().map(|_| STEPS))),
        ("data/chunk_index".to_owned(), whole(each().map(|_| 0))),
        ("data/file_index".to_owned(), whole(each().map(|_| 0))),
        ("dataset_from_index".to_owned(), whole(each().map(|episode| episode * STEPS))),
        ("dataset_to_index".to_owned(), whole(each().map(|episode| (episode + 1) * STEPS))),
    ];
    let features = FEATURES.map(|name| (name, 7)).into_iter();
    for (name, width) in features.chain(INDICES.map(|name| (name, 1))) {
        for statistic in STATISTICS {
            let values = each().flat_map(|e| (0..width).map(move |d| f64::from(value(e, 0, d))));
            let values = Arc::new(Float64Array::from_iter_values(values));
            columns.push((format!("stats/{name}/{statistic}"), lists(values, width)));
        }
    }
    write(&dir.join(format!("meta/episodes/chunk-000/file-{file:03}.parquet")), columns)
}

fn write_all(dir: &Path, num_episodes: usize) -> Result<(), Box<dyn Error>> {
    write_rows(dir, num_episodes)?;
    let all: Vec<usize> = (0..num_episodes).collect();
    for (file, episodes) in all.chunks(EPISODES_PER_FILE).enumerate() {
        write_episodes(dir, file, episodes)?;
    }
    let tasks: ArrayRef = Arc::new(StringArray::from_iter_values(["reach"]));
    let columns = vec![("task_index".to_owned(), whole(0..1)), ("task".to_owned(), tasks)];
    write(&dir.join("meta/tasks.parquet"), columns)?;
    let vector = json!({ "dtype": "float32", "shape": [7], "names": null });
    let scalar = |dtype: &str| json!({ "dtype": dtype, "shape": [1], "names": null });
    let mut features = json!({ "timestamp": scalar("float32") });
    for name in FEATURES {
        features[name] = vector.clone();
    }
    for name in INDICES {
        features[name] = scalar("int64");
    }
    let info = json!({
        "codebase_version": "v3.0", "robot_type": "arm", "fps": FPS, "features": features,
        "total_episodes": num_episodes, "total_frames": num_episodes * STEPS, "total_tasks": 1,
    });
    fs::write(dir.join("meta/info.json"), info.to_string())?;
    Ok(())
}

/// The largest memory that this process has held, in MiB; Linux says it.
fn peak_mib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib / 1024)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dir = Path::new(arguments.first().ok_or("usage: make_many DIR [EPISODES]")?);
    if let Some(count) = arguments.get(1) {
        return write_all(dir, count.parse()?);
    }
    let start = Instant::now();
    let dataset = open(dir)?;
    let (secs, peak) = (start.elapsed().as_secs_f64(), peak_mib()?);
    println!("open: {} episodes in {secs:.3} s, {peak} MiB", dataset.num_episodes());
    let start = Instant::now();
    let last = dataset.num_episodes().saturating_sub(1);
    dataset.episode(last)?;
    println!("one episode: {:.4} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let diagnosis = examine(&*dataset, &Examination::default(), &mut |_, _| {});
    let (secs, peak) = (start.elapsed().as_secs_f64(), peak_mib()?);
    println!("examine: {} findings in {secs:.1} s, {peak} MiB", diagnosis.findings.len());
    Ok(())
}
