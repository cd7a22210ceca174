//! Frames of an mp4, exactly and at random: the index is read once, pixels are decoded on demand.
//!
//! A frame costs the decoding from the key frame before it, unless a decoder stands nearer: frames
//! that are asked for one after another are decoded once each.

mod av1;
mod bits;
mod boxes;
mod cache;
mod codec;
mod color;
#[cfg(test)]
mod damage;
mod decoders;
#[cfg(test)]
mod golden;
mod h264;
mod index;
mod sps;

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engraft_core::RgbImage;

use crate::{DatasetError, PictureError};
use boxes::{Damage, Fields, Header};
use codec::Config;
use decoders::Decoders;
use index::Index;

pub use cache::VideoCache;
pub use codec::Codec;

/// Largest index that is read: that of a day's frames has some 50 MB.
const MAX_INDEX_BYTES: u64 = 256 << 20;

/// Most boxes that may stand before the index.
const MAX_BOXES: usize = 4096;

/// Largest sample that is read.
const MAX_SAMPLE_BYTES: u32 = 64 << 20;

/// An mp4's video track: when each frame is shown, and its pixels on demand, by any number of
/// threads at once.
///
/// Colours are those that PyAV's `frame.to_ndarray(format="rgb24")` gives. Decoders stay for whoever
/// goes on from where they stand: at most as many as the machine has threads, and 256 MiB of them.
pub struct Video {
    /// Tells it from others that share its decoders.
    id: u64,
    file: File,
    index: Index,
    decoders: Arc<Decoders>,
}

impl Video {
    /// Reads the index of an mp4 and nothing else.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is damaged or cut short, or is coded otherwise than in AV1 or
    /// H.264 of 8 bits.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        Self::open_with(path, Arc::default())
    }

    fn open_with(path: &Path, decoders: Arc<Decoders>) -> Result<Self, DatasetError> {
        static VIDEOS: AtomicU64 = AtomicU64::new(0);
        let file = File::open(path).map_err(DatasetError::read(path))?;
        let file_len = file.metadata().map_err(DatasetError::read(path))?.len();
        let read = |offset: u64, bytes: &mut [u8]| {
            file.read_exact_at(bytes, offset).map_err(DatasetError::read(path))
        };
        let (offset, size) = find_index(file_len, read, path)?;
        let mut moov = vec![0; size as usize];
        read(offset, &mut moov)?;
        let index = Index::parse(&moov, file_len).map_err(DatasetError::file("mp4", path))?;
        let id = VIDEOS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, file, index, decoders })
    }

    /// Columns of each frame.
    pub fn width(&self) -> usize {
        self.index.description.width
    }

    /// Rows of each frame.
    pub fn height(&self) -> usize {
        self.index.description.height
    }

    /// How the frames are coded.
    pub fn codec(&self) -> Codec {
        self.index.description.codec()
    }

    /// When each frame is shown, in seconds, rising. Equals PyAV's `frame.time`.
    pub fn times(&self) -> &[f64] {
        &self.index.times
    }

    /// The frame that is shown nearest to `secs`, the earlier of two, and how far off it is.
    ///
    /// None where the video has no frames.
    ///
    /// # Units
    ///
    /// Seconds.
    pub fn nearest(&self, secs: f64) -> Option<(usize, f64)> {
        let times = self.times();
        let after = times.partition_point(|&time| time < secs);
        let near = [after.checked_sub(1), Some(after)].into_iter().flatten();
        let near = near.filter_map(|index| Some((index, (times.get(index)? - secs).abs())));
        near.reduce(|one, other| if other.1 < one.1 { other } else { one })
    }

    /// The pixels of the frame at `index` of [`times`](Self::times).
    ///
    /// # Errors
    ///
    /// When there is no such frame, or what the decoder needs for it is damaged.
    pub fn frame(&self, index: usize) -> Result<RgbImage, PictureError> {
        let sample = *self.index.order.get(index).ok_or(PictureError::Missing)?;
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decoders.picture(self, sample)));
        let decoded = decoded.unwrap_or_else(|_| Err(Damage("its decoder gave up".into())));
        decoded.map_err(|damage| PictureError::Pixels(damage.into()))
    }

    /// Bytes of the index, which stays in memory: 28 for each frame.
    pub fn num_bytes(&self) -> usize {
        self.index.num_bytes()
    }

    /// Bytes of a sample.
    fn sample(&self, sample: u32) -> Result<Vec<u8>, Damage> {
        let index::Sample { offset, size } = self.index.samples[sample as usize];
        if size == 0 || size > MAX_SAMPLE_BYTES {
            return boxes::damage(format!(
                "sample {sample}: expected a picture, found {size} bytes"
            ));
        }
        let mut bytes = vec![0; size as usize];
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.map_err(|error| Damage(format!("sample {sample}: {error}")))?;
        Ok(bytes)
    }

    /// The last sample at or before `sample` after which nothing before it is needed.
    fn key_before(&self, sample: u32) -> Result<u32, Damage> {
        let mut sync = self.index.sync_before(sample);
        if let Config::H264(config) = &self.index.description.config {
            // A stream may also be entered where some frames still refer to what was before.
            while sync > 0 && !config.is_key(&self.sample(sync)?)? {
                sync = self.index.sync_before(sync - 1);
            }
        }
        Ok(sync)
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        self.decoders.forget(self.id);
    }
}

impl fmt::Debug for Video {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = (self.width(), self.height());
        write!(f, "{} video, {width} x {height}, {} frames", self.codec(), self.times().len())
    }
}

/// Where the contents of `moov` lie in a file of `file_len` bytes, and how many there are.
fn find_index(
    file_len: u64,
    read: impl Fn(u64, &mut [u8]) -> Result<(), DatasetError>,
    path: &Path,
) -> Result<(u64, u64), DatasetError> {
    let mut offset = 0;
    for number in 0..MAX_BOXES {
        let left = file_len - offset;
        if left < 8 {
            break;
        }
        let mut start = [0; 16];
        let start = &mut start[..left.min(16) as usize];
        read(offset, start)?;
        let header = Header::read(&mut Fields::new(start));
        let Header { kind, len, size } = header.map_err(DatasetError::file("mp4", path))?;
        let size = size.unwrap_or(left);
        if number == 0 && kind != *b"ftyp" && kind != *b"moov" && kind != *b"mdat" {
            let found = format!("`{}`", boxes::name(kind));
            return Err(DatasetError::content("first box", "`ftyp` of an mp4", found, path));
        }
        if kind == *b"moov" {
            if size < len || size > left || size > MAX_INDEX_BYTES {
                let expected = format!("at most {} bytes", left.min(MAX_INDEX_BYTES));
                return Err(DatasetError::content("moov", expected, size.to_string(), path));
            }
            return Ok((offset + len, size - len));
        }
        if size < len {
            break;
        }
        match offset.checked_add(size) {
            Some(next) if next <= file_len => offset = next,
            _ => break,
        }
    }
    let unfinished = "no index (`moov`): its recording or copy was not finished; copy it again, or \
                      record the episode again";
    Err(DatasetError::content("mp4", "a whole file", unfinished, path))
}
