//! What a client and a policy server say to each other: plain data, no bytes.

use std::fmt;

use engraft_core::{ActionChunk, AttentionMap, Observation, RobotSpec, ViewSpec, hex};
use serde::{Deserialize, Serialize};

use crate::token::Token;

const MEBIBYTE: usize = 1 << 20;
/// Bytes of a pixel.
const RGB_BYTES: usize = 3;
/// Bytes of its depth.
const DEPTH_BYTES: usize = 4;
/// Bytes of a number of proprio where it takes most: clients of other stacks send 64-bit floats.
const NUMBER_BYTES: usize = 8;
/// Bytes that no request may pass, whatever its contract.
const MAX_REQUEST_BYTES: usize = 1 << 30;

/// Names one conversation; a server hands out a new one with every [`Welcome`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// What the served policy was trained for, and what it therefore expects and gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// The robot: views, proprio and actions with their units, and the control rate.
    pub spec: RobotSpec,
    /// Observations in a request, oldest first.
    pub num_frames: usize,
    /// Actions in a reply.
    pub horizon: usize,
}

impl Contract {
    /// Bytes that a request may have, which is what a server takes and tells in its [`Welcome`].
    ///
    /// Eight times a whole frame stack in the widest encoding that is read: room for cameras that
    /// the policy does not look at, and for pictures that nobody resized, whose sender is told so.
    /// Two such pictures of 640 x 480 always fit. Whole mebibytes.
    pub fn max_request_bytes(&self) -> usize {
        let pixels = |view: &ViewSpec| {
            let bytes = if view.depth { RGB_BYTES + DEPTH_BYTES } else { RGB_BYTES };
            view.width.saturating_mul(view.height).saturating_mul(bytes)
        };
        let views = self.spec.views.iter().map(pixels).fold(0, usize::saturating_add);
        let seen = views.saturating_add(self.spec.proprio_dim().saturating_mul(NUMBER_BYTES));
        let stack = seen.saturating_mul(self.num_frames).saturating_mul(8);
        stack.clamp(2 * MEBIBYTE, MAX_REQUEST_BYTES).next_multiple_of(MEBIBYTE)
    }
}

/// Which policy answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Its name, for people.
    pub name: String,
    /// SHA-256 of its weights and configuration, in hex.
    pub hash: String,
}

impl Model {
    /// As much of the hash as people compare.
    pub fn short_hash(&self) -> &str {
        self.hash.get(..12).unwrap_or(&self.hash)
    }
}

/// Opens a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The client's name, for logs.
    pub client: String,
    /// The robot that will be driven. A server refuses one that its policy does not fit; a client
    /// that leaves it out is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<RobotSpec>,
    /// The word that lets clients in, where the server asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
}

/// The answer to a [`Hello`] whose robot fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// Goes into every request of this conversation.
    pub session: Session,
    /// The policy behind the server.
    pub model: Model,
    /// What it expects and gives.
    pub contract: Contract,
    /// [`RobotSpec::fingerprint`] of the contract's robot.
    pub fingerprint: String,
    /// Bytes that a request may have; a longer frame ends the connection.
    pub max_bytes: u64,
}

/// Asks for a chunk. It carries its whole frame stack: the server keeps no episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Infer {
    /// From the [`Welcome`].
    pub session: Session,
    /// Strictly increasing within a session.
    pub seq: u64,
    /// The client's count of episodes, echoed.
    pub episode: u32,
    /// The control tick of the newest observation, echoed as `first_tick`.
    pub tick: u64,
    /// When the newest observation was sensed, on the client's own clock; echoed, never compared
    /// with another machine's.
    pub t_obs_nanos: u64,
    /// Milliseconds after its arrival from which on the model need not begin; 0 is no such limit.
    pub deadline_millis: u32,
    /// Whether to send back where the policy looked.
    pub attention: bool,
    /// The last `num_frames` observations, oldest first.
    pub stack: Vec<Observation>,
}

