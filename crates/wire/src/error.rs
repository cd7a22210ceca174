//! Why bytes are not a message, or a message cannot become bytes.

use std::fmt;

use crate::message::ErrorCode;

/// Bytes of a name that came with a message, as an error tells it.
const MAX_NAME: usize = 256;
/// Bytes of a detail.
const MAX_DETAIL: usize = 1024;
/// Sides of a shape.
const MAX_SIDES: usize = 16;

/// Why bytes are not a message, or a message cannot become bytes.
///
/// What is told of a message is cut short where it is long: it is told to who sent it, in a header
/// that has no more room than theirs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A limit of the dialect is passed.
    #[error("{what}: at most {limit} are taken, found {found}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How many are taken.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// The header cannot be read.
    #[error("unreadable header: {}", cut(detail, MAX_DETAIL))]
    Header {
        /// What is wrong with it.
        detail: String,
    },
    /// The other side speaks another version.
    #[error("protocol version {found} is not spoken here, expected {expected}")]
    Version {
        /// Ours.
        expected: u64,
        /// Theirs.
        found: u64,
    },
    /// The header names no message that goes this way.
    #[error("unknown message kind `{}`", name(found))]
    Kind {
        /// The name.
        found: String,
    },
    /// The header lists another number of arrays than there are frames behind it.
    #[error("the header lists {expected} array(s), found {found}")]
    Count {
        /// Listed.
        expected: usize,
        /// There.
        found: usize,
    },
    /// An array has an element type that does not belong there.
    #[error("array `{}` has dtype {}, expected {expected}", name(array), name(found))]
    Dtype {
        /// Its name.
        array: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An array has a shape that does not belong there.
    #[error("array `{}` has shape {}, expected {expected}", name(array), Sides(found))]
    Shape {
        /// Its name.
        array: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: Vec<usize>,
    },
    /// An array does not have the bytes that its shape needs.
    #[error("array `{}` of shape {} does not have {found} byte(s)", name(array), Sides(shape))]
    Length {
        /// Its name.
        array: String,
        /// The shape that the header gives.
        shape: Vec<usize>,
        /// Its bytes.
        found: usize,
    },
    /// An array is not written as arrays are.
    #[error("array `{}`: {}", name(array), cut(detail, MAX_DETAIL))]
    Array {
        /// Its name.
        array: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An array that the message needs is not there.
    #[error("array `{}` is missing", name(array))]
    Missing {
        /// Its name.
        array: String,
    },
}

impl WireError {
    /// The code to answer with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::Header { .. } | Self::Kind { .. } | Self::Count { .. } | Self::Array { .. } => {
                ErrorCode::BadFrame
            }
            Self::Version { .. } => ErrorCode::BadVersion,
            Self::Dtype { .. } => ErrorCode::BadDtype,
            Self::Shape { .. } | Self::Length { .. } | Self::Missing { .. } => ErrorCode::BadShape,
        }
    }
}

/// A text of at most so many bytes; a longer one's beginning, and dots.
pub(crate) fn cut(text: &str, most: usize) -> Cut<'_> {
    let whole = text.len() <= most;
    let len = if whole { text.len() } else { text.floor_char_boundary(most - 3) };
    Cut { text: &text[..len], whole }
}

/// See [`cut`].
pub(crate) struct Cut<'a> {
    text: &'a str,
    whole: bool,
}

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)?;
        if self.whole { Ok(()) } else { f.write_str("...") }
    }
}

fn name(text: &str) -> Cut<'_> {
    cut(text, MAX_NAME)
}

/// A shape, its first sides alone where it has many.
struct Sides<'a>(&'a [usize]);

impl fmt::Display for Sides<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..MAX_SIDES) {
            Some(first) if first.len() < self.0.len() => {
                write!(f, "{first:?} and {} more", self.0.len() - first.len())
            }
            _ => write!(f, "{:?}", self.0),
        }
    }
}
