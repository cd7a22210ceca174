//! Why a dataset could not be read or written.

use std::path::{Path, PathBuf};

/// Why a dataset could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// A file cannot be read.
    #[error("cannot read dataset file (path: {path:?})")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write dataset file (path: {path:?})")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The folder is of no format that we know.
    #[error(
        "no dataset of a known format: expected LeRobot (`meta/info.json`), robomimic, ACT or \
         SpawnNet HDF5, a zarr replay buffer, or RLDS (path: {path:?})"
    )]
    UnknownFormat {
        /// The folder.
        path: PathBuf,
    },
    /// Something is there already, and a new dataset was asked for.
    #[error("expected a path that is free, found a dataset; name another (path: {path:?})")]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A JSON file does not hold what it should.
    #[error("cannot understand JSON (path: {path:?})")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A parquet file is damaged or cannot be written.
    #[error("cannot process parquet file (path: {path:?})")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: parquet::errors::ParquetError,
    },
    /// A file of another kind is damaged.
    #[error("cannot process {kind} file (path: {path:?})")]
    File {
        /// The kind: `HDF5`, `mp4`, `zarr`, `TFRecord`.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A value is a pickled Python object.
    #[error(
        "`{what}` is a pickled Python object, which can run code when it is opened, so it is not: \
         write it as a plain array with the tool that made it (path: {path:?})"
    )]
    Pickled {
        /// The value.
        what: String,
        /// The file.
        path: PathBuf,
    },
    /// Nothing looks like an action.
    #[error(
        "no column looks like an action; name it with `--action COLUMN`, one of: {found} \
         (path: {path:?})"
    )]
    NoAction {
        /// The columns of numbers.
        found: String,
        /// The dataset.
        path: PathBuf,
    },
    /// The format does not say how many steps a second has.
    #[error("the dataset does not say its rate; say it with `--fps RATE` (path: {path:?})")]
    NoRate {
        /// The dataset.
        path: PathBuf,
    },
    /// Something in a file is not as it should be.
    #[error("`{what}`: expected {expected}, found {found} (path: {path:?})")]
    Content {
        /// A field, feature or column.
        what: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// A value is NaN or infinite.
    #[error(
        "`{feature}` is not finite in step {step} of episode {episode}, dimension {dimension} \
         (path: {path:?})"
    )]
    NotFinite {
        /// The feature.
        feature: String,
        /// The episode's index in its dataset.
        episode: usize,
        /// The step.
        step: usize,
        /// Which dimension of the vector.
        dimension: usize,
        /// The file.
        path: PathBuf,
    },
    /// A picture cannot be decoded.
    #[error(
        "cannot decode picture `{feature}` in step {step} of episode {episode} (path: {path:?})"
    )]
    Picture {
        /// The feature.
        feature: String,
        /// The episode's index in its dataset.
        episode: usize,
        /// The step.
        step: usize,
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<PictureError>,
    },
    /// There is no such episode.
    #[error("expected an episode below {num_episodes}, found {episode}")]
    NoEpisode {
        /// What was asked for.
        episode: usize,
        /// How many there are.
        num_episodes: usize,
    },
    /// There is no such step.
    #[error("expected a step below {num_steps}, found {step}")]
    NoStep {
        /// What was asked for.
        step: usize,
        /// How many there are.
        num_steps: usize,
    },
    /// An episode that is being written does not fit the robot.
    #[error("step {step} of the new episode: expected {expected}, found {found}")]
    Recorded {
        /// The step.
        step: usize,
        /// What the robot's spec asks for.
        expected: String,
        /// What was handed over.
        found: String,
    },
}

/// Why bytes could not become a picture, or a picture bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The bytes are no picture.
    #[error("not a picture")]
    Codec(#[from] image::ImageError),
    /// The picture's size is not the one that the dataset announces.
    #[error(
        "expected {} x {} pixels, found {} x {}", .expected.0, .expected.1, .found.0, .found.1
    )]
    Size {
        /// Width and height announced.
        expected: (usize, usize),
        /// Width and height found.
        found: (usize, usize),
    },
    /// There is no picture for this step.
    #[error("expected a picture, found none")]
    Missing,
    /// Colour was asked for and depth found, or the other way round.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What was asked for.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A video has no frame where a step needs one.
    #[error(
        "expected a frame within {:.1} ms of {secs:.4} s in the video, found the nearest {:.1} ms \
         off; `engraft data doctor` says which steps (video: {path:?})",
        tolerance_secs * 1e3, off_secs * 1e3
    )]
    NoFrame {
        /// The video.
        path: PathBuf,
        /// When the frame should be shown, in seconds.
        secs: f64,
        /// How far off the nearest one is.
        off_secs: f64,
        /// How far off it may be.
        tolerance_secs: f64,
    },
    /// The file that holds the pixels is damaged.
    #[error("cannot read its pixels")]
    Pixels(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A depth picture is not one of 16-bit grey.
    #[error("expected depth as 16-bit grey in millimetres, found {found}")]
    Depth {
        /// The kind of pixels found.
        found: String,
    },
}

impl DatasetError {
    /// For `map_err` after reading `path`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Read { path: path.to_owned(), source }
    }

    /// For `map_err` after writing `path`.
    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Write { path: path.to_owned(), source }
    }

    /// For `map_err` after parsing `path`.
    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self + '_ {
        |source| Self::Json { path: path.to_owned(), source }
    }

    /// For `map_err` after reading or writing parquet at `path`.
    pub(crate) fn parquet<E>(path: &Path) -> impl FnOnce(E) -> Self + '_
    where
        parquet::errors::ParquetError: From<E>,
    {
        |source| Self::Parquet { path: path.to_owned(), source: source.into() }
    }

    /// For `map_err` after working on `path`, a file of `kind`.
    pub(crate) fn file<'a, E>(kind: &'static str, path: &'a Path) -> impl FnOnce(E) -> Self + 'a
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::File { kind, path: path.to_owned(), source: source.into() }
    }

    /// Something that is not as it should be.
    pub(crate) fn content(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        path: &Path,
    ) -> Self {
        let (what, expected, found) = (what.into(), expected.into(), found.into());
        Self::Content { what, expected, found, path: path.to_owned() }
    }
}
