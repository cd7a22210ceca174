//! The way to the control thread, for all others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::traffic::{Refusal, Request};
use crate::machine::State;
use crate::pilot::Input;

/// Between two looks for an answer.
const LOOK: Duration = Duration::from_micros(500);

/// A request, and where the answer goes.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) answer: Option<SyncSender<Result<State, Refusal>>>,
}

#[derive(Debug, Default)]
pub(super) struct Flags {
    pub(super) estop: AtomicBool,
    pub(super) stop: AtomicBool,
}

/// Brings the arm to rest when the thread that holds it panics.
#[derive(Debug)]
pub struct Sentinel(pub(super) Arc<Flags>);

impl Drop for Sentinel {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop.store(true, Ordering::Release);
        }
    }
}

/// A way to the control thread, for every thread that has something to ask of it.
#[derive(Debug, Clone)]
pub struct Controls {
    requests: SyncSender<Asked>,
    pub(super) flags: Arc<Flags>,
    pub(super) epoch: Instant,
}

impl Controls {
    pub(super) fn new(requests: SyncSender<Asked>) -> Self {
        Self { requests, flags: Arc::default(), epoch: Instant::now() }
    }

    /// Now, on the control thread's clock, which never goes back.
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Hands an input over without waiting for an answer; whether there was room.
    pub fn tell(&self, input: Input) -> bool {
        self.requests.try_send(Asked { request: Request::Input(input), answer: None }).is_ok()
    }

    /// Asks, and waits until the control thread has done it; the state that it led to.
    ///
    /// # Errors
    ///
    /// Why it was not done, in words.
    pub fn ask(&self, request: Request, timeout: Duration) -> Result<State, String> {
        let (answer, answered) = sync_channel(1);
        let busy = |_| "the control thread is busy: try again".to_owned();
        self.requests.try_send(Asked { request, answer: Some(answer) }).map_err(busy)?;
        // Not `recv`: whoever waits there makes the one who sends take a lock to wake them.
        let began = Instant::now();
        loop {
            match answered.try_recv() {
                Ok(done) => return done.map_err(|refusal| refusal.to_string()),
                Err(TryRecvError::Empty) if began.elapsed() < timeout => thread::sleep(LOOK),
                Err(_) => {
                    return Err(format!("the control thread did not answer within {timeout:?}"));
                }
            }
        }
    }

    /// Stops the arm, latched. Never waits; it takes effect in the next period.
    pub fn estop(&self) {
        self.flags.estop.store(true, Ordering::Release);
    }

    /// Brings the arm to rest and ends the control thread.
    pub fn shut_down(&self) {
        self.flags.stop.store(true, Ordering::Release);
    }

    /// Whether the control thread was told to end.
    pub fn is_shutting_down(&self) -> bool {
        self.flags.stop.load(Ordering::Acquire)
    }

    /// Brings the arm to rest when the calling thread panics while it holds this.
    pub fn sentinel(&self) -> Sentinel {
        Sentinel(self.flags.clone())
    }
}
