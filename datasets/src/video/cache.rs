//! The videos of a dataset, opened when they are needed and closed when there are too many.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Video;
use super::decoders::Decoders;
use crate::DatasetError;
use crate::cache::Cache;

/// What an open video counts for at least, so that the budget bounds open files too.
const MIN_COST: usize = 1 << 20;

/// Videos that were used lately, by path, and the decoders that they share.
///
/// Holds at most 128 files open and 128 MiB of indices (or one that is larger), and 256 MiB of idle
/// decoders, counted over all videos; the decoders unused for longest go first. Videos and decoders
/// that are in use come on top: one of each per thread.
pub struct VideoCache {
    open: Cache<Video, PathBuf>,
    decoders: Arc<Decoders>,
}

impl Default for VideoCache {
    fn default() -> Self {
        Self { open: Cache::new(128 * MIN_COST), decoders: Arc::default() }
    }
}

impl VideoCache {
    /// The video at `path`. Ask again for every frame rather than keep it: that is cheap.
    ///
    /// # Errors
    ///
    /// As [`Video::open`].
    pub fn get(&self, path: &Path) -> Result<Arc<Video>, DatasetError> {
        self.open.get(path.to_owned(), || {
            let video = Video::open_with(path, Arc::clone(&self.decoders))?;
            let num_bytes = video.num_bytes().max(MIN_COST);
            Ok((video, num_bytes))
        })
    }

    /// Bytes that idle decoders hold, by an estimate that counts their pictures.
    pub fn decoder_bytes(&self) -> usize {
        self.decoders.num_bytes()
    }
}
