//! Decoders that stand somewhere in a video, kept for whoever goes on from there.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use engraft_core::RgbImage;

use super::Video;
use super::av1::{self, Av1};
use super::boxes::Damage;
use super::codec::{Codec, Config};
use super::h264::{self, H264};

/// Bytes that idle decoders may hold, by default.
const MAX_BYTES: usize = 256 << 20;

/// Pictures that a decoder keeps at least: a frame stack may go back to where it began.
const MIN_RECENT: usize = 4;

/// Pictures that it keeps at most for a stream whose order of showing differs from that of decoding.
const MAX_LAG: usize = 16;

/// Pictures that a decoder holds for itself: eight references and the one that it works on.
const REFERENCES: usize = 9;

/// Bytes of a decoder beside its pictures.
const OVERHEAD: usize = 1 << 20;

/// Idle decoders, longest unused first; those in use are not among them.
pub(super) struct Decoders {
    idle: Mutex<Vec<Reader>>,
    max_bytes: usize,
    /// Idle decoders of one video before one of them is sent elsewhere.
    per_video: usize,
    /// Samples decoded so far.
    #[cfg(test)]
    decoded: std::sync::atomic::AtomicUsize,
}

impl Default for Decoders {
    fn default() -> Self {
        Self::with_max_bytes(MAX_BYTES)
    }
}

impl Decoders {
    /// Keeps idle decoders up to `max_bytes`, but always one.
    pub(super) fn with_max_bytes(max_bytes: usize) -> Self {
        let per_video = available_parallelism().map_or(1, usize::from);
        Self {
            idle: Mutex::default(),
            max_bytes,
            per_video,
            #[cfg(test)]
            decoded: std::sync::atomic::AtomicUsize::default(),
        }
    }

    /// A sample's picture, from the decoder that needs least for it.
    pub(super) fn picture(&self, video: &Video, sample: u32) -> Result<RgbImage, Damage> {
        let mut reader = match self.with(|idle| self.choose(idle, video, sample)) {
            Some(reader) => reader,
            None => Reader::new(video)?,
        };
        // A decoder that failed is not used again.
        let picture = reader.read(video, sample)?.to_rgb(video)?;
        let dropped = self.with(|idle| {
            idle.push(reader);
            let mut num_bytes: usize = idle.iter().map(Reader::num_bytes).sum();
            let mut count = 0;
            while num_bytes > self.max_bytes && count + 1 < idle.len() {
                num_bytes -= idle[count].num_bytes();
                count += 1;
            }
            idle.drain(..count).collect::<Vec<_>>()
        });
        drop(dropped); // outside of the lock
        Ok(picture)
    }

    fn choose(&self, idle: &mut Vec<Reader>, video: &Video, sample: u32) -> Option<Reader> {
        let of_video = |reader: &Reader| reader.video == video.id;
        let found = idle
            .iter()
            .position(|reader| of_video(reader) && reader.holds(sample))
            .or_else(|| {
                idle.iter().position(|reader| of_video(reader) && reader.leads_to(video, sample))
            })
            .or_else(|| {
                let full = idle.iter().filter(|reader| of_video(reader)).count() >= self.per_video;
                full.then(|| idle.iter().position(of_video)).flatten()
            });
        Some(idle.remove(found?))
    }

    /// Drops the idle decoders of a video.
    pub(super) fn forget(&self, video: u64) {
        let dropped = self.with(|idle| {
            let (dropped, kept) = idle.drain(..).partition(|reader| reader.video == video);
            *idle = kept;
            let dropped: Vec<Reader> = dropped;
            dropped
        });
        drop(dropped); // outside of the lock
    }

    /// Bytes that idle decoders hold, by an estimate that counts pictures.
    pub(super) fn num_bytes(&self) -> usize {
        self.with(|idle| idle.iter().map(Reader::num_bytes).sum())
    }

