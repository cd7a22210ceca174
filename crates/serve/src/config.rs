//! How a server is set up, and why it cannot go on.

use std::io;
use std::time::Duration;

use engraft_wire::{Access, Keys, SocketError, Token};

use crate::predictor::PredictError;

/// Where and how a server listens.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// As `tcp://127.0.0.1:5555`; the port `*` picks a free one.
    pub endpoint: String,
    /// Where clients of openpi may come, as `127.0.0.1:8000`; nowhere if absent.
    pub openpi: Option<String>,
    /// Who may reach it. Clients of openpi are never encrypted: for them CURVE is as this machine
    /// alone.
    pub access: Access,
    /// Clients at a time; one more is told `BUSY`, unless another has been silent for long.
    pub max_clients: usize,
    /// Silence after which a client's place may go to another.
    pub idle: Duration,
    /// What a stop waits for: the answers to all that has come in by then.
    pub drain: Duration,
    /// The word that every client must say, where there is one.
    pub token: Option<Token>,
    /// What clients of other stacks call the parts of proprio and of an action, where that is not
    /// [`Keys::of`] the contract.
    pub keys: Option<Keys>,
    /// Made-up observations that the policy answers before the first client's: the first few take
    /// far longer than the rest.
    pub warm_up: usize,
    /// Requests that the policy answers together where as many wait; 1 is one after the other. It
    /// pays where a further answer takes at most half as long as one alone.
    pub batch: usize,
    /// What an answer should take at most, from its arrival on; later ones are counted.
    pub slo: Option<Duration>,
    /// Whether a client of GR00T's dialect may stop the server.
    pub allow_kill: bool,
}

impl ServerConfig {
    /// The defaults at an endpoint.
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            openpi: None,
            access: Access::Loopback,
            max_clients: 64,
            idle: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            token: None,
            keys: None,
            warm_up: 0,
            batch: 1,
            slo: None,
            allow_kill: false,
        }
    }
}

/// Why a server cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The socket fails.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Nobody can listen there for clients of openpi.
    #[error("cannot listen on {address} for clients of openpi: name another as HOST:PORT")]
    Web {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The policy does not answer what it was trained for.
    #[error("the policy fails at its warm-up")]
    WarmUp(#[source] PredictError),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The model's thread is gone.
    #[error("the model thread ended by itself")]
    ModelGone,
}
