//! Every row of every data file, held against metadata and against what `lerobot` expects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;

use super::columns::{doubles, integers, vectors};
use super::examine_stats::Sums;
use super::features::INDICES;
use super::meta::episode_files;
use super::{LerobotSource, Version, tables};
use crate::column::{Column, Kind};
use crate::parallel::in_parallel;
use crate::{DatasetError, Finding, chain};

/// How far, in seconds, `lerobot` lets a time lie from its frame.
pub(super) const TOLERANCE_SECS: f64 = 1e-4;
/// Rows that are read at once.
const BATCH_ROWS: usize = 8192;
/// Numbers in one step up to which a column's statistics are checked.
const MAX_WIDTH: usize = 4096;

/// One data file, as far as rows without pictures tell.
pub(super) struct FileRows {
    /// What each episode's rows say, by `episode_index`.
    episodes: BTreeMap<i64, EpisodeRows>,
    /// Columns that are missing or that nobody announces.
    different: Vec<String>,
    /// Whether the times of rows are kept.
    has_videos: bool,
    /// Statistics of the columns in [`LerobotSource::counted`], of the whole file.
    pub(super) sums: Vec<Sums>,
}

/// What the rows of one episode say.
#[derive(Debug, Default)]
struct EpisodeRows {
    num_rows: usize,
    /// Rows whose time is off, and the worst: step, expected, found.
    late: usize,
    /// When each row was, where there are videos to hold it against.
    times: Vec<f64>,
    worst: Option<(usize, f64, f64)>,
    /// The first row whose `frame_index` is not its place: step, found.
    frame: Option<(usize, i64)>,
    first_index: Option<i64>,
    last_index: i64,
    /// The first row whose `index` does not follow the one before: step, expected, found.
    index: Option<(usize, i64, i64)>,
    /// The first row of a task that is not known: step, found.
    task: Option<(usize, i64)>,
}

impl LerobotSource {
    /// See [`Source::examine`](crate::source::Source::examine).
    pub(super) fn findings(&self, progress: &mut dyn FnMut(u64, u64)) -> Vec<Finding> {
        let mut findings = self.wrong_totals();
        findings.extend(self.stray_files());
        findings.extend(self.open_questions());
        let files = self.data_files();
        let total = files.len() as u64;
        let read = in_parallel(files.len(), |at| self.read_file(files[at]), &mut |done| {
            progress(done, total);
        });
        let mut rows = BTreeMap::new();
        let mut different = BTreeSet::new();
        for (path, read) in files.iter().zip(read) {
            match read {
                Err(error) => findings.push(self.unreadable_file(path, &error)),
                Ok(file) => {
                    let new =
                        file.different.iter().filter(|line| different.insert((*line).clone()));
                    let new: Vec<&str> = new.map(|line| &**line).collect();
                    if !new.is_empty() {
                        let message = format!("{} has {}", path.display(), new.join(", "));
                        findings.push(Finding::error("wrong-columns", message).repairable());
                    }
                    rows.insert(*path, file);
                }
            }
        }
        findings.extend(self.wrong_rows(&rows));
        findings.extend(self.wrong_ranges());
        findings.extend(self.wrong_stats(&rows));
        findings.extend(self.wrong_videos(&rows));
        findings
    }

