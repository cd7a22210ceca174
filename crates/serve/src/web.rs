//! Clients of openpi, over WebSocket: a thread for each. Beside them, `/healthz` and `/metrics`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engraft_wire::{
    Access, Contract, ErrorCode, Infer, Keys, Session, Timings, Token, is_loopback, openpi,
};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::check::{self, Objection};
use crate::config::ServeError;
use crate::model::{Answered, encoded, micros};
use crate::room::{Asker, Closed, Job, Room};
use crate::stats::Stats;

/// How long a client may take to say what it wants, and to take what it is sent.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client for which there is no place may take to ask: others wait for it.
const BRIEFLY: Duration = Duration::from_millis(20);
/// How often a stop is looked for when nothing comes in.
const TICK: Duration = Duration::from_millis(100);
/// Bytes of a request that is no WebSocket's.
const MAX_HEAD: usize = 8192;

/// What the threads of clients share.
pub(crate) struct Desk {
    pub(crate) contract: Arc<Contract>,
    pub(crate) keys: Keys,
    pub(crate) token: Option<Token>,
    pub(crate) room: Arc<Room>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) max_clients: usize,
}

/// Where clients of openpi come.
pub(crate) struct Web {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    clients: Arc<AtomicUsize>,
    acceptor: JoinHandle<()>,
}

impl Web {
    /// Listens at `HOST:PORT`.
    pub(crate) fn listen(address: &str, access: &Access, desk: Desk) -> Result<Self, ServeError> {
        let endpoint = format!("tcp://{address}");
        if !is_loopback(&endpoint)? && !matches!(access, Access::Plaintext) {
            return Err(engraft_wire::SocketError::Exposed { endpoint }.into());
        }
        let failed = |source| ServeError::Web { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, clients) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (flag, count, desk) = (stop.clone(), clients.clone(), Arc::new(desk));
        let acceptor = thread::Builder::new()
            .name("openpi".into())
            .spawn(move || accept(&listener, &desk, &flag, &count))
            .map_err(ServeError::Thread)?;
        Ok(Self { address, stop, clients, acceptor })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn num_clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Takes nobody any more, and gives clients up to `linger` to take their leave.
    pub(crate) fn close(self, linger: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the acceptor; one that cannot be reached has ended.
        if TcpStream::connect_timeout(&self.address, PATIENCE).is_ok() {
            drop(self.acceptor.join());
        }
        let began = Instant::now();
        while self.clients.load(Ordering::Relaxed) > 0 && began.elapsed() < linger {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// One client more, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn accept(
    listener: &TcpListener,
    desk: &Arc<Desk>,
    stop: &Arc<AtomicBool>,
    clients: &Arc<AtomicUsize>,
) {
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(TICK); // out of file descriptors, say
            continue;
        };
        if clients.fetch_add(1, Ordering::Relaxed) >= desk.max_clients {
            drop(Place(clients.clone()));
            desk.stats.refuse(ErrorCode::Busy, "too many clients of openpi");
            drop(turn_away(&stream)); // whoever does not hear it is told by the closing
            continue;
        }
        let (place, desk, stop) = (Place(clients.clone()), desk.clone(), stop.clone());
        let client = thread::Builder::new().name("openpi client".into()).spawn(move || {
            // A client that is not there any more is no trouble of ours.
            let _ = serve(stream, &desk, &stop, &place.0);
        });
        drop(client); // no thread, no client: it sees its connection close
    }
}

/// Says that there is no place. Closing before the request was read would take back the answer.
fn turn_away(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(BRIEFLY))?;
    take_head(stream)?;
    plain(stream, StatusCode::SERVICE_UNAVAILABLE, "too many clients\n")
}

/// An answer of plain HTTP.
fn plain(mut stream: &TcpStream, status: StatusCode, body: &str) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

/// What a client asks for, such as `GET /healthz`; nothing of it is taken.
fn asked(stream: &TcpStream) -> io::Result<String> {
    let (mut head, began) = ([0; 256], Instant::now());
    loop {
        let count = stream.peek(&mut head)?;
        let line = head[..count].split(|&byte| byte == b'\r').next().unwrap_or_default();
        if count == 0 || line.len() < count || count == head.len() {
            let mut words = line.split(|&byte| byte == b' ');
            let mut word =
                || String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
            return Ok(format!("{} {}", word(), word()));
        }
        if began.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(1)); // the rest of the line is on its way
    }
}

/// Takes a request off the stream, so that closing it does not take back the answer.
fn take_head(mut stream: &TcpStream) -> io::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), [0; 512]);
    while head.len() < MAX_HEAD && !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => break,
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(())
}

