//! What a format has to tell and to hand over; [`Demonstrations`](crate::demonstrations) makes a
//! dataset of it.

use std::ops::Deref;
use std::path::PathBuf;

use engraft_core::{DepthImage, RgbImage};
use sha2::Sha256;

use crate::column::Column;
use crate::mapping::{self, Mapping};
use crate::picture::{decode_depth, decode_rgb};
use crate::{DatasetError, Finding, PictureError};

/// Demonstrations in one format. Opening one reads metadata only.
pub(crate) trait Source: Send + Sync + 'static {
    /// What the format says of the whole.
    fn about(&self) -> &About;

    /// The episodes, in order.
    fn episodes(&self) -> &[EpisodeEntry];

    /// Which columns are what to us, by this format's conventions.
    fn guess(&self) -> Mapping {
        mapping::guess(&self.about().columns)
    }

    /// Reads the columns `wanted`, indices into [`About::columns`], of an episode; gives one track
    /// for each, in order. Pictures stay as they are stored.
    fn load(&self, episode: usize, wanted: &[usize]) -> Result<Vec<Track>, DatasetError>;

    /// Feeds `hash` with what identifies the data: names, sizes, checksums or footers.
    fn fingerprint(&self, hash: &mut Sha256) -> Result<(), DatasetError>;

    /// Bytes of the data files.
    fn num_bytes(&self) -> u64;

    /// Where the format disagrees with itself, one line each; may read every file's header.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// The same for [`Dataset::examine_format`](crate::Dataset::examine_format), which may read
    /// every row.
    fn examine(&self, _progress: &mut dyn FnMut(u64, u64)) -> Vec<Finding> {
        let warnings = self.warnings().into_iter();
        warnings.map(|message| Finding::warning("format", message)).collect()
    }
}

/// What a format says of the whole.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The format and its version.
    pub(crate) format: String,
    /// The folder or file.
    pub(crate) path: PathBuf,
    /// The robot's name, where the format has one.
    pub(crate) robot: Option<String>,
    /// Steps per second, where the format says so.
    pub(crate) fps: Option<f32>,
    /// Every column.
    pub(crate) columns: Vec<Column>,
    /// Everything that was asked of a demonstrator.
    pub(crate) tasks: Vec<String>,
}

/// One episode, as metadata has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EpisodeEntry {
    /// What the format calls it, for messages: `demo_3`, `episode 3`.
    pub(crate) name: String,
    /// The file that holds it.
    pub(crate) path: PathBuf,
    /// Steps.
    pub(crate) num_steps: usize,
    /// What was asked of the demonstrator; empty where the format does not say.
    pub(crate) task: String,
}

/// One column through one episode.
pub(crate) enum Track {
    /// `[num_steps, width]`, row by row.
    Numbers(Vec<f32>),
    /// Pictures or depth, one per step.
    Pictures(Box<dyn Frames>),
}

/// A camera's pictures through one episode, decoded on demand, by any number of threads at once.
///
/// A column of colour answers [`rgb`](Self::rgb), one of depth answers [`depth`](Self::depth).
pub(crate) trait Frames: Send + Sync {
    /// The colour picture of a step, of the size that the column announces.
    fn rgb(&self, _step: usize) -> Result<RgbImage, PictureError> {
        Err(PictureError::Kind { expected: "colour", found: "depth".into() })
    }

    /// The depth of a step in metres, of the size that the column announces.
    fn depth(&self, _step: usize) -> Result<DepthImage, PictureError> {
        Err(PictureError::Kind { expected: "depth", found: "colour".into() })
    }

    /// How many there are; one per step unless the data is damaged.
    fn len(&self) -> usize;

    /// Bytes that this keeps in memory.
    fn num_bytes(&self) -> usize;
}

/// Pictures as PNG or JPEG, held in memory as they are stored.
pub(crate) struct Encoded<B> {
    bytes: Vec<B>,
    width: usize,
    height: usize,
}

impl<B> Encoded<B> {
    /// One picture of `width` x `height` per step.
    pub(crate) fn new(bytes: Vec<B>, width: usize, height: usize) -> Self {
        Self { bytes, width, height }
    }
}

impl<B: Deref<Target = [u8]> + Send + Sync> Frames for Encoded<B> {
    fn rgb(&self, step: usize) -> Result<RgbImage, PictureError> {
        let bytes = self.bytes.get(step).ok_or(PictureError::Missing)?;
        decode_rgb(bytes, self.width, self.height)
    }

    fn depth(&self, step: usize) -> Result<DepthImage, PictureError> {
        let bytes = self.bytes.get(step).ok_or(PictureError::Missing)?;
        decode_depth(bytes, self.width, self.height)
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn num_bytes(&self) -> usize {
        self.bytes.iter().map(|bytes| bytes.len() + size_of::<B>()).sum()
    }
}
