//! Datasets as columns: what a name, a shape and an element type say of each.

use std::collections::HashSet;
use std::path::Path;

use super::element::Element;
use super::pictures::{Axes, Pixels};
use super::{Group, Table};
use crate::DatasetError;
use crate::column::{Column, Kind};
use crate::mapping::Mapping;
use crate::source::Track;

/// What was seen of one episode.
pub(crate) struct Survey {
    /// Rows of its actions.
    pub(crate) num_steps: usize,
    /// The names of its columns.
    pub(crate) columns: Vec<String>,
}

/// The column that `table` is; `name` is what it is called in the episode.
pub(crate) fn describe(name: &str, table: &Table) -> Column {
    let shape = table.shape().get(1..).unwrap_or(&[]);
    let kind = match table.element() {
        Element::Number(_) if table.shape().is_empty() => Kind::Other,
        Element::Number(number) if number.is_u8() && shape.len() == 3 => {
            Axes::of(shape, 3).map_or(Kind::Other, |(_, width, height)| Kind::Rgb { width, height })
        }
        Element::Number(number) if number.is_float() && shape.len() == 3 => {
            let depth = Axes::of(shape, 1).filter(|_| name.contains("depth"));
            depth.map_or(Kind::Other, |(_, width, height)| Kind::Depth { width, height })
        }
        Element::Number(_) => Kind::Numbers,
        _ => Kind::Other,
    };
    Column::new(name, table.element().name(), shape, kind)
}

/// Reads a column that [`describe`] made; its pictures stay in the file.
pub(crate) fn track(group: &Group, column: &Column) -> Result<Track, DatasetError> {
    let table = group.table(&column.name)?;
    let Some(table) = table else {
        return Err(DatasetError::content(&column.name, "a dataset", "none", group.path()));
    };
    if table.shape().get(1..) != Some(&column.shape[..]) || table.element().name() != column.dtype {
        let expected = format!("{} of shape {:?} in each step", column.dtype, column.shape);
        return Err(table.wrong(&expected));
    }
    let frames = |channels: usize| {
        let found = Axes::of(&column.shape, channels);
        found.map(|(axes, width, height)| (axes, (width, height)))
    };
    match column.kind {
        Kind::Rgb { .. } | Kind::Depth { .. } => {
            let channels = if matches!(column.kind, Kind::Rgb { .. }) { 3 } else { 1 };
            let (axes, size) = frames(channels).expect("`describe` looked at the same shape");
            Ok(Track::Pictures(Box::new(Pixels::new(table, axes, size))))
        }
        _ => Ok(Track::Numbers(table.f32(0..table.num_rows())?)),
    }
}

/// Refuses columns that `mapping` names and that only Python could open.
pub(crate) fn refuse_pickled(
    columns: &[Column],
    mapping: &Mapping,
    path: &Path,
) -> Result<(), DatasetError> {
    let numbers = mapping.proprio.iter().chain(&mapping.action).map(|wanted| &wanted.column);
    let pictures = mapping.view.iter().chain(&mapping.depth).map(|wanted| &wanted.column);
    let opaque = Element::Opaque.name();
    match numbers.chain(pictures).find(|wanted| {
        columns.iter().any(|column| column.name == **wanted && column.dtype == opaque)
    }) {
        Some(what) => Err(DatasetError::Pickled { what: what.clone(), path: path.to_owned() }),
        None => Ok(()),
    }
}

/// Those of the first episode's `columns` that every other has; and a line for each left out.
pub(crate) fn shared_columns(
    columns: Vec<Column>,
    surveys: &[Survey],
    names: &[String],
) -> (Vec<Column>, Vec<String>) {
    let mut missing: Vec<(usize, &str)> = vec![(0, ""); columns.len()];
    for (survey, name) in surveys.iter().zip(names) {
        let there: HashSet<&str> = survey.columns.iter().map(|column| &**column).collect();
        for (column, missing) in columns.iter().zip(&mut missing) {
            if !there.contains(&*column.name) {
                *missing = (missing.0 + 1, name);
            }
        }
    }
    let mut warnings = Vec::new();
    let mut missing = missing.into_iter();
    let mut columns = columns;
    columns.retain(|column| match missing.next() {
        Some((count @ 1.., name)) => {
            let others = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            warnings.push(format!("`{}` is left out: it is not in {name}{others}", column.name));
            false
        }
        _ => true,
    });
    (columns, warnings)
}
