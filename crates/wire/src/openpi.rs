//! The dialect of openpi: msgpack over WebSocket, one observation there and one chunk back.
//!
//! The server speaks first: one binary message with what it serves. Then each observation, a
//! binary message, is answered by one. What goes wrong is told as text, which is an exception in
//! the client, before the connection closes.
//!
//! Names are free in this dialect. A view `front` is looked for as `observation/front`,
//! `observation/images/front`, `images/front`, `observation.images.front`, `video.front` and
//! `front`; a slash may also stand for a map in a map. A part `state` of proprio is looked for as
//! `observation/state`, `observation.state`, `state.state` and `state`. Pictures are
//! `[height, width, 3]` or `[3, height, width]`. A `prompt` is taken and not looked at.
//!
//! Source: Physical Intelligence's `openpi-client`. Differs in: only what the contract names is
//! taken, pictures are not resized, and no client waits for another one's answer to be asked.

use engraft_core::{ActionChunk, Observation};
use rmpv::{Value, ValueRef};

use crate::error::WireError;
use crate::keys::Keys;
use crate::message::{Contract, Model, Timings};
use crate::msgpack::{Map, bytes, entry, map, object, read};
use crate::ndarray::{Envelope, write};

/// What a server says first.
pub fn metadata(contract: &Contract, keys: &Keys, model: &Model) -> Vec<u8> {
    let spec = &contract.spec;
    let view = |view: &engraft_core::ViewSpec| {
        let shape = [view.height, view.width, 3].map(|side| Value::from(side as u64));
        (Value::from(format!("observation/{}", view.name)), Value::Array(shape.to_vec()))
    };
    let part = |(name, part): &(String, std::ops::Range<usize>)| {
        let shape = Value::Array(vec![Value::from(part.len() as u64)]);
        (Value::from(format!("observation/{name}")), shape)
    };
    let observation = spec.views.iter().map(view).chain(keys.state.iter().map(part));
    let shape = [contract.horizon, spec.action_dim()].map(|side| Value::from(side as u64));
    bytes(&object([
        ("model", model.name.as_str().into()),
        ("model_hash", model.hash.as_str().into()),
        ("fingerprint", spec.fingerprint().into()),
        ("control_hz", Value::F64(f64::from(spec.control_hz))),
        ("num_frames", Value::from(contract.num_frames as u64)),
        ("observation", Value::Map(observation.collect())),
        ("actions", Value::Array(shape.to_vec())),
    ]))
}

/// The frame stack of an observation.
///
/// # Errors
///
/// Whenever the bytes are not an observation that the contract's names find; never a panic.
pub fn decode(bytes: &[u8], keys: &Keys) -> Result<Vec<Observation>, WireError> {
    let value = read(bytes)?;
    let observation = map("the observation", &value)?;
    let seen = keys.stack(|kind, name| {
        let names: &[&str] = match kind {
            "video" => &[
                "observation/",
                "observation/images/",
                "images/",
                "observation.images.",
                "video.",
                "",
            ],
            _ => &["observation/", "observation.", "state.", ""],
        };
        names.iter().find_map(|prefix| find(observation, &format!("{prefix}{name}")))
    })?;
    Ok(seen.stack)
}

/// The entry of that name, or of its first part's entry of the rest, at each slash.
fn find<'a, 'b>(map: &'b Map<'a>, name: &str) -> Option<&'b ValueRef<'a>> {
    entry(map, name).or_else(|| {
        let (first, rest) = name.split_once('/')?;
        match entry(map, first)? {
            ValueRef::Map(inner) => find(inner, rest),
            _ => None,
        }
    })
}

