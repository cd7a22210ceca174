//! Frames that Python's msgpack, numpy and msgpack-numpy wrote, and frames that hurt.

use engraft_core::{ActionChunk, Dimension, RobotSpec, ViewSpec, hex};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::message::Contract;
use crate::ndarray::write;

fn contract() -> Contract {
    let dimension = |name: &str| Dimension::new(name, "rad");
    let spec = RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: 3, height: 2, depth: false }],
        proprio: ["a", "b"].map(dimension).to_vec(),
        actions: ["a", "b"].map(dimension).to_vec(),
    };
    Contract { spec, num_frames: 1, horizon: 2 }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn pixels() -> Value {
    let key = |name: &str| Value::Binary(name.into());
    let shape = [1, 1, 2, 3, 3].map(Value::from).to_vec();
    Value::Map(vec![
        (key("nd"), true.into()),
        (key("type"), "|u1".into()),
        (key("kind"), Value::Binary(Vec::new())),
        (key("shape"), Value::Array(shape)),
        (key("data"), Value::Binary((0..18).collect())),
    ])
}

fn request(state: Value) -> Vec<u8> {
    let observation = object([
        ("video", object([("front", pixels())])),
        ("state", object([("state", state)])),
        ("language", object([("task", Value::Array(vec![Value::Array(vec!["go".into()])]))])),
    ]);
    let data = object([("observation", observation), ("options", Value::Nil)]);
    bytes(&object([("endpoint", "get_action".into()), ("data", data)]))
}

#[test]
fn frames_of_pythons_clients_are_understood() {
    let keys = Keys::of(&contract());
    let ask = |frame: &str| {
        let frame = unhex(frame);
        call(std::slice::from_ref(&frame), &keys).unwrap_or_else(|| panic!("{}", hex(&frame)))
    };
    assert_eq!(ask("81a8656e64706f696e74a470696e67").ask.unwrap(), Ask::Ping);
    assert_eq!(ask("81a8656e64706f696e74a46b696c6c").ask.unwrap(), Ask::Kill);
    let modality = "81a8656e64706f696e74b36765745f6d6f64616c6974795f636f6e666967";
    assert_eq!(ask(modality).ask.unwrap(), Ask::Modality);
    let reset = "82a8656e64706f696e74a57265736574a46461746181a76f7074696f6e73c0";
    assert_eq!(ask(reset).ask.unwrap(), Ask::Reset);
    let with_token = ask("82a8656e64706f696e74a470696e67a96170695f746f6b656ea174");
    assert_eq!(with_token.token, Some(Token::new("t")));
}

#[test]
fn arrays_are_read_and_written_as_numpy_does() {
    let numpy = "85c4026e64c3c40474797065a33c6634c4046b696e64c400c4057368617065920102c40464617461\
                 c4080000803f000020c0";
    assert_eq!(hex(&bytes(&write(Envelope::Numpy, &[1, 2], &[1.0, -2.5]))), numpy.replace(' ', ""));
    let openpi = "84c40b5f5f6e6461727261795f5fc3c40464617461c4080000803f000020c0c4056474797065a3\
                  3c6634c4057368617065920102";
    assert_eq!(hex(&bytes(&write(Envelope::Openpi, &[1, 2], &[1.0, -2.5]))), openpi);
    let Value::Map(npy) = write(Envelope::Npy, &[1, 2], &[1.0, -2.5]) else { panic!() };
    let Value::Binary(file) = &npy[1].1 else { panic!() };
    assert_eq!((file.len(), &file[..10]), (136, &b"\x93NUMPY\x01\0\x76\0"[..]));
    assert_eq!(file[128..], unhex("0000803f000020c0"));

    let keys = Keys::of(&contract());
    for envelope in [Envelope::Npy, Envelope::Numpy, Envelope::Openpi] {
        let frame = request(write(envelope, &[1, 1, 2], &[0.5, -1.0]));
        let Ok(Ask::Act(stack, style)) = decode(&frame, &keys).ask else { panic!() };
        assert_eq!((stack.len(), &stack[0].proprio[..]), (1, &[0.5, -1.0][..]));
        assert_eq!(stack[0].views[0].rgb.pixels(), (0..18).collect::<Vec<u8>>());
        // Pictures came first, in the envelope of msgpack-numpy.
        assert_eq!((style.envelope, style.batched, style.is_old()), (Envelope::Numpy, true, false));
    }
}

