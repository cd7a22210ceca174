//! ZeroMQ sockets for both ends: bounded, never blocking longer than asked.
//!
//! Without CURVE nothing is encrypted, so a server listens on this machine alone unless it is told
//! otherwise in so many words.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::curve::{ClientKeys, ServerKeys};
use crate::endpoint::{SocketError, is_loopback};
use crate::error::WireError;
use crate::message::{Request, Response};
use crate::native::{
    Frames, MAX_FRAMES, MAX_RESPONSE_BYTES, decode_response, encode_request, encode_response,
    within,
};
use crate::wake::{Wake, Waker, Watch};
use crate::zap::Doorkeeper;

/// A connected client, as its server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer(Vec<u8>);

/// A frame as ZeroMQ received it.
#[derive(Debug)]
pub struct Frame(zmq::Message);

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A message as a server gets it: who sent it, and its frames if they keep to the bounds.
pub type Delivery = (Peer, Result<Vec<Frame>, WireError>);

/// What ended a wait.
#[derive(Debug)]
pub enum Incoming<M> {
    /// A message.
    Message(M),
    /// A [`Waker`] of this socket.
    Woken,
    /// The time.
    Nothing,
}

/// All frames of one message; what passes a bound is read and forgotten.
pub(crate) fn receive_frames(
    socket: &zmq::Socket,
    max_bytes: usize,
) -> zmq::Result<Result<Vec<Frame>, WireError>> {
    let (mut frames, mut count, mut bytes) = (Vec::new(), 0, 0);
    loop {
        let frame = socket.recv_msg(zmq::DONTWAIT)?;
        count += 1;
        bytes += frame.len();
        // The empty frame comes on top of what a message may have.
        let more = frame.get_more();
        if count <= MAX_FRAMES + 1 && bytes <= max_bytes {
            frames.push(Frame(frame));
        }
        if !more {
            break;
        }
    }
    let too_large = |what, limit, found| Ok(Err(WireError::TooLarge { what, limit, found }));
    if count > MAX_FRAMES + 1 {
        return too_large("frames of a message", MAX_FRAMES, count - 1);
    }
    if bytes > max_bytes {
        return too_large("bytes of a message", max_bytes, bytes);
    }
    Ok(Ok(frames))
}

/// Takes the empty frame off the front.
pub(crate) fn strip(mut frames: Vec<Frame>) -> Result<Vec<Frame>, WireError> {
    if frames.first().is_some_and(|frame| frame.0.is_empty()) {
        frames.remove(0);
        return Ok(frames);
    }
    Err(WireError::Header { detail: "the first frame must be empty".into() })
}

/// How long a connection may take to say that it speaks ZeroMQ.
const HANDSHAKE_MILLIS: i32 = 5000;
/// How often each side asks the other whether it lives, and how long that may take: a robot wants
/// to know of its server soon, a server has many clients and tells by itself who is at work.
const CLIENT_HEARTBEAT: [i32; 2] = [500, 1500];
const SERVER_HEARTBEAT: [i32; 2] = [5000, 15_000];

fn common(socket: &zmq::Socket, max_bytes: usize, heartbeat: [i32; 2]) -> zmq::Result<()> {
    socket.set_linger(0)?;
    socket.set_maxmsgsize(i64::try_from(max_bytes).unwrap_or(i64::MAX))?;
    socket.set_heartbeat_ivl(heartbeat[0])?;
    socket.set_heartbeat_timeout(heartbeat[1])
}

/// Who may reach a server.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Programs on this machine.
    #[default]
    Loopback,
    /// Whoever can reach the endpoint; nothing is encrypted.
    Plaintext,
    /// Clients whose keys it knows, from everywhere; all is encrypted.
    Curve(ServerKeys),
}

/// The server's end.
pub struct ServerSocket {
    router: zmq::Socket,
    context: zmq::Context,
    watch: Watch,
    endpoint: String,
    max_bytes: usize,
    _doorkeeper: Option<Doorkeeper>,
}