/// A chunk; `previous_millis` is what the answer before took in all.
pub fn actions(
    chunk: &ActionChunk,
    model: &Model,
    timings: &Timings,
    previous_millis: Option<f64>,
) -> Vec<u8> {
    let shape = [chunk.horizon(), chunk.action_dim()];
    let millis = |micros: u32| Value::F64(f64::from(micros) / 1000.0);
    let stages = timings.stages();
    let stages =
        stages.iter().map(|(stage, micros)| (format!("{stage}_ms").into(), millis(*micros)));
    let mut server: Vec<(Value, Value)> = stages.collect();
    if let Some(previous) = previous_millis {
        server.push(("prev_total_ms".into(), Value::F64(previous)));
    }
    bytes(&object([
        ("actions", write(Envelope::Openpi, &shape, chunk.values())),
        ("policy_timing", object([("infer_ms", millis(timings.infer))])),
        ("server_timing", Value::Map(server)),
        ("model_hash", model.hash.as_str().into()),
    ]))
}

#[cfg(test)]
mod tests {
    use engraft_core::{Dimension, RobotSpec, ViewSpec};

    use super::*;

    fn contract() -> Contract {
        let dimension = |name: &str| Dimension::new(name, "rad");
        let spec = RobotSpec {
            name: "arm".into(),
            control_hz: 10.0,
            views: vec![ViewSpec { name: "front".into(), width: 2, height: 1, depth: false }],
            proprio: ["a", "b"].map(dimension).to_vec(),
            actions: ["a", "b"].map(dimension).to_vec(),
        };
        Contract { spec, num_frames: 1, horizon: 2 }
    }

    fn pixels(shape: &[usize], data: [u8; 6]) -> Value {
        let key = |name: &str| Value::Binary(name.into());
        Value::Map(vec![
            (key("__ndarray__"), true.into()),
            (key("data"), Value::Binary(data.into())),
            (key("dtype"), "|u1".into()),
            (key("shape"), Value::Array(shape.iter().map(|&side| (side as u64).into()).collect())),
        ])
    }

    #[test]
    fn pictures_are_found_by_any_of_their_names_and_in_either_order_of_axes() {
        let keys = Keys::of(&contract());
        let rows = || pixels(&[1, 2, 3], [1, 2, 3, 4, 5, 6]);
        let planes = || pixels(&[3, 1, 2], [1, 4, 2, 5, 3, 6]);
        let state = || write(Envelope::Openpi, &[2], &[0.5, -1.0]);
        let inner = object([("front", rows()), ("state", state())]);
        let all = [
            object([("observation/front", rows()), ("observation/state", state())]),
            object([("observation/images/front", planes()), ("state", state())]),
            object([("images", object([("front", planes())])), ("observation.state", state())]),
            object([("observation", inner), ("prompt", "go".into())]),
            object([("front", rows()), ("state.state", state())]),
        ];
        for observation in all {
            let stack = decode(&bytes(&observation), &keys).unwrap();
            assert_eq!(stack[0].views[0].rgb.pixels(), [1, 2, 3, 4, 5, 6], "{observation}");
            assert_eq!(stack[0].proprio, [0.5, -1.0]);
        }
        let error = decode(&bytes(&object([("front", rows())])), &keys).unwrap_err();
        assert!(error.to_string().contains("state.state"), "{error}");
        let wrong = object([("front", pixels(&[2, 1, 3], [0; 6])), ("state", state())]);
        assert_eq!(decode(&bytes(&wrong), &keys).unwrap()[0].views[0].rgb.height(), 2);
        let wrong = object([("front", pixels(&[6], [0; 6])), ("state", state())]);
        let error = decode(&bytes(&wrong), &keys).unwrap_err().to_string();
        assert!(error.contains("[1, height, width, 3]"), "{error}");
    }

    #[test]
    fn what_is_said_first_names_what_is_expected() {
        let contract = contract();
        let model = Model { name: "m".into(), hash: "h".into() };
        let said = metadata(&contract, &Keys::of(&contract), &model);
        let said = read(&said).unwrap().to_string();
        for part in ["\"observation/front\": [1, 2, 3]", "\"observation/state\": [2]", "[2, 2]"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}
