//! Who may connect: the answer to ZeroMQ's question, by its authentication protocol (RFC 27).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::curve::KnownClients;

/// How often a stop is looked for.
const TICK_MILLIS: i32 = 100;

/// A thread that answers for the sockets of one context, until it is dropped.
pub(crate) struct Doorkeeper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Doorkeeper {
    /// Lets in the clients of `context` that are known. Must be there before a socket listens.
    pub(crate) fn start(context: &zmq::Context, clients: KnownClients) -> Result<Self, zmq::Error> {
        let socket = context.socket(zmq::REP)?;
        socket.set_linger(0)?;
        socket.set_rcvtimeo(TICK_MILLIS)?;
        socket.bind("inproc://zeromq.zap.01")?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = thread::Builder::new().name("doorkeeper".into()).spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                // A question that cannot be read is none, and one without an answer lets nobody in.
                if let Ok(question) = socket.recv_multipart(0) {
                    let _ = socket.send_multipart(answer(&question, &clients), 0);
                }
            }
        });
        let no_thread = |error: io::Error| {
            error.raw_os_error().map_or(zmq::Error::EAGAIN, zmq::Error::from_raw)
        };
        Ok(Self { stop, thread: Some(thread.map_err(no_thread)?) })
    }
}

impl Drop for Doorkeeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that panicked has ended all the same.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Version, request, domain, address, identity, mechanism, key; back go version, request, status,
/// words, the client's name, and nothing more about it.
fn answer(question: &[Vec<u8>], clients: &KnownClients) -> [Vec<u8>; 6] {
    let name = match question {
        [version, _, _, _, _, mechanism, key] if version == b"1.0" && mechanism == b"CURVE" => {
            clients.name(key)
        }
        _ => None,
    };
    let (status, words) = if name.is_some() { ("200", "OK") } else { ("400", "unknown key") };
    let request = question.get(1).cloned().unwrap_or_default();
    let name = name.unwrap_or_default().into_bytes();
    [b"1.0".to_vec(), request, status.into(), words.into(), name, Vec::new()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::PublicKey;

    #[test]
    fn only_known_keys_are_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let key: PublicKey = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID".parse().unwrap();
        let certificate = format!("metadata\ncurve\n    public-key = \"{key}\"\n");
        std::fs::write(folder.path().join("arm.key"), certificate).unwrap();
        let clients = KnownClients::open(folder.path()).unwrap();
        let ask = |version: &str, mechanism: &str, key: &[u8]| {
            let parts = [version, "7", "engraft", "127.0.0.1", "", mechanism];
            let question: Vec<Vec<u8>> =
                parts.iter().map(|part| part.as_bytes().to_vec()).chain([key.to_vec()]).collect();
            let [_, request, status, _, name, _] = answer(&question, &clients);
            assert_eq!(request, b"7");
            (String::from_utf8(status).unwrap(), String::from_utf8(name).unwrap())
        };
        assert_eq!(ask("1.0", "CURVE", &key.0), ("200".into(), "arm".into()));
        for (version, mechanism, key) in
            [("1.0", "CURVE", &[0; 32][..]), ("1.0", "PLAIN", &key.0), ("2.0", "CURVE", &key.0)]
        {
            assert_eq!(ask(version, mechanism, key).0, "400");
        }
        assert_eq!(answer(&[], &clients)[2], b"400");
    }
}