impl Infer {
    /// A request that says nothing but what was seen, of a client that counts nothing else.
    pub fn bare(session: Session, seq: u64, stack: Vec<Observation>) -> Self {
        Self {
            session,
            seq,
            episode: 0,
            tick: 0,
            t_obs_nanos: 0,
            deadline_millis: 0,
            attention: false,
            stack,
        }
    }
}

/// What each stage of an answer took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Bytes to observations.
    pub decode: u32,
    /// Waiting for the model.
    pub queue: u32,
    /// Checks, and observations to tensors.
    pub preprocess: u32,
    /// The network.
    pub infer: u32,
    /// Chunk to bytes.
    pub encode: u32,
}

impl Timings {
    /// The stages with their names, in order.
    pub fn stages(&self) -> [(&'static str, u32); 5] {
        [
            ("decode", self.decode),
            ("queue", self.queue),
            ("preprocess", self.preprocess),
            ("infer", self.infer),
            ("encode", self.encode),
        ]
    }
}

/// The answer to an [`Infer`].
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Echoed.
    pub session: Session,
    /// Echoed.
    pub seq: u64,
    /// Echoed.
    pub episode: u32,
    /// The tick that the chunk's first action is for: that of the newest observation.
    pub first_tick: u64,
    /// Echoed.
    pub t_obs_nanos: u64,
    /// Hash of the model that answered.
    pub model_hash: String,
    /// What each stage took.
    pub timings: Timings,
    /// The actions, in physical units.
    pub chunk: ActionChunk,
    /// Where the policy looked, when asked for and known.
    pub attention: Vec<AttentionMap>,
}

/// What went wrong, as a number that programs can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The bytes are not a message.
    BadFrame,
    /// The message is of another protocol version.
    BadVersion,
    /// The message is larger than a server takes.
    TooLarge,
    /// An array has an element type that does not belong there.
    BadDtype,
    /// An array has a shape that does not belong there.
    BadShape,
    /// A value is not a finite number.
    Nonfinite,
    /// A newer observation of the same client took its place.
    Stale,
    /// This sequence number was already used.
    Replay,
    /// The session is unknown: say hello first.
    NoSession,
    /// The server takes no more clients.
    Busy,
    /// The server is shutting down.
    NotReady,
    /// The policy failed.
    Internal,
    /// The client did not say the word that lets it in.
    Unauthorized,
    /// The model was not free before the request's deadline.
    Deadline,
    /// The robot is not the one that the policy was trained for.
    ContractMismatch,
    /// A code that this version does not know.
    Other(u16),
}

