//! What deals with messages, on whichever thread listens at the door.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engraft_wire::{
    Contract, ErrorCode, Frame, Hello, Infer, Keys, Model, Peer, Refusal, Reply, Request, Response,
    ServerSocket, Session, SocketError, Status, Welcome, WireError, encode_response, groot, native,
};
use tracing::{info, warn};

use crate::check::{self, Objection};
use crate::config::{ServeError, ServerConfig};
use crate::model::{Answered, Outcome, micros};
use crate::reload::{Loaded, Loader, Reloading, Starter};
use crate::room::{Asker, Closed, Job, Room};
use crate::stats::Stats;
use crate::web::Web;

/// What other threads have to tell.
pub(crate) enum Event {
    /// What became of what a client asked.
    Answer { peer: Peer, infer: Infer, outcome: Outcome },
    /// A model was read.
    Loaded(Loaded),
    /// Another model answers.
    Swapped(Arc<Model>),
}

pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) last_seq: Option<u64>,
    pub(crate) heard: Instant,
    /// How it wants to be answered, where that is not in the native dialect.
    pub(crate) style: Option<groot::Style>,
}

/// The socket, and who came to it. Whoever holds it deals with a message, and waits for none.
pub(crate) struct Front {
    pub(crate) socket: ServerSocket,
    pub(crate) config: ServerConfig,
    pub(crate) contract: Arc<Contract>,
    pub(crate) fingerprint: String,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clients: HashMap<Peer, Client>,
    pub(crate) room: Arc<Room>,
    pub(crate) sender: Sender<Event>,
    pub(crate) events: Receiver<Event>,
    pub(crate) reloading: Reloading,
    pub(crate) starter: Starter,
    /// What read the model that is about to answer.
    pub(crate) loader: Option<Loader>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) web: Option<Web>,
    /// Whether a request may still wait for the model.
    pub(crate) open: bool,
    /// Whether a client stopped it.
    pub(crate) killed: Arc<AtomicBool>,
}

