//! The native dialect: a msgpack header, and raw arrays behind it.
//!
//! A message is a row of ZeroMQ frames. What a `DEALER` sends begins with an empty frame (a `REQ`
//! adds it by itself), so that both kinds of client look alike:
//!
//! ```text
//! [empty] [header: one msgpack map] [array 0] [array 1] ...
//! ```
//!
//! Every header has `v` (this version, [`VERSION`]) and `t` (the kind of message). Fields that a
//! reader does not know are ignored; another version is refused. Array `i` is described by entry
//! `i` of the header's `arrays`: `k` its name, `d` its element type (`u1` or `f4`, little-endian),
//! `s` its shape; its values follow each other row by row.
//!
//! | `t` | goes | fields | arrays |
//! | --- | --- | --- | --- |
//! | `hello` | to the server | `client`, `spec`, `token` (the latter two may be left out) | |
//! | `welcome` | back | `session` (16 bytes), `model` {`name`, `hash`}, `contract` {`spec`, `num_frames`, `horizon`}, `fingerprint`, `max_bytes` | |
//! | `infer` | to the server | `session`, `seq`, `episode`, `tick`, `t_obs_nanos`, `deadline_millis`, `attention` | `rgb.V` u1 [frames, height, width, 3] and `depth.V` f4 [frames, height, width] of view number V, from 0, `proprio` f4 [frames, dim] |
//! | `reply` | back | `session`, `seq`, `episode`, `first_tick`, `t_obs_nanos`, `model_hash`, `timings` (microseconds) {`decode`, `queue`, `preprocess`, `infer`, `encode`}, `attention` [{`view`, `tap`}] | `actions` f4 [horizon, dim], `attention.I` f4 [height, width] |
//! | `ping`, `pong` | both | `seq` | |
//! | `status` | both | to the server none; back the fields of [`Status`] | |
//! | `reload` | to the server | `session` | |
//! | `reloaded` | back | `name`, `hash` | |
//! | `goodbye` | both | to the server `session` | |
//! | `error` | back | `code`, `name`, `detail`, `seq` | |
//!
//! Bounds: [`MAX_HEADER_BYTES`], [`MAX_FRAMES`], [`MAX_DEPTH`], [`MAX_VALUES`],
//! [`MAX_DETAIL_BYTES`]; of a response in all [`MAX_RESPONSE_BYTES`], of a request in all what the
//! welcome says in `max_bytes`, which is [`Contract::max_request_bytes`]. Reading never panics, and
//! takes at most four times the memory of the message and 1 MiB.
//!
//! [`Contract::max_request_bytes`]: crate::Contract::max_request_bytes

use rmpv::Value;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::arrays::{ArrayMeta, Arrays, AttentionMeta, Packer};
use crate::error::{WireError, cut};
use crate::message::{
    ErrorCode, Hello, Infer, Model, Refusal, Reply, Request, Response, Session, Status, Timings,
    Welcome,
};
use crate::msgpack::{self, Bounds};

/// The version of this dialect.
pub const VERSION: u64 = 1;
/// Bytes that a header may have.
pub const MAX_HEADER_BYTES: usize = 64 << 10;
/// Bytes that a response may have in all.
pub const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// Frames that a message may have, the header included and the empty one not.
pub const MAX_FRAMES: usize = 32;
/// Maps and arrays that may be nested in a header.
pub const MAX_DEPTH: usize = 8;
/// Values that a header may hold, those within others and the names of fields included.
pub const MAX_VALUES: usize = 8192;
/// Bytes of a refusal's words; what is longer is cut.
pub const MAX_DETAIL_BYTES: usize = 4096;

/// The frames of a message, header first, without the empty one.
pub type Frames = Vec<Vec<u8>>;

#[derive(Serialize)]
struct Envelope<'a, B> {
    v: u64,
    t: &'a str,
    #[serde(flatten)]
    body: &'a B,
}

#[derive(Serialize, Deserialize)]
struct InferHeader {
    session: Session,
    seq: u64,
    #[serde(default)]
    episode: u32,
    #[serde(default)]
    tick: u64,
    #[serde(default)]
    t_obs_nanos: u64,
    #[serde(default)]
    deadline_millis: u32,
    #[serde(default)]
    attention: bool,
    arrays: Vec<ArrayMeta>,
}

#[derive(Serialize, Deserialize)]
struct ReplyHeader {
    session: Session,
    seq: u64,
    episode: u32,
    first_tick: u64,
    t_obs_nanos: u64,
    model_hash: String,
    timings: Timings,
    #[serde(default)]
    attention: Vec<AttentionMeta>,
    arrays: Vec<ArrayMeta>,
}