    /// The columns whose statistics are counted.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Column> {
        let columns = self.about.columns.iter();
        columns.filter(|c| c.kind == Kind::Numbers && (1..=MAX_WIDTH).contains(&c.width()))
    }

    fn read_file(&self, file: &Path) -> Result<FileRows, DatasetError> {
        let path = self.root.join(file);
        let builder = tables::open(&path)?;
        let schema = builder.schema().clone();
        let counted: Vec<&Column> =
            self.counted().filter(|column| schema.field_with_name(&column.name).is_ok()).collect();
        let is_wanted = |name: &str| {
            INDICES.iter().any(|(index, _)| *index == name)
                || counted.iter().any(|column| column.name == name)
        };
        let fields = schema.fields().iter().enumerate();
        let roots = fields.filter(|(_, field)| is_wanted(field.name())).map(|(root, _)| root);
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let mut rows = FileRows {
            episodes: BTreeMap::new(),
            different: self.different_columns(&schema),
            has_videos: self.info.video_keys().next().is_some(),
            sums: self.counted().map(|column| Sums::new(column.width())).collect(),
        };
        let tasks: BTreeSet<i64> = self.tasks.iter().map(|(index, _)| *index).collect();
        tables::guarded(&path, || {
            let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS);
            for batch in builder.build().map_err(DatasetError::parquet(&path))? {
                let batch = batch.map_err(DatasetError::parquet(&path))?;
                rows.take(&batch, f64::from(self.info.fps), &tasks, &path)?;
                for (column, sums) in self.counted().zip(&mut rows.sums) {
                    if batch.column_by_name(&column.name).is_some() {
                        sums.take(&vectors(&batch, &column.name, column.width(), &path)?);
                    }
                }
            }
            Ok(())
        })?;
        Ok(rows)
    }

    fn unreadable_file(&self, file: &Path, error: &DatasetError) -> Finding {
        let lost: Vec<u64> =
            self.metas.iter().filter(|meta| meta.file == file).map(|meta| meta.index).collect();
        let which = match &*lost {
            [one] => format!("episode {one}"),
            [first, .., last] => format!("episodes {first} to {last}"),
            [] => "no episode".into(),
        };
        let found = Finding::error("unreadable-file", chain(error));
        let remedy = if has_footer(&self.root.join(file)) {
            format!("restore the file; without it {which} cannot be read")
        } else {
            format!("its recording was cut off before the file was closed: {which} is lost in it")
        };
        found.remedy(remedy).repairable()
    }

    /// Rows that are not as metadata and their place say.
    fn wrong_rows(&self, files: &BTreeMap<&Path, FileRows>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let nothing = EpisodeRows::default();
        let (mut next_index, mut is_sure) = (0, true);
        let mut known: BTreeSet<(&Path, i64)> = BTreeSet::new();
        for (at, meta) in self.metas.iter().enumerate() {
            let key = meta.index as i64;
            known.insert((&meta.file, key));
            let Some(file) = files.get(&*meta.file) else {
                (next_index, is_sure) = (next_index + meta.num_steps as i64, false);
                continue;
            };
            let rows = file.episodes.get(&key).unwrap_or(&nothing);
            if rows.num_rows != meta.num_steps {
                let (expected, found) = (meta.num_steps, rows.num_rows);
                let message = format!("metadata says {expected} steps, the data has {found} rows");
                findings.push(Finding::error("wrong-length", message).in_episode(at).repairable());
            }
            let first = rows.first_index;
            if let Some(first) = first.filter(|first| is_sure && *first != next_index) {
                let message = format!("`index` begins at {first}, expected {next_index}");
                let found = Finding::error("wrong-index", message).in_episode(at).at_step(0);
                findings.push(found.repairable());
            } else {
                findings.extend(rows.wrong_index(at));
            }
            // Rows that are not there leave nothing to go on from but what metadata says.
            is_sure = first.is_some();
            next_index = first.map_or(next_index + meta.num_steps as i64, |_| rows.last_index + 1);
            findings.extend(rows.findings(at));
        }
        for (path, file) in files {
            let strange = file.episodes.iter().filter(|(key, _)| !known.contains(&(*path, **key)));
            findings.extend(strange.map(|(key, rows)| {
                let message = format!(
                    "{} holds {} row(s) of episode {key}, which metadata does not place there",
                    path.display(),
                    rows.num_rows
                );
                Finding::error("wrong-episode-index", message).repairable()
            }));
        }
        findings
    }

    /// Ranges of `index` in `meta/episodes`, by which `lerobot` finds an episode's rows.
    fn wrong_ranges(&self) -> Vec<Finding> {
        if self.info.version != Version::V30 {
            return Vec::new();
        }
        let names = ["episode_index", "dataset_from_index", "dataset_to_index"];
        let mut claimed: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
        for path in episode_files(&self.root).unwrap_or_default() {
            let batches = tables::read_columns(&path, |name| names.contains(&name));
            for batch in batches.unwrap_or_default() {
                let [index, from, to] = names.map(|name| integers(&batch, name, &path));
                let (Ok(index), Ok(from), Ok(to)) = (index, from, to) else { continue };
                let ranges = index.into_iter().zip(from.into_iter().zip(to));
                claimed.extend(ranges.map(|(index, range)| (index as u64, range)));
            }
        }
        let mut findings = Vec::new();
        let mut first = 0;
        for (at, meta) in self.metas.iter().enumerate() {
            let expected = (first, first + meta.num_steps as i64);
            let found = claimed.get(&meta.index).copied().unwrap_or(expected);
            if found != expected {
                let message = format!(
                    "metadata says rows {} to {}, the episodes before and its length say {} to {}",
                    found.0, found.1, expected.0, expected.1
                );
                findings.push(Finding::error("wrong-range", message).in_episode(at).repairable());
            }
            first = found.1; // one slip is told once
        }
        findings
    }
}

