//! The decoders, and what must be true of what they make of any bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use engraft_core::Observation;
use engraft_wire::groot::{self, Ask};
use engraft_wire::{
    Contract, Keys, KeysError, LogError, LogWriter, Recording, Refusal, Request, Response,
    WireError, decode_request, decode_response, encode_request, encode_response, openpi, simulator,
};
use rmpv::{Value, ValueRef};

use crate::meter::Cost;
use crate::mutate::Form;
use crate::pieces::split;
use crate::seeds::{self, Named};

/// See [`seeds::keys`].
static KEYS: LazyLock<[Keys; 3]> = LazyLock::new(seeds::keys);

/// Bytes that a refusal's words may have.
const MAX_WORDS: usize = 4 << 10;

/// What a decoder made of a message: the kind of what it took, or of the error and its words.
pub(crate) type Verdict = Result<&'static str, (&'static str, String)>;

/// How many messages had which verdict: whether they were taken, and the kind.
pub(crate) type Tally = BTreeMap<(bool, &'static str), u64>;

/// One decoder.
pub(crate) struct Target {
    /// Its name, and that of its folder in the corpus.
    pub(crate) name: &'static str,
    /// How its messages are made.
    pub(crate) form: Form,
    /// Decodes a message at some cost, and panics where what must be true is not.
    pub(crate) judge: fn(&[u8], &mut Cost) -> Verdict,
    /// Whole messages of every kind.
    pub(crate) seeds: fn() -> Named,
    /// All kinds of what is taken, then all of errors.
    pub(crate) kinds: [&'static [&'static str]; 2],
}

/// All decoders.
pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "request",
        form: Form::Frames,
        judge: request,
        seeds: seeds::requests,
        kinds: [
            &["Hello", "Infer", "Ping", "Status", "Reload", "Goodbye"],
            &[
                "TooLarge", "Header", "Version", "Kind", "Count", "Dtype", "Shape", "Length",
                "Missing",
            ],
        ],
    },
    Target {
        name: "response",
        form: Form::Frames,
        judge: response,
        seeds: seeds::responses,
        kinds: [
            &["Welcome", "Reply", "Error", "Pong", "Status", "Reloaded", "Goodbye"],
            &[
                "TooLarge", "Header", "Version", "Kind", "Count", "Dtype", "Shape", "Length",
                "Missing",
            ],
        ],
    },
    Target {
        name: "groot",
        form: Form::Value,
        judge: groot,
        seeds: seeds::groot,
        kinds: [
            &["Ping", "Kill", "Modality", "Reset", "Act"],
            &["TooLarge", "Header", "Kind", "Dtype", "Shape", "Length", "Array", "Missing"],
        ],
    },
    Target {
        name: "openpi",
        form: Form::Value,
        judge: openpi,
        seeds: seeds::openpi,
        kinds: [
            &["Stack"],
            &["TooLarge", "Header", "Dtype", "Shape", "Length", "Array", "Missing"],
        ],
    },
    Target {
        name: "npy",
        form: Form::Npy,
        judge: npy,
        seeds: seeds::npy,
        kinds: [&["Stack"], &["Dtype", "Shape", "Length", "Array"]],
    },
    Target {
        name: "msgpack",
        form: Form::Value,
        judge: msgpack,
        seeds: seeds::msgpack,
        kinds: [&["Value"], &["TooLarge", "Header"]],
    },
    Target {
        name: "log",
        form: Form::Log,
        judge: log,
        seeds: seeds::logs,
        kinds: [
            &["Whole", "Torn"],
            &["Magic", "TooLarge", "Header", "Count", "Dtype", "Shape", "Length", "Missing"],
        ],
    },
    Target {
        name: "simulator-request",
        form: Form::Value,
        judge: simulator_request,
        seeds: seeds::simulator_requests,
        kinds: [
            &["Describe", "Sense", "Command", "Torque", "Reset", "Look"],
            &["TooLarge", "Header", "Version", "Kind"],
        ],
    },
    Target {
        name: "simulator-answer",
        form: Form::Frames,
        judge: simulator_answer,
        seeds: seeds::simulator_answers,
        kinds: [
            &["Description", "State", "Placed", "Sight", "Error"],
            &[
                "TooLarge", "Header", "Version", "Kind", "Count", "Dtype", "Shape", "Length",
                "Missing",
            ],
        ],
    },
    Target {
        name: "modality",
        form: Form::Text,
        judge: modality,
        seeds: seeds::modality,
        kinds: [&["Keys"], &["Json", "Parts"]],
    },
];