impl ErrorCode {
    const KNOWN: [(Self, u16, &'static str); 15] = [
        (Self::BadFrame, 1, "BAD_FRAME"),
        (Self::BadVersion, 2, "BAD_VERSION"),
        (Self::TooLarge, 3, "TOO_LARGE"),
        (Self::BadDtype, 4, "BAD_DTYPE"),
        (Self::BadShape, 5, "BAD_SHAPE"),
        (Self::Nonfinite, 6, "NONFINITE"),
        (Self::Stale, 7, "STALE"),
        (Self::Replay, 8, "REPLAY"),
        (Self::Unauthorized, 9, "UNAUTHORIZED"),
        (Self::Busy, 12, "BUSY"),
        (Self::Deadline, 13, "DEADLINE"),
        (Self::NotReady, 14, "NOT_READY"),
        (Self::Internal, 15, "INTERNAL"),
        (Self::ContractMismatch, 18, "CONTRACT_MISMATCH"),
        (Self::NoSession, 21, "NO_SESSION"),
    ];

    /// The number on the wire.
    pub fn number(self) -> u16 {
        if let Self::Other(number) = self {
            return number;
        }
        Self::KNOWN.iter().find(|(code, ..)| *code == self).map_or(0, |(_, number, _)| *number)
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        Self::KNOWN.iter().find(|(code, ..)| *code == self).map_or("OTHER", |(.., name)| name)
    }

    /// The code of a number.
    pub fn from_number(number: u16) -> Self {
        let known = Self::KNOWN.iter().find(|(_, known, _)| *known == number);
        known.map_or(Self::Other(number), |(code, ..)| *code)
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What went wrong.
    pub code: ErrorCode,
    /// In words, with what was expected and what was found.
    pub detail: String,
    /// The request it answers, where that could be read.
    pub seq: Option<u64>,
}

/// Middle and tail of a latency, over the last thousands of answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The stage.
    pub stage: String,
    /// Half of the answers took no longer, in microseconds.
    pub p50: u32,
    /// 95 of 100 answers took no longer, in microseconds.
    #[serde(default)]
    pub p95: u32,
    /// 99 of 100 answers took no longer, in microseconds.
    pub p99: u32,
    /// 999 of 1000 answers took no longer, in microseconds.
    #[serde(default)]
    pub p999: u32,
}

/// How the server fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The policy behind the server.
    pub model: Model,
    /// Time since it began to listen.
    pub uptime_millis: u64,
    /// Clients that said hello and not goodbye.
    pub clients: usize,
    /// Observations waiting for the model.
    pub waiting: usize,
    /// Whether the model is at work.
    pub busy: bool,
    /// Messages received.
    pub received: u64,
    /// Chunks sent.
    pub replied: u64,
    /// Observations that a newer one replaced.
    pub stale: u64,
    /// Messages refused for any other reason.
    pub refused: u64,
    /// Chunks that took longer than the server was told they should.
    #[serde(default)]
    pub late: u64,
    /// Latency of each stage, and of them all as `total`.
    pub latency: Vec<Percentiles>,
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// Opens a conversation.
    Hello(Hello),
    /// Asks for a chunk.
    Infer(Infer),
    /// Asks whether the server lives; answered while it infers.
    Ping {
        /// Echoed.
        seq: u64,
    },
    /// Asks how the server fares.
    Status,
    /// Asks the server to read its run anew, as its training left it by now.
    Reload {
        /// The conversation.
        session: Session,
    },
    /// Ends a conversation.
    Goodbye {
        /// The conversation.
        session: Session,
    },
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Response {
    /// Answers a hello.
    Welcome(Welcome),
    /// Answers an infer.
    Reply(Reply),
    /// Answers what cannot be done.
    Error(Refusal),
    /// Answers a ping.
    Pong {
        /// Echoed.
        seq: u64,
    },
    /// Answers a question for the status.
    Status(Status),
    /// Answers a reload, once the first answers come from this model.
    Reloaded(Model),
    /// Answers a goodbye, and tells every client that the server leaves.
    Goodbye,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_have_eight_frame_stacks_in_whole_mebibytes() {
        let most = |views: usize, width, depth, num_frames| {
            let view = |i| ViewSpec { name: format!("v{i}"), width, height: 480, depth };
            let spec = RobotSpec {
                name: "arm".into(),
                control_hz: 10.0,
                views: (0..views).map(view).collect(),
                proprio: Vec::new(),
                actions: Vec::new(),
            };
            Contract { spec, num_frames, horizon: 1 }.max_request_bytes()
        };
        assert_eq!(most(0, 0, false, 1), 2 << 20);
        assert_eq!(most(1, 128, false, 1), 2 << 20); // 184,320 bytes, of which eight are 1.4 MiB
        assert_eq!(most(2, 640, false, 1), 15 << 20); // 1,843,200
        assert_eq!(most(2, 640, false, 2), 29 << 20);
        assert_eq!(most(1, 640, true, 1), 17 << 20); // 2,150,400
        assert_eq!(most(2, usize::MAX, true, 2), 1 << 30);
    }

    #[test]
    fn every_code_comes_back_from_its_number() {
        for (code, number, name) in ErrorCode::KNOWN {
            assert_eq!(ErrorCode::from_number(number), code);
            assert_eq!((code.number(), code.name()), (number, name));
        }
        assert_eq!(ErrorCode::from_number(99).number(), 99);
    }
}
