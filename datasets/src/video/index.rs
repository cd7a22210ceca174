//! Where the samples of an mp4's video track lie and when each is shown, out of its `moov` box.

use super::boxes::{Boxes, Damage, Fields, damage, number};
use super::codec::Description;

/// Most frames that a track may have: 38 hours at 30 per second.
const MAX_FRAMES: usize = 1 << 22;

/// Latest tick that an edit may name, so that nothing overflows on the way to a time.
const LAST_TICK: i64 = 1 << 60;

/// The video track of an mp4.
#[derive(Debug)]
pub(super) struct Index {
    /// How its samples are coded.
    pub(super) description: Description,
    /// When each frame is shown in seconds, rising: presentation order.
    pub(super) times: Vec<f64>,
    /// Where each sample lies, in the order of decoding.
    pub(super) samples: Vec<Sample>,
    /// The samples of the frames in `times`.
    pub(super) order: Vec<u32>,
    /// Samples where decoding can begin, rising; the first sample is always one.
    pub(super) syncs: Vec<u32>,
    /// How many samples must be decoded ahead of the frame that is shown, at most.
    pub(super) lag: usize,
}

/// Where a sample lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) offset: u64,
    pub(super) size: u32,
}

impl Index {
    /// Reads a `moov` box of a file of `file_len` bytes.
    pub(super) fn parse(moov: &[u8], file_len: u64) -> Result<Self, Damage> {
        let movie_scale = time_scale(Boxes::need(moov, *b"mvhd")?)?;
        for found in Boxes::new(moov) {
            let (kind, track) = found?;
            if kind != *b"trak" {
                continue;
            }
            let media = Boxes::need(track, *b"mdia")?;
            let mut handler = Fields::new(Boxes::need(media, *b"hdlr")?);
            handler.take(8)?;
            if handler.array()? != *b"vide" {
                continue;
            }
            let fragmented = Boxes::find(moov, *b"mvex")?.is_some();
            return Self::of_track(track, media, movie_scale, file_len, fragmented);
        }
        damage("expected a video track, found none")
    }

    fn of_track(
        track: &[u8],
        media: &[u8],
        movie_scale: u32,
        file_len: u64,
        fragmented: bool,
    ) -> Result<Self, Damage> {
        let scale = time_scale(Boxes::need(media, *b"mdhd")?)?;
        let tables = Boxes::need(Boxes::need(media, *b"minf")?, *b"stbl")?;
        let description = Description::parse(Boxes::need(tables, *b"stsd")?)?;
        let sizes = Sizes::parse(Boxes::need(tables, *b"stsz")?)?;
        if sizes.count == 0 && fragmented {
            return damage(
                "expected one index of all frames, found a fragmented mp4: rewrite it with \
                 `ffmpeg -i IN -c copy OUT`",
            );
        }
        let samples = samples(tables, &sizes, file_len)?;
        let shown = shown(tables, samples.len())?;
        let edit = match Boxes::find(track, *b"edts")? {
            Some(edits) => Edit::parse(Boxes::need(edits, *b"elst")?, movie_scale, scale)?,
            None => Edit::default(),
        };
        let mut frames: Vec<(i64, u32)> = shown
            .iter()
            .zip(0..)
            .filter(|&(&ticks, _)| edit.shows(ticks))
            .map(|(&ticks, sample)| (ticks - edit.from + edit.delay, sample))
            .collect();
        frames.sort_unstable();
        let syncs = syncs(Boxes::find(tables, *b"stss")?, samples.len())?;
        let times = frames.iter().map(|&(ticks, _)| ticks as f64 / f64::from(scale)).collect();
        let order: Vec<u32> = frames.into_iter().map(|(_, sample)| sample).collect();
        let lag = lag(&order);
        Ok(Self { description, times, samples, order, syncs, lag })
    }

    /// The last sample at or before `sample` where decoding can begin.
    pub(super) fn sync_before(&self, sample: u32) -> u32 {
        let after = self.syncs.partition_point(|&sync| sync <= sample);
        self.syncs[after.saturating_sub(1)]
    }