#[derive(Serialize, Deserialize)]
struct ErrorHeader {
    code: u16,
    name: String,
    detail: String,
    #[serde(default)]
    seq: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct PingHeader {
    #[serde(default)]
    seq: u64,
}

#[derive(Serialize, Deserialize)]
struct SessionHeader {
    session: Session,
}

#[derive(Serialize)]
struct Nothing {}

/// A request as frames.
///
/// # Errors
///
/// When the message passes a bound of the dialect, or the observations of a stack differ in shape.
/// What a server takes in all is for the socket to know.
pub fn encode_request(request: &Request) -> Result<Frames, WireError> {
    match request {
        Request::Hello(hello) => message("hello", hello, Vec::new()),
        Request::Infer(infer) => {
            let mut arrays = Packer::default();
            arrays.stack(&infer.stack)?;
            let header = InferHeader {
                session: infer.session,
                seq: infer.seq,
                episode: infer.episode,
                tick: infer.tick,
                t_obs_nanos: infer.t_obs_nanos,
                deadline_millis: infer.deadline_millis,
                attention: infer.attention,
                arrays: arrays.metas,
            };
            message("infer", &header, arrays.frames)
        }
        Request::Ping { seq } => message("ping", &PingHeader { seq: *seq }, Vec::new()),
        Request::Status => message("status", &Nothing {}, Vec::new()),
        Request::Reload { session } => {
            message("reload", &SessionHeader { session: *session }, Vec::new())
        }
        Request::Goodbye { session } => {
            message("goodbye", &SessionHeader { session: *session }, Vec::new())
        }
    }
}

/// A response as frames.
///
/// # Errors
///
/// When the message passes a bound of the dialect.
pub fn encode_response(response: &Response) -> Result<Frames, WireError> {
    let frames = response_frames(response)?;
    within(&frames, MAX_RESPONSE_BYTES)?;
    Ok(frames)
}

fn response_frames(response: &Response) -> Result<Frames, WireError> {
    match response {
        Response::Welcome(welcome) => message("welcome", welcome, Vec::new()),
        Response::Reply(reply) => {
            let mut arrays = Packer::default();
            arrays.chunk("actions", &reply.chunk);
            let attention = arrays.attention(&reply.attention);
            let header = ReplyHeader {
                session: reply.session,
                seq: reply.seq,
                episode: reply.episode,
                first_tick: reply.first_tick,
                t_obs_nanos: reply.t_obs_nanos,
                model_hash: reply.model_hash.clone(),
                timings: reply.timings,
                attention,
                arrays: arrays.metas,
            };
            message("reply", &header, arrays.frames)
        }
        Response::Error(refusal) => {
            let header = ErrorHeader {
                code: refusal.code.number(),
                name: refusal.code.name().to_owned(),
                detail: cut(&refusal.detail, MAX_DETAIL_BYTES).to_string(),
                seq: refusal.seq,
            };
            message("error", &header, Vec::new())
        }
        Response::Pong { seq } => message("pong", &PingHeader { seq: *seq }, Vec::new()),
        Response::Status(status) => message("status", status, Vec::new()),
        Response::Reloaded(model) => message("reloaded", model, Vec::new()),
        Response::Goodbye => message("goodbye", &Nothing {}, Vec::new()),
    }
}

/// What a client sent.
///
/// # Errors
///
/// Whenever the frames are not a request of this dialect; never a panic.
pub fn decode_request<F: AsRef<[u8]>>(frames: &[F]) -> Result<Request, WireError> {
    let (kind, header, arrays) = open(frames)?;
    Ok(match kind.as_str() {
        "hello" => Request::Hello(body::<Hello>(header)?),
        "infer" => {
            let header: InferHeader = body(header)?;
            let stack = Arrays::new(&header.arrays, arrays)?.stack()?;
            Request::Infer(Infer {
                session: header.session,
                seq: header.seq,
                episode: header.episode,
                tick: header.tick,
                t_obs_nanos: header.t_obs_nanos,
                deadline_millis: header.deadline_millis,
                attention: header.attention,
                stack,
            })
        }
        "ping" => Request::Ping { seq: body::<PingHeader>(header)?.seq },
        "status" => Request::Status,
        "reload" => Request::Reload { session: body::<SessionHeader>(header)?.session },
        "goodbye" => Request::Goodbye { session: body::<SessionHeader>(header)?.session },
        _ => return Err(WireError::Kind { found: kind }),
    })
}

/// What a server sent.
///
/// # Errors
///
/// Whenever the frames are not a response of this dialect; never a panic.
pub fn decode_response<F: AsRef<[u8]>>(frames: &[F]) -> Result<Response, WireError> {
    let (kind, header, arrays) = open(frames)?;
    Ok(match kind.as_str() {
        "welcome" => Response::Welcome(body::<Welcome>(header)?),
        "reply" => {
            let header: ReplyHeader = body(header)?;
            let arrays = Arrays::new(&header.arrays, arrays)?;
            let missing = || WireError::Missing { array: "actions".into() };
            Response::Reply(Reply {
                session: header.session,
                seq: header.seq,
                episode: header.episode,
                first_tick: header.first_tick,
                t_obs_nanos: header.t_obs_nanos,
                model_hash: header.model_hash,
                timings: header.timings,
                chunk: arrays.chunk("actions")?.ok_or_else(missing)?,
                attention: arrays.attention(header.attention)?,
            })
        }
        "error" => {
            let header: ErrorHeader = body(header)?;
            let code = ErrorCode::from_number(header.code);
            Response::Error(Refusal { code, detail: header.detail, seq: header.seq })
        }
        "pong" => Response::Pong { seq: body::<PingHeader>(header)?.seq },
        "status" => Response::Status(body::<Status>(header)?),
        "reloaded" => Response::Reloaded(body::<Model>(header)?),
        "goodbye" => Response::Goodbye,
        _ => return Err(WireError::Kind { found: kind }),
    })
}

/// Puts a header before its arrays.
fn message<B: Serialize>(kind: &str, body: &B, arrays: Frames) -> Result<Frames, WireError> {
    let header = header(&Envelope { v: VERSION, t: kind, body })?;
    let mut frames = Vec::with_capacity(arrays.len() + 1);
    frames.push(header);
    frames.extend(arrays);
    bounds(&frames)?;
    Ok(frames)
}

/// Plain data as a msgpack map that [`value`] reads.
pub(crate) fn header<B: Serialize>(body: &B) -> Result<Vec<u8>, WireError> {
    let header = rmp_serde::to_vec_named(body)
        .map_err(|error| WireError::Header { detail: error.to_string() })?;
    fits(&header)?;
    Ok(header)
}

/// Plain data out of a msgpack map.
pub(crate) fn body<B: DeserializeOwned>(header: Value) -> Result<B, WireError> {
    rmpv::ext::from_value(header).map_err(|error| WireError::Header { detail: error.to_string() })
}

/// An error where there are more than the limit.
pub(crate) fn at_most(what: &'static str, limit: usize, found: usize) -> Result<(), WireError> {
    if found > limit { Err(WireError::TooLarge { what, limit, found }) } else { Ok(()) }
}

pub(crate) fn bounds<F: AsRef<[u8]>>(frames: &[F]) -> Result<(), WireError> {
    at_most("frames of a message", MAX_FRAMES, frames.len())?;
    let header = frames.first().map_or(0, |header| header.as_ref().len());
    at_most("bytes of a header", MAX_HEADER_BYTES, header)
}

/// An error where a message has more bytes than that.
pub(crate) fn within<F: AsRef<[u8]>>(frames: &[F], limit: usize) -> Result<(), WireError> {
    at_most("bytes of a message", limit, frames.iter().map(|frame| frame.as_ref().len()).sum())
}

/// One msgpack value that fills its bytes, is not nested too deep and holds not too much.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, WireError> {
    // Counted before it is built: a byte of a header may be forty in a program.
    fits(bytes)?;
    let mut rest = bytes;
    rmpv::decode::read_value(&mut rest)
        .map_err(|error| WireError::Header { detail: error.to_string() })
}