impl ServerSocket {
    /// Listens. The port `*` picks a free one, which [`endpoint`](Self::endpoint) then names.
    ///
    /// A message may have `max_bytes`. A single frame above ends its sender's connection before it
    /// is read; frames that pass it together come as an error.
    ///
    /// # Errors
    ///
    /// When the endpoint is malformed or taken, or when other machines could reach it and `access`
    /// does not allow that.
    pub fn bind(endpoint: &str, access: &Access, max_bytes: usize) -> Result<Self, SocketError> {
        if !is_loopback(endpoint)? && matches!(access, Access::Loopback) {
            return Err(SocketError::Exposed { endpoint: endpoint.to_owned() });
        }
        let context = zmq::Context::new();
        let router = context.socket(zmq::ROUTER)?;
        common(&router, max_bytes, SERVER_HEARTBEAT)?;
        let doorkeeper = if let Access::Curve(keys) = access {
            keys.apply(&router)?;
            Some(Doorkeeper::start(&context, keys.clients.clone())?)
        } else {
            None
        };
        router.set_router_mandatory(true)?;
        // Who connects and says nothing is no client.
        router.set_handshake_ivl(HANDSHAKE_MILLIS)?;
        router.set_backlog(1024)?;
        router.set_ipv6(endpoint.contains('['))?;
        // A few messages per client; the server empties it all the time.
        router.set_rcvhwm(4)?;
        router.set_sndhwm(4 * MAX_FRAMES as i32)?;
        let named = || endpoint.to_owned();
        router.bind(endpoint).map_err(|source| SocketError::Bind { endpoint: named(), source })?;
        let actual = router.get_last_endpoint()?.unwrap_or_else(|_| named());
        let watch = Watch::new(&context, &router)?;
        Ok(Self { router, context, watch, endpoint: actual, max_bytes, _doorkeeper: doorkeeper })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Something for another thread to end [`receive`](Self::receive) with.
    ///
    /// # Errors
    ///
    /// When ZeroMQ has no more sockets.
    pub fn waker(&self) -> Result<Waker, SocketError> {
        self.watch.waker()
    }

    /// A place for another thread to wait for messages.
    ///
    /// # Errors
    ///
    /// When ZeroMQ has no more sockets.
    pub fn watch(&self) -> Result<Watch, SocketError> {
        Ok(Watch::new(&self.context, &self.router)?)
    }

    /// Waits for a message, a waker, or the time.
    ///
    /// A message that passes a bound comes as its sender and the error to answer with.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn receive(&self, timeout: Duration) -> Result<Incoming<Delivery>, SocketError> {
        let began = Instant::now();
        loop {
            if let Some(delivery) = self.try_receive()? {
                return Ok(Incoming::Message(delivery));
            }
            let left = timeout.saturating_sub(began.elapsed());
            if self.watch.wait(left)? {
                return Ok(Incoming::Woken);
            }
            // The bell rings for connections, too.
            if left.is_zero() {
                return Ok(Incoming::Nothing);
            }
        }
    }

