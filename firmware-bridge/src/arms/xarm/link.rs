//! The two connections to a control box: one asks, one listens. Every wait ends.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::codecs::xarm::{
    Frames, JOINTS, Protocol, REPORT_HZ, Reply, ReplyError, Report, Reports, Request, StateBits,
    ticks,
};
use crate::motors::{Damage, MotorsError};

/// Requests that may be unanswered: a second of set-points and more.
const MOST_PENDING: usize = 256;

/// Waits until there is something to read, at most until `deadline`.
fn wait(stream: &TcpStream, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let patience = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&patience)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads what has come, without waiting. `None` when the other side hung up.
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match stream.read(buffer) {
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(Some(0))
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}

fn connect(address: SocketAddr, patience: Duration) -> Result<TcpStream, MotorsError> {
    let opened = TcpStream::connect_timeout(&address, patience).and_then(|stream| {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    });
    opened.map_err(|source| MotorsError::Port {
        port: address.to_string(),
        detail: "expected an xArm's control box: is it on, and does its address answer a ping?"
            .into(),
        source,
    })
}

/// What a link says about itself when it fails.
#[derive(Debug)]
struct Place {
    address: Arc<str>,
    /// All joints are behind one box.
    all: Arc<str>,
}

impl Place {
    fn new(address: SocketAddr) -> Self {
        let all = format!("1 and all others behind {address}").into();
        Self { address: address.to_string().into(), all }
    }

    fn hung_up(&self) -> MotorsError {
        MotorsError::HungUp { port: self.address.clone() }
    }

    fn port(&self, source: io::Error) -> MotorsError {
        let port = self.address.to_string();
        MotorsError::Port { port, detail: "connect anew".into(), source }
    }

    fn silent(&self, waited: Duration) -> MotorsError {
        MotorsError::Silent { joint: self.all.clone(), id: 0, waited }
    }

    fn damaged(&self, detail: impl Into<Damage>) -> MotorsError {
        MotorsError::Damaged { joint: self.all.clone(), id: 0, detail: detail.into() }
    }
}

/// The connection that asks. After an error it is of no use: a late answer could be taken for
/// another's.
pub(super) struct ControlLink {
    stream: TcpStream,
    place: Place,
    frames: Frames,
    pub(super) protocol: Protocol,
    transaction: u16,
    /// Requests not yet answered, oldest first: transaction, function, when.
    pending: VecDeque<(u16, u8, Instant)>,
    /// What replies said that nobody waited for, since it was last looked at.
    noted: StateBits,
    pub(super) sent: Instant,
}

impl ControlLink {
    pub(super) fn connect(address: SocketAddr, patience: Duration) -> Result<Self, MotorsError> {
        Ok(Self {
            stream: connect(address, patience)?,
            place: Place::new(address),
            frames: Frames::replies(),
            protocol: Protocol::Plain,
            transaction: 0,
            pending: VecDeque::with_capacity(MOST_PENDING),
            noted: StateBits::default(),
            sent: Instant::now(),
        })
    }

    /// Sends without waiting for the answer.
    pub(super) fn send(&mut self, request: &Request) -> Result<(), MotorsError> {
        let transaction = self.transaction % u16::MAX + 1;
        let encoded = request
            .encode(transaction, self.protocol)
            .map_err(|error| MotorsError::Refused { detail: error.to_string().into() })?;
        let now = Instant::now();
        if self.pending.len() >= MOST_PENDING {
            return Err(self.place.silent(self.waiting()));
        }
        match self.stream.write(encoded.as_bytes()) {
            Ok(count) if count == encoded.as_bytes().len() => {}
            // A connection that takes no 64 bytes more has not been read for long.
            Ok(_) => return Err(self.place.silent(self.waiting())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(self.place.silent(self.waiting()));
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                return Err(self.place.hung_up());
            }
            Err(error) => return Err(self.place.port(error)),
        }
        (self.transaction, self.sent) = (transaction, now);
        self.pending.push_back((transaction, request.function(), now));
        Ok(())
    }

    /// How long the oldest request has waited.
    fn waiting(&self) -> Duration {
        self.pending.front().map_or(Duration::ZERO, |(_, _, sent)| sent.elapsed())
    }

    /// Takes the replies that have come, without waiting, and gives what they say together.
    ///
    /// # Errors
    ///
    /// When one is missing for longer than `patience`, or the connection is of no use.
    pub(super) fn look(&mut self, patience: Duration) -> Result<StateBits, MotorsError> {
        self.hear(None, |_| ())?;
        if self.waiting() > patience {
            return Err(self.place.silent(self.waiting()));
        }
        Ok(std::mem::take(&mut self.noted))
    }

