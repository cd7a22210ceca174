//! What demonstrations consist of, in the words of their own format.

use engraft_core::Dimension;

/// One column: something of the same shape in every step of every episode.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// Its name, as the format spells it: `observation.state`, `obs/robot0_eef_pos`.
    pub(crate) name: String,
    /// Its element type, in the format's words.
    pub(crate) dtype: String,
    /// Its shape in one step, in the format's order of axes.
    pub(crate) shape: Vec<usize>,
    /// What can be read out of it.
    pub(crate) kind: Kind,
    /// Names, units and bounds of its numbers; empty where the format does not say.
    pub(crate) dimensions: Vec<Dimension>,
}

/// What can be read out of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Numbers, in row-major order of the column's shape.
    Numbers,
    /// Colour pictures.
    Rgb {
        /// Columns of a picture.
        width: usize,
        /// Rows of a picture.
        height: usize,
    },
    /// Depth of each pixel.
    Depth {
        /// Columns of a picture.
        width: usize,
        /// Rows of a picture.
        height: usize,
    },
    /// Time and counters.
    Index,
    /// Nothing that we use.
    Other,
}

impl Column {
    /// A column without names of its numbers.
    pub(crate) fn new(
        name: impl Into<String>,
        dtype: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        kind: Kind,
    ) -> Self {
        let (name, dtype, shape) = (name.into(), dtype.into(), shape.into());
        Self { name, dtype, shape, kind, dimensions: Vec::new() }
    }

    /// Numbers in one step, saturating where a damaged file claims a monstrous shape.
    pub(crate) fn width(&self) -> usize {
        self.shape.iter().fold(1, |width, &side| width.saturating_mul(side))
    }

    /// The last part of its name: `state` of `observation.state`.
    pub(crate) fn short_name(&self) -> &str {
        self.name.rsplit(['.', '/']).next().unwrap_or(&self.name)
    }

    /// A name for each of its numbers, made up where the format has none.
    pub(crate) fn named_dimensions(&self) -> Vec<Dimension> {
        let width = self.width();
        if self.dimensions.len() == width {
            return self.dimensions.clone();
        }
        let name = self.short_name();
        if width == 1 {
            return vec![Dimension::new(name, "")];
        }
        (0..width).map(|i| Dimension::new(format!("{name}_{i}"), "")).collect()
    }
}
