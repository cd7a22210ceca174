//! Two ends of a socket in one process.

use super::*;
use crate::curve::{KeyPair, KnownClients, has_curve};

#[test]
fn what_other_machines_can_reach_is_refused_unless_allowed() {
    for endpoint in ["tcp://*:0", "tcp://0.0.0.0:5555", "tcp://eth0:5555", "tcp://[::]:1"] {
        let refused = ServerSocket::bind(endpoint, &Access::Loopback, 1 << 20);
        assert!(matches!(refused, Err(SocketError::Exposed { .. })), "{endpoint}");
    }
    assert!(is_loopback("tcp://[::1]:5555").unwrap());
    assert!(ServerSocket::bind("tcp://*:*", &Access::Plaintext, 1 << 20).is_ok());
}

#[test]
fn a_malformed_endpoint_is_an_error_that_shows_the_form() {
    for endpoint in ["", "5555", "tcp://", "tcp://host", "tcp://host:port", "udp://h:1"] {
        let error = is_loopback(endpoint).unwrap_err().to_string();
        assert!(error.contains("tcp://HOST:PORT"), "{error}");
    }
}

#[test]
fn a_request_crosses_and_its_answer_comes_back() {
    let server = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
    let client = ClientSocket::connect(server.endpoint(), None).unwrap();
    client.send(&Request::Ping { seq: 7 }, Duration::from_secs(5)).unwrap();
    let Incoming::Message((peer, frames)) = server.receive(Duration::from_secs(5)).unwrap() else {
        panic!("nothing arrived");
    };
    let request = crate::decode_request(&frames.unwrap()).unwrap();
    assert_eq!(request, Request::Ping { seq: 7 });
    assert!(server.send(&peer, &Response::Pong { seq: 7 }).unwrap());
    let Incoming::Message(response) = client.receive(Duration::from_secs(5)).unwrap() else {
        panic!("nothing came back");
    };
    assert_eq!(response, Response::Pong { seq: 7 });
    assert!(!server.send(&Peer(vec![9]), &Response::Goodbye).unwrap(), "nobody has this name");
}

#[test]
fn too_many_frames_are_an_error_and_the_socket_lives_on() {
    let server = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
    let client = ClientSocket::connect(server.endpoint(), None).unwrap();
    client.dealer.send_multipart(vec![Vec::new(); 100], 0).unwrap();
    let Incoming::Message((_, frames)) = server.receive(Duration::from_secs(5)).unwrap() else {
        panic!("nothing arrived");
    };
    assert!(matches!(frames, Err(WireError::TooLarge { .. })));
    client.send(&Request::Status, Duration::from_secs(5)).unwrap();
    let next = server.receive(Duration::from_secs(5)).unwrap();
    assert!(matches!(next, Incoming::Message((_, Ok(_)))));
}

/// The frame of one message, if it came as one.
fn heard(server: &ServerSocket) -> Option<Result<usize, WireError>> {
    match server.receive(Duration::from_secs(5)).unwrap() {
        Incoming::Message((_, frames)) => Some(frames.map(|frames| frames[0].as_ref().len())),
        _ => None,
    }
}

#[test]
fn a_frame_that_is_too_large_ends_its_connection_and_no_other() {
    let server = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1000).unwrap();
    let [large, honest] = [(); 2].map(|()| ClientSocket::connect(server.endpoint(), None).unwrap());
    let watch = |client: &ClientSocket, name| {
        let ended = zmq::SocketEvent::DISCONNECTED.to_raw();
        client.dealer.monitor(name, i32::from(ended)).unwrap();
        let events = client.wake.context.socket(zmq::PAIR).unwrap();
        events.connect(name).unwrap();
        events
    };
    let [of_large, of_honest] =
        [(&large, "inproc://large"), (&honest, "inproc://honest")].map(|(c, n)| watch(c, n));
    for client in [&large, &honest] {
        client.dealer.send_multipart([vec![], vec![0; 1000]], 0).unwrap();
        assert_eq!(heard(&server), Some(Ok(1000)), "as large as may be");
    }
    large.dealer.send_multipart([vec![], vec![0; 1001]], 0).unwrap();
    assert!(of_large.poll(zmq::POLLIN, 5000).unwrap() > 0, "it is cut off");
    honest.dealer.send_multipart([vec![], vec![0; 600], vec![0; 401]], 0).unwrap();
    let together = heard(&server).unwrap().unwrap_err();
    assert_eq!(together.to_string(), "bytes of a message: at most 1000 are taken, found 1001");
    honest.dealer.send_multipart([vec![], vec![0; 600], vec![0; 400]], 0).unwrap();
    assert_eq!(heard(&server), Some(Ok(600)), "the other is served on its connection");
    assert_eq!(of_honest.poll(zmq::POLLIN, 0).unwrap(), 0);
}

