//! One camera that sends motion JPEG over HTTP, listened to by a thread of its own.

use std::fmt;
use std::io::Read;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::multipart::Multipart;

/// How long a camera may take to answer, or to go on.
const SILENCE: Duration = Duration::from_secs(2);
/// Between two attempts to reach it.
const AGAIN: Duration = Duration::from_millis(300);
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// A camera's name and where it is: `front=http://127.0.0.1:8080/stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraAddress {
    /// Its name, as the dataset and the policy have it.
    pub name: String,
    /// Where its stream is.
    pub url: String,
}

impl FromStr for CameraAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected NAME=http://HOST:PORT/PATH, found `{text}`");
        let (name, url) = text.split_once('=').ok_or_else(wrong)?;
        if name.is_empty() || !(url.starts_with("http://") && url.len() > "http://".len()) {
            return Err(wrong());
        }
        Ok(Self { name: name.into(), url: url.into() })
    }
}

impl fmt::Display for CameraAddress {
    /// Without the password that the address may have in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, _) = credentials(&self.url);
        write!(f, "{} at {url}", self.name)
    }
}

/// The address without a name and password, and these.
fn credentials(url: &str) -> (String, Option<(&str, &str)>) {
    let plain = || (url.to_owned(), None);
    let Some((scheme, rest)) = url.split_once("://") else { return plain() };
    let host = rest.split('/').next().unwrap_or_default();
    let Some((who, _)) = host.rsplit_once('@') else { return plain() };
    let address = format!("{scheme}://{}", rest.get(who.len() + 1..).unwrap_or_default());
    (address, Some(who.split_once(':').unwrap_or((who, ""))))
}

/// The newest picture of a camera, as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Shot {
    pub(super) jpeg: Arc<Vec<u8>>,
    /// Counted from 1.
    pub(super) number: u64,
    /// When it came.
    pub(super) came: Instant,
    /// When the first of the pictures came that are the same as this one, byte for byte.
    pub(super) same_since: Instant,
}

#[derive(Debug, Default)]
struct Shared {
    newest: Mutex<Option<Shot>>,
    trouble: Mutex<Option<String>>,
    stop: AtomicBool,
}

/// A camera that is listened to. When it goes away it is looked for until it is back.
#[derive(Debug)]
pub(super) struct Camera {
    pub(super) address: CameraAddress,
    pub(super) opened: Instant,
    shared: Arc<Shared>,
}

impl Camera {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn open(address: CameraAddress) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (listener, url) = (shared.clone(), address.url.clone());
        let thread = thread::Builder::new().name(format!("camera-{}", address.name));
        thread.spawn(move || {
            while !listener.stop.load(Ordering::Relaxed) {
                let why = listen(&url, &listener).err().unwrap_or_default();
                *lock(&listener.trouble) = Some(why);
                thread::sleep(AGAIN);
            }
        })?;
        Ok(Self { address, opened: Instant::now(), shared })
    }

    pub(super) fn newest(&self) -> Option<Shot> {
        lock(&self.shared.newest).clone()
    }

    /// What went wrong last, since a picture came.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.shared.trouble).clone()
    }
}

impl Drop for Camera {
    /// The thread ends when the next bytes come, or do not.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes pictures until there are no more, and says why.
fn listen(url: &str, shared: &Shared) -> Result<(), String> {
    let (address, who) = credentials(url);
    let mut request = attohttpc::get(&address).connect_timeout(SILENCE).read_timeout(SILENCE);
    if let Some((name, password)) = who {
        request = request.basic_auth(name, Some(password));
    }
    let answer = request.send().map_err(|error| error.to_string())?;
    let (status, headers, mut body) = answer.split();
    if !status.is_success() {
        return Err(format!("it answers {status}"));
    }
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut stream = Multipart::new(kind).map_err(|error| error.to_string())?;
    let mut piece = vec![0; PIECE];
    while !shared.stop.load(Ordering::Relaxed) {
        let len = body.read(&mut piece).map_err(|error| error.to_string())?;
        if len == 0 {
            return Err("it closed the connection".into());
        }
        stream.push(piece.get(..len).unwrap_or_default());
        while let Some(jpeg) = stream.next().map_err(|error| error.to_string())? {
            keep(jpeg, shared);
        }
    }
    Ok(())
}

fn keep(jpeg: Vec<u8>, shared: &Shared) {
    let came = Instant::now();
    let mut newest = lock(&shared.newest);
    let same = newest.as_ref().filter(|last| *last.jpeg == jpeg).map(|last| last.same_since);
    let number = newest.as_ref().map_or(0, |last| last.number) + 1;
    let same_since = same.unwrap_or(came);
    *newest = Some(Shot { jpeg: Arc::new(jpeg), number, came, same_since });
    drop(newest);
    *lock(&shared.trouble) = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_name_and_a_place() {
        let address: CameraAddress = "front=http://10.0.0.7:8080/stream?a=b".parse().unwrap();
        assert_eq!(address.name, "front");
        assert_eq!(address.url, "http://10.0.0.7:8080/stream?a=b");
        for wrong in ["front", "=http://x", "front=/dev/video0", "front=https://x", "front=http://"]
        {
            let error = wrong.parse::<CameraAddress>().unwrap_err();
            assert_eq!(error, format!("expected NAME=http://HOST:PORT/PATH, found `{wrong}`"));
        }
    }

    #[test]
    fn a_password_is_used_and_not_shown() {
        let address: CameraAddress = "top=http://me:se:cr@host:80/@x".parse().unwrap();
        assert_eq!(address.to_string(), "top at http://host:80/@x");
        assert_eq!(credentials(&address.url).1, Some(("me", "se:cr")));
        assert_eq!(credentials("http://host/a@b"), ("http://host/a@b".into(), None));
    }
}