impl Target {
    /// The kinds of what is taken (`true`) and of errors that are not in a tally.
    pub(crate) fn missed(&self, tally: &Tally) -> Vec<(bool, &'static str)> {
        let [taken, errors] = self.kinds;
        let taken = taken.iter().map(|&kind| (true, kind));
        let all = taken.chain(errors.iter().map(|&kind| (false, kind)));
        all.filter(|kind| !tally.contains_key(kind)).collect()
    }
}

fn kind(error: &WireError) -> &'static str {
    match error {
        WireError::TooLarge { .. } => "TooLarge",
        WireError::Header { .. } => "Header",
        WireError::Version { .. } => "Version",
        WireError::Kind { .. } => "Kind",
        WireError::Count { .. } => "Count",
        WireError::Dtype { .. } => "Dtype",
        WireError::Shape { .. } => "Shape",
        WireError::Length { .. } => "Length",
        WireError::Array { .. } => "Array",
        WireError::Missing { .. } => "Missing",
        _ => "another",
    }
}

/// An error's kind and words, which must be few enough for every dialect to tell them.
fn refused(error: &WireError) -> (&'static str, String) {
    let words = error.to_string();
    assert!(!words.is_empty() && words.len() <= MAX_WORDS, "{} bytes of words", words.len());
    let refusal = Refusal { code: error.code(), detail: words.clone(), seq: None };
    assert!(encode_response(&Response::Error(refusal)).is_ok(), "a refusal that cannot be sent");
    (kind(error), words)
}

/// What was taken can be sent on, and is then what it was: bit for bit, so that it holds for
/// numbers that are none.
fn same_again<T>(
    taken: &T,
    encode: impl Fn(&T) -> Result<Vec<Vec<u8>>, WireError>,
    decode: impl Fn(&[Vec<u8>]) -> Result<T, WireError>,
) {
    let once = match encode(taken) {
        Ok(once) => once,
        // A message without the fields that may be left out can be just short enough.
        Err(WireError::TooLarge { .. }) => return,
        Err(error) => panic!("what was taken cannot be encoded: {error}"),
    };
    let again =
        decode(&once).unwrap_or_else(|error| panic!("what was sent on is refused: {error}"));
    let again = encode(&again).unwrap_or_else(|error| panic!("it cannot be encoded: {error}"));
    assert!(once == again, "what was sent on became something else");
}

fn request(bytes: &[u8], cost: &mut Cost) -> Verdict {
    let frames = split(bytes);
    let taken = cost.of(|| decode_request(&frames)).map_err(|error| refused(&error))?;
    if let Request::Infer(infer) = &taken {
        assert!(!infer.stack.is_empty(), "a stack of nothing");
    }
    same_again(&taken, encode_request, decode_request);
    Ok(match taken {
        Request::Hello(_) => "Hello",
        Request::Infer(_) => "Infer",
        Request::Ping { .. } => "Ping",
        Request::Status => "Status",
        Request::Reload { .. } => "Reload",
        Request::Goodbye { .. } => "Goodbye",
        _ => "another",
    })
}

fn response(bytes: &[u8], cost: &mut Cost) -> Verdict {
    let frames = split(bytes);
    let taken = cost.of(|| decode_response(&frames)).map_err(|error| refused(&error))?;
    if let Response::Reply(reply) = &taken {
        let chunk = &reply.chunk;
        assert_eq!(chunk.values().len(), chunk.horizon() * chunk.action_dim());
    }
    same_again(&taken, encode_response, decode_response);
    Ok(match taken {
        Response::Welcome(_) => "Welcome",
        Response::Reply(_) => "Reply",
        Response::Error(_) => "Error",
        Response::Pong { .. } => "Pong",
        Response::Status(_) => "Status",
        Response::Reloaded(_) => "Reloaded",
        Response::Goodbye => "Goodbye",
        _ => "another",
    })
}

