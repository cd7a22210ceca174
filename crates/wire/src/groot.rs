//! The dialect of NVIDIA's GR00T: one msgpack map a message, over the same socket as the native one.
//!
//! A request names an `endpoint`: `ping`, `get_modality_config`, `reset`, `get_action` (also where
//! there is none) or `kill`. All generations of the client are understood and answered in kind:
//!
//! | generation | `data` of `get_action` | answer |
//! | --- | --- | --- |
//! | N1, N1.5 | `{"video.V": [T, H, W, 3], "state.S": [T, D], ..}` | `{"action.A": [H, D]}` |
//! | N1.6 on | `{"observation": {"video": {V: [1, T, H, W, 3]}, "state": {S: [1, T, D]}, ..}}` | `[{A: [1, H, D]}, info]` |
//! | its simulators | `{"observation": {"video.V": .., "state.S": ..}}` | `[{"action.A": [1, H, D]}, info]` |
//!
//! Arrays come in two [envelopes](crate::ndarray), and go out in the one that came. Language is
//! taken and not looked at. An answer with the key `error` is an exception in the client.
//!
//! Source: NVIDIA's `gr00t.policy.server_client` and its forerunner `gr00t.eval.service`. Differs
//! in: a ping is answered while the policy infers, nothing is unpickled, `kill` is off.

use engraft_core::ActionChunk;
use rmpv::{Value, ValueRef};
use serde_json::json;

use crate::error::WireError;
use crate::keys::{Keys, Parts, Seen};
use crate::message::{Model, Timings};
use crate::msgpack::{bytes, entry, map, nested, object, read, text};
use crate::ndarray::{self, Envelope};
use crate::token::Token;

/// The name under which a task in words is expected, though no policy here reads it yet.
const LANGUAGE: &str = "annotation.human.action.task_description";

/// How a client writes, and so wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    envelope: Envelope,
    /// Whether names are `state.arm`, not maps in maps.
    flat: bool,
    /// Whether observations come beside options, and actions go beside information: from N1.6 on.
    wrapped: bool,
    /// Whether arrays have an axis for a batch of one.
    batched: bool,
}

impl Default for Style {
    /// What every generation understands in an answer without actions.
    fn default() -> Self {
        Self { envelope: Envelope::Npy, flat: false, wrapped: true, batched: true }
    }
}

impl Style {
    /// Whether the client is of a generation before N1.6.
    pub fn is_old(self) -> bool {
        !self.wrapped
    }
}

/// What a client asks.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Ask {
    /// Whether the server lives.
    Ping,
    /// That the server stops.
    Kill,
    /// What the policy sees and does.
    Modality,
    /// A new episode.
    Reset,
    /// A chunk for this frame stack.
    Act(Vec<engraft_core::Observation>, Style),
}

/// A message of this dialect.
#[derive(Debug)]
pub struct Call {
    /// The word that lets the client in, where it has one.
    pub token: Option<Token>,
    /// What it asks, or why that cannot be read.
    pub ask: Result<Ask, WireError>,
}

/// Reads the frames of a message, if they are of this dialect: one map, without a native header's
/// version.
pub fn call<F: AsRef<[u8]>>(frames: &[F], keys: &Keys) -> Option<Call> {
    let [frame] = frames else { return None };
    let value = read(frame.as_ref()).ok()?;
    let ValueRef::Map(map) = &value else { return None };
    let has = |key| entry(map, key).is_some();
    let is_call = !has("v") && (has("endpoint") || has("data"));
    is_call.then(|| call_of(&value, keys))
}

/// Reads a message of which it is known that it is of this dialect.
pub fn decode(bytes: &[u8], keys: &Keys) -> Call {
    match read(bytes) {
        Ok(value) => call_of(&value, keys),
        Err(error) => Call { token: None, ask: Err(error) },
    }
}

fn call_of(value: &ValueRef<'_>, keys: &Keys) -> Call {
    let token = match value {
        ValueRef::Map(map) => entry(map, "api_token").and_then(text).map(Token::new),
        _ => None,
    };
    Call { token, ask: ask(value, keys) }
}