    /// The next message, if one is there. Where none is, a [`Watch`] tells of the next.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn try_receive(&self) -> Result<Option<Delivery>, SocketError> {
        let peer = loop {
            match self.router.recv_bytes(zmq::DONTWAIT) {
                Err(zmq::Error::EINTR) => {}
                Err(zmq::Error::EAGAIN) => return Ok(None),
                peer => break Peer(peer?),
            }
        };
        if !self.router.get_rcvmore()? {
            let detail = "there is none".into();
            return Ok(Some((peer, Err(WireError::Header { detail }))));
        }
        let frames = receive_frames(&self.router, self.max_bytes)?.and_then(strip);
        Ok(Some((peer, frames)))
    }

    /// Whether a message is there, which sending may have found in place of who waits for it.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn has_message(&self) -> Result<bool, SocketError> {
        Ok(self.router.get_events()?.contains(zmq::POLLIN))
    }

    /// Sends a response; whether the client was there to take it. Never blocks.
    ///
    /// # Errors
    ///
    /// When the response passes a bound of the dialect, or ZeroMQ fails.
    pub fn send(&self, peer: &Peer, response: &Response) -> Result<bool, SocketError> {
        self.send_frames(peer, encode_response(response)?)
    }

    /// Sends what [`encode_response`] made; whether the client was there to take it.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn send_frames(&self, peer: &Peer, frames: Frames) -> Result<bool, SocketError> {
        let all = [peer.0.clone(), Vec::new()].into_iter().chain(frames);
        match self.router.send_multipart(all, zmq::DONTWAIT) {
            Ok(()) => Ok(true),
            Err(zmq::Error::EHOSTUNREACH | zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Stops listening, giving what was sent up to `linger` to leave.
    pub fn close(self, linger: Duration) {
        let millis = i32::try_from(linger.as_millis()).unwrap_or(i32::MAX);
        // A socket that is going away anyway: without it, what was sent may be lost.
        let _ = self.router.set_linger(millis);
    }
}

pub(crate) fn dealer(
    context: &zmq::Context,
    endpoint: &str,
    keys: Option<&ClientKeys>,
) -> Result<zmq::Socket, SocketError> {
    let dealer = context.socket(zmq::DEALER)?;
    common(&dealer, MAX_RESPONSE_BYTES, CLIENT_HEARTBEAT)?;
    if let Some(keys) = keys {
        keys.apply(&dealer)?;
    }
    dealer.set_ipv6(endpoint.contains('['))?;
    // Nothing is queued for a server that is not there.
    dealer.set_immediate(true)?;
    dealer.set_sndhwm(2 * MAX_FRAMES as i32)?;
    dealer.set_rcvhwm(4 * MAX_FRAMES as i32)?;
    dealer.connect(endpoint).map_err(|source| {
        let endpoint = endpoint.to_owned();
        SocketError::Connect { endpoint, source }
    })?;
    Ok(dealer)
}

/// The client's end.
pub struct ClientSocket {
    dealer: zmq::Socket,
    wake: Wake,
    endpoint: String,
    keys: Option<ClientKeys>,
    /// What the server takes, as its welcome said.
    max_bytes: Cell<usize>,
}

impl ClientSocket {
    /// Begins to connect; a server that is not there, or does not know the key, shows when
    /// something is sent.
    ///
    /// # Errors
    ///
    /// When the endpoint is malformed.
    pub fn connect(endpoint: &str, keys: Option<ClientKeys>) -> Result<Self, SocketError> {
        is_loopback(endpoint)?;
        let context = zmq::Context::new();
        let dealer = dealer(&context, endpoint, keys.as_ref())?;
        let (wake, max_bytes) = (Wake::new(&context)?, Cell::new(usize::MAX));
        Ok(Self { dealer, wake, endpoint: endpoint.to_owned(), keys, max_bytes })
    }

    /// Connects anew, forgetting what was on its way. Wakers stay valid.
    ///
    /// # Errors
    ///
    /// When ZeroMQ has no more sockets.
    pub fn reconnect(&mut self) -> Result<(), SocketError> {
        self.dealer = dealer(&self.wake.context, &self.endpoint, self.keys.as_ref())?;
        self.max_bytes.set(usize::MAX);
        Ok(())
    }

    /// Something for another thread to end [`receive`](Self::receive) with.
    ///
    /// # Errors
    ///
    /// When ZeroMQ has no more sockets.
    pub fn waker(&self) -> Result<Waker, SocketError> {
        Ok(self.wake.waker()?)
    }

    /// Sends a request, waiting for a connection up to `timeout`.
    ///
    /// # Errors
    ///
    /// When the request passes a bound of the dialect or of the server that welcomed this client,
    /// nobody takes it in time, or ZeroMQ fails.
    pub fn send(&self, request: &Request, timeout: Duration) -> Result<(), SocketError> {
        let frames = encode_request(request)?;
        within(&frames, self.max_bytes.get())?;
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        self.dealer.set_sndtimeo(millis)?;
        match self.dealer.send_multipart([Vec::new()].into_iter().chain(frames), 0) {
            Ok(()) => Ok(()),
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => Err(self.timeout(timeout)),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a response, a waker, or the time.
    ///
    /// # Errors
    ///
    /// When what arrives is not a response, or ZeroMQ fails.
    pub fn receive(&self, timeout: Duration) -> Result<Incoming<Response>, SocketError> {
        let (message, woken) = self.wake.wait(self.dealer.as_poll_item(zmq::POLLIN), timeout)?;
        if message {
            let frames = match receive_frames(&self.dealer, MAX_RESPONSE_BYTES) {
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Ok(Incoming::Nothing),
                frames => frames?.and_then(strip)?,
            };
            let response = decode_response(&frames)?;
            if let Response::Welcome(welcome) = &response {
                self.max_bytes.set(usize::try_from(welcome.max_bytes).unwrap_or(usize::MAX));
            }
            return Ok(Incoming::Message(response));
        }
        Ok(if woken { Incoming::Woken } else { Incoming::Nothing })
    }

    /// Sends a request and waits for the next response.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send) and [`receive`](Self::receive), and when no response comes in time.
    pub fn ask(&self, request: &Request, timeout: Duration) -> Result<Response, SocketError> {
        let began = Instant::now();
        self.send(request, timeout)?;
        loop {
            let left = timeout.saturating_sub(began.elapsed());
            match self.receive(left)? {
                Incoming::Message(response) => return Ok(response),
                _ if began.elapsed() >= timeout => return Err(self.timeout(timeout)),
                _ => {}
            }
        }
    }

    /// The error of a wait that was too long, with what to look at.
    pub fn timeout(&self, waited: Duration) -> SocketError {
        let endpoint = self.endpoint.clone();
        if self.keys.is_some() {
            return SocketError::Unheard { endpoint, waited };
        }
        SocketError::Timeout { endpoint, waited }
    }
}

#[cfg(test)]
mod tests;
