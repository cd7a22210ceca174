//! Where a socket listens, who can reach it, and why it failed.

use std::time::Duration;

use crate::error::WireError;

/// Why a socket failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The endpoint has no form that is known.
    #[error(
        "cannot use endpoint `{endpoint}`, expected tcp://HOST:PORT, ipc://PATH or inproc://NAME"
    )]
    Endpoint {
        /// As it was given.
        endpoint: String,
    },
    /// The endpoint can be reached from other machines.
    #[error(
        "`{endpoint}` can be reached from other machines and messages are not encrypted: bind \
         tcp://127.0.0.1:PORT, give --curve-key and --curve-clients, or allow it with \
         --insecure-plaintext"
    )]
    Exposed {
        /// As it was given.
        endpoint: String,
    },
    /// The endpoint cannot be listened on.
    #[error("cannot listen on `{endpoint}`")]
    Bind {
        /// As it was given.
        endpoint: String,
        /// ZeroMQ's reason.
        source: zmq::Error,
    },
    /// The endpoint cannot be connected to.
    #[error("cannot connect to `{endpoint}`")]
    Connect {
        /// As it was given.
        endpoint: String,
        /// ZeroMQ's reason.
        source: zmq::Error,
    },
    /// Nobody took or answered a message in time.
    #[error("no answer from `{endpoint}` within {waited:?}")]
    Timeout {
        /// Who was asked.
        endpoint: String,
        /// For how long.
        waited: Duration,
    },
    /// Nobody took or answered an encrypted message in time.
    #[error(
        "no answer from `{endpoint}` within {waited:?}: is the server's key the one it has, and \
         this client's among those it knows?"
    )]
    Unheard {
        /// Who was asked.
        endpoint: String,
        /// For how long.
        waited: Duration,
    },
    /// A message could not be written or read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// ZeroMQ failed.
    #[error("socket failure")]
    Socket(#[from] zmq::Error),
}

/// Whether only this machine can reach an endpoint.
///
/// ```
/// use engraft_wire::is_loopback;
///
/// assert!(is_loopback("tcp://127.0.0.1:5555").unwrap());
/// assert!(!is_loopback("tcp://*:5555").unwrap());
/// assert!(is_loopback("udp://127.0.0.1:5555").is_err());
/// ```
///
/// # Errors
///
/// When the endpoint has no form that is known.
pub fn is_loopback(endpoint: &str) -> Result<bool, SocketError> {
    let bad = || SocketError::Endpoint { endpoint: endpoint.to_owned() };
    let (scheme, address) = endpoint.split_once("://").ok_or_else(bad)?;
    match scheme {
        "ipc" | "inproc" if !address.is_empty() => Ok(true),
        "tcp" => {
            let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
            if port != "*" && port.parse::<u16>().is_err() {
                return Err(bad());
            }
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let address = host.parse::<std::net::IpAddr>();
            Ok(host == "localhost" || address.is_ok_and(|address| address.is_loopback()))
        }
        _ => Err(bad()),
    }
}
