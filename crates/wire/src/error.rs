//! Why bytes are not a message, or a message cannot become bytes.

use crate::message::ErrorCode;

/// Why bytes are not a message, or a message cannot become bytes.
#[derive(Debug, thiserror::Error)]
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
    #[error("unreadable header: {detail}")]
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
    #[error("unknown message kind `{found}`")]
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
    #[error("array `{array}` has dtype {found}, expected {expected}")]
    Dtype {
        /// Its name.
        array: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An array has a shape that does not belong there.
    #[error("array `{array}` has shape {found:?}, expected {expected}")]
    Shape {
        /// Its name.
        array: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: Vec<usize>,
    },
    /// An array does not have the bytes that its shape needs.
    #[error("array `{array}` of shape {shape:?} does not have {found} byte(s)")]
    Length {
        /// Its name.
        array: String,
        /// The shape that the header gives.
        shape: Vec<usize>,
        /// Its bytes.
        found: usize,
    },
    /// An array is not written as arrays are.
    #[error("array `{array}`: {detail}")]
    Array {
        /// Its name.
        array: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An array that the message needs is not there.
    #[error("array `{array}` is missing")]
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
