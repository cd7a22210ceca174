//! Arrow columns to plain values, whichever of their layouts they have.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, GenericListArray, OffsetSizeTrait, RecordBatch};
use arrow_buffer::Buffer;
use arrow_schema::DataType;

use crate::DatasetError;

/// The column of that name.
pub(super) fn column<'a>(
    batch: &'a RecordBatch,
    name: &str,
    path: &Path,
) -> Result<&'a ArrayRef, DatasetError> {
    batch.column_by_name(name).ok_or_else(|| DatasetError::content(name, "a column", "none", path))
}

fn layout(name: &str, expected: &str, array: &dyn Array, path: &Path) -> DatasetError {
    let nulls = if array.null_count() > 0 { " with nulls" } else { "" };
    let found = format!("{}{nulls}", array.data_type());
    DatasetError::content(name, expected, found, path)
}

/// A column of whole numbers.
pub(super) fn integers(
    batch: &RecordBatch,
    name: &str,
    path: &Path,
) -> Result<Vec<i64>, DatasetError> {
    let array = column(batch, name, path)?;
    let wrong = || layout(name, "whole numbers", array, path);
    if array.null_count() > 0 {
        return Err(wrong());
    }
    match array.data_type() {
        DataType::Int64 => Ok(array.as_primitive::<Int64Type>().values().to_vec()),
        DataType::Int32 => {
            Ok(array.as_primitive::<Int32Type>().values().iter().map(|&v| v.into()).collect())
        }
        DataType::UInt32 => {
            Ok(array.as_primitive::<UInt32Type>().values().iter().map(|&v| v.into()).collect())
        }
        DataType::UInt64 => {
            Ok(array.as_primitive::<UInt64Type>().values().iter().map(|&v| v as i64).collect())
        }
        _ => Err(wrong()),
    }
}

/// A column of numbers in double precision.
pub(super) fn doubles(
    batch: &RecordBatch,
    name: &str,
    path: &Path,
) -> Result<Vec<f64>, DatasetError> {
    let array = column(batch, name, path)?;
    match array.data_type() {
        DataType::Float64 if array.null_count() == 0 => {
            Ok(array.as_primitive::<Float64Type>().values().to_vec())
        }
        DataType::Float32 if array.null_count() == 0 => {
            Ok(array.as_primitive::<Float32Type>().values().iter().map(|&v| v.into()).collect())
        }
        _ => Err(layout(name, "numbers", array, path)),
    }
}

/// A column of text; nulls are empty.
pub(super) fn strings(
    batch: &RecordBatch,
    name: &str,
    path: &Path,
) -> Result<Vec<String>, DatasetError> {
    let array = column(batch, name, path)?;
    texts(array).ok_or_else(|| layout(name, "text", array, path))
}

fn texts(array: &ArrayRef) -> Option<Vec<String>> {
    let own = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(own).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(own).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(own).collect(),
        _ => return None,
    })
}

/// A column of lists of text.
pub(super) fn string_lists(
    batch: &RecordBatch,
    name: &str,
    path: &Path,
) -> Result<Vec<Vec<String>>, DatasetError> {
    let array = column(batch, name, path)?;
    let wrong = || layout(name, "lists of text", array, path);
    let list = |item: Option<ArrayRef>| match item {
        Some(item) => texts(&item).ok_or_else(wrong),
        None => Ok(Vec::new()),
    };
    match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().iter().map(list).collect(),
        DataType::LargeList(_) => array.as_list::<i64>().iter().map(list).collect(),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().iter().map(list).collect(),
        _ => strings(batch, name, path).map(|all| all.into_iter().map(|one| vec![one]).collect()),
    }
}

