//! Where the files of a zarr dataset lie: in a folder or in a zip archive.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;
use zip::result::ZipError;

use crate::DatasetError;
use crate::files;

/// How deep groups may lie inside each other.
const MAX_DEPTH: usize = 8;

/// Metadata files above this are damage.
pub(super) const MAX_METADATA: u64 = 1 << 20;

/// The files of a dataset, each with a key such as `data/action/0.0`.
pub(super) enum Store {
    /// One file per key.
    Folder(PathBuf),
    /// One entry per key, below `prefix`.
    Zip { path: PathBuf, archive: ZipArchive<Shared>, prefix: String },
}

/// One file as a fingerprint needs it.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) num_bytes: u64,
    /// Its checksum, where the store keeps one.
    pub(super) crc: u32,
}

impl Store {
    /// Opens the folder or the archive at `path`; an archive's list of entries is read.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let file = File::open(path).map_err(DatasetError::read(path))?;
        let len = file.metadata().map_err(DatasetError::read(path))?.len();
        let reader = Shared { file: Arc::new(file), at: 0, len };
        let archive =
            guarded(|| ZipArchive::new(reader)).map_err(DatasetError::file("zip", path))?;
        let marker = "meta/episode_ends/.zarray";
        let names = archive.file_names().flatten(); // what is no text is none of ours
        let prefixes = names.filter_map(|name| name.strip_suffix(marker).map(str::to_owned));
        let prefixes = prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('/'));
        let prefix = prefixes.min_by_key(String::len).unwrap_or_default();
        Ok(Self::Zip { path: path.to_owned(), archive, prefix })
    }

    /// Where `key` lies, for messages.
    pub(super) fn path_of(&self, key: &str) -> PathBuf {
        match self {
            Self::Folder(root) => root.join(key),
            Self::Zip { path, prefix, .. } => path.join(prefix).join(key),
        }
    }

    /// The bytes of `key`, at most `limit` of them; none where there is no such file.
    pub(super) fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, DatasetError> {
        let path = self.path_of(key);
        let found = match self {
            Self::Folder(_) => read_file(&path, limit).map_err(DatasetError::read(&path))?,
            Self::Zip { archive, prefix, .. } => {
                let mut archive = archive.clone();
                guarded(|| read_entry(&mut archive, &format!("{prefix}{key}"), limit))
                    .map_err(DatasetError::file("zip", &path))?
            }
        };
        match found {
            Some(bytes) if bytes.len() as u64 > limit => {
                let (expected, found) = (format!("at most {limit} bytes"), "more");
                Err(DatasetError::content(key, expected, found, &path))
            }
            found => Ok(found),
        }
    }

    /// The keys of the arrays below `group`, sorted.
    pub(super) fn arrays(&self, group: &str) -> Result<Vec<String>, DatasetError> {
        let mut keys = Vec::new();
        match self {
            Self::Folder(root) => find_arrays(root, group, 0, &mut keys)?,
            Self::Zip { archive, prefix, .. } => {
                let below = format!("{group}/");
                for name in archive.file_names().flatten() {
                    let key = name.strip_prefix(&**prefix);
                    let key = key.and_then(|key| key.strip_suffix("/.zarray"));
                    let key = key.filter(|key| key.starts_with(&below));
                    let tame = |key: &&str| {
                        files::inside(Path::new(""), key).is_some() && !key.contains("//")
                    };
                    keys.extend(key.filter(tame).map(str::to_owned));
                }
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// Every file, sorted by key.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, DatasetError> {
        let mut entries = Vec::new();
        match self {
            Self::Folder(root) => find_files(root, "", 0, &mut entries)?,
            Self::Zip { path, archive, .. } => {
                let mut archive = archive.clone();
                for at in 0..archive.len() {
                    let found = guarded(|| {
                        let entry = archive.by_index_raw(at)?;
                        let key = entry.name()?.into_owned();
                        let num_bytes = entry.compressed_size();
                        Ok(Entry { key, num_bytes, crc: entry.crc32() })
                    });
                    entries.push(found.map_err(DatasetError::file("zip", path))?);
                }
            }
        }
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }
}

/// At most one byte more than `limit` of a file, none where there is none.
fn read_file(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(limit) as usize + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The same for an entry of an archive.
fn read_entry(
    archive: &mut ZipArchive<Shared>,
    name: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, ZipError> {
    let entry = match archive.by_name(name) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new(); // grows with what is there, whatever the entry claims
    entry.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Does `work` on an archive; a panic of the `zip` crate becomes an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, ZipError>) -> Result<T, ZipError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(ZipError::Io(io::Error::other("damaged: its decoder gave up"))))
}

/// The names inside a folder, sorted, those that are not Unicode left out.
fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>, DatasetError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(DatasetError::read(folder))? {
        let entry = entry.map_err(DatasetError::read(folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.path()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn find_arrays(
    root: &Path,
    group: &str,
    depth: usize,
    keys: &mut Vec<String>,
) -> Result<(), DatasetError> {
    for (name, path) in names(&root.join(group))? {
        if name.starts_with('.') || !path.is_dir() {
            continue;
        }
        let key = format!("{group}/{name}");
        if path.join(".zarray").is_file() {
            keys.push(key);
        } else if depth < MAX_DEPTH && path.join(".zgroup").is_file() {
            find_arrays(root, &key, depth + 1, keys)?;
        }
    }
    Ok(())
}

fn find_files(
    folder: &Path,
    below: &str,
    depth: usize,
    entries: &mut Vec<Entry>,
) -> Result<(), DatasetError> {
    for (name, path) in names(folder)? {
        let key = format!("{below}{name}");
        let metadata = fs::metadata(&path).map_err(DatasetError::read(&path))?;
        if !metadata.is_dir() {
            entries.push(Entry { key, num_bytes: metadata.len(), crc: 0 });
        } else if depth < 2 * MAX_DEPTH {
            find_files(&path, &format!("{key}/"), depth + 1, entries)?;
        }
    }
    Ok(())
}

/// A file that many read at once, each at a place of its own.
#[derive(Clone)]
pub(super) struct Shared {
    file: Arc<File>,
    at: u64,
    len: u64,
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Shared {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