#[test]
fn a_chunk_is_parted_by_name() {
    let parts = vec![("arm".into(), 0..1), ("hand".into(), 1..2)];
    let keys = Keys { action: parts, ..Keys::of(&contract()) };
    let chunk = ActionChunk::new(2, 2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    let model = Model { name: "m".into(), hash: "h".into() };
    let frame = actions(Style::default(), &keys, &chunk, &model, &Timings::default());
    let ValueRef::Array(answer) = read(&frame).unwrap() else { panic!() };
    for (name, expected) in [("arm", [1.0, 3.0]), ("hand", [2.0, 4.0])] {
        let ValueRef::Map(map) = &answer[0] else { panic!() };
        let array = ndarray::NdArray::read(name, entry(map, name).unwrap()).unwrap();
        assert_eq!(
            (&array.shape[..], array.floats(name).unwrap()),
            (&[1, 2, 1][..], expected.into())
        );
    }
}

#[test]
fn parts_of_a_modality_file_must_make_the_vector() {
    let part = |end: usize| {
        let json = json!({
            "state": { "hand": { "start": 1, "end": end }, "arm": { "start": 0, "end": 1 } },
            "action": { "all": { "start": 0, "end": 2, "original_key": "action" } },
        });
        Keys::of_modality(&contract(), &json.to_string())
    };
    let keys = part(2).unwrap();
    assert_eq!(keys.state, [("arm".into(), 0..1), ("hand".into(), 1..2)]);
    assert_eq!(keys.to_string(), "video.front, state.arm of 1, state.hand of 1 -> action.all of 2");
    let error = part(3).unwrap_err().to_string();
    assert!(error.contains("all 2 numbers") && error.contains("hand 1 to 3"), "{error}");
    assert!(Keys::of_modality(&contract(), "{").is_err());
    assert!(Keys::of_modality(&contract(), "{}").unwrap_err().to_string().contains("found none"));
}

#[test]
fn a_native_message_is_not_taken_for_a_call() {
    let frames = crate::encode_request(&crate::Request::Ping { seq: 1 }).unwrap();
    let is_call = |frames: &[Vec<u8>]| call(frames, &Keys::of(&contract())).is_some();
    assert!(is_call(&[request(Value::Nil)]) && !is_call(&frames));
    assert!(!is_call(&[vec![0xc1]]) && !is_call(&[]));
    assert!(!is_call(&[request(Value::Nil), Vec::new()]), "a call is one frame");
}

#[test]
fn damaged_calls_are_read_or_refused() {
    let keys = Keys::of(&contract());
    let mut draws = ChaCha8Rng::seed_from_u64(5);
    let whole: Vec<Vec<u8>> = [Envelope::Npy, Envelope::Numpy, Envelope::Openpi]
        .map(|envelope| request(write(envelope, &[1, 1, 2], &[0.5, -1.0])))
        .to_vec();
    let (mut read, mut refused) = (0, 0);
    for case in 0..150_000 {
        let mut frame = whole[case % whole.len()].clone();
        for _ in 0..=draws.next_u32() % 4 {
            let at = draws.next_u32() as usize % frame.len();
            match draws.next_u32() % 4 {
                0 => frame[at] ^= 1 << (draws.next_u32() % 8),
                1 => frame[at] = draws.next_u32() as u8,
                2 => frame[at] = [0xdd, 0xdf, 0xc6, 0xdb, 0xff][draws.next_u32() as usize % 5],
                _ => drop(frame.drain(at..)),
            }
            if frame.is_empty() {
                break;
            }
        }
        match decode(&frame, &keys).ask {
            Ok(Ask::Act(stack, _)) => {
                assert_eq!((stack.len(), stack[0].proprio.len()), (1, 2));
                read += 1;
            }
            Ok(_) => {}
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(read > 10_000 && refused > 10_000, "{read} read, {refused} refused");
}