    /// Forgets what was noted: it belongs to what was before.
    pub(super) fn forget(&mut self) {
        self.noted = StateBits::default();
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask<T>(
        &mut self,
        request: &Request,
        patience: Duration,
        read: impl Fn(Reply<'_>) -> Result<T, ReplyError>,
    ) -> Result<(StateBits, T), MotorsError> {
        let began = Instant::now();
        self.send(request)?;
        let transaction = self.transaction;
        loop {
            let answer = self.hear(Some(transaction), |reply| (reply.state, read(reply)))?;
            if let Some((state, value)) = answer {
                return value
                    .map(|value| (state, value))
                    .map_err(|error| self.place.damaged(error.to_string()));
            }
            let deadline = began + patience;
            if Instant::now() >= deadline {
                return Err(self.place.silent(began.elapsed()));
            }
            wait(&self.stream, deadline).map_err(|error| self.place.port(error))?;
        }
    }

    fn hear<T>(
        &mut self,
        wanted: Option<u16>,
        read_reply: impl Fn(Reply<'_>) -> T,
    ) -> Result<Option<T>, MotorsError> {
        let (mut buffer, mut answer) = ([0; 1024], None);
        loop {
            let count = read(&mut self.stream, &mut buffer);
            let count = count.map_err(|error| self.place.port(error))?;
            let count = count.ok_or_else(|| self.place.hung_up())?;
            let mut bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(answer);
            }
            while !bytes.is_empty() {
                bytes = bytes.get(self.frames.feed(bytes)..).unwrap_or_default();
                loop {
                    let frame = self.frames.take();
                    let frame = frame.map_err(|error| self.place.damaged(error.to_string()))?;
                    let Some(reply) = frame.and_then(Reply::read) else { break };
                    let (found, function) = (reply.transaction, reply.function);
                    // Replies come in the order of the requests.
                    match self.pending.pop_front() {
                        Some((expected, asked, _)) if (expected, asked) == (found, function) => {}
                        Some((expected, asked, _)) => {
                            return Err(self.place.damaged(format!(
                                "expected the reply to request {expected} (function {asked}), found one to \
                                 {found} (function {function}): connect anew"
                            )));
                        }
                        None => {
                            return Err(self.place.damaged(format!(
                                "found a reply to request {found} (function {function}), which was not asked: \
                                 connect anew"
                            )));
                        }
                    }
                    if wanted == Some(found) {
                        answer = Some(read_reply(reply));
                    } else {
                        self.noted.0 |= reply.state.0;
                    }
                }
            }
        }
    }
}

/// The connection that listens.
pub(super) struct ReportLink {
    stream: TcpStream,
    place: Place,
    reports: Reports,
    latest: Option<Report>,
    /// Microradians a second, from the last two reports.
    velocity: [i32; JOINTS],
    /// When the latest came, or when it was last known that none had.
    heard: Instant,
    looked: Instant,
}

impl ReportLink {
    pub(super) fn connect(address: SocketAddr, patience: Duration) -> Result<Self, MotorsError> {
        let stream = connect(address, patience)?;
        let now = Instant::now();
        Ok(Self {
            stream,
            place: Place::new(address),
            reports: Reports::default(),
            latest: None,
            velocity: [0; JOINTS],
            heard: now,
            looked: now,
        })
    }

    /// The latest report and the velocities in microradians a second. Waits only after a pause,
    /// in which what came may have lain for any time, and at most `patience`.
    ///
    /// # Errors
    ///
    /// When the latest is older than `patience`, or the connection is of no use.
    pub(super) fn latest(
        &mut self,
        patience: Duration,
    ) -> Result<(&Report, &[i32; JOINTS]), MotorsError> {
        let paused = self.looked.elapsed() > patience || self.latest.is_none();
        self.drain()?;
        if paused {
            self.next(patience)?;
        } else if self.heard.elapsed() > patience {
            return Err(self.place.silent(self.heard.elapsed()));
        }
        match &self.latest {
            Some(report) => Ok((report, &self.velocity)),
            None => Err(self.place.silent(patience)),
        }
    }

    /// Waits for a report that comes after now.
    pub(super) fn next(&mut self, patience: Duration) -> Result<(), MotorsError> {
        let began = Instant::now();
        self.drain()?;
        while !self.drain()? {
            if began.elapsed() >= patience {
                return Err(self.place.silent(began.elapsed()));
            }
            let waited = wait(&self.stream, began + patience);
            waited.map_err(|error| self.place.port(error))?;
        }
        Ok(())
    }

    /// Reads what has come; whether a whole report was among it.
    fn drain(&mut self) -> Result<bool, MotorsError> {
        let (mut buffer, mut fresh) = ([0; 2048], false);
        loop {
            let count = read(&mut self.stream, &mut buffer);
            let count = count.map_err(|error| self.place.port(error))?;
            let count = count.ok_or_else(|| self.place.hung_up())?;
            let now = Instant::now();
            self.looked = now;
            let mut bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(fresh);
            }
            while !bytes.is_empty() {
                bytes = bytes.get(self.reports.feed(bytes)..).unwrap_or_default();
                loop {
                    let report = self.reports.take();
                    let report = report.map_err(|error| self.place.damaged(error.to_string()))?;
                    let Some(report) = report else { break };
                    self.note(report);
                    (self.heard, fresh) = (now, true);
                }
            }
        }
    }

    fn note(&mut self, report: Report) {
        if let Some(before) = &self.latest {
            let angles = report.joints_rad.iter().zip(before.joints_rad);
            // The box's own rate: when a report is read says little about when it was made.
            for (velocity, (angle, before)) in self.velocity.iter_mut().zip(angles) {
                *velocity = ticks((angle - before) * REPORT_HZ as f32).unwrap_or(*velocity);
            }
        }
        self.latest = Some(report);
    }
}
