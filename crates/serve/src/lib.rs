//! The policy server: a request in, a chunk out.
//!
//! Two threads listen at the socket, the server's and one called `model`, on which the
//! [`Predictor`] is. Whoever hears a message deals with it; with nothing else to do that is the
//! model's, so that no thread has to wake another on the way of a request and its answer. While a
//! policy infers, the server's thread answers hellos, pings and questions for the status. Of each
//! client's observations the latest waits for the model, and those that it replaces are answered
//! `STALE` at once. The server holds one policy and no episode: a request carries its whole frame
//! stack.
//!
//! Clients speak the native dialect or GR00T's over ZeroMQ, or openpi's over WebSocket, where each
//! has a thread of its own; what they ask goes through the same room and the same checks.
//!
//! ```text
//! client ══► front ──► waiting room ──► model
//!        ◄════════════════════════════════┘
//! ```

mod check;
mod checkpoint;
mod config;
mod door;
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