fn ask(value: &ValueRef<'_>, keys: &Keys) -> Result<Ask, WireError> {
    let call = map("the message", value)?;
    let endpoint = match entry(call, "endpoint") {
        None => "get_action",
        Some(name) => text(name)
            .ok_or_else(|| WireError::Header { detail: "`endpoint` is not text".into() })?,
    };
    Ok(match endpoint {
        "ping" => Ask::Ping,
        "kill" => Ask::Kill,
        "get_modality_config" => Ask::Modality,
        "reset" => Ask::Reset,
        "get_action" => {
            let data = entry(call, "data").unwrap_or(&ValueRef::Nil);
            let data = map("`data`", data)?;
            let wrapped = entry(data, "observation");
            let observation = match wrapped {
                Some(observation) => map("`observation`", observation)?,
                None => data,
            };
            let flat = observation.iter().any(|(key, _)| {
                text(key).is_some_and(|key| key.starts_with("video.") || key.starts_with("state."))
            });
            let Seen { stack, envelope, batched } = keys.stack(|kind, name| {
                if flat {
                    entry(observation, &format!("{kind}.{name}"))
                } else {
                    nested(observation, kind, name)
                }
            })?;
            Ask::Act(stack, Style { envelope, flat, wrapped: wrapped.is_some(), batched })
        }
        other => return Err(WireError::Kind { found: other.to_owned() }),
    })
}

/// That the server lives.
pub fn alive() -> Vec<u8> {
    bytes(&object([("status", "ok".into()), ("message", "Server is running".into())]))
}

/// That it was done.
pub fn done() -> Vec<u8> {
    bytes(&Value::Map(Vec::new()))
}

/// Why it was not done.
pub fn error(detail: &str) -> Vec<u8> {
    bytes(&object([("error", detail.into())]))
}

/// What the policy sees and does; for clients before N1.6, which want JSON as text, `as_text`.
pub fn modality(keys: &Keys, as_text: bool) -> Vec<u8> {
    let past = 1 - keys.num_frames as i64..1;
    let future = 0..keys.horizon as i64;
    let names = |parts: &Parts| parts.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let config = |steps: std::ops::Range<i64>, names: Vec<String>| {
        let as_json = if as_text {
            let steps: Vec<i64> = steps.collect();
            Value::from(json!({ "delta_indices": steps, "modality_keys": names }).to_string())
        } else {
            object([
                ("delta_indices", Value::Array(steps.map(Value::from).collect())),
                ("modality_keys", Value::Array(names.into_iter().map(Value::from).collect())),
            ])
        };
        object([("__ModalityConfig_class__", true.into()), ("as_json", as_json)])
    };
    bytes(&object([
        ("video", config(past.clone(), keys.views.clone())),
        ("state", config(past, names(&keys.state))),
        ("action", config(future, names(&keys.action))),
        ("language", config(0..1, vec![LANGUAGE.into()])),
    ]))
}

/// A chunk, in the style of the request.
pub fn actions(
    style: Style,
    keys: &Keys,
    chunk: &ActionChunk,
    model: &Model,
    timings: &Timings,
) -> Vec<u8> {
    let part = |(name, part): &(String, std::ops::Range<usize>)| {
        let rows = chunk.values().chunks_exact(chunk.action_dim());
        let values: Vec<f32> = rows.flat_map(|row| row[part.clone()].iter().copied()).collect();
        let mut shape = vec![chunk.horizon(), part.len()];
        if style.batched {
            shape.insert(0, 1);
        }
        let name = if style.flat { format!("action.{name}") } else { name.clone() };
        (Value::from(name), ndarray::write(style.envelope, &shape, &values))
    };
    let actions = Value::Map(keys.action.iter().map(part).collect());
    if !style.wrapped {
        return bytes(&actions);
    }
    let millis =
        |(stage, micros): (&str, u32)| (Value::from(stage), Value::F64(f64::from(micros) / 1000.0));
    let timings = Value::Map(timings.stages().into_iter().map(millis).collect());
    let info = object([
        ("model", model.name.as_str().into()),
        ("model_hash", model.hash.as_str().into()),
        ("timings_ms", timings),
    ]);
    bytes(&Value::Array(vec![actions, info]))
}

#[cfg(test)]
mod tests;
