//! The rows of one episode: numbers as they are, pictures still compressed.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::Buffer;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::columns::{integers, pictures, vectors};
use super::meta::EpisodeMeta;
use super::tables;
use crate::DatasetError;
use crate::column::{Column, Kind};
use crate::source::{Encoded, Track};

/// Rows that are read at once; a batch of pictures stays well under two gigabytes.
const BATCH_ROWS: usize = 256;

/// Reads the columns `wanted` of an episode, which its data file holds.
pub(super) fn read_rows(
    root: &Path,
    wanted: &[&Column],
    entry: &EpisodeMeta,
) -> Result<Vec<Track>, DatasetError> {
    let path = root.join(&entry.file);
    let mut gathered: Vec<Gathered> = wanted.iter().map(|column| Gathered::of(column)).collect();
    tables::guarded(&path, || {
        let mut last_frame = -1;
        for batch in rows(&path, wanted, entry.index)? {
            let batch = batch.map_err(DatasetError::parquet(&path))?;
            check_order(&batch, &mut last_frame, &path)?;
            for (column, gathered) in wanted.iter().zip(&mut gathered) {
                gathered.push(&batch, column, &path)?;
            }
        }
        Ok(())
    })?;
    let mut tracks = Vec::with_capacity(wanted.len());
    for (column, gathered) in wanted.iter().zip(gathered) {
        let found = gathered.num_steps(column);
        if found != entry.num_steps {
            let (expected, found) = (entry.num_steps.to_string(), found.to_string());
            let what = format!("rows of episode {}", entry.index);
            return Err(DatasetError::content(what, expected, found, &path));
        }
        tracks.push(gathered.track(column));
    }
    Ok(tracks)
}

/// A column on its way from batches to a track.
enum Gathered {
    Numbers(Vec<f32>),
    Pictures(Vec<Buffer>),
}

impl Gathered {
    fn of(column: &Column) -> Self {
        match column.kind {
            Kind::Rgb { .. } | Kind::Depth { .. } => Self::Pictures(Vec::new()),
            _ => Self::Numbers(Vec::new()),
        }
    }

    fn push(
        &mut self,
        batch: &RecordBatch,
        column: &Column,
        path: &Path,
    ) -> Result<(), DatasetError> {
        match self {
            Self::Numbers(all) => {
                all.extend(vectors(batch, &column.name, column.width(), path)?);
            }
            Self::Pictures(all) => all.extend(pictures(batch, &column.name, path)?),
        }
        Ok(())
    }

    fn num_steps(&self, column: &Column) -> usize {
        match self {
            Self::Numbers(all) => all.len() / column.width().max(1),
            Self::Pictures(all) => all.len(),
        }
    }

    fn track(self, column: &Column) -> Track {
        match (self, column.kind) {
            (
                Self::Pictures(bytes),
                Kind::Rgb { width, height } | Kind::Depth { width, height },
            ) => Track::Pictures(Box::new(Encoded::new(bytes, width, height))),
            (Self::Numbers(values), _) => Track::Numbers(values),
            (Self::Pictures(bytes), _) => Track::Pictures(Box::new(Encoded::new(bytes, 0, 0))),
        }
    }
}

/// Checks that the frames of an episode stand in their order.
fn check_order(batch: &RecordBatch, last_frame: &mut i64, path: &Path) -> Result<(), DatasetError> {
    if batch.column_by_name("frame_index").is_none() {
        return Ok(());
    }
    for frame in integers(batch, "frame_index", path)? {
        if frame <= *last_frame {
            let found = format!("{frame} after {last_frame}");
            return Err(DatasetError::content("frame_index", "rising", found, path));
        }
        *last_frame = frame;
    }
    Ok(())
}

/// The rows of episode `index`, with the columns that we need.
fn rows(
    path: &Path,
    wanted: &[&Column],
    index: u64,
) -> Result<ParquetRecordBatchReader, DatasetError> {
    let builder = tables::open(path)?;
    let is_wanted =
        |name: &str| name == "frame_index" || wanted.iter().any(|column| column.name == name);
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