#[test]
fn nobody_there_is_a_timeout_not_a_hang() {
    let client = ClientSocket::connect("tcp://127.0.0.1:9", None).unwrap();
    let error = client.ask(&Request::Status, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, SocketError::Timeout { .. }), "{error}");
}

#[test]
fn a_waker_ends_the_wait() {
    let server = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
    let waker = server.waker().unwrap();
    let thread = std::thread::spawn(move || waker.wake());
    let event = server.receive(Duration::from_secs(30)).unwrap();
    assert!(matches!(event, Incoming::Woken));
    thread.join().unwrap();
}

#[test]
fn no_wake_up_is_lost_in_a_fast_exchange() {
    let server = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
    let waker = server.waker().unwrap();
    let (ask, asked) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        for () in asked {
            waker.wake();
        }
    });
    for i in 0..5_000 {
        ask.send(()).unwrap();
        let event = server.receive(Duration::from_secs(5)).unwrap();
        assert!(matches!(event, Incoming::Woken), "wake-up {i} was lost");
    }
    drop(ask);
    thread.join().unwrap();
}

/// A server that asks for keys, in whose folder `known` is; and where that folder is.
fn with_keys(own: &KeyPair, known: &KeyPair) -> (ServerSocket, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    known.write(&folder.path().join("known")).unwrap();
    let clients = KnownClients::open(folder.path()).unwrap();
    let access = Access::Curve(ServerKeys { own: own.clone(), clients });
    (ServerSocket::bind("tcp://127.0.0.1:*", &access, 1 << 20).unwrap(), folder)
}

/// Whether a client with these keys gets a message through.
fn is_heard(server: &ServerSocket, keys: Option<ClientKeys>) -> bool {
    let client = ClientSocket::connect(server.endpoint(), keys).unwrap();
    if let Err(error) = client.send(&Request::Ping { seq: 1 }, Duration::from_millis(500)) {
        let hinted = matches!(&error, SocketError::Unheard { .. });
        assert_eq!(hinted, client.keys.is_some(), "{error}");
        return false;
    }
    let heard = server.receive(Duration::from_millis(500)).unwrap();
    matches!(heard, Incoming::Message((_, Ok(_))))
}

#[test]
fn with_keys_only_known_clients_are_heard_and_only_the_right_server_hears() {
    if !has_curve() {
        // The bundled ZeroMQ: asking for keys is an error that says how to get another.
        let error = KeyPair::new().unwrap_err().to_string();
        assert!(error.contains("crates/wire/system-zmq.toml"), "{error}");
        return;
    }
    let [own, known, stranger] = [(); 3].map(|()| KeyPair::new().unwrap());
    let (server, folder) = with_keys(&own, &known);
    let keys = |pair: &KeyPair, server: &KeyPair| {
        Some(ClientKeys { own: pair.clone(), server: server.public() })
    };
    assert!(is_heard(&server, keys(&known, &own)));
    assert!(!is_heard(&server, keys(&stranger, &own)), "a key that the server does not know");
    assert!(!is_heard(&server, keys(&known, &stranger)), "another server than the one expected");
    assert!(!is_heard(&server, None), "a client that speaks in the clear");
    // The folder counts as it is when a client connects.
    stranger.write(&folder.path().join("stranger")).unwrap();
    assert!(is_heard(&server, keys(&stranger, &own)));
    std::fs::remove_file(folder.path().join("known.key")).unwrap();
    assert!(!is_heard(&server, keys(&known, &own)), "a key that was taken away");
    assert!(is_heard(&server, keys(&stranger, &own)));
}