fn simulator_request(bytes: &[u8], cost: &mut Cost) -> Verdict {
    let taken = cost.of(|| simulator::decode_request(bytes)).map_err(|error| refused(&error))?;
    let encode = |(seq, request): &_| Ok(vec![simulator::encode_request(*seq, request)?]);
    same_again(&taken, encode, |frames| simulator::decode_request(&frames[0]));
    Ok(match taken.1 {
        simulator::Request::Describe => "Describe",
        simulator::Request::Sense => "Sense",
        simulator::Request::Command { .. } => "Command",
        simulator::Request::Torque { .. } => "Torque",
        simulator::Request::Reset { .. } => "Reset",
        simulator::Request::Look => "Look",
        _ => "another",
    })
}

fn simulator_answer(bytes: &[u8], cost: &mut Cost) -> Verdict {
    let frames = split(bytes);
    let taken = cost.of(|| simulator::decode_answer(&frames)).map_err(|error| refused(&error))?;
    let encode = |(seq, answer): &_| simulator::encode_answer(*seq, answer);
    same_again(&taken, encode, simulator::decode_answer);
    Ok(match taken.1 {
        simulator::Answer::Description(_) => "Description",
        simulator::Answer::State(state) => {
            let all = [state.position_rad, state.velocity_rad_s, state.effort.unwrap_or_default()];
            let finite =
                |joints: &simulator::Joints| joints.as_slice().iter().all(|n| n.is_finite());
            assert!(all.iter().all(finite), "a number that is none");
            "State"
        }
        simulator::Answer::Placed { .. } => "Placed",
        simulator::Answer::Sight(_) => "Sight",
        simulator::Answer::Error { .. } => "Error",
        _ => "another",
    })
}

/// A stack is what the names promise.
fn fits(stack: &[Observation], keys: &Keys) {
    assert_eq!(stack.len(), keys.num_frames);
    for observation in stack {
        assert_eq!(observation.views.len(), keys.views.len());
        assert_eq!(observation.proprio.len(), 2);
        for view in &observation.views {
            let (rgb, first) = (&view.rgb, &stack[0].views[0].rgb);
            assert_eq!(rgb.pixels().len(), rgb.width() * rgb.height() * 3);
            assert!(keys.views.len() > 1 || rgb.width() == first.width());
        }
    }
}

/// What the first of `all` takes that takes something, else what the first says.
fn first_taken(all: &[Keys], mut judge: impl FnMut(&Keys) -> Verdict) -> Verdict {
    let first = judge(&all[0]);
    if first.is_ok() {
        return first;
    }
    all[1..].iter().map(judge).find(Result::is_ok).unwrap_or(first)
}

fn groot(bytes: &[u8], cost: &mut Cost) -> Verdict {
    first_taken(&*KEYS, |keys| {
        let is_call = cost.of(|| groot::call(&[bytes], keys)).is_some();
        let call = cost.of(|| groot::decode(bytes, keys));
        let ask = call.ask.map_err(|error| refused(&error))?;
        Ok(match ask {
            Ask::Ping => "Ping",
            Ask::Kill => "Kill",
            Ask::Modality => "Modality",
            Ask::Reset => "Reset",
            Ask::Act(stack, _) => {
                // A native header that happens to hold `data` too is not taken for a call.
                let native = contains(bytes, b"v");
                assert!(is_call || native, "what is no call was taken");
                fits(&stack, keys);
                "Act"
            }
            _ => "another",
        })
    })
}

/// Whether a name, as text or as bytes, is somewhere in a message.
fn contains(bytes: &[u8], name: &[u8]) -> bool {
    bytes.windows(name.len()).any(|window| window == name)
}

fn openpi(bytes: &[u8], cost: &mut Cost) -> Verdict {
    first_taken(&*KEYS, |keys| {
        let stack = cost.of(|| openpi::decode(bytes, keys)).map_err(|error| refused(&error))?;
        fits(&stack, keys);
        Ok("Stack")
    })
}