/// Whether bytes are one value within the bounds of a header.
pub(crate) fn fits(header: &[u8]) -> Result<(), WireError> {
    at_most("bytes of a header", MAX_HEADER_BYTES, header.len())?;
    msgpack::check(header, Bounds { values: MAX_VALUES, depth: MAX_DEPTH })
}

/// The kind of a message, its header and its arrays.
fn open<F: AsRef<[u8]>>(frames: &[F]) -> Result<(String, Value, &[F]), WireError> {
    bounds(frames)?;
    let absent = || WireError::Header { detail: "there is none".into() };
    let (header, arrays) = frames.split_first().ok_or_else(absent)?;
    let header = value(header.as_ref())?;
    let Some(map) = header.as_map() else {
        return Err(WireError::Header { detail: "it is not a map".into() });
    };
    let field = |name: &str| {
        map.iter().find_map(|(key, value)| (key.as_str() == Some(name)).then_some(value))
    };
    let version = field("v").and_then(Value::as_u64);
    let version =
        version.ok_or_else(|| WireError::Header { detail: "field `v` is missing".into() })?;
    if version != VERSION {
        return Err(WireError::Version { expected: VERSION, found: version });
    }
    let kind = field("t").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| WireError::Header { detail: "field `t` is missing".into() })?;
    let kind = kind.to_owned();
    Ok((kind, header, arrays))
}
