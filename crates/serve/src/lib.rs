//! The policy server: a request in, a chunk out.
//!
//! One thread sits on the socket, another, called `model`, on the [`Predictor`]. The first never
//! waits for the second: hellos, pings and questions for the status are answered while a policy
//! infers. Of each client's observations the latest waits for the model, and those that it
//! replaces are answered `STALE` at once. The server holds one policy and no episode: a request
//! carries its whole frame stack.
//!
//! Clients speak the native dialect or GR00T's over ZeroMQ, or openpi's over WebSocket, where each
//! has a thread of its own; what they ask goes through the same room and the same checks.
//!
//! ```text
//! client ══► socket thread ──► waiting room ──► model thread
//!        ◄══               ◄── answers ◄──────┘
//! ```

mod check;
mod checkpoint;
mod config;
mod front;
mod groot;
mod model;
mod predictor;
mod reload;
mod room;
mod server;
mod stats;
#[cfg(test)]
mod tests;
mod web;

pub use checkpoint::Remembering;
pub use config::{ServeError, ServerConfig};
pub use predictor::{PredictError, Prediction, Predictor};
pub use server::Server;