    /// Bytes in memory.
    pub(super) fn num_bytes(&self) -> usize {
        size_of_val(&self.times[..])
            + size_of_val(&self.samples[..])
            + size_of_val(&self.order[..])
            + size_of_val(&self.syncs[..])
    }
}

/// Ticks per second, out of `mvhd` or `mdhd`.
fn time_scale(body: &[u8]) -> Result<u32, Damage> {
    let mut fields = Fields::new(body);
    let dates = if fields.version()? == 1 { 16 } else { 8 };
    fields.take(dates)?;
    match fields.u32()? {
        0 => damage("expected ticks per second, found 0"),
        scale => Ok(scale),
    }
}

/// How many bytes each sample has.
struct Sizes<'a> {
    count: usize,
    /// The size of all samples, unless it is 0.
    same: u32,
    each: &'a [u8],
}

impl<'a> Sizes<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Damage> {
        let mut fields = Fields::new(body);
        fields.version()?;
        let same = fields.u32()?;
        let (count, each) = if same == 0 {
            let each = fields.table(4)?;
            (each.len() / 4, each)
        } else {
            (fields.u32()? as usize, &[][..])
        };
        if count > MAX_FRAMES {
            return damage(format!("expected at most {MAX_FRAMES} frames, found {count}"));
        }
        Ok(Self { count, same, each })
    }

    fn of(&self, sample: usize) -> u32 {
        if self.same == 0 { number(self.each, 4 * sample) } else { self.same }
    }
}

/// Where the samples lie: `stsc` says how many stand in each chunk, `stco` where the chunks are.
fn samples(tables: &[u8], sizes: &Sizes, file_len: u64) -> Result<Vec<Sample>, Damage> {
    let (chunks, width) = match Boxes::find(tables, *b"co64")? {
        Some(body) => (body, 8),
        None => (Boxes::need(tables, *b"stco")?, 4),
    };
    let mut chunks = Fields::new(chunks);
    chunks.version()?;
    let mut chunks = chunks.table(width)?.chunks_exact(width).map(|entry| match width {
        8 => u64::from(number(entry, 0)) << 32 | u64::from(number(entry, 4)),
        _ => u64::from(number(entry, 0)),
    });
    let mut runs = Fields::new(Boxes::need(tables, *b"stsc")?);
    runs.version()?;
    let runs: Vec<&[u8]> = runs.table(12)?.chunks_exact(12).collect();
    // Every sample takes a byte of the file, unless the file lies; then this stops at its end.
    let mut samples = Vec::with_capacity(sizes.count.min(file_len as usize));
    for (at, run) in runs.iter().enumerate() {
        let [first, per_chunk, kind] = [0, 4, 8].map(|field| number(run, field));
        if kind != 1 {
            return damage(format!("expected one way of coding, found sample description {kind}"));
        }
        let last = runs.get(at + 1).map_or(u32::MAX, |next| number(next, 0));
        if (at == 0 && first != 1) || last <= first {
            return damage("the runs of chunks (`stsc`) are not in order");
        }
        for _ in first..last {
            if samples.len() == sizes.count {
                return Ok(samples);
            }
            let Some(mut offset) = chunks.next() else { break };
            let left = sizes.count - samples.len();
            for _ in 0..left.min(per_chunk as usize) {
                let size = sizes.of(samples.len());
                let end = offset.checked_add(u64::from(size)).filter(|&end| end <= file_len);
                let Some(end) = end else {
                    let sample = samples.len();
                    return damage(format!(
                        "frame {sample} of {} lies past the end of the file ({file_len} bytes): \
                         the file is cut short; copy it again",
                        sizes.count
                    ));
                };
                samples.push(Sample { offset, size });
                offset = end;
            }
        }
    }
    if samples.len() < sizes.count {
        return damage(format!(
            "expected {} frames in chunks, found {}",
            sizes.count,
            samples.len()
        ));
    }
    Ok(samples)
}

