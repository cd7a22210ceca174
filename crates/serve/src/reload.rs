//! Another model in place of the one that answers, without a request lost.
//!
//! A thread reads it, tries it out and hands it to the model thread, which goes on with it between
//! two requests; until then the old one answers.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use engraft_wire::{Contract, ErrorCode, Model, Peer, Response, Session};
use tracing::{info, warn};

use crate::check;
use crate::config::ServeError;
use crate::front::{Event, Front};
use crate::model::warm_up;
use crate::predictor::{PredictError, Predictor};
use crate::server::Server;

/// What reads a model anew.
pub(crate) type Loader = Box<dyn FnMut() -> Result<Box<dyn Predictor>, PredictError> + Send>;

/// Starts a thread on some work; the tests have one that cannot.
pub(crate) type Starter = fn(Box<dyn FnOnce() + Send>) -> io::Result<()>;

pub(crate) fn start(work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    thread::Builder::new().name("reload".into()).spawn(work).map(drop)
}

/// Whether a model may be replaced, and who waits for it.
pub(crate) enum Reloading {
    /// Nobody said how.
    No,
    /// When a client asks.
    Ready(Loader),
    /// For this client.
    Underway(Peer),
}

/// A model that was read and tried out, or why there is none; and what reads the next.
pub(crate) struct Loaded {
    loader: Loader,
    model: Result<Box<dyn Predictor>, PredictError>,
}

/// Whether a model can take the place of one with this contract.
fn fits(expected: &Contract, found: &Contract) -> Result<(), PredictError> {
    let spec = expected.spec.check(&found.spec).map_err(|error| error.to_string());
    let counts = |contract: &Contract| (contract.num_frames, contract.horizon);
    let (wanted, got) = (counts(expected), counts(found));
    let same = if wanted == got {
        Ok(())
    } else {
        Err(format!(
            "expected {} frames and {} actions, found {} and {}",
            wanted.0, wanted.1, got.0, got.1
        ))
    };
    spec.and(same).map_err(|detail| {
        PredictError(format!("the run now needs another robot, so it is not taken: {detail}"))
    })
}

impl Server {
    /// Lets clients ask for another model, which `loader` reads; one whose contract is another is
    /// not taken.
    #[must_use]
    pub fn reload_with(
        self,
        loader: impl FnMut() -> Result<Box<dyn Predictor>, PredictError> + Send + 'static,
    ) -> Self {
        self.front().reloading = Reloading::Ready(Box::new(loader));
        self
    }
}

impl Front {
    /// Begins to read the model anew.
    pub(crate) fn reload(&mut self, peer: &Peer, session: Session) -> Result<(), ServeError> {
        if self.clients.get(peer).is_none_or(|client| client.session != session) {
            return self.refuse(peer, check::unknown_session(), None);
        }
        let before = std::mem::replace(&mut self.reloading, Reloading::Underway(peer.clone()));
        let loader = match before {
            Reloading::Ready(loader) => loader,
            other => {
                let objection = if let Reloading::No = other {
                    let detail = "no client may change the model: start with --allow-reload";
                    (ErrorCode::BadFrame, detail.to_owned())
                } else {
                    (ErrorCode::Busy, "the model is being read anew already".into())
                };
                self.reloading = other;
                return self.refuse(peer, objection, None);
            }
        };
        info!("reading the run anew");
        // The thread is given the loader once it is there: without one, it is kept for next time.
        let (giver, given) = channel();
        match self.start_reader(given) {
            // A thread that is gone already has told why.
            Ok(()) => drop(giver.send(loader)),
            Err(error) => {
                self.reloading = Reloading::Ready(loader);
                let detail =
                    format!("cannot start to read the run, the model before goes on: {error}");
                return self.refuse(peer, (ErrorCode::Internal, detail), None);
            }
        }
        Ok(())
    }

    /// Starts the thread that reads the model anew with the loader that it will be given.
    fn start_reader(&self, given: Receiver<Loader>) -> io::Result<()> {
        let room = self.room.clone();
        let (sender, contract) = (self.sender.clone(), self.contract.clone());
        let times = self.config.warm_up;
        (self.starter)(Box::new(move || {
            let Ok(mut loader) = given.recv() else { return };
            let model = loader().and_then(|mut model| {
                fits(&contract, &model.contract())?;
                warm_up(&mut *model, &contract, times)?;
                Ok(model)
            });
            // A server that is gone needs no model.
            let _ = sender.send(Event::Loaded(Loaded { loader, model }));
            room.wake_server();
        }))
    }

    /// Hands a model that was read to the model thread, or says why there is none.
    pub(crate) fn loaded(&mut self, Loaded { loader, model }: Loaded) -> Result<(), ServeError> {
        match model {
            Ok(model) => {
                // The answer follows once it is at work.
                self.loader = Some(loader);
                self.room.swap(model);
                Ok(())
            }
            Err(PredictError(detail)) => {
                warn!(detail, "the run was not taken, the model before goes on");
                let before = std::mem::replace(&mut self.reloading, Reloading::Ready(loader));
                let Reloading::Underway(peer) = before else { return Ok(()) };
                self.refuse(&peer, (ErrorCode::Internal, detail), None)
            }
        }
    }

    /// Tells who asked for it that another model is at work.
    pub(crate) fn swapped(&mut self, model: &Arc<Model>) -> Result<(), ServeError> {
        info!(model = model.name, hash = model.hash, "another model answers");
        self.stats.set_model(model.clone());
        let ready = self.loader.take().map_or(Reloading::No, Reloading::Ready);
        let before = std::mem::replace(&mut self.reloading, ready);
        let Reloading::Underway(peer) = before else { return Ok(()) };
        self.send(&peer, &Response::Reloaded(Model::clone(model)))
    }
}

#[cfg(test)]
mod tests;