impl FileRows {
    /// When each row of an episode was.
    pub(super) fn times(&self, episode: u64) -> &[f64] {
        self.episodes.get(&(episode as i64)).map_or(&[], |rows| &rows.times)
    }

    fn take(
        &mut self,
        batch: &RecordBatch,
        fps: f64,
        tasks: &BTreeSet<i64>,
        path: &Path,
    ) -> Result<(), DatasetError> {
        let has = |name: &str| batch.column_by_name(name).is_some();
        let whole = |name: &str| has(name).then(|| integers(batch, name, path)).transpose();
        let episodes = integers(batch, "episode_index", path)?;
        let (frames, indices) = (whole("frame_index")?, whole("index")?);
        let task_indices = whole("task_index")?;
        let times = has("timestamp").then(|| doubles(batch, "timestamp", path)).transpose()?;
        for (row, episode) in episodes.into_iter().enumerate() {
            let rows = self.episodes.entry(episode).or_default();
            let step = rows.num_rows;
            rows.num_rows += 1;
            if let Some(&found) = times.as_ref().and_then(|times| times.get(row)) {
                if self.has_videos {
                    rows.times.push(found);
                }
                let expected = step as f64 / fps;
                let off = (found - expected).abs();
                // Single precision rounds late times by more than nothing.
                if off.is_nan() || off > TOLERANCE_SECS + expected * f64::from(f32::EPSILON) {
                    rows.late += 1;
                    let worst =
                        rows.worst.map_or(0.0, |(_, expected, found)| (found - expected).abs());
                    if off.is_nan() || off > worst {
                        rows.worst = Some((step, expected, found));
                    }
                }
            }
            if let Some(&frame) = frames.as_ref().and_then(|frames| frames.get(row))
                && frame != step as i64
            {
                rows.frame.get_or_insert((step, frame));
            }
            if let Some(&index) = indices.as_ref().and_then(|indices| indices.get(row)) {
                if rows.first_index.is_some() && index != rows.last_index + 1 {
                    rows.index.get_or_insert((step, rows.last_index + 1, index));
                }
                rows.first_index.get_or_insert(index);
                rows.last_index = index;
            }
            if let Some(&task) = task_indices.as_ref().and_then(|all| all.get(row))
                && !tasks.contains(&task)
            {
                rows.task.get_or_insert((step, task));
            }
        }
        Ok(())
    }
}

impl EpisodeRows {
    fn findings(&self, at: usize) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some((step, expected, found)) = self.worst {
            let message = format!(
                "`timestamp` is {found:.6} s, expected {expected:.6} s (the step over the rate); \
                 {} of {} steps are off, this one most, and the lerobot package refuses more than \
                 {TOLERANCE_SECS} s",
                self.late, self.num_rows
            );
            findings.push(Finding::error("wrong-timestamp", message).at_step(step));
        }
        if let Some((step, found)) = self.frame {
            let message = format!("`frame_index` is {found}, expected {step}");
            findings.push(Finding::error("wrong-frame-index", message).at_step(step));
        }
        if let Some((step, found)) = self.task {
            let message = format!("`task_index` is {found}, which no task has");
            findings.push(Finding::error("unknown-task", message).at_step(step));
        }
        let here = findings.into_iter();
        here.map(|found| found.in_episode(at).remedy("number the rows again").repairable())
            .collect()
    }

    fn wrong_index(&self, at: usize) -> Option<Finding> {
        let (step, expected, found) = self.index?;
        let message = format!("`index` is {found}, expected {expected}");
        let found = Finding::error("wrong-index", message).in_episode(at).at_step(step);
        Some(found.remedy("number the rows again").repairable())
    }
}

/// Whether a file ends as parquet does.
fn has_footer(path: &Path) -> bool {
    let tail = || -> std::io::Result<[u8; 4]> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-4))?;
        let mut tail = [0; 4];
        file.read_exact(&mut tail)?;
        Ok(tail)
    };
    // A file that is not there was not cut off.
    tail().map_or(!path.is_file(), |tail| &tail == b"PAR1")
}
