//! How a thread waits for a socket, and how another ends its wait.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::endpoint::SocketError;

/// Ends the wait of another thread.
pub struct Waker(zmq::Socket);

impl Waker {
    /// Ends the wait, now or the next one. Never blocks.
    pub fn wake(&self) {
        // A full queue means that waking up is already under way.
        let _ = self.0.send(&[][..], zmq::DONTWAIT);
    }
}

/// Wake-ups that may be under way. Far more than there ever are: ZeroMQ tells a sender late of
/// what was read, so a small bound loses a wake-up although nothing waits.
const MAX_WAKES: i32 = 10_000;

/// The pair of sockets that a [`Waker`] works by.
pub(crate) struct Wake {
    pub(crate) context: zmq::Context,
    pull: zmq::Socket,
    name: String,
}

impl Wake {
    pub(crate) fn new(context: &zmq::Context) -> zmq::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("inproc://wake-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let pull = context.socket(zmq::PULL)?;
        pull.set_linger(0)?;
        pull.set_rcvhwm(MAX_WAKES)?;
        pull.bind(&name)?;
        Ok(Self { context: context.clone(), pull, name })
    }

    pub(crate) fn waker(&self) -> zmq::Result<Waker> {
        let push = self.context.socket(zmq::PUSH)?;
        push.set_linger(0)?;
        push.set_sndhwm(MAX_WAKES)?;
        push.connect(&self.name)?;
        Ok(Waker(push))
    }

    /// Waits for `other` to be readable, or for a waker: whether each came.
    pub(crate) fn wait(
        &self,
        other: zmq::PollItem<'_>,
        timeout: Duration,
    ) -> zmq::Result<(bool, bool)> {
        let mut items = [self.pull.as_poll_item(zmq::POLLIN), other];
        let woken = self.poll(&mut items, timeout)?;
        Ok((items[1].is_readable(), woken))
    }

    /// Waits for a waker alone: whether it came.
    fn rest(&self, timeout: Duration) -> zmq::Result<bool> {
        self.poll(&mut [self.pull.as_poll_item(zmq::POLLIN)], timeout)
    }

    /// Waits for one of `items`, the first of which is its own: whether that came.
    fn poll(&self, items: &mut [zmq::PollItem<'_>], timeout: Duration) -> zmq::Result<bool> {
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        match zmq::poll(items, i64::try_from(millis).unwrap_or(i64::MAX)) {
            Ok(_) => {}
            Err(zmq::Error::EINTR) => return Ok(false),
            Err(error) => return Err(error),
        }
        let woken = items[0].is_readable();
        if woken {
            while self.pull.recv_bytes(zmq::DONTWAIT).is_ok() {}
        }
        Ok(woken)
    }
}

/// Where a thread waits for what comes to a [`ServerSocket`](crate::ServerSocket), which another
/// thread may use meanwhile.
///
/// What is watched is the descriptor on which ZeroMQ rings when the first message comes to a socket
/// that had none. So who waits has found it empty before; and who uses the socket for something
/// else, as sending, may hear the bell in place of who waits, and looks whether something came.
pub struct Watch {
    wake: Wake,
    bell: RawFd,
}

impl Watch {
    pub(crate) fn new(context: &zmq::Context, socket: &zmq::Socket) -> zmq::Result<Self> {
        Ok(Self { wake: Wake::new(context)?, bell: socket.as_raw_fd() })
    }

    /// Something for another thread to end a wait with.
    ///
    /// # Errors
    ///
    /// When ZeroMQ has no more sockets.
    pub fn waker(&self) -> Result<Waker, SocketError> {
        Ok(self.wake.waker()?)
    }

    /// Waits for the bell, a waker or the time; whether it was a waker.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn wait(&self, timeout: Duration) -> Result<bool, SocketError> {
        let bell = zmq::PollItem::from_fd(self.bell, zmq::POLLIN);
        Ok(self.wake.wait(bell, timeout)?.1)
    }

    /// Waits for a waker or the time, while another thread waits for the bell; whether it was a
    /// waker.
    ///
    /// # Errors
    ///
    /// When ZeroMQ fails.
    pub fn rest(&self, timeout: Duration) -> Result<bool, SocketError> {
        Ok(self.wake.rest(timeout)?)
    }
}
