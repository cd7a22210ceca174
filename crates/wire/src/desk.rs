//! The sockets between a bridge and its operators: one for verbs, one for telemetry.
//!
//! Both are for this machine unless told otherwise, as a policy server's are: whoever reaches them
//! can stop the arm, and move it once torque is on.

use std::time::{Duration, Instant};

use crate::endpoint::{SocketError, is_loopback};
use crate::error::WireError;
use crate::operator::{
    Answer, Telemetry, Verb, decode_answer, decode_telemetry, decode_verb, encode_answer,
    encode_telemetry, encode_verb,
};

/// Bytes that a verb, an answer or a telemetry frame may have.
const MAX_BYTES: i64 = 64 << 10;

/// Messages that wait for a slow reader before the newest are dropped.
const MAX_WAITING: i32 = 16;

pub(crate) fn common(socket: &zmq::Socket) -> zmq::Result<()> {
    socket.set_linger(0)?;
    socket.set_maxmsgsize(MAX_BYTES)?;
    socket.set_sndhwm(MAX_WAITING)?;
    socket.set_rcvhwm(MAX_WAITING)
}

pub(crate) fn bind(
    socket: &zmq::Socket,
    endpoint: &str,
    plaintext: bool,
) -> Result<String, SocketError> {
    if !is_loopback(endpoint)? && !plaintext {
        return Err(SocketError::Exposed { endpoint: endpoint.to_owned() });
    }
    let named = || endpoint.to_owned();
    socket.bind(endpoint).map_err(|source| SocketError::Bind { endpoint: named(), source })?;
    Ok(socket.get_last_endpoint()?.unwrap_or_else(|_| named()))
}

fn connect(socket: &zmq::Socket, endpoint: &str) -> Result<(), SocketError> {
    is_loopback(endpoint)?;
    let named = || endpoint.to_owned();
    socket.connect(endpoint).map_err(|source| SocketError::Connect { endpoint: named(), source })
}

pub(crate) fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

/// The bridge's end for verbs.
pub struct OperatorDesk {
    router: zmq::Socket,
    endpoint: String,
}

/// Who asked.
#[derive(Debug)]
pub struct Operator(Vec<Vec<u8>>);

/// A verb, or what came instead of one, and who asked.
pub type Asked = (Operator, Result<Verb, WireError>);