/// When each sample is shown, in ticks before the edit list: `stts`, shifted by `ctts`.
fn shown(tables: &[u8], count: usize) -> Result<Vec<i64>, Damage> {
    let mut fields = Fields::new(Boxes::need(tables, *b"stts")?);
    fields.version()?;
    let mut ticks = 0;
    let mut shown = Vec::with_capacity(count);
    for run in fields.table(8)?.chunks_exact(8) {
        let left = count - shown.len();
        for _ in 0..left.min(number(run, 0) as usize) {
            shown.push(ticks);
            ticks += i64::from(number(run, 4));
        }
    }
    if shown.len() < count {
        return damage(format!("expected the times of {count} frames, found {}", shown.len()));
    }
    if let Some(body) = Boxes::find(tables, *b"ctts")? {
        let mut fields = Fields::new(body);
        fields.version()?;
        let mut frames = shown.iter_mut();
        for run in fields.table(8)?.chunks_exact(8) {
            // Signed in every version: others write it so and read it so.
            let offset = i64::from(number(run, 4).cast_signed());
            let frames = frames.by_ref().take(number(run, 0) as usize);
            frames.for_each(|ticks| *ticks += offset);
        }
    }
    Ok(shown)
}

/// Samples where decoding can begin; all of them where there is no `stss`.
fn syncs(stss: Option<&[u8]>, count: usize) -> Result<Vec<u32>, Damage> {
    let Some(body) = stss else { return Ok((0..count as u32).collect()) };
    let mut fields = Fields::new(body);
    fields.version()?;
    let mut syncs = vec![0];
    for entry in fields.table(4)?.chunks_exact(4) {
        let sync = number(entry, 0);
        let last = syncs[syncs.len() - 1];
        match sync.checked_sub(1) {
            Some(0) if syncs.len() == 1 => {}
            Some(sync) if sync > last && (sync as usize) < count => syncs.push(sync),
            _ => return damage(format!("key frame {sync} is not in order")),
        }
    }
    Ok(syncs)
}

/// How far the order of decoding runs ahead of the order of showing.
fn lag(order: &[u32]) -> usize {
    let mut ahead = 0;
    let lags = order.iter().map(|&sample| {
        ahead = ahead.max(sample);
        (ahead - sample) as usize
    });
    lags.max().unwrap_or(0)
}

/// The part of a track that is shown, in its ticks.
#[derive(Default)]
struct Edit {
    /// What is shown first.
    from: i64,
    /// How long it is shown; 0 is to the end.
    ticks: i64,
    /// How long nothing is shown before.
    delay: i64,
}

impl Edit {
    fn parse(body: &[u8], movie_scale: u32, scale: u32) -> Result<Self, Damage> {
        let mut fields = Fields::new(body);
        let wide = fields.version()? == 1;
        let to_ticks = |duration: u64| {
            let (duration, scale) = (u128::from(duration), u128::from(scale));
            let movie = u128::from(movie_scale);
            i64::try_from((duration * scale + movie / 2) / movie).unwrap_or(i64::MAX)
        };
        let mut edit = Self::default();
        let mut found = 0;
        let width = if wide { 20 } else { 12 };
        for entry in fields.table(width)?.chunks_exact(width) {
            let mut entry = Fields::new(entry);
            let (duration, from) = if wide {
                (entry.u64()?, entry.u64()?.cast_signed())
            } else {
                (u64::from(entry.u32()?), i64::from(entry.u32()?.cast_signed()))
            };
            if from < 0 && found == 0 {
                edit.delay = edit.delay.saturating_add(to_ticks(duration));
            } else {
                (edit.from, edit.ticks) = (from, to_ticks(duration));
                found += 1;
            }
        }
        if found > 1 || edit.from > LAST_TICK || edit.delay > LAST_TICK {
            return damage(format!(
                "expected at most one edit, found {found}: rewrite it with \
                 `ffmpeg -i IN -c:v libsvtav1 -g 2 -crf 30 -pix_fmt yuv420p OUT`"
            ));
        }
        Ok(edit)
    }

    fn shows(&self, ticks: i64) -> bool {
        ticks >= self.from && (self.ticks == 0 || ticks - self.from < self.ticks)
    }
}
