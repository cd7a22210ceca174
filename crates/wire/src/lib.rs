//! What crosses the socket between a policy server and a robot, and what is kept of it.
//!
//! [`message`] is plain data; [`native`] turns it into frames and back and describes the protocol
//! for those who speak it from another language; [`socket`] carries frames over ZeroMQ; [`log`]
//! keeps what happened. Who may take part is proved by keys, made and kept as CURVE's certificates.

mod arrays;
mod curve;
mod desk;
mod endpoint;
mod error;
pub mod groot;
pub mod journal;
mod keys;
pub mod log;
pub mod message;
mod msgpack;
pub mod native;
pub mod ndarray;
mod npy;
pub mod openpi;
pub mod operator;
pub mod simulator;
pub mod socket;
#[cfg(test)]
mod tests;
mod token;
mod wake;
mod zap;

pub use curve::{ClientKeys, KeyError, KeyPair, KnownClients, PublicKey, ServerKeys, has_curve};
pub use desk::{Asked, Operator, OperatorDesk, OperatorSocket, Publisher, Subscriber};
pub use endpoint::{SocketError, is_loopback};
pub use error::WireError;
pub use keys::{Keys, KeysError, Parts};
pub use log::{LogError, LogWriter, Recording, read_log};
pub use message::{
    Contract, ErrorCode, Hello, Infer, Model, Percentiles, Refusal, Reply, Request, Response,
    Session, Status, Timings, Welcome,
};
pub use native::{decode_request, decode_response, encode_request, encode_response};
pub use simulator::{SimulatorDesk, SimulatorSocket};
pub use socket::{Access, ClientSocket, Frame, Incoming, Peer, ServerSocket};
pub use token::{Token, TokenError};
pub use wake::{Waker, Watch};
