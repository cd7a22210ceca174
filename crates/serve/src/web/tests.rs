//! A server without a model behind it, and plain connections before it.

use engraft_core::{Dimension, RobotSpec};
use engraft_wire::Model;

use super::*;

/// What its contract allows.
const MAX_BYTES: usize = 2 << 20;

fn listen(max_clients: usize, token: Option<Token>) -> (Web, Arc<Room>) {
    let spec = RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: Vec::new(),
        proprio: vec![Dimension::new("elbow", "rad")],
        actions: vec![Dimension::new("elbow", "rad")],
    };
    let contract = Arc::new(Contract { spec, num_frames: 1, horizon: 1 });
    let room = Arc::new(Room::default());
    let desk = Desk {
        keys: Keys::of(&contract),
        contract,
        token,
        room: room.clone(),
        stats: Arc::new(Stats::new(
            Arc::new(Model { name: "none".into(), hash: "0".into() }),
            None,
        )),
        max_clients,
    };
    (Web::listen("127.0.0.1:0", &Access::Loopback, desk).unwrap(), room)
}

/// The whole answer to a request.
fn get(web: &Web, path: &str, more: &str) -> String {
    let mut stream = TcpStream::connect(web.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    // A connection that is closed already is an answer, too.
    drop(write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"));
    drop(stream.read_to_string(&mut answer));
    answer
}

fn connect(web: &Web) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(web.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut socket, _) = tungstenite::client("ws://localhost/", stream).unwrap();
    assert!(socket.read().unwrap().is_binary(), "the server speaks first");
    socket
}

fn no_clients(web: &Web) {
    let began = Instant::now();
    while web.num_clients() > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "{} are left", web.num_clients());
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn pages_are_served_beside_the_socket() {
    let (web, _) = listen(4, None);
    let health = get(&web, "/healthz", "");
    assert!(
        health.starts_with("HTTP/1.1 200 OK\r\n") && health.ends_with("\r\n\r\nOK\n"),
        "{health}"
    );
    let metrics = get(&web, "/metrics", "");
    assert!(metrics.contains("\nengraft_messages_total{what=\"refused\"} 0\n"), "{metrics}");
    assert!(!get(&web, "/", "").contains("200 OK"), "nothing else is a page");
    no_clients(&web);
    web.close(Duration::from_secs(5));
}

#[test]
fn a_refusal_is_text_and_the_end() {
    let (web, room) = listen(4, None);
    let mut socket = connect(&web);
    socket.send(Message::binary(vec![0x80])).unwrap();
    let said = socket.read().unwrap();
    let said = said.to_text().unwrap();
    assert!(said.contains("state.state") && said.contains("missing"), "{said}");
    let Message::Close(Some(frame)) = socket.read().unwrap() else { panic!("not closed") };
    assert_eq!(frame.code, CloseCode::Error);
    assert!(room.occupancy() == (0, false), "nothing reached the model");
    drop(socket);
    no_clients(&web);
}

#[test]
fn one_client_too_many_is_turned_away_and_a_place_becomes_free_again() {
    let (web, _) = listen(1, None);
    let socket = connect(&web);
    // On a busy machine its request may come too late to be read before the answer.
    assert!((0..100).any(|_| get(&web, "/healthz", "").starts_with("HTTP/1.1 503 ")));
    drop(socket);
    no_clients(&web);
    drop(connect(&web));
}

#[test]
fn without_the_key_nobody_comes_in() {
    let (web, _) = listen(4, Some(Token::new("a word that is long enough")));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert!(get(&web, "/", upgrade).starts_with("HTTP/1.1 401 "));
    let wrong = format!("{upgrade}Authorization: Api-Key a word\r\n");
    assert!(get(&web, "/", &wrong).starts_with("HTTP/1.1 401 "));
    no_clients(&web);
}

#[test]
fn a_stop_is_told_to_clients() {
    let (web, _) = listen(4, None);
    let mut socket = connect(&web);
    let client = thread::spawn(move || match socket.read().unwrap() {
        Message::Close(Some(frame)) => frame.code,
        other => panic!("{other}"),
    });
    web.close(Duration::from_secs(20));
    assert_eq!(client.join().unwrap(), CloseCode::Away);
}

#[test]
fn other_machines_are_kept_out_unless_told_otherwise() {
    let (web, _) = listen(1, None);
    let address = web.address().to_string();
    let desk = || Desk {
        contract: Arc::new(Contract {
            spec: RobotSpec {
                name: "arm".into(),
                control_hz: 1.0,
                views: Vec::new(),
                proprio: Vec::new(),
                actions: Vec::new(),
            },
            num_frames: 1,
            horizon: 1,
        }),
        keys: Keys { views: vec![], state: vec![], action: vec![], num_frames: 1, horizon: 1 },
        token: None,
        room: Arc::default(),
        stats: Arc::new(Stats::new(
            Arc::new(Model { name: "none".into(), hash: "0".into() }),
            None,
        )),
        max_clients: 1,
    };
    let refused =
        |address: &str| Web::listen(address, &Access::Loopback, desk()).err().unwrap().to_string();
    assert!(refused("0.0.0.0:0").contains("insecure"), "{}", refused("0.0.0.0:0"));
    assert!(refused(&address).contains("cannot listen on"), "{}", refused(&address));
}

#[test]
fn a_message_that_is_too_large_is_told_so_before_it_is_read() {
    let (web, _) = listen(4, None);
    let stream = TcpStream::connect(web.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut client, _) = tungstenite::client("ws://localhost/", stream).unwrap();
    assert!(client.read().unwrap().is_binary(), "the metadata come first");
    // A frame's head that announces one byte too many, and its mask; then some of it.
    let length = (MAX_BYTES as u64 + 1).to_be_bytes();
    let head = [&[0x82, 0xff][..], &length, &[0; 4], &vec![7; 1 << 20]].concat();
    client.get_mut().write_all(&head).unwrap();
    let Message::Text(told) = client.read().unwrap() else { panic!("no text") };
    assert!(told.starts_with("TOO_LARGE"), "{told}");
    let Message::Close(Some(close)) = client.read().unwrap() else { panic!("no close") };
    assert_eq!(close.code, CloseCode::Error);
    let end = client.read();
    assert!(matches!(end, Err(Error::ConnectionClosed)), "it is not cut off: {end:?}");
    let began = Instant::now();
    while web.num_clients() > 0 {
        assert!(began.elapsed() < PATIENCE, "its place is free again");
        thread::sleep(TICK);
    }
    web.close(Duration::ZERO);
}
