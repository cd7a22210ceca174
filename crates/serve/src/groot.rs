//! Clients that speak GR00T's dialect: they open no session, count nothing and wait for each answer.

use std::sync::atomic::Ordering;

use engraft_wire::groot::{self, Ask, Call, Style};
use engraft_wire::{ErrorCode, Infer, Peer, Timings};

use crate::check::{self, Objection};
use crate::config::ServeError;
use crate::front::Front;
use crate::model::{Answered, encoded};

impl Front {
    /// Answers a call, or lets it wait for the model.
    pub(crate) fn groot(
        &mut self,
        peer: &Peer,
        Call { token, ask }: Call,
        decode_micros: u32,
    ) -> Result<(), ServeError> {
        if !check::token(self.config.token.as_ref(), token.as_ref()) {
            self.stats.refuse(ErrorCode::Unauthorized, "the token is not the server's");
            // In the words of the original, which clients look for.
            return self.tell(peer, groot::error("Unauthorized: Invalid API token"));
        }
        let frame = match ask {
            Ok(Ask::Ping) => groot::alive(),
            Ok(Ask::Kill) if self.config.allow_kill => {
                self.killed.store(true, Ordering::Relaxed);
                groot::done()
            }
            Ok(Ask::Kill) => {
                let detail = "no client may stop this server: start it with --allow-kill";
                return self.refuse_groot(peer, (ErrorCode::BadFrame, detail.into()));
            }
            Ok(Ask::Modality) => {
                let style = self.clients.get(peer).and_then(|client| client.style);
                groot::modality(&self.keys, style.is_some_and(Style::is_old))
            }
            Ok(Ask::Reset) => {
                self.room.leave(peer);
                groot::done()
            }
            Ok(Ask::Act(..)) if !self.open => {
                return self.refuse_groot(peer, check::stopping());
            }
            Ok(Ask::Act(stack, style)) => return self.act(peer, stack, style, decode_micros),
            Ok(_) => {
                let objection = (ErrorCode::BadFrame, "this endpoint is not served".into());
                return self.refuse_groot(peer, objection);
            }
            Err(error) => {
                return self.refuse_groot(peer, check::unreadable(&error, &self.keys));
            }
        };
        self.tell(peer, frame)
    }

    fn act(
        &mut self,
        peer: &Peer,
        stack: Vec<engraft_core::Observation>,
        style: Style,
        decode_micros: u32,
    ) -> Result<(), ServeError> {
        if !self.clients.contains_key(peer)
            && let Err(objection) = self.open_session(peer, Some(style))
        {
            return self.refuse_groot(peer, objection);
        }
        let Some(client) = self.clients.get_mut(peer) else { return Ok(()) };
        client.style = Some(style);
        let infer = Infer::bare(client.session, client.last_seq.map_or(0, |last| last + 1), stack);
        self.infer(peer, infer, decode_micros)
    }

    pub(crate) fn refuse_groot(
        &mut self,
        peer: &Peer,
        (code, detail): Objection,
    ) -> Result<(), ServeError> {
        self.stats.refuse(code, &detail);
        self.tell(peer, groot::error(&format!("{}: {detail}", code.name())))
    }

    pub(crate) fn reply_groot(
        &mut self,
        peer: &Peer,
        style: Style,
        answered: &Answered,
    ) -> Result<(), ServeError> {
        let Answered { prediction, model, .. } = answered;
        let mut timings = answered.timings;
        let encode = |timings: Timings| {
            groot::actions(style, &self.keys, &prediction.chunk, model, &timings)
        };
        let frame = encoded(&mut timings, encode);
        self.stats.answered(timings);
        self.tell(peer, frame)
    }

    fn tell(&mut self, peer: &Peer, frame: Vec<u8>) -> Result<(), ServeError> {
        self.socket.send_frames(peer, vec![frame])?;
        Ok(())
    }
}
