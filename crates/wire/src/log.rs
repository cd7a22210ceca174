//! Rollout logs: episodes written step by step as they happen.
//!
//! A file is [`MAGIC`], then records. A record is the length of its payload (u32,
//! little-endian), the payload's CRC-32 (u32), and the payload; a payload is a row of parts, each
//! with its length (u32) before it: a msgpack map whose `t` is `begin`, `step` or `end`, then
//! arrays as the [native dialect](crate::native) has them. Every record is one write, so
//! whatever ends the writer leaves whole records and at most one torn one, which a reader drops.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use engraft_core::{Outcome, RobotSpec, Rollout, RolloutStep};
use serde::{Deserialize, Serialize};

use crate::arrays::{ArrayMeta, Arrays, AttentionMeta, Packer};
use crate::error::WireError;
use crate::native::{at_most, body, header, value};

/// How a log begins.
pub const MAGIC: &[u8; 16] = b"engraft-rollout1";
/// Bytes that a record may have.
const MAX_RECORD_BYTES: usize = 64 << 20;
/// Parts that a record may have, its header included.
const MAX_PARTS: usize = 1024;

/// Why a log cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file cannot be made; one that exists is not written over.
    #[error("cannot create rollout log (path: {path:?})")]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write to the rollout log")]
    Write(#[source] io::Error),
    /// The file cannot be read.
    #[error("cannot read rollout log (path: {path:?})")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is something else.
    #[error("this is no rollout log: it does not begin with `engraft-rollout1` (path: {path:?})")]
    Magic {
        /// The file.
        path: PathBuf,
    },
    /// A record is whole and makes no sense.
    #[error("record {record} of the rollout log makes no sense")]
    Record {
        /// Its index.
        record: usize,
        /// What is wrong with it.
        source: WireError,
    },
    /// A step cannot be put into a record.
    #[error("this step cannot be written")]
    Step(#[from] WireError),
}

#[derive(Serialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
enum Entry<'a> {
    Begin {
        spec: &'a RobotSpec,
        task: &'a str,
        instance: &'a str,
        seed: u64,
    },
    Step {
        time_secs: f64,
        limited: &'a [usize],
        attention: Vec<AttentionMeta>,
        arrays: Vec<ArrayMeta>,
    },
    End {
        outcome: Outcome,
    },
}

#[derive(Deserialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
enum Found {
    Begin {
        spec: RobotSpec,
        task: String,
        instance: String,
        seed: u64,
    },
    Step {
        time_secs: f64,
        limited: Vec<usize>,
        attention: Vec<AttentionMeta>,
        arrays: Vec<ArrayMeta>,
    },
    End {
        outcome: Outcome,
    },
}

/// Writes a log. A file may hold several episodes, one after the other.
#[derive(Debug)]
pub struct LogWriter<W> {
    sink: W,
}

impl LogWriter<File> {
    /// Makes the file.
    ///
    /// # Errors
    ///
    /// When it cannot be made or is already there.
    pub fn create(path: &Path) -> Result<Self, LogError> {
        let file = File::create_new(path);
        Self::new(file.map_err(|source| LogError::Create { path: path.to_owned(), source })?)
    }

    /// Waits until the disk has everything.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), LogError> {
        self.sink.sync_data().map_err(LogError::Write)
    }
}

impl<W: Write> LogWriter<W> {
    /// Begins a log.
    ///
    /// # Errors
    ///
    /// When `sink` refuses.
    pub fn new(mut sink: W) -> Result<Self, LogError> {
        sink.write_all(MAGIC).map_err(LogError::Write)?;
        Ok(Self { sink })
    }

    /// Begins an episode; the steps and the outcome of `rollout` are not written.
    ///
    /// # Errors
    ///
    /// When the sink refuses.
    pub fn begin(&mut self, rollout: &Rollout) -> Result<(), LogError> {
        let Rollout { spec, task, instance, seed, .. } = rollout;
        self.record(&Entry::Begin { spec, task, instance, seed: *seed }, Vec::new())
    }

    /// Writes one step.
    ///
    /// # Errors
    ///
    /// When the sink refuses.
    pub fn step(&mut self, step: &RolloutStep) -> Result<(), LogError> {
        let mut arrays = Packer::default();
        arrays.stack(std::slice::from_ref(&step.observation))?;
        arrays.floats("action", vec![step.action.len()], [step.action.as_slice()]);
        if let Some(chunk) = &step.chunk {
            arrays.chunk("chunk", chunk);
        }
        let attention = arrays.attention(&step.attention);
        let Packer { metas: arrays, frames } = arrays;
        let RolloutStep { time_secs, limited, .. } = step;
        self.record(&Entry::Step { time_secs: *time_secs, limited, attention, arrays }, frames)
    }

    /// Ends an episode.
    ///
    /// # Errors
    ///
    /// When the sink refuses.
    pub fn end(&mut self, outcome: Outcome) -> Result<(), LogError> {
        self.record(&Entry::End { outcome }, Vec::new())
    }

