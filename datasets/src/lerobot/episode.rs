//! One episode in memory: numbers as they are, pictures still compressed.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::Buffer;
use engraft_core::{ActionChunk, Observation, View};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::columns::{integers, pictures, vectors};
use super::features::{ACTION, Columns, STATE};
use super::meta::EpisodeEntry;
use super::tables;
use crate::picture::{decode_depth, decode_rgb};
use crate::{DatasetError, Episode, PictureError};

/// Rows that are read at once; a batch of pictures stays well under two gigabytes.
const BATCH_ROWS: usize = 256;

/// See the [module](self).
pub(super) struct LerobotEpisode {
    index: usize,
    path: PathBuf,
    task: String,
    columns: Arc<Columns>,
    num_steps: usize,
    proprio: Vec<f32>,
    actions: Vec<f32>,
    views: Vec<EncodedView>,
}

/// A camera's pictures, one per step.
#[derive(Default)]
struct EncodedView {
    rgb: Vec<Buffer>,
    depth: Vec<Buffer>,
}

/// Reads an episode; also gives how many bytes it takes.
pub(super) fn read_episode(
    root: &Path,
    columns: &Arc<Columns>,
    entry: &EpisodeEntry,
) -> Result<(LerobotEpisode, usize), DatasetError> {
    let path = root.join(&entry.file);
    let mut episode = LerobotEpisode {
        index: entry.index as usize,
        task: entry.task.clone(),
        columns: Arc::clone(columns),
        num_steps: 0,
        proprio: Vec::new(),
        actions: Vec::new(),
        views: columns.views.iter().map(|_| EncodedView::default()).collect(),
        path,
    };
    tables::guarded(&root.join(&entry.file), || {
        let mut last_frame = -1;
        for batch in rows(&episode.path, columns, entry.index)? {
            let batch = batch.map_err(DatasetError::parquet(&episode.path))?;
            episode.push(&batch, &mut last_frame)?;
        }
        Ok(())
    })?;
    if episode.num_steps != entry.num_steps {
        let (expected, found) = (entry.num_steps.to_string(), episode.num_steps.to_string());
        let what = format!("rows of episode {}", entry.index);
        return Err(DatasetError::content(what, expected, found, &episode.path));
    }
    episode.check_finite()?;
    let num_bytes = episode.num_bytes();
    Ok((episode, num_bytes))
}

/// The rows of episode `index`, with the columns that we need.
fn rows(
    path: &Path,
    columns: &Columns,
    index: u64,
) -> Result<ParquetRecordBatchReader, DatasetError> {
    let builder = tables::open(path)?;
    let is_wanted = |name: &str| {
        let depth = |(_, depth): &(String, Option<String>)| depth.as_deref() == Some(name);
        name == ACTION
            || (name == STATE && !columns.spec.proprio.is_empty())
            || name == "frame_index"
            || columns.views.iter().any(|view| view.0 == name || depth(view))
    };
    let fields = builder.schema().fields().iter().enumerate();
    let roots: Vec<usize> =
        fields.filter(|(_, field)| is_wanted(field.name())).map(|(root, _)| root).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let (groups, exact) = row_groups(&builder, index, path)?;
    let mut builder =
        builder.with_row_groups(groups).with_projection(mask).with_batch_size(BATCH_ROWS);
    if !exact {
        let only = ProjectionMask::columns(builder.parquet_schema(), ["episode_index"]);
        let matches = move |batch: RecordBatch| {
            // `row_groups` made sure of the column's type.
            let indices = batch.column(0).as_primitive::<Int64Type>();
            Ok(indices.iter().map(|found| Some(found == Some(index as i64))).collect())
        };
        let matches: Box<dyn FnMut(_) -> Result<BooleanArray, _> + Send> = Box::new(matches);
        builder = builder
            .with_row_filter(RowFilter::new(vec![Box::new(ArrowPredicateFn::new(only, matches))]));
    }
    builder.build().map_err(DatasetError::parquet(path))
}

/// The row groups that may hold episode `index`, and whether they hold no other.
fn row_groups(
    builder: &ParquetRecordBatchReaderBuilder<File>,
    index: u64,
    path: &Path,
) -> Result<(Vec<usize>, bool), DatasetError> {
    let schema = builder.schema();
    let field = schema.field_with_name("episode_index").ok();
    if field.is_none_or(|field| *field.data_type() != arrow_schema::DataType::Int64) {
        let found = field.map_or("none".into(), |field| field.data_type().to_string());
        return Err(DatasetError::content("episode_index", "a column of int64", found, path));
    }
    let leaf = (0..builder.parquet_schema().num_columns())
        .find(|&leaf| builder.parquet_schema().column(leaf).path().string() == "episode_index");
    let range = |group: &RowGroupMetaData| match group.column(leaf?).statistics()? {
        Statistics::Int64(range) => Some((*range.min_opt()?, *range.max_opt()?)),
        _ => None,
    };
    let mut exact = true;
    let mut groups = Vec::new();
    let index = index as i64;
    for (at, group) in builder.metadata().row_groups().iter().enumerate() {
        let range = range(group);
        if range.is_none_or(|(min, max)| (min..=max).contains(&index)) {
            exact &= range == Some((index, index));
            groups.push(at);
        }
    }
    Ok((groups, exact))
}

