//! Both ends of a connection between a bridge and a simulator. Neither waits longer than asked.

use std::time::{Duration, Instant};

use super::{Answer, Request, decode_answer, decode_request, encode_answer, encode_request};
use crate::desk;
use crate::endpoint::{SocketError, is_loopback};
use crate::error::WireError;
use crate::native::MAX_RESPONSE_BYTES;
use crate::socket::{dealer, receive_frames, strip};

/// The bridge's end. What ZeroMQ sends and receives lies in memory of its own, a small piece for
/// each message; beyond that and the row of its frames, nothing is allocated for a `command` and
/// its state.
pub struct SimulatorSocket {
    dealer: zmq::Socket,
    endpoint: String,
    sent: u64,
}

impl SimulatorSocket {
    /// Begins to connect; a simulator that is not there shows when it is asked.
    ///
    /// # Errors
    ///
    /// When the endpoint is malformed.
    pub fn connect(endpoint: &str) -> Result<Self, SocketError> {
        is_loopback(endpoint)?;
        let dealer = dealer(&zmq::Context::new(), endpoint, None)?;
        Ok(Self { dealer, endpoint: endpoint.to_owned(), sent: 0 })
    }

    /// Where the simulator is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The number of the newest request.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether there is a connection; one that broke is made anew after some time.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn is_connected(&self) -> Result<bool, SocketError> {
        Ok(self.dealer.get_events()?.contains(zmq::POLLOUT))
    }

    /// Sends a request and does not wait: the number that its answer will have, or `None` while
    /// there is no connection.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn send(&mut self, request: &Request) -> Result<Option<u64>, SocketError> {
        let frame = encode_request(self.sent + 1, request)?;
        match self.dealer.send_multipart([Vec::new(), frame], zmq::DONTWAIT) {
            Ok(()) => {
                self.sent += 1;
                Ok(Some(self.sent))
            }
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The next answer that comes within `timeout`, and the number of its request.
    ///
    /// # Errors
    ///
    /// When what comes is no answer, or ZeroMQ fails.
    pub fn receive(&self, timeout: Duration) -> Result<Option<(u64, Answer)>, SocketError> {
        match self.dealer.poll(zmq::POLLIN, desk::millis(timeout).into()) {
            Ok(0) | Err(zmq::Error::EINTR) => return Ok(None),
            ready => ready?,
        };
        let frames = match receive_frames(&self.dealer, MAX_RESPONSE_BYTES) {
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Ok(None),
            frames => frames?.and_then(strip)?,
        };
        Ok(Some(decode_answer(&frames)?))
    }

    /// Waits for a connection, asks, and waits for the answer; answers to what was asked before
    /// are dropped.
    ///
    /// # Errors
    ///
    /// When no answer comes in time, or what comes is none.
    pub fn ask(&mut self, request: &Request, timeout: Duration) -> Result<Answer, SocketError> {
        let began = Instant::now();
        let left = || timeout.saturating_sub(began.elapsed());
        let late = |endpoint: &str| {
            let endpoint = endpoint.to_owned();
            Err(SocketError::Timeout { endpoint, waited: timeout })
        };
        let seq = loop {
            if let Some(seq) = self.send(request)? {
                break seq;
            }
            if left().is_zero() {
                return late(&self.endpoint);
            }
            match self.dealer.poll(zmq::POLLOUT, desk::millis(left()).into()) {
                Err(zmq::Error::EINTR) => 0,
                ready => ready?,
            };
        };
        loop {
            match self.receive(left())? {
                Some((found, answer)) if found == seq => return Ok(answer),
                None if left().is_zero() => return late(&self.endpoint),
                _ => {}
            }
        }
    }
}

/// A simulator's end, for those that are written in Rust; one for the arm, one for the cameras.
pub struct SimulatorDesk {
    router: zmq::Socket,
    endpoint: String,
}

/// Who asked, and under which number.
#[derive(Debug)]
pub struct Caller {
    route: Vec<Vec<u8>>,
    seq: u64,
}

/// A request, or what came instead of one, and who sent it.
pub type Call = (Caller, Result<Request, WireError>);

impl Caller {
    /// The number that an answer must have; 0 where the request could not be read.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

impl SimulatorDesk {
    /// Listens; port `*` picks a free one.
    ///
    /// # Errors
    ///
    /// When the endpoint is malformed, taken, or open to other machines without `plaintext`.
    pub fn bind(endpoint: &str, plaintext: bool) -> Result<Self, SocketError> {
        let router = zmq::Context::new().socket(zmq::ROUTER)?;
        desk::common(&router)?;
        let endpoint = desk::bind(&router, endpoint, plaintext)?;
        Ok(Self { router, endpoint })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The next request within `timeout`, or what came instead of one, and who sent it.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Call>, SocketError> {
        self.router.set_rcvtimeo(desk::millis(timeout))?;
        let mut route = match self.router.recv_multipart(0) {
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Ok(None),
            frames => frames?,
        };
        let frame = route.pop().unwrap_or_default();
        let (seq, request) = match decode_request(&frame) {
            Ok((seq, request)) => (seq, Ok(request)),
            Err(error) => (0, Err(error)),
        };
        Ok(Some((Caller { route, seq }, request)))
    }

    /// Answers; whether the caller was there to take it. Never blocks.
    ///
    /// # Errors
    ///
    /// When the answer passes a bound, or ZeroMQ fails.
    pub fn answer(&self, caller: &Caller, answer: &Answer) -> Result<bool, SocketError> {
        self.answer_frames(caller, encode_answer(caller.seq, answer)?)
    }

    /// Answers with frames, whatever they are.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn answer_frames(
        &self,
        caller: &Caller,
        frames: Vec<Vec<u8>>,
    ) -> Result<bool, SocketError> {
        let all = caller.route.iter().cloned().chain(frames);
        match self.router.send_multipart(all, zmq::DONTWAIT) {
            Ok(()) => Ok(true),
            Err(zmq::Error::EHOSTUNREACH | zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
