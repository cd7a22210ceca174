//! The link against a server of a few lines.

use std::sync::atomic::{AtomicBool, Ordering};

use engraft_core::ActionChunk;
use engraft_wire::{Access, ServerSocket, decode_request};

use super::*;
use crate::testing;

/// Answers hellos, pings and, unless silent, questions; keeps to itself once stopped.
fn serve(socket: &ServerSocket, stop: &AtomicBool, answers: usize) {
    let welcome = testing::welcome();
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let Incoming::Message((peer, frames)) = socket.receive(Duration::from_millis(5)).unwrap()
        else {
            continue;
        };
        let response = match decode_request(&frames.unwrap()).unwrap() {
            Request::Hello(hello) => match hello.spec.map(|spec| testing::spec().check(&spec)) {
                Some(Err(error)) => Response::Error(Refusal {
                    code: ErrorCode::ContractMismatch,
                    detail: error.to_string(),
                    seq: None,
                }),
                _ => Response::Welcome(welcome.clone()),
            },
            Request::Ping { seq } => Response::Pong { seq },
            Request::Infer(infer) if answered < answers => {
                answered += 1;
                let chunk = ActionChunk::new(4, 1, vec![0.5; 4]).unwrap();
                let reply = testing::reply(&welcome, infer.tick, &[0.0; 4]);
                let (seq, t_obs_nanos) = (infer.seq, infer.t_obs_nanos);
                Response::Reply(Reply { seq, t_obs_nanos, chunk, ..reply })
            }
            _ => continue,
        };
        socket.send(&peer, &response).unwrap();
    }
}

fn hello() -> Hello {
    Hello { client: "test".into(), spec: Some(testing::spec()), token: None }
}

fn ask(tick: u64) -> Ask {
    let frame = Arc::new(testing::observation(0.0));
    let frames = vec![frame; 2];
    Ask { episode: 0, tick, t_obs: Duration::from_nanos(7), attention: false, frames }
}

fn quick() -> LinkConfig {
    LinkConfig {
        hello: Duration::from_millis(500),
        ping: Duration::from_millis(50),
        lost: Duration::from_millis(300),
        retry: Duration::from_millis(20),
    }
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_question_is_answered_and_a_dead_server_is_noticed_and_found_again() {
    let socket = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
    let endpoint = socket.endpoint().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let server = thread::spawn(move || serve(&socket, &flag, 1));
    let link = Link::open(&endpoint, None, hello(), quick()).unwrap();
    assert!(matches!(link.wait(SOON), Some(LinkEvent::Welcome(_))));
    link.ask(ask(4));
    let Some(LinkEvent::Reply { reply, .. }) = link.wait(SOON) else { panic!("no reply") };
    assert_eq!((reply.first_tick, reply.t_obs_nanos), (4, 7));
    // Pings keep a quiet connection alive.
    assert!(link.wait(Duration::from_millis(700)).is_none());
    stop.store(true, Ordering::Relaxed);
    server.join().unwrap();
    assert!(matches!(link.wait(SOON), Some(LinkEvent::Lost(_))));
    let socket = ServerSocket::bind(&endpoint, &Access::Loopback, 1 << 20).unwrap();
    let flag = Arc::new(AtomicBool::new(false));
    let stop = flag.clone();
    let server = thread::spawn(move || serve(&socket, &stop, 1));
    assert!(matches!(link.wait(SOON), Some(LinkEvent::Welcome(_))));
    drop(link);
    flag.store(true, Ordering::Relaxed);
    server.join().unwrap();
}

#[test]
fn a_robot_that_does_not_fit_is_refused_with_expected_and_found() {
    let socket = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
    let endpoint = socket.endpoint().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let server = thread::spawn(move || serve(&socket, &flag, 0));
    let mut hello = hello();
    if let Some(spec) = &mut hello.spec {
        spec.views[0].width = 8;
    }
    let link = Link::open(&endpoint, None, hello, quick()).unwrap();
    let Some(LinkEvent::Refused(detail)) = link.wait(SOON) else { panic!("not refused") };
    assert_eq!(detail, "robot mismatch in views.front: expected 4 x 4, found 8 x 4");
    drop(link);
    stop.store(true, Ordering::Relaxed);
    server.join().unwrap();
}

#[test]
fn nobody_there_is_said_once_and_closing_does_not_hang() {
    let link = Link::open("tcp://127.0.0.1:9", None, hello(), quick()).unwrap();
    assert!(matches!(link.wait(SOON), Some(LinkEvent::Lost(_))));
    assert!(link.wait(Duration::from_millis(900)).is_none());
    let began = Instant::now();
    drop(link);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn another_model_is_asked_who_it_is_and_its_chunk_is_not_handed_on() {
    let socket = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
    let endpoint = socket.endpoint().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let server = thread::spawn(move || {
        let mut welcome = testing::welcome();
        while !flag.load(Ordering::Relaxed) {
            let incoming = socket.receive(Duration::from_millis(5)).unwrap();
            let Incoming::Message((peer, frames)) = incoming else { continue };
            let response = match decode_request(&frames.unwrap()).unwrap() {
                Request::Hello(_) => Response::Welcome(welcome.clone()),
                Request::Infer(infer) => {
                    welcome.model.hash = "beef".into();
                    Response::Reply(testing::reply(&welcome, infer.tick, &[0.0; 4]))
                }
                _ => continue,
            };
            socket.send(&peer, &response).unwrap();
        }
    });
    let link = Link::open(&endpoint, None, hello(), quick()).unwrap();
    let Some(LinkEvent::Welcome(first)) = link.wait(SOON) else { panic!("no welcome") };
    assert_eq!(first.model.hash, "cafe");
    link.ask(ask(4));
    let Some(LinkEvent::Welcome(second)) = link.wait(SOON) else { panic!("no second welcome") };
    assert_eq!(second.model.hash, "beef");
    link.ask(ask(5));
    let Some(LinkEvent::Reply { reply, .. }) = link.wait(SOON) else { panic!("no reply") };
    assert_eq!((reply.first_tick, &*reply.model_hash), (5, "beef"));
    drop(link);
    stop.store(true, Ordering::Relaxed);
    server.join().unwrap();
}