/// A file on its way into an observation of two numbers.
fn npy(file: &[u8], cost: &mut Cost) -> Verdict {
    let [.., blind] = &*KEYS;
    let array = seeds::npy_value(file.to_vec());
    let mut message = Vec::new();
    let observation = Value::Map(vec![("state".into(), array)]);
    rmpv::encode::write_value(&mut message, &observation).expect("a vector takes everything");
    let stack = cost.of(|| openpi::decode(&message, blind)).map_err(|error| refused(&error))?;
    fits(&stack, blind);
    // Values are the file's last bytes, and no other.
    if contains(file, b"'descr': '<f4'") && !contains(file, b"'descr':'") {
        let (words, _) = file[file.len() - 8..].as_chunks::<4>();
        let bits: Vec<u32> = stack[0].proprio.iter().map(|value| value.to_bits()).collect();
        let expected: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        assert_eq!(bits, expected, "values from beyond the data");
    }
    Ok("Stack")
}

/// Whether a message is read as a value: what is wrong with the value is another's matter.
fn msgpack(bytes: &[u8], cost: &mut Cost) -> Verdict {
    let [.., blind] = &*KEYS;
    let call = cost.of(|| groot::decode(bytes, blind));
    let mut rest = bytes;
    let whole = |rest: &mut &[u8]| -> bool {
        rmpv::decode::read_value_ref(rest).is_ok() && rest.is_empty()
    };
    match call.ask {
        Err(error @ WireError::TooLarge { .. }) => Err(refused(&error)),
        Err(error @ WireError::Header { .. }) if !of_a_value(&error) => {
            // The one byte that begins nothing; rmpv reads it as nil.
            let reserved = error.to_string().contains("0xc1");
            assert!(reserved || !whole(&mut rest), "a whole value is refused: {error}");
            Err(refused(&error))
        }
        _ => {
            assert!(whole(&mut rest), "what is no value was read");
            let mut again = Vec::new();
            let value: ValueRef<'_> = rmpv::decode::read_value_ref(&mut &*bytes).expect("read");
            rmpv::encode::write_value_ref(&mut again, &value).expect("a vector takes everything");
            Ok("Value")
        }
    }
}

/// Whether an error is of a value that was read.
fn of_a_value(error: &WireError) -> bool {
    let words = error.to_string();
    words.ends_with("is not a map") || words.ends_with("`endpoint` is not text")
}

fn log(bytes: &[u8], cost: &mut Cost) -> Verdict {
    let path = Path::new("fuzz.log");
    let recording = cost.of(|| Recording::read(bytes, path)).map_err(|error| match error {
        LogError::Magic { .. } => ("Magic", error.to_string()),
        LogError::Record { source, .. } => refused(&source),
        _ => ("another", error.to_string()),
    })?;
    let once = written(&recording);
    let again = Recording::read(&*once, path).expect("what was written is read");
    assert!(again.whole && once == written(&again), "what was written became something else");
    Ok(if recording.whole { "Whole" } else { "Torn" })
}

fn written(recording: &Recording) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut log = LogWriter::new(&mut bytes).expect("a vector takes everything");
    for rollout in &recording.rollouts {
        log.begin(rollout).expect("what was read can be written");
        for step in &rollout.steps {
            log.step(step).expect("what was read can be written");
        }
        log.end(rollout.outcome).expect("what was read can be written");
    }
    bytes
}

fn modality(bytes: &[u8], cost: &mut Cost) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else { return Err(("Json", "not text".into())) };
    let contract = Contract { spec: seeds::spec(true), num_frames: 1, horizon: 2 };
    let keys = cost.of(|| Keys::of_modality(&contract, text)).map_err(|error| match error {
        KeysError::Parts { .. } => ("Parts", error.to_string()),
        _ => ("Json", error.to_string()),
    })?;
    let dims = |parts: &engraft_wire::Parts| parts.iter().map(|(_, part)| part.len()).sum();
    let dims: [usize; 2] = [dims(&keys.state), dims(&keys.action)];
    assert_eq!(dims, [2, 1], "parts that do not make the vector");
    Ok("Keys")
}
