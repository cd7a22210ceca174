//! NumPy arrays inside of msgpack values, in the three ways that Python clients write them.
//!
//! | envelope | who | how |
//! | --- | --- | --- |
//! | [`Npy`](Envelope::Npy) | GR00T until spring 2026 | `{"__ndarray_class__": true, "as_npy": whole .npy file}` |
//! | [`Numpy`](Envelope::Numpy) | GR00T since, msgpack-numpy | `{b"nd": true, b"type": "<f4", b"kind": b"", b"shape": [..], b"data": ..}` |
//! | [`Openpi`](Envelope::Openpi) | openpi | `{b"__ndarray__": true, b"data": .., b"dtype": "<f4", b"shape": [..]}` |
//!
//! Nothing is unpickled: arrays of objects are refused, and so is a length that its shape belies.

use std::borrow::Cow;

use half::f16;
use rmpv::{Value, ValueRef};

use crate::error::WireError;
use crate::msgpack::{entry, text};
use crate::npy;

/// How an array is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// A whole `.npy` file.
    Npy,
    /// As the package msgpack-numpy does.
    Numpy,
    /// As the package openpi-client does.
    Openpi,
}

/// An array that was received: where its values lie, and what they are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NdArray<'a> {
    pub(crate) envelope: Envelope,
    pub(crate) shape: Vec<usize>,
    /// As NumPy has it: `<f4`, `|u1`.
    dtype: String,
    fortran: bool,
    bytes: &'a [u8],
}

impl<'a> NdArray<'a> {
    /// The array that is `name`.
    ///
    /// # Errors
    ///
    /// When the value is no array, or one that may not be read.
    pub(crate) fn read(name: &str, value: &ValueRef<'a>) -> Result<Self, WireError> {
        let no_array = || WireError::Dtype {
            array: name.into(),
            expected: "an array".into(),
            found: kind(value).into(),
        };
        let ValueRef::Map(map) = value else { return Err(no_array()) };
        let is_true = |key| matches!(entry(map, key), Some(ValueRef::Boolean(true)));
        let bytes = |key| match entry(map, key) {
            Some(ValueRef::Binary(bytes)) => Ok(*bytes),
            _ => Err(missing(name, key, "bytes")),
        };
        let array = if entry(map, "__ndarray_class__").is_some() {
            let npy = npy::parse(bytes("as_npy")?)
                .map_err(|detail| WireError::Array { array: name.into(), detail })?;
            let npy::Npy { dtype, shape, fortran, bytes } = npy;
            Self { envelope: Envelope::Npy, shape, dtype, fortran, bytes }
        } else if is_true("nd") {
            if entry(map, "kind").and_then(text).is_some_and(|kind| !kind.is_empty()) {
                return Err(dtype(name, "plain numbers", "objects or records"));
            }
            let (shape, kind) = (shape(name, entry(map, "shape"))?, entry(map, "type"));
            let kind = kind.and_then(text).ok_or_else(|| missing(name, "type", "text"))?;
            let envelope = Envelope::Numpy;
            Self { envelope, shape, dtype: kind.into(), fortran: false, bytes: bytes("data")? }
        } else if is_true("__ndarray__") {
            let (shape, kind) = (shape(name, entry(map, "shape"))?, entry(map, "dtype"));
            let kind = kind.and_then(text).ok_or_else(|| missing(name, "dtype", "text"))?;
            let envelope = Envelope::Openpi;
            Self { envelope, shape, dtype: kind.into(), fortran: false, bytes: bytes("data")? }
        } else {
            return Err(no_array());
        };
        let size = array.element_size(name)?;
        let expected = array.shape.iter().try_fold(size, |all, &side| all.checked_mul(side));
        if expected != Some(array.bytes.len()) {
            let (array, shape, found) = (name.into(), array.shape, array.bytes.len());
            return Err(WireError::Length { array, shape, found });
        }
        Ok(array)
    }

    /// Bytes of one value.
    fn element_size(&self, name: &str) -> Result<usize, WireError> {
        match self.dtype.trim_start_matches(['<', '>', '|', '=']) {
            "u1" | "i1" | "b1" => Ok(1),
            "f2" | "i2" | "u2" => Ok(2),
            "f4" | "i4" | "u4" => Ok(4),
            "f8" | "i8" | "u8" => Ok(8),
            _ => Err(dtype(name, "numbers of at most 8 bytes", &self.dtype)),
        }
    }