impl OperatorDesk {
    /// Listens; port `*` picks a free one.
    ///
    /// # Errors
    ///
    /// When the endpoint is malformed, taken, or open to other machines without `plaintext`.
    pub fn bind(endpoint: &str, plaintext: bool) -> Result<Self, SocketError> {
        let router = zmq::Context::new().socket(zmq::ROUTER)?;
        common(&router)?;
        let endpoint = bind(&router, endpoint, plaintext)?;
        Ok(Self { router, endpoint })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The next verb within `timeout`, or what came instead of one.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Asked>, SocketError> {
        self.router.set_rcvtimeo(millis(timeout))?;
        let mut frames = match self.router.recv_multipart(0) {
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Ok(None),
            frames => frames?,
        };
        let payload = frames.pop().unwrap_or_default();
        Ok(Some((Operator(frames), decode_verb(&payload))))
    }

    /// Answers; whether the operator was there to take it. Never blocks.
    ///
    /// # Errors
    ///
    /// When the answer is too large, or ZeroMQ fails.
    pub fn answer(&self, operator: Operator, answer: &Answer) -> Result<bool, SocketError> {
        let frames = operator.0.into_iter().chain([encode_answer(answer)?]);
        match self.router.send_multipart(frames, zmq::DONTWAIT) {
            Ok(()) => Ok(true),
            Err(zmq::Error::EHOSTUNREACH | zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// An operator's end for verbs.
pub struct OperatorSocket {
    context: zmq::Context,
    request: zmq::Socket,
    endpoint: String,
}

fn request(context: &zmq::Context, endpoint: &str) -> Result<zmq::Socket, SocketError> {
    let socket = context.socket(zmq::REQ)?;
    common(&socket)?;
    connect(&socket, endpoint)?;
    Ok(socket)
}

impl OperatorSocket {
    /// Begins to connect; a bridge that is not there shows when it is asked.
    ///
    /// # Errors
    ///
    /// When the endpoint is malformed.
    pub fn connect(endpoint: &str) -> Result<Self, SocketError> {
        let context = zmq::Context::new();
        let request = request(&context, endpoint)?;
        Ok(Self { context, request, endpoint: endpoint.to_owned() })
    }

    /// Asks, and waits for the answer. After a failure the next question goes out on a new
    /// connection.
    ///
    /// # Errors
    ///
    /// When no answer comes in time, or what comes is none.
    pub fn ask(&mut self, verb: &Verb, timeout: Duration) -> Result<Answer, SocketError> {
        let answer = self.exchange(verb, timeout);
        if answer.is_err() {
            self.request = request(&self.context, &self.endpoint)?;
        }
        answer
    }

    fn exchange(&self, verb: &Verb, timeout: Duration) -> Result<Answer, SocketError> {
        let late = || SocketError::Timeout { endpoint: self.endpoint.clone(), waited: timeout };
        let began = Instant::now();
        self.request.set_sndtimeo(millis(timeout))?;
        match self.request.send(encode_verb(verb)?, 0) {
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Err(late()),
            sent => sent?,
        }
        loop {
            let left = timeout.saturating_sub(began.elapsed());
            self.request.set_rcvtimeo(millis(left))?;
            match self.request.recv_bytes(0) {
                Ok(frame) => return Ok(decode_answer(&frame)?),
                Err(zmq::Error::EINTR) if !left.is_zero() => {}
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Err(late()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The bridge's end for telemetry. A subscriber that does not read loses telemetry and nothing
/// else happens.
pub struct Publisher {
    socket: zmq::Socket,
    endpoint: String,
}

impl Publisher {
    /// Listens; port `*` picks a free one.
    ///
    /// # Errors
    ///
    /// As [`OperatorDesk::bind`].
    pub fn bind(endpoint: &str, plaintext: bool) -> Result<Self, SocketError> {
        let socket = zmq::Context::new().socket(zmq::PUB)?;
        common(&socket)?;
        let endpoint = bind(&socket, endpoint, plaintext)?;
        Ok(Self { socket, endpoint })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Tells whoever listens. Never blocks.
    ///
    /// # Errors
    ///
    /// When it is too large, or ZeroMQ fails.
    pub fn publish(&self, telemetry: &Telemetry) -> Result<(), SocketError> {
        match self.socket.send(encode_telemetry(telemetry)?, zmq::DONTWAIT) {
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

/// An operator's end for telemetry.
pub struct Subscriber(zmq::Socket);

impl Subscriber {
    /// Begins to listen to a bridge, which need not be there yet.
    ///
    /// # Errors
    ///
    /// When the endpoint is malformed.
    pub fn connect(endpoint: &str) -> Result<Self, SocketError> {
        let socket = zmq::Context::new().socket(zmq::SUB)?;
        common(&socket)?;
        socket.set_subscribe(b"")?;
        connect(&socket, endpoint)?;
        Ok(Self(socket))
    }

    /// The next that comes within `timeout`.
    ///
    /// # Errors
    ///
    /// When what comes is no telemetry, or ZeroMQ fails.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Telemetry>, SocketError> {
        self.0.set_rcvtimeo(millis(timeout))?;
        match self.0.recv_bytes(0) {
            Ok(frame) => Ok(Some(decode_telemetry(&frame)?)),
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::BridgeStatus;
    use std::thread;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_verb_is_answered_and_a_bridge_that_is_away_is_an_error_in_time() {
        let desk = OperatorDesk::bind("tcp://127.0.0.1:*", false).unwrap();
        let mut operator = OperatorSocket::connect(desk.endpoint()).unwrap();
        let error = operator.ask(&Verb::Status, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("no answer from"), "{error}");
        // What was asked in vain is answered too; its asker is gone.
        let bridge = thread::spawn(move || {
            for _ in 0..2 {
                let (asker, verb) = desk.receive(SOON).unwrap().unwrap();
                let detail = format!("{:?}", verb.unwrap());
                let status = BridgeStatus::default();
                desk.answer(asker, &Answer { ok: true, detail, lease: None, status }).unwrap();
            }
        });
        let answer = operator.ask(&Verb::Estop, SOON).unwrap();
        assert_eq!(answer.detail, "Estop");
        bridge.join().unwrap();
    }

    #[test]
    fn telemetry_arrives_and_a_dead_subscriber_costs_nothing() {
        let publisher = Publisher::bind("tcp://127.0.0.1:*", false).unwrap();
        let _deaf = Subscriber::connect(publisher.endpoint()).unwrap();
        let subscriber = Subscriber::connect(publisher.endpoint()).unwrap();
        let told = Telemetry::State(Box::new(BridgeStatus { ticks: 7, ..Default::default() }));
        let began = Instant::now();
        let heard = loop {
            publisher.publish(&told).unwrap();
            if let Some(heard) = subscriber.receive(Duration::from_millis(10)).unwrap() {
                break heard;
            }
            assert!(began.elapsed() < SOON, "nothing arrived");
        };
        assert_eq!(heard, told);
        for _ in 0..10_000 {
            publisher.publish(&told).unwrap();
        }
    }

    #[test]
    fn other_machines_are_kept_out_unless_told_otherwise() {
        let error = OperatorDesk::bind("tcp://*:*", false).err().unwrap();
        assert!(matches!(error, SocketError::Exposed { .. }), "{error}");
        assert!(Publisher::bind("tcp://*:*", true).is_ok());
    }
}