impl LerobotEpisode {
    fn push(&mut self, batch: &RecordBatch, last_frame: &mut i64) -> Result<(), DatasetError> {
        let (columns, path) = (Arc::clone(&self.columns), &self.path);
        let spec = &columns.spec;
        if batch.column_by_name("frame_index").is_some() {
            for frame in integers(batch, "frame_index", path)? {
                if frame <= *last_frame {
                    let found = format!("{frame} after {last_frame}");
                    return Err(DatasetError::content("frame_index", "rising", found, path));
                }
                *last_frame = frame;
            }
        }
        if spec.proprio_dim() > 0 {
            self.proprio.extend(vectors(batch, STATE, spec.proprio_dim(), path)?);
        }
        self.actions.extend(vectors(batch, ACTION, spec.action_dim(), path)?);
        for (view, (rgb, depth)) in self.views.iter_mut().zip(&columns.views) {
            view.rgb.extend(pictures(batch, rgb, path)?);
            if let Some(depth) = depth {
                view.depth.extend(pictures(batch, depth, path)?);
            }
        }
        self.num_steps += batch.num_rows();
        Ok(())
    }

    fn check_finite(&self) -> Result<(), DatasetError> {
        let spec = &self.columns.spec;
        for (feature, values, dim) in
            [(STATE, &self.proprio, spec.proprio_dim()), (ACTION, &self.actions, spec.action_dim())]
        {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Err(DatasetError::NotFinite {
                    feature: feature.into(),
                    episode: self.index,
                    step: at / dim,
                    dimension: at % dim,
                    path: self.path.clone(),
                });
            }
        }
        Ok(())
    }

    fn num_bytes(&self) -> usize {
        let pictures = self.views.iter().flat_map(|view| view.rgb.iter().chain(&view.depth));
        let pictures: usize = pictures.map(|bytes| bytes.len() + size_of::<Buffer>()).sum();
        pictures + (self.proprio.len() + self.actions.len()) * size_of::<f32>()
    }

    fn check_step(&self, step: usize) -> Result<(), DatasetError> {
        let num_steps = self.num_steps;
        if step < num_steps { Ok(()) } else { Err(DatasetError::NoStep { step, num_steps }) }
    }
}

impl Episode for LerobotEpisode {
    fn num_steps(&self) -> usize {
        self.num_steps
    }

    fn task(&self) -> &str {
        &self.task
    }

    fn observation(&self, step: usize) -> Result<Observation, DatasetError> {
        let proprio = self.proprio(step)?.to_vec();
        let failed = |feature: &str| {
            let (feature, path) = (feature.to_owned(), self.path.clone());
            move |source: PictureError| DatasetError::Picture {
                feature,
                episode: self.index,
                step,
                path,
                source: Box::new(source),
            }
        };
        let specs = self.columns.spec.views.iter();
        let views = self.views.iter().zip(specs.zip(&self.columns.views));
        let views = views.map(|(view, (spec, (rgb_column, depth_column)))| {
            let (width, height) = (spec.width, spec.height);
            let rgb = decode_rgb(&view.rgb[step], width, height).map_err(failed(rgb_column))?;
            let depth = match depth_column {
                Some(column) => {
                    Some(decode_depth(&view.depth[step], width, height).map_err(failed(column))?)
                }
                None => None,
            };
            Ok(View { rgb, depth })
        });
        Ok(Observation { views: views.collect::<Result<_, DatasetError>>()?, proprio })
    }

    fn proprio(&self, step: usize) -> Result<&[f32], DatasetError> {
        self.check_step(step)?;
        let dim = self.columns.spec.proprio_dim();
        Ok(&self.proprio[step * dim..(step + 1) * dim])
    }

    fn actions(&self, steps: Range<usize>) -> Result<ActionChunk, DatasetError> {
        let dim = self.columns.spec.action_dim();
        let values = match steps.clone().last() {
            Some(last) => {
                self.check_step(last)?;
                self.actions[steps.start * dim..steps.end * dim].to_vec()
            }
            None => Vec::new(),
        };
        Ok(ActionChunk::new(values.len() / dim, dim, values).expect("whole actions"))
    }
}