    #[cfg(test)]
    pub(super) fn decoded(&self) -> usize {
        self.decoded.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn with<R>(&self, work: impl FnOnce(&mut Vec<Reader>) -> R) -> R {
        // No call under the lock can panic half-way, so a poisoned list is still whole.
        work(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A decoder, where it stands, and the pictures that it gave last.
struct Reader {
    video: u64,
    decoder: Decoder,
    /// The sample that it takes next; none before the first.
    next: Option<u32>,
    recent: VecDeque<(u32, Picture)>,
    max_recent: usize,
    picture_bytes: usize,
}

enum Decoder {
    Av1(Av1),
    H264(Box<H264>),
}

enum Picture {
    Av1(av1::Picture),
    H264(h264::Picture),
}

impl Reader {
    fn new(video: &Video) -> Result<Self, Damage> {
        let pixels = video.width() * video.height();
        let decoder = match video.codec() {
            Codec::Av1 => Decoder::Av1(Av1::new(pixels)?),
            Codec::H264 => Decoder::H264(Box::default()),
        };
        let max_recent = MIN_RECENT + video.index.lag.min(MAX_LAG);
        let picture_bytes = pixels * 3 / 2;
        let recent = VecDeque::with_capacity(max_recent);
        Ok(Self { video: video.id, decoder, next: None, recent, max_recent, picture_bytes })
    }

    fn holds(&self, sample: u32) -> bool {
        self.recent.iter().any(|(held, _)| *held == sample)
    }

    /// Whether it comes to `sample` without passing a place where it could have begun.
    fn leads_to(&self, video: &Video, sample: u32) -> bool {
        let fits = |next| next <= sample && video.index.sync_before(sample) <= next;
        self.next.is_some_and(fits)
    }

    fn num_bytes(&self) -> usize {
        OVERHEAD + self.picture_bytes * (REFERENCES + self.recent.len())
    }

    fn read(&mut self, video: &Video, sample: u32) -> Result<&Picture, Damage> {
        if !self.holds(sample) {
            self.go_to(video, sample)?;
        }
        let held = self.recent.iter().find(|(held, _)| *held == sample);
        held.map(|(_, picture)| picture).ok_or_else(|| Damage("a picture is missing".into()))
    }

    fn go_to(&mut self, video: &Video, sample: u32) -> Result<(), Damage> {
        let mut next = match self.next {
            Some(next) if self.leads_to(video, sample) => next,
            next => {
                let start = video.key_before(sample)?;
                match next {
                    Some(next) if (start..=sample).contains(&next) => next,
                    _ => {
                        self.reset();
                        start
                    }
                }
            }
        };
        while next <= sample {
            let sync = self.next != Some(next) || video.index.sync_before(next) == next;
            let picture = self.decode(video, next, sync)?;
            if self.recent.len() == self.max_recent {
                self.recent.pop_front();
            }
            self.recent.push_back((next, picture));
            next += 1;
            self.next = Some(next);
        }
        Ok(())
    }

    fn reset(&mut self) {
        match &mut self.decoder {
            Decoder::Av1(decoder) => decoder.reset(),
            Decoder::H264(_) => {} // a key picture clears it
        }
        self.next = None;
    }

    fn decode(&mut self, video: &Video, sample: u32, sync: bool) -> Result<Picture, Damage> {
        let bytes = video.sample(sample)?;
        #[cfg(test)]
        video.decoders.decoded.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let in_sample = |Damage(what)| Damage(format!("sample {sample}: {what}"));
        match (&mut self.decoder, &video.index.description.config) {
            (Decoder::Av1(decoder), Config::Av1(config)) => {
                decoder.decode(config, bytes, sync).map(Picture::Av1)
            }
            (Decoder::H264(decoder), Config::H264(config)) => {
                let size = (video.width(), video.height());
                decoder.decode(config, size, &bytes, sync).map(Picture::H264)
            }
            _ => Err(Damage("a decoder of another codec".into())),
        }
        .map_err(in_sample)
    }
}

impl Picture {
    fn to_rgb(&self, video: &Video) -> Result<RgbImage, Damage> {
        let picture = match self {
            Self::Av1(picture) => av1::to_rgb(picture),
            Self::H264(picture) => picture.planes().to_rgb(),
        }?;
        let (expected, found) =
            ((video.width(), video.height()), (picture.width(), picture.height()));
        if expected != found {
            let ((wide, high), (width, height)) = (expected, found);
            return Err(Damage(format!(
                "expected a picture of {wide} x {high}, found {width} x {height}"
            )));
        }
        Ok(picture)
    }
}