    fn record(&mut self, entry: &Entry<'_>, arrays: Vec<Vec<u8>>) -> Result<(), LogError> {
        at_most("parts of a record", MAX_PARTS, arrays.len() + 1)?;
        let mut record = vec![0; 8];
        for part in std::iter::once(header(entry)?).chain(arrays) {
            record.extend((part.len() as u32).to_le_bytes());
            record.extend(part);
        }
        let found = record.len() - 8;
        if found > MAX_RECORD_BYTES {
            let (what, limit) = ("bytes of a record", MAX_RECORD_BYTES);
            return Err(WireError::TooLarge { what, limit, found }.into());
        }
        let sum = crc32fast::hash(&record[8..]);
        record[..4].copy_from_slice(&(found as u32).to_le_bytes());
        record[4..8].copy_from_slice(&sum.to_le_bytes());
        self.sink.write_all(&record).map_err(LogError::Write)
    }
}

/// What a log holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The episodes; the last one's outcome is unknown when its end is not there.
    pub rollouts: Vec<Rollout>,
    /// Whether the log ends with a whole record, as one that was closed does.
    pub whole: bool,
}

/// Reads a log up to its last whole record.
///
/// # Errors
///
/// When the file cannot be read, is something else, or a whole record of it makes no sense.
pub fn read_log(path: &Path) -> Result<Recording, LogError> {
    let file =
        File::open(path).map_err(|source| LogError::Read { path: path.to_owned(), source })?;
    Recording::read(BufReader::new(file), path)
}

impl Recording {
    /// Reads a log from where it is not a file; errors call it `path`.
    ///
    /// # Errors
    ///
    /// As those of [`read_log`].
    pub fn read(mut source: impl Read, path: &Path) -> Result<Self, LogError> {
        let failed = |source| LogError::Read { path: path.to_owned(), source };
        let mut magic = Vec::new();
        source.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed)?;
        if !MAGIC.starts_with(&magic) {
            return Err(LogError::Magic { path: path.to_owned() });
        }
        let mut recording = Self { rollouts: Vec::new(), whole: magic.len() == MAGIC.len() };
        if !recording.whole {
            return Ok(recording);
        }
        for record in 0.. {
            match next(&mut source).map_err(failed)? {
                Next::End => break,
                Next::Torn => {
                    recording.whole = false;
                    break;
                }
                Next::Payload(payload) => take(&mut recording.rollouts, &payload)
                    .map_err(|source| LogError::Record { record, source })?,
            }
        }
        Ok(recording)
    }
}

enum Next {
    Payload(Vec<u8>),
    Torn,
    End,
}

fn next(source: &mut impl Read) -> io::Result<Next> {
    let mut prefix = Vec::with_capacity(8);
    source.by_ref().take(8).read_to_end(&mut prefix)?;
    let Ok([a, b, c, d, sum @ ..]) = <[u8; 8]>::try_from(prefix.as_slice()) else {
        return Ok(if prefix.is_empty() { Next::End } else { Next::Torn });
    };
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > MAX_RECORD_BYTES {
        return Ok(Next::Torn);
    }
    let mut payload = Vec::new();
    source.by_ref().take(len as u64).read_to_end(&mut payload)?;
    let good = payload.len() == len && crc32fast::hash(&payload) == u32::from_le_bytes(sum);
    Ok(if good { Next::Payload(payload) } else { Next::Torn })
}

fn parts(mut payload: &[u8]) -> Result<Vec<&[u8]>, WireError> {
    let torn = || WireError::Header { detail: "a part is longer than its record".into() };
    let mut parts = Vec::new();
    while !payload.is_empty() {
        let (len, rest) = payload.split_first_chunk::<4>().ok_or_else(torn)?;
        let len = u32::from_le_bytes(*len) as usize;
        let (part, rest) = rest.split_at_checked(len).ok_or_else(torn)?;
        parts.push(part);
        at_most("parts of a record", MAX_PARTS, parts.len())?;
        payload = rest;
    }
    Ok(parts)
}

fn take(rollouts: &mut Vec<Rollout>, payload: &[u8]) -> Result<(), WireError> {
    let parts = parts(payload)?;
    let absent = || WireError::Header { detail: "there is none".into() };
    let (header, frames) = parts.split_first().ok_or_else(absent)?;
    let outside = || WireError::Header { detail: "it belongs to no episode".into() };
    match body::<Found>(value(header)?)? {
        Found::Begin { spec, task, instance, seed } => {
            let (outcome, steps) = (Outcome::Unknown, Vec::new());
            rollouts.push(Rollout { spec, task, instance, seed, outcome, steps });
        }
        Found::Step { time_secs, limited, attention, arrays } => {
            let rollout = rollouts.last_mut().ok_or_else(outside)?;
            let arrays = Arrays::new(&arrays, frames)?;
            let missing = |array: &str| WireError::Missing { array: array.to_owned() };
            let (_, action) = arrays.floats::<1>("action")?.ok_or_else(|| missing("action"))?;
            let observation = arrays.stack()?.pop().ok_or_else(|| missing("proprio"))?;
            let attention = arrays.attention(attention)?;
            let chunk = arrays.chunk("chunk")?;
            let step = RolloutStep { time_secs, observation, chunk, action, limited, attention };
            rollout.steps.push(step);
        }
        Found::End { outcome } => rollouts.last_mut().ok_or_else(outside)?.outcome = outcome,
    }
    Ok(())
}
