//! Known weights: what they are, where they come from, and where this machine keeps them.
//!
//! The manifest that engraft is built with names weights that can be pulled; `import` adds files
//! of one's own. Both live in the cache folder: `$ENGRAFT_CACHE`, else `$XDG_CACHE_HOME/engraft`,
//! else `~/.cache/engraft`.
//!
//! ```text
//! weights/<file>          a weight file, as it was published
//! weights/<file>.sha256   what it hashed to when it arrived
//! weights/imported.toml   the manifest of imported files
//! gpu/                    what the command tuned and compiled for GPUs
//! ```

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use engraft_core::hex;
use sha2::{Digest, Sha256};

use crate::{Backbone, WeightsError};

pub use crate::cache::{Cache, Import, Verdict};
pub use crate::manifest::{Source, Weights};
pub use crate::pull::Progress;

/// The folder that everything downloaded goes to.
///
/// # Errors
///
/// When neither `ENGRAFT_CACHE`, `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache_dir() -> Result<PathBuf, WeightsError> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("ENGRAFT_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|dir| dir.join("engraft")))
        .or_else(|| folder("HOME").map(|dir| dir.join(".cache").join("engraft")))
        .ok_or(WeightsError::NoCache)
}

/// Loads named weights from the cache of this machine.
///
/// # Errors
///
/// When the name is unknown, when the weights were not pulled (the message says how), or when
/// the file is damaged.
pub fn load_named(name: &str, device: &Device) -> Result<Backbone, WeightsError> {
    Cache::open()?.load(name, device)
}

/// SHA-256 of a file, in hex.
///
/// # Errors
///
/// When the file cannot be read.
pub fn file_hash(path: &Path) -> Result<String, WeightsError> {
    let error = |source| WeightsError::Io { action: "read weight file", path: path.into(), source };
    let mut file = fs::File::open(path).map_err(error)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(error)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}