#[allow(clippy::result_large_err)] // the library's own
fn serve(
    stream: TcpStream,
    desk: &Desk,
    stop: &AtomicBool,
    clients: &AtomicUsize,
) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let page = match asked(&stream)?.as_str() {
        "GET /healthz" => Some("OK\n".to_owned()),
        "GET /metrics" => {
            // Whoever asks for the page is one of them.
            let clients = desk.stats.clients() + clients.load(Ordering::Relaxed) - 1;
            let status = desk.stats.status(clients, desk.room.occupancy());
            Some(desk.stats.prometheus(&status))
        }
        _ => None,
    };
    if let Some(page) = page {
        take_head(&stream)?;
        return Ok(plain(&stream, StatusCode::OK, &page)?);
    }
    let let_in = |request: &Request, response: Response| {
        let said = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let said = said.and_then(|text| text.strip_prefix("Api-Key ")).map(Token::new);
        if check::token(desk.token.as_ref(), said.as_ref()) {
            return Ok(response);
        }
        desk.stats.refuse(ErrorCode::Unauthorized, "the key is not the server's");
        let mut refusal = ErrorResponse::new(Some("the key is not the server's\n".into()));
        *refusal.status_mut() = StatusCode::UNAUTHORIZED;
        Err(refusal)
    };
    let limit = Some(desk.contract.max_request_bytes());
    let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
    let socket = tungstenite::accept_hdr_with_config(stream, let_in, Some(config));
    let mut socket = socket.map_err(|error| match error {
        HandshakeError::Failure(error) => error,
        HandshakeError::Interrupted(_) => Error::Io(io::ErrorKind::TimedOut.into()),
    })?;
    socket.get_ref().set_read_timeout(Some(TICK))?;
    let metadata = openpi::metadata(&desk.contract, &desk.keys, &desk.stats.model());
    socket.send(Message::binary(metadata))?;
    let mut previous_millis = None;
    loop {
        let observation = match socket.read() {
            Ok(Message::Binary(observation)) => observation,
            Ok(Message::Text(_)) => {
                let objection = (ErrorCode::BadFrame, "expected msgpack, found text".into());
                return refuse(&mut socket, desk, &objection);
            }
            Ok(_) => continue, // pings are answered with the next read
            Err(Error::Io(error)) if is_timeout(&error) => {
                if stop.load(Ordering::Relaxed) {
                    return leave(&mut socket, CloseCode::Away, "the server stops");
                }
                continue;
            }
            Err(Error::Capacity(error)) => {
                // Its frame is cut off here, so nothing that follows can be read as one.
                tell(&mut socket, desk, &(ErrorCode::TooLarge, error.to_string()))?;
                return Ok(drain(socket.get_mut())?);
            }
            Err(error) => return Err(error),
        };
        let began = Instant::now();
        desk.stats.receive();
        match answer(desk, &observation, previous_millis) {
            Ok(chunk) => socket.send(Message::binary(chunk))?,
            Err(objection) => return refuse(&mut socket, desk, &objection),
        }
        previous_millis = Some(began.elapsed().as_secs_f64() * 1e3);
    }
}

/// The message that answers an observation.
fn answer(
    desk: &Desk,
    observation: &[u8],
    previous_millis: Option<f64>,
) -> Result<Vec<u8>, Objection> {
    let began = Instant::now();
    let stack = openpi::decode(observation, &desk.keys)
        .map_err(|error| check::unreadable(&error, &desk.keys))?;
    check::shape(&desk.contract, &stack)?;
    let (sender, receiver) = sync_channel(1);
    let infer = Infer::bare(Session([0; 16]), 0, stack);
    let decode_micros = micros(began.elapsed());
    let asker = Asker::Web(sender);
    let job = Job { asker, infer, decode_micros, since: Instant::now() };
    desk.room.enter(job).map_err(|Closed| check::stopping())?;
    let answered = receiver.recv().map_err(|_| check::stopping())??;
    let Answered { prediction, mut timings, model } = answered;
    let encode =
        |timings: Timings| openpi::actions(&prediction.chunk, &model, &timings, previous_millis);
    let message = encoded(&mut timings, encode);
    desk.stats.answered(timings);
    Ok(message)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Tells what went wrong, as text, which is an exception in the client; and closes.
#[allow(clippy::result_large_err)]
fn refuse(
    socket: &mut WebSocket<TcpStream>,
    desk: &Desk,
    objection: &Objection,
) -> Result<(), Error> {
    tell(socket, desk, objection)?;
    farewell(socket);
    Ok(())
}

/// Tells what went wrong, and that this is the end.
#[allow(clippy::result_large_err)]
fn tell(
    socket: &mut WebSocket<TcpStream>,
    desk: &Desk,
    (code, detail): &Objection,
) -> Result<(), Error> {
    desk.stats.refuse(*code, detail);
    socket.send(Message::text(format!("{}: {detail}", code.name())))?;
    socket.close(Some(CloseFrame { code: CloseCode::Error, reason: code.name().into() }))
}

/// Takes what is still on its way, for as long as it keeps coming: closing before it is read would
/// take back what was told.
fn drain(stream: &mut TcpStream) -> io::Result<()> {
    let (mut rest, began) = (vec![0; 1 << 16], Instant::now());
    while began.elapsed() < PATIENCE {
        match stream.read(&mut rest) {
            Ok(0) => break,
            Err(error) if is_timeout(&error) => break,
            read => drop(read?),
        }
    }
    Ok(())
}

/// Says goodbye, and waits for the client to say it too.
#[allow(clippy::result_large_err)]
fn leave(
    socket: &mut WebSocket<TcpStream>,
    code: CloseCode,
    reason: &'static str,
) -> Result<(), Error> {
    socket.close(Some(CloseFrame { code, reason: reason.into() }))?;
    farewell(socket);
    Ok(())
}

/// Waits a moment for the client to say goodbye too.
fn farewell(socket: &mut WebSocket<TcpStream>) {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match socket.read() {
            Err(Error::Io(error)) if is_timeout(&error) => {}
            Err(_) => break,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