    /// Its values as bytes, row by row; only `uint8` is.
    pub(crate) fn pixels(&self, name: &str) -> Result<Cow<'a, [u8]>, WireError> {
        if !matches!(&*self.dtype, "|u1" | "<u1" | "u1") {
            return Err(dtype(name, "uint8", &self.dtype));
        }
        Ok(self.in_rows(1))
    }

    /// Its values as numbers, row by row.
    pub(crate) fn floats(&self, name: &str) -> Result<Vec<f32>, WireError> {
        let size = self.element_size(name)?;
        let mut bytes = self.in_rows(size).into_owned();
        if self.dtype.starts_with('>') {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        macro_rules! each {
            ($number:ty, $convert:expr) => {{
                let (words, _) = bytes.as_chunks::<{ size_of::<$number>() }>();
                words.iter().map(|word| $convert(<$number>::from_le_bytes(*word))).collect()
            }};
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        // numbers of a robot
        Ok(match self.dtype.trim_start_matches(['<', '>', '|', '=']) {
            "f4" => each!(f32, |value| value),
            "f8" => each!(f64, |value| value as f32),
            "f2" => each!(f16, f32::from),
            "u1" | "b1" => each!(u8, f32::from),
            "i1" => each!(i8, f32::from),
            "u2" => each!(u16, f32::from),
            "i2" => each!(i16, f32::from),
            "u4" => each!(u32, |value| value as f32),
            "i4" => each!(i32, |value| value as f32),
            "u8" => each!(u64, |value| value as f32),
            _ => each!(i64, |value| value as f32),
        })
    }

    /// Its bytes with the last axis running fastest.
    fn in_rows(&self, size: usize) -> Cow<'a, [u8]> {
        if !self.fortran || self.shape.len() < 2 {
            return Cow::Borrowed(self.bytes);
        }
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut index = vec![0; self.shape.len()];
        for _ in 0..self.bytes.len() / size {
            let place =
                index.iter().zip(&self.shape).rev().fold(0, |at, (&i, &side)| at * side + i);
            out.extend_from_slice(&self.bytes[place * size..(place + 1) * size]);
            for (i, &side) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < side {
                    break;
                }
                *i = 0;
            }
        }
        Cow::Owned(out)
    }
}

/// Numbers as a value, in an envelope.
pub(crate) fn write(envelope: Envelope, shape: &[usize], values: &[f32]) -> Value {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let key = |name: &str| Value::Binary(name.into());
    let sides = || Value::Array(shape.iter().map(|&side| Value::from(side as u64)).collect());
    Value::Map(match envelope {
        Envelope::Npy => vec![
            (Value::from("__ndarray_class__"), Value::from(true)),
            (Value::from("as_npy"), Value::Binary(npy::write(shape, &data))),
        ],
        Envelope::Numpy => vec![
            (key("nd"), Value::from(true)),
            (key("type"), Value::from("<f4")),
            (key("kind"), Value::Binary(Vec::new())),
            (key("shape"), sides()),
            (key("data"), Value::Binary(data)),
        ],
        Envelope::Openpi => vec![
            (key("__ndarray__"), Value::from(true)),
            (key("data"), Value::Binary(data)),
            (key("dtype"), Value::from("<f4")),
            (key("shape"), sides()),
        ],
    })
}

fn shape(name: &str, value: Option<&ValueRef<'_>>) -> Result<Vec<usize>, WireError> {
    let wrong = || missing(name, "shape", "a list of whole numbers");
    let Some(ValueRef::Array(sides)) = value else { return Err(wrong()) };
    sides
        .iter()
        .map(|side| usize::try_from(side.as_u64()?).ok())
        .collect::<Option<_>>()
        .ok_or_else(wrong)
}

fn kind(value: &ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Nil => "nil",
        ValueRef::Boolean(_) => "a truth",
        ValueRef::Integer(_) | ValueRef::F32(_) | ValueRef::F64(_) => "a number",
        ValueRef::String(_) => "text",
        ValueRef::Binary(_) => "bytes",
        ValueRef::Array(_) => "a list",
        ValueRef::Map(_) => "a map that is no array",
        ValueRef::Ext(..) => "an extension",
    }
}

fn missing(array: &str, key: &str, expected: &str) -> WireError {
    WireError::Array { array: array.into(), detail: format!("expected `{key}` to be {expected}") }
}

fn dtype(array: &str, expected: &str, found: &str) -> WireError {
    WireError::Dtype { array: array.into(), expected: expected.into(), found: found.into() }
}
