//! Parquet files: opening, whole small tables, writing.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::DatasetError;
use crate::files::replace;

/// Does `work` on the parquet file at `path`; a panic of the decoder becomes an error.
///
/// The `parquet` crate indexes out of bounds on some damaged pages, and a page has no checksum.
pub(super) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, DatasetError>,
) -> Result<T, DatasetError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let source = ParquetError::General("damaged: its decoder gave up".into());
        Err(DatasetError::Parquet { path: path.to_owned(), source })
    })
}

/// Opens a parquet file; its footer is read, its rows are not.
pub(super) fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, DatasetError> {
    let file = File::open(path).map_err(DatasetError::read(path))?;
    guarded(path, || {
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(DatasetError::parquet(path))
    })
}

/// Reads the columns whose name is `wanted` of a small table.
pub(super) fn read_columns(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<RecordBatch>, DatasetError> {
    let builder = open(path)?;
    let fields = builder.schema().fields().iter().enumerate();
    let roots: Vec<usize> =
        fields.filter(|(_, field)| wanted(field.name())).map(|(root, _)| root).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    guarded(path, || {
        let reader = builder.with_projection(mask).build().map_err(DatasetError::parquet(path))?;
        reader.map(|batch| batch.map_err(DatasetError::parquet(path))).collect()
    })
}

/// The footer of a parquet file: every page's place and range of values, so also its identity.
pub(super) fn footer(path: &Path) -> Result<Vec<u8>, DatasetError> {
    let damaged = |found: &str| DatasetError::content("footer", "a parquet file", found, path);
    let mut file = File::open(path).map_err(DatasetError::read(path))?;
    let len = file.seek(SeekFrom::End(0)).map_err(DatasetError::read(path))?;
    let mut read = |from: u64, count: usize| {
        let mut bytes = vec![0; count];
        file.seek(SeekFrom::Start(from)).map_err(DatasetError::read(path))?;
        file.read_exact(&mut bytes).map_err(DatasetError::read(path))?;
        Ok(bytes)
    };
    let start = len.checked_sub(8).ok_or_else(|| damaged("too few bytes"))?;
    let tail = read(start, 8)?;
    let count = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let from = start.checked_sub(u64::from(count)).filter(|_| &tail[4..] == b"PAR1");
    read(from.ok_or_else(|| damaged("another ending"))?, count as usize)
}

/// Writes one row group as a whole file, through [`replace`].
///
/// `packed` are columns whose bytes are compressed already, as `root.leaf`; `note` is what pandas
/// or Hugging Face look for. Arrow's readers find it in the schema, others in the footer.
pub(super) fn write(
    path: &Path,
    batch: &RecordBatch,
    packed: &[(&str, &str)],
    note: Option<(&str, String)>,
) -> Result<(), DatasetError> {
    let mut schema = batch.schema();
    let mut properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    if let Some((key, value)) = note {
        let metadata = [(key.to_owned(), value.clone())].into();
        schema = Arc::new(Schema::new_with_metadata(schema.fields().clone(), metadata));
        let note = KeyValue::new(key.to_owned(), value);
        properties = properties.set_key_value_metadata(Some(vec![note]));
    }
    for (root, leaf) in packed {
        let column = ColumnPath::new(vec![(*root).into(), (*leaf).into()]);
        properties = properties
            .set_column_compression(column.clone(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    replace(path, |file| {
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties.build()))
            .map_err(DatasetError::parquet(path))?;
        writer.write(batch).map_err(DatasetError::parquet(path))?;
        writer.close().map_err(DatasetError::parquet(path))?;
        Ok(())
    })
}
