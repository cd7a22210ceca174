//! CURVE: who a server and its clients are, proved by keys, and what they say, encrypted.
//!
//! Keys are kept in certificates, the files that `zmq.auth.create_certificates` of pyzmq writes and
//! reads: `NAME.key` holds the public key, `NAME.key_secret` both, for its owner alone.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::token::exposed;

/// Bytes that a certificate may have.
const MAX_BYTES: u64 = 4096;
/// Certificates that a folder of clients may hold.
const MAX_CLIENTS: usize = 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// ZeroMQ was built without it.
    #[error(
        "the ZeroMQ that this program was built with has no CURVE: build with \
         `--config crates/wire/system-zmq.toml` and Debian's libzmq3-dev"
    )]
    NoCurve,
    /// A file or folder cannot be read or written.
    #[error("cannot {what} (path: {path:?})")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read a secret.
    #[error("expected a secret key that its owner alone can read, found mode {mode:03o}: `chmod 600 {path}`", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is no certificate.
    #[error(
        "expected a certificate with a {expected} of 40 characters, found none (path: {path:?})"
    )]
    Certificate {
        /// `public-key` or `secret-key`.
        expected: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The text is no key.
    #[error("expected a key of 40 characters in Z85, found `{found}`")]
    Text {
        /// As it was given.
        found: String,
    },
}

/// Whether the ZeroMQ that this program is linked with has CURVE.
pub fn has_curve() -> bool {
    zmq::has("curve").unwrap_or(false)
}

fn needs_curve() -> Result<(), KeyError> {
    if has_curve() { Ok(()) } else { Err(KeyError::NoCurve) }
}

/// Who someone is; shown as 40 characters of Z85.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub(crate) [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&z85(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        bytes(text).map(Self).ok_or_else(|| KeyError::Text { found: text.to_owned() })
    }
}

impl PublicKey {
    /// The public key in a certificate, public or secret.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds none.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = read(&mut open(path)?, path)?;
        field(&text, "public-key", path).map(Self)
    }
}

/// Who one is, with the proof of it, which is never printed.
#[derive(Clone)]
pub struct KeyPair {
    pub(crate) public: PublicKey,
    pub(crate) secret: [u8; 32],
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// A new one.
    ///
    /// # Errors
    ///
    /// When ZeroMQ has no CURVE.
    pub fn new() -> Result<Self, KeyError> {
        needs_curve()?;
        let pair = zmq::CurveKeyPair::new().map_err(|_| KeyError::NoCurve)?;
        Ok(Self { public: PublicKey(pair.public_key), secret: pair.secret_key })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The pair in a secret certificate.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, others can read it too, or it holds no pair.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let mut file = open(path)?;
        if let Some(mode) = exposed(&file).map_err(failed("read key", path))? {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let text = read(&mut file, path)?;
        let public = PublicKey(field(&text, "public-key", path)?);
        Ok(Self { public, secret: field(&text, "secret-key", path)? })
    }

    /// Writes `NAME.key` and `NAME.key_secret`, for a `name` that may begin with folders; what is
    /// there already is left as it is.
    ///
    /// # Errors
    ///
    /// When a file cannot be written or is there already.
    pub fn write(&self, name: &Path) -> Result<[PathBuf; 2], KeyError> {
        let with = |ending: &str| {
            let mut path = name.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        };
        let files = [with(".key"), with(".key_secret")];
        let secret = format!("    secret-key = \"{}\"\n", z85(&self.secret));
        // The secret one first: a public key alone could be handed out, and would be of no use.
        for (path, mode, secret) in [(&files[1], 0o600, &*secret), (&files[0], 0o644, "")] {
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(mode).open(path);
            let mut file = file.map_err(failed("write key", path))?;
            let public = self.public;
            let text = format!("metadata\ncurve\n    public-key = \"{public}\"\n{secret}");
            file.write_all(text.as_bytes()).map_err(failed("write key", path))?;
        }
        Ok(files)
    }
}

/// The clients that a server knows: a folder of public certificates, or one of them.
///
/// It is read anew for each client that connects: a file added or removed counts at once, for
/// conversations that begin afterwards.
#[derive(Debug, Clone)]
pub struct KnownClients(PathBuf);

impl KnownClients {
    /// Those of a folder or file, which must hold at least one.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or holds what is no certificate, or none.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let known = Self(path.to_owned());
        if known.keys()?.is_empty() {
            let path = path.join("NAME.key");
            return Err(KeyError::Certificate { expected: "public-key", path });
        }
        Ok(known)
    }

    /// Each certificate's name and key, in the order of names.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or is no certificate.
    pub fn keys(&self) -> Result<Vec<(String, PublicKey)>, KeyError> {
        let named =
            |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if self.0.is_file() {
            return Ok(vec![(named(&self.0), PublicKey::read(&self.0)?)]);
        }
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(failed("read folder of keys", &self.0))? {
            let path = entry.map_err(failed("read folder of keys", &self.0))?.path();
            if path.extension().is_some_and(|ending| ending == "key") && paths.len() < MAX_CLIENTS {
                paths.push(path);
            }
        }
        paths.sort();
        paths.iter().map(|path| Ok((named(path), PublicKey::read(path)?))).collect()
    }

    /// The name of a client that is known. A folder with a damaged file knows nobody.
    pub(crate) fn name(&self, key: &[u8]) -> Option<String> {
        let keys = self.keys().ok()?;
        keys.into_iter().find_map(|(name, known)| (known.0 == key).then_some(name))
    }
}

/// What a server needs for CURVE.
#[derive(Debug, Clone)]
pub struct ServerKeys {
    /// Its own pair.
    pub own: KeyPair,
    /// Whom it lets in.
    pub clients: KnownClients,
}

