//! A simulator's messages as frames.

use serde::{Deserialize, Serialize};

use super::joints::finite;
use super::{Answer, Description, Joints, Request, Sight, State, VERSION};
use crate::arrays::{ArrayMeta, Arrays, Packer};
use crate::error::{WireError, cut};
use crate::native::{Frames, MAX_DETAIL_BYTES, MAX_RESPONSE_BYTES, bounds, fits, header, within};

/// Each request has the fields of its kind alone.
#[derive(Serialize, Deserialize)]
struct RequestHeader<'a> {
    v: u64,
    t: &'a str,
    seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    goal_rad: Option<Joints>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

/// What every header has.
#[derive(Deserialize)]
struct Head<'a> {
    v: u64,
    t: &'a str,
    seq: u64,
}

#[derive(Serialize)]
struct Envelope<'a, B> {
    v: u64,
    t: &'a str,
    seq: u64,
    #[serde(flatten)]
    body: &'a B,
}

#[derive(Serialize, Deserialize)]
struct PlacedHeader {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_rad: Option<Joints>,
}

#[derive(Serialize, Deserialize)]
struct SightHeader {
    time_secs: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    success: Option<bool>,
    arrays: Vec<ArrayMeta>,
}

#[derive(Serialize, Deserialize)]
struct ErrorHeader {
    detail: String,
}

/// A request as a frame.
///
/// # Errors
///
/// When it passes a bound of the dialect, which none of these does.
pub fn encode_request(seq: u64, request: &Request) -> Result<Vec<u8>, WireError> {
    let bare = RequestHeader {
        v: VERSION,
        t: "",
        seq,
        goal_rad: None,
        on: None,
        instance: None,
        seed: None,
    };
    header(&match *request {
        Request::Describe => RequestHeader { t: "describe", ..bare },
        Request::Sense => RequestHeader { t: "sense", ..bare },
        Request::Command { goal_rad } => {
            RequestHeader { t: "command", goal_rad: Some(goal_rad), ..bare }
        }
        Request::Torque { on } => RequestHeader { t: "torque", on: Some(on), ..bare },
        Request::Reset { instance, seed } => {
            RequestHeader { t: "reset", instance: Some(instance), seed: Some(seed), ..bare }
        }
        Request::Look => RequestHeader { t: "look", ..bare },
    })
}

/// A request out of a frame, and its number.
///
/// # Errors
///
/// Whenever it is none; never a panic.
pub fn decode_request(frame: &[u8]) -> Result<(u64, Request), WireError> {
    let Head { t, seq, .. } = open(frame)?;
    let header: RequestHeader<'_> = read(frame)?;
    let missing = |field: &str| WireError::Header { detail: format!("field `{field}` is missing") };
    let request = match t {
        "describe" => Request::Describe,
        "sense" => Request::Sense,
        "command" => {
            Request::Command { goal_rad: header.goal_rad.ok_or_else(|| missing("goal_rad"))? }
        }
        "torque" => Request::Torque { on: header.on.ok_or_else(|| missing("on"))? },
        "reset" => Request::Reset {
            instance: header.instance.ok_or_else(|| missing("instance"))?,
            seed: header.seed.ok_or_else(|| missing("seed"))?,
        },
        "look" => Request::Look,
        _ => return Err(WireError::Kind { found: t.to_owned() }),
    };
    Ok((seq, request))
}

/// An answer as frames, without the empty one.
///
/// # Errors
///
/// When it passes a bound of the dialect.
pub fn encode_answer(seq: u64, answer: &Answer) -> Result<Frames, WireError> {
    let frames = match answer {
        Answer::Description(description) => {
            description.check()?;
            message(seq, "description", description.as_ref(), Vec::new())?
        }
        Answer::State(state) => message(seq, "state", state, Vec::new())?,
        Answer::Placed { start_rad } => {
            message(seq, "placed", &PlacedHeader { start_rad: *start_rad }, Vec::new())?
        }
        Answer::Sight(sight) => {
            let mut arrays = Packer::default();
            arrays.stack(std::slice::from_ref(&sight.observation))?;
            let Sight { time_secs, success, .. } = **sight;
            let header = SightHeader { time_secs, success, arrays: arrays.metas };
            message(seq, "sight", &header, arrays.frames)?
        }
        Answer::Error { detail } => {
            let detail = cut(detail, MAX_DETAIL_BYTES).to_string();
            message(seq, "error", &ErrorHeader { detail }, Vec::new())?
        }
    };
    within(&frames, MAX_RESPONSE_BYTES)?;
    Ok(frames)
}

/// What a simulator answered, and to which request.
///
/// A state is read without memory of its own, but for the few bytes that counting its values takes.
///
/// # Errors
///
/// Whenever the frames are no answer; never a panic.
pub fn decode_answer<F: AsRef<[u8]>>(frames: &[F]) -> Result<(u64, Answer), WireError> {
    bounds(frames)?;
    let absent = || WireError::Header { detail: "there is none".into() };
    let (header, arrays) = frames.split_first().ok_or_else(absent)?;
    let header = header.as_ref();
    let Head { t, seq, .. } = open(header)?;
    if t != "sight" && !arrays.is_empty() {
        return Err(WireError::Count { expected: 0, found: arrays.len() });
    }
    let answer = match t {
        "description" => {
            let description: Box<Description> = read(header)?;
            description.check()?;
            Answer::Description(description)
        }
        "state" => {
            let state: State = read(header)?;
            state.check(state.position_rad.as_slice().len())?;
            Answer::State(state)
        }
        "placed" => Answer::Placed { start_rad: read::<PlacedHeader>(header)?.start_rad },
        "sight" => {
            let SightHeader { time_secs, success, arrays: metas } = read(header)?;
            finite("time_secs", time_secs)?;
            let mut stack = Arrays::new(&metas, arrays)?.stack()?;
            if stack.len() != 1 {
                let (array, found) = ("proprio".into(), vec![stack.len()]);
                let expected = "one frame".into();
                return Err(WireError::Shape { array, expected, found });
            }
            let observation = stack.remove(0);
            Answer::Sight(Box::new(Sight { time_secs, success, observation }))
        }
        "error" => Answer::Error { detail: read::<ErrorHeader>(header)?.detail },
        _ => return Err(WireError::Kind { found: t.to_owned() }),
    };
    Ok((seq, answer))
}

fn message<B: Serialize>(
    seq: u64,
    kind: &str,
    body: &B,
    arrays: Frames,
) -> Result<Frames, WireError> {
    let header = header(&Envelope { v: VERSION, t: kind, seq, body })?;
    let frames: Frames = [header].into_iter().chain(arrays).collect();
    bounds(&frames)?;
    Ok(frames)
}

/// What every header has, of one that keeps to the bounds.
fn open(header: &[u8]) -> Result<Head<'_>, WireError> {
    fits(header)?;
    if !matches!(header.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
        return Err(WireError::Header { detail: "it is not a map".into() });
    }
    let head: Head<'_> = read(header)?;
    if head.v != VERSION {
        return Err(WireError::Version { expected: VERSION, found: head.v });
    }
    Ok(head)
}

/// Fields out of a header that keeps to the bounds.
fn read<'a, B: Deserialize<'a>>(header: &'a [u8]) -> Result<B, WireError> {
    rmp_serde::from_slice(header).map_err(|error| WireError::Header { detail: error.to_string() })
}
