//! The word that lets clients in.
//!
//! It keeps out who does not know it; it hides nothing from who listens on the network.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Characters that a token has at least.
const MIN_LEN: usize = 16;
/// Bytes that its file may have.
const MAX_BYTES: u64 = 4096;

/// A word that only the server and its clients know; it is never printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read token (path: {path:?})")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("expected a token that its owner alone can read, found mode {mode:03o}: `chmod 600 {path}`", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is too easy to guess.
    #[error(
        "expected a token of at least {MIN_LEN} characters, found {found}: `openssl rand -hex 16` makes one (path: {path:?})"
    )]
    Short {
        /// The file.
        path: PathBuf,
        /// Its characters.
        found: usize,
    },
}

impl Token {
    /// A token that someone says.
    pub fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }

    /// The token in a file, without the white space around it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, others can read it too, or it holds too little.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if let Some(mode) = exposed(&file).map_err(failed)? {
            return Err(TokenError::Exposed { path: path.to_owned(), mode });
        }
        let mut word = String::new();
        file.take(MAX_BYTES).read_to_string(&mut word).map_err(failed)?;
        let word = word.trim();
        let found = word.chars().count();
        if found < MIN_LEN {
            return Err(TokenError::Short { path: path.to_owned(), found });
        }
        Ok(Self(word.to_owned()))
    }

    /// Whether a client said this word; how long that takes does not tell how much of it.
    pub fn lets_in(&self, said: Option<&Self>) -> bool {
        let said = said.map_or("", |token| &token.0);
        let [expected, found] = [&self.0, said].map(Sha256::digest);
        expected.iter().zip(&found).fold(0, |all, (one, other)| all | (one ^ other)) == 0
    }
}

/// The permissions of a file, if others than its owner have any.
pub(crate) fn exposed(file: &File) -> io::Result<Option<u32>> {
    let mode = file.metadata()?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// For plain comparison of messages; a server asks [`lets_in`](Token::lets_in).
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.lets_in(Some(other))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn only_the_word_lets_in() {
        let token = Token::new("open sesame, please");
        assert!(token.lets_in(Some(&Token::new("open sesame, please"))));
        for wrong in ["", "open sesame", "open sesame, please!", "Open sesame, please"] {
            assert!(!token.lets_in(Some(&Token::new(wrong))), "{wrong}");
        }
        assert!(!token.lets_in(None));
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn a_token_file_is_private_and_long_enough() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            Token::read(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read(" 0123456789abcdef\n", 0o600), Ok(Token::new("0123456789abcdef")));
        let error = read("0123456789abcdef", 0o644).unwrap_err();
        assert!(error.contains("mode 644") && error.contains("chmod 600"), "{error}");
        assert!(read("short\n", 0o600).unwrap_err().contains("found 5"));
        assert!(matches!(Token::read(&folder.path().join("none")), Err(TokenError::Read { .. })));
    }
}