/// A column of vectors of `width` numbers, row by row.
pub(super) fn vectors(
    batch: &RecordBatch,
    name: &str,
    width: usize,
    path: &Path,
) -> Result<Vec<f32>, DatasetError> {
    let array = column(batch, name, path)?;
    let wrong = || layout(name, &format!("vectors of {width} numbers"), array, path);
    if array.null_count() > 0 {
        return Err(wrong());
    }
    let items = match array.data_type() {
        DataType::FixedSizeList(_, len) if *len as usize == width => {
            let list = array.as_fixed_size_list();
            Some(list.values().slice(list.value_offset(0) as usize, array.len() * width))
        }
        DataType::List(_) => items_of(array.as_list::<i32>(), width),
        DataType::LargeList(_) => items_of(array.as_list::<i64>(), width),
        _ if width == 1 => Some(array.clone()),
        _ => None,
    };
    let items = items.ok_or_else(wrong)?;
    if items.null_count() > 0 {
        return Err(wrong());
    }
    numbers(&items).ok_or_else(wrong)
}

/// The items of a list whose rows all are `width` long.
fn items_of<O: OffsetSizeTrait>(list: &GenericListArray<O>, width: usize) -> Option<ArrayRef> {
    let ends = list.offsets();
    let fits = ends.windows(2).all(|two| (two[1] - two[0]).as_usize() == width);
    fits.then(|| list.values().slice(ends[0].as_usize(), list.len() * width))
}

/// Numbers of any type, as `f32`.
fn numbers(array: &ArrayRef) -> Option<Vec<f32>> {
    fn each<T: ArrowPrimitiveType>(array: &ArrayRef, to: impl Fn(T::Native) -> f32) -> Vec<f32> {
        array.as_primitive::<T>().values().iter().map(|&value| to(value)).collect()
    }
    Some(match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().values().to_vec(),
        DataType::Float64 => each::<Float64Type>(array, |value| value as f32),
        DataType::Float16 => each::<Float16Type>(array, f32::from),
        DataType::Int8 => each::<Int8Type>(array, f32::from),
        DataType::Int16 => each::<Int16Type>(array, f32::from),
        DataType::Int32 => each::<Int32Type>(array, |value| value as f32),
        DataType::Int64 => each::<Int64Type>(array, |value| value as f32),
        DataType::UInt8 => each::<UInt8Type>(array, f32::from),
        DataType::UInt16 => each::<UInt16Type>(array, f32::from),
        DataType::UInt32 => each::<UInt32Type>(array, |value| value as f32),
        DataType::UInt64 => each::<UInt64Type>(array, |value| value as f32),
        DataType::Boolean => {
            array.as_boolean().iter().map(|value| f32::from(value == Some(true))).collect()
        }
        _ => return None,
    })
}

/// A column of encoded pictures; the bytes are shared, not copied.
pub(super) fn pictures(
    batch: &RecordBatch,
    name: &str,
    path: &Path,
) -> Result<Vec<Buffer>, DatasetError> {
    let array = column(batch, name, path)?;
    let wrong = || layout(name, "pictures as struct<bytes, path>", array, path);
    let bytes = match array.data_type() {
        DataType::Struct(_) => array.as_struct().column_by_name("bytes").ok_or_else(wrong)?,
        _ => array,
    };
    if array.null_count() > 0 || bytes.null_count() > 0 {
        let found = "rows that only name a file";
        return Err(DatasetError::content(name, "bytes in every row", found, path));
    }
    let cut = |values: &Buffer, from: usize, to: usize| values.slice_with_length(from, to - from);
    match bytes.data_type() {
        DataType::Binary => {
            let array = bytes.as_binary::<i32>();
            let ends = array.offsets().windows(2);
            Ok(ends.map(|e| cut(array.values(), e[0] as usize, e[1] as usize)).collect())
        }
        DataType::LargeBinary => {
            let array = bytes.as_binary::<i64>();
            let ends = array.offsets().windows(2);
            Ok(ends.map(|e| cut(array.values(), e[0] as usize, e[1] as usize)).collect())
        }
        _ => Err(wrong()),
    }
}