/// Held to deal with one message or answer.
pub(crate) fn hold(front: &Mutex<Front>) -> MutexGuard<'_, Front> {
    front.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Front {
    /// Leaves what more there is at the door to the server's thread. Whoever used the socket may have
    /// heard the bell in its place.
    pub(crate) fn leave(&self) -> Result<(), ServeError> {
        if self.socket.has_message()? {
            self.room.wake_server();
        }
        Ok(())
    }

    /// Deals with what other threads told and with one message; whether there was one.
    pub(crate) fn turn(&mut self) -> Result<bool, ServeError> {
        self.hear()?;
        self.stats.set_clients(self.clients.len());
        let Some((peer, frames)) = self.socket.try_receive()? else { return Ok(false) };
        self.stats.receive();
        self.deal(&peer, frames)?;
        Ok(true)
    }

    /// Answers a message, or lets it wait for the model.
    fn deal(
        &mut self,
        peer: &Peer,
        frames: Result<Vec<Frame>, WireError>,
    ) -> Result<(), ServeError> {
        let began = Instant::now();
        if let Some(client) = self.clients.get_mut(peer) {
            client.heard = began;
        }
        if let Ok(frames) = &frames
            && let Some(call) = groot::call(frames, &self.keys)
        {
            return self.groot(peer, call, micros(began.elapsed()));
        }
        let request = frames.and_then(|frames| native::decode_request(&frames));
        let decode_micros = micros(began.elapsed());
        match request {
            Ok(Request::Ping { seq }) => self.send(peer, &Response::Pong { seq }),
            Ok(Request::Status) => self.send(peer, &Response::Status(self.status())),
            Ok(Request::Goodbye { .. }) => {
                if let Some(client) = self.clients.remove(peer) {
                    info!(session = ?client.session, "a client left");
                }
                self.room.leave(peer);
                self.send(peer, &Response::Goodbye)
            }
            Ok(_) if !self.open => self.refuse(peer, check::stopping(), None),
            Ok(Request::Hello(hello)) => self.hello(peer, &hello),
            Ok(Request::Reload { session }) => self.reload(peer, session),
            Ok(Request::Infer(infer)) => self.infer(peer, infer, decode_micros),
            Ok(_) => {
                let objection = (ErrorCode::BadFrame, "this request is not served".into());
                self.refuse(peer, objection, None)
            }
            Err(error) => {
                let objection: Objection = (WireError::code(&error), error.to_string());
                self.refuse(peer, objection, None)
            }
        }
    }

    /// A client that is not there any more is no trouble of ours, nor is one whose answer does not
    /// fit into a message.
    pub(crate) fn send(&mut self, peer: &Peer, response: &Response) -> Result<(), ServeError> {
        match self.socket.send(peer, response) {
            Err(SocketError::Wire(error)) => warn!(%error, "an answer cannot be sent"),
            sent => drop(sent?),
        }
        Ok(())
    }

    pub(crate) fn refuse(
        &mut self,
        peer: &Peer,
        (code, detail): Objection,
        seq: Option<u64>,
    ) -> Result<(), ServeError> {
        if self.clients.get(peer).is_some_and(|client| client.style.is_some()) {
            return self.refuse_groot(peer, (code, detail));
        }
        self.stats.refuse(code, &detail);
        self.send(peer, &Response::Error(Refusal { code, detail, seq }))
    }

    /// Tells its own clients that it leaves.
    pub(crate) fn say_goodbye(&mut self) -> Result<(), ServeError> {
        for (peer, client) in &self.clients {
            // Elsewhere a client hears nothing that it did not ask for.
            if client.style.is_none() {
                self.socket.send(peer, &Response::Goodbye)?;
            }
        }
        Ok(())
    }

    pub(crate) fn status(&self) -> Status {
        let web = self.web.as_ref().map_or(0, Web::num_clients);
        self.stats.status(self.clients.len() + web, self.room.occupancy())
    }

    fn hello(&mut self, peer: &Peer, hello: &Hello) -> Result<(), ServeError> {
        if !check::token(self.config.token.as_ref(), hello.token.as_ref()) {
            let objection = (ErrorCode::Unauthorized, "the token is not the server's".into());
            return self.refuse(peer, objection, None);
        }
        let fits = hello.spec.as_ref().map_or(Ok(()), |spec| self.contract.spec.check(spec));
        if let Err(error) = fits {
            let objection = (ErrorCode::ContractMismatch, error.to_string());
            return self.refuse(peer, objection, None);
        }
        let session = match self.open_session(peer, None) {
            Ok(session) => session,
            Err(objection) => return self.refuse(peer, objection, None),
        };
        let welcome = Welcome {
            session,
            model: Model::clone(&self.stats.model()),
            contract: Contract::clone(&self.contract),
            fingerprint: self.fingerprint.clone(),
            max_bytes: self.contract.max_request_bytes() as u64,
        };
        info!(client = hello.client, ?session, "a client came");
        self.send(peer, &Response::Welcome(welcome))
    }

    /// Gives a client a session, if there is a place; what it asked before belongs to its old one.
    pub(crate) fn open_session(
        &mut self,
        peer: &Peer,
        style: Option<groot::Style>,
    ) -> Result<Session, Objection> {
        if !self.clients.contains_key(peer) && self.clients.len() >= self.config.max_clients {
            self.clients.retain(|_, client| client.heard.elapsed() < self.config.idle);
            if self.clients.len() >= self.config.max_clients {
                let detail = format!("{} clients are served already", self.clients.len());
                return Err((ErrorCode::Busy, detail));
            }
        }
        self.room.leave(peer);
        let session = Session(rand::random());
        let client = Client { session, last_seq: None, heard: Instant::now(), style };
        self.clients.insert(peer.clone(), client);
        Ok(session)
    }

    pub(crate) fn infer(
        &mut self,
        peer: &Peer,
        infer: Infer,
        decode_micros: u32,
    ) -> Result<(), ServeError> {
        let seq = infer.seq;
        if let Err(objection) = self.admit(peer, &infer) {
            return self.refuse(peer, objection, Some(seq));
        }
        let asker = Asker::Socket(peer.clone());
        let job = Job { asker, infer, decode_micros, since: Instant::now() };
        match self.room.enter(job) {
            Ok(None) => Ok(()),
            Ok(Some(Job { infer, .. })) => {
                let detail = format!("observation {seq} came before the model was free");
                self.refuse(peer, (ErrorCode::Stale, detail), Some(infer.seq))
            }
            Err(Closed) => self.refuse(peer, check::stopping(), Some(seq)),
        }
    }

    /// Whether a request may wait for the model.
    fn admit(&mut self, peer: &Peer, infer: &Infer) -> Result<(), Objection> {
        let client = self.clients.get_mut(peer).ok_or_else(check::unknown_session)?;
        if client.session != infer.session {
            return Err(check::unknown_session());
        }
        let seq = infer.seq;
        match client.last_seq {
            Some(last) if seq == last => {
                return Err((ErrorCode::Replay, format!("request {seq} came before")));
            }
            Some(last) if seq < last => {
                return Err((ErrorCode::Stale, format!("request {last} came before {seq}")));
            }
            _ => client.last_seq = Some(seq),
        }
        check::shape(&self.contract, &infer.stack)
    }

    /// Deals with what other threads told.
    pub(crate) fn hear(&mut self) -> Result<(), ServeError> {
        while let Ok(event) = self.events.try_recv() {
            let (peer, infer, outcome) = match event {
                Event::Answer { peer, infer, outcome } => (peer, infer, outcome),
                Event::Loaded(loaded) => {
                    self.loaded(loaded)?;
                    continue;
                }
                Event::Swapped(model) => {
                    self.swapped(&model)?;
                    continue;
                }
            };
            // A client that said goodbye or hello meanwhile does not want it any more.
            if self.clients.get(&peer).is_none_or(|client| client.session != infer.session) {
                continue;
            }
            match outcome {
                Err(objection) => self.refuse(&peer, objection, Some(infer.seq))?,
                Ok(answered) => self.reply(&peer, &infer, answered)?,
            }
        }
        Ok(())
    }

    fn reply(&mut self, peer: &Peer, infer: &Infer, answered: Answered) -> Result<(), ServeError> {
        if let Some(style) = self.clients.get(peer).and_then(|client| client.style) {
            return self.reply_groot(peer, style, &answered);
        }
        let Answered { prediction, timings, model } = answered;
        let mut reply = Reply {
            session: infer.session,
            seq: infer.seq,
            episode: infer.episode,
            first_tick: infer.tick,
            t_obs_nanos: infer.t_obs_nanos,
            model_hash: model.hash.clone(),
            timings,
            chunk: prediction.chunk,
            attention: prediction.attention,
        };
        // The reply says how long it took to encode, which is known afterwards: a chunk is so
        // small that it is encoded twice.
        let began = Instant::now();
        let mut response = Response::Reply(reply.clone());
        if let Err(error) = encode_response(&response) {
            return self.refuse(peer, (ErrorCode::Internal, error.to_string()), Some(infer.seq));
        }
        reply.timings.encode = micros(began.elapsed());
        self.stats.answered(reply.timings);
        response = Response::Reply(reply);
        self.send(peer, &response)
    }
}