/// What a client needs for CURVE.
#[derive(Debug, Clone)]
pub struct ClientKeys {
    /// Its own pair.
    pub own: KeyPair,
    /// Whom it talks to, and to nobody else.
    pub server: PublicKey,
}

impl ClientKeys {
    /// From a server's public certificate and a client's secret one.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or ZeroMQ has no CURVE.
    pub fn read(server: &Path, client: &Path) -> Result<Self, KeyError> {
        needs_curve()?;
        Ok(Self { own: KeyPair::read(client)?, server: PublicKey::read(server)? })
    }

    pub(crate) fn apply(&self, socket: &zmq::Socket) -> zmq::Result<()> {
        socket.set_curve_serverkey(&self.server.0)?;
        socket.set_curve_publickey(&self.own.public.0)?;
        socket.set_curve_secretkey(&self.own.secret)
    }
}

impl ServerKeys {
    /// From a server's secret certificate and its clients' public ones.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or ZeroMQ has no CURVE.
    pub fn read(own: &Path, clients: &Path) -> Result<Self, KeyError> {
        needs_curve()?;
        Ok(Self { own: KeyPair::read(own)?, clients: KnownClients::open(clients)? })
    }

    pub(crate) fn apply(&self, socket: &zmq::Socket) -> zmq::Result<()> {
        socket.set_zap_domain("engraft")?;
        socket.set_curve_server(true)?;
        socket.set_curve_publickey(&self.own.public.0)?;
        socket.set_curve_secretkey(&self.own.secret)
    }
}

fn z85(key: &[u8; 32]) -> String {
    // 32 is a multiple of 4, which is all that it asks for.
    zmq::z85_encode(key).unwrap_or_default()
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    // The decoder trusts its input to be printable.
    let printable = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_graphic());
    zmq::z85_decode(text).ok().filter(|_| printable)?.try_into().ok()
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> KeyError + 'a {
    move |source| KeyError::File { what, path: path.to_owned(), source }
}

fn open(path: &Path) -> Result<File, KeyError> {
    File::open(path).map_err(failed("read key", path))
}

fn read(file: &mut File, path: &Path) -> Result<String, KeyError> {
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(failed("read key", path))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A key out of a certificate: `name = "..."` below `curve`.
fn field(text: &str, name: &'static str, path: &Path) -> Result<[u8; 32], KeyError> {
    let entries = text.lines().map(str::trim).skip_while(|line| *line != "curve");
    let value = entries.filter_map(|line| line.split_once('=')).find_map(|(key, value)| {
        (key.trim() == name).then(|| value.trim().trim_matches(['"', '\'']))
    });
    value
        .and_then(bytes)
        .ok_or_else(|| KeyError::Certificate { expected: name, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Written by pyzmq 27.3.
    const PUBLIC: &str = "#   ****  Generated on 2026-11-24 by pyzmq  ****\n#   ZeroMQ CURVE Public \
        Certificate\n\nmetadata\ncurve\n    public-key = \"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID\"\n";

    fn pair() -> KeyPair {
        // The pair of the specification of ZMTP's reference manual, zmq_curve(7).
        let public = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID".parse().unwrap();
        KeyPair { public, secret: bytes("D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs").unwrap() }
    }

    #[test]
    fn a_pair_comes_back_from_its_files_and_nobody_else_can_read_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("robot.7");
        let [public, secret] = pair().write(&name).unwrap();
        assert!(public.ends_with("robot.7.key") && secret.ends_with("robot.7.key_secret"));
        assert_eq!(PublicKey::read(&public).unwrap(), pair().public());
        let read = KeyPair::read(&secret).unwrap();
        assert_eq!((read.public, read.secret), (pair().public, pair().secret));
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&public).unwrap().contains("secret"));
        assert!(!format!("{read:?}").contains("D:)Q"), "{read:?}");

        let again = pair().write(&name).unwrap_err();
        assert!(matches!(again, KeyError::File { what: "write key", .. }), "{again}");
        fs::set_permissions(&secret, Permissions::from_mode(0o640)).unwrap();
        let error = KeyPair::read(&secret).unwrap_err().to_string();
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
        let error = KeyPair::read(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("cannot read key"), "{error}");
    }

    #[test]
    fn certificates_of_pyzmq_are_read_and_what_is_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("them.key");
        let read = |text: &[u8]| {
            fs::write(&path, text).unwrap();
            PublicKey::read(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read(PUBLIC.as_bytes()), Ok(pair().public));
        let before = PUBLIC.replace("curve\n", "");
        for wrong in [&b""[..], b"\xff\xfe", before.as_bytes(), &PUBLIC.as_bytes()[..120]] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("public-key of 40 characters"), "{error}");
        }
        for wrong in ["", "short", &"\u{e9}".repeat(20), &" ".repeat(40)] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_folder_knows_its_certificates_until_one_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let error = KnownClients::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("NAME.key"), "{error}");
        pair().write(&folder.path().join("arm")).unwrap();
        let known = KnownClients::open(folder.path()).unwrap();
        assert_eq!(known.name(&pair().public.0).as_deref(), Some("arm"));
        assert_eq!(known.name(&[7; 32]), None);
        let file = KnownClients::open(&folder.path().join("arm.key")).unwrap();
        assert_eq!(file.keys().unwrap(), [("arm".to_owned(), pair().public)]);
        fs::write(folder.path().join("bad.key"), "nothing").unwrap();
        assert_eq!(known.name(&pair().public.0), None);
        assert!(KnownClients::open(&folder.path().join("none")).is_err());
    }
}
