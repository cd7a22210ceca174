//! Files that are whole or absent.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};

use crate::DatasetError;

/// Writes `path` through `fill`: beside it, synced, then renamed over it.
///
/// Whoever reads sees the old file or the new one, also after a crash.
pub(crate) fn replace(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), DatasetError>,
) -> Result<(), DatasetError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(DatasetError::write(parent))?;
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(".tmp");
    let staging = path.with_file_name(name);
    let mut file = BufWriter::new(File::create(&staging).map_err(DatasetError::write(&staging))?);
    fill(&mut file)?;
    let finish = |mut file: BufWriter<File>| -> io::Result<()> {
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&staging, path)?;
        File::open(parent)?.sync_all()
    };
    finish(file).map_err(DatasetError::write(path))
}

/// Writes `bytes` as [`replace`] does.
pub(crate) fn replace_bytes(path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    replace(path, |file| file.write_all(bytes).map_err(DatasetError::write(path)))
}

/// Adds `line` to a file of lines, as [`replace`] does; what stands there must end in a newline.
pub(crate) fn append_line(path: &Path, line: &str) -> Result<(), DatasetError> {
    let mut bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(DatasetError::read(path)(error)),
    };
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    replace_bytes(path, &bytes)
}

/// Reads a file of text.
pub(crate) fn read_text(path: &Path) -> Result<String, DatasetError> {
    fs::read_to_string(path).map_err(DatasetError::read(path))
}

/// Bytes of a file, zero where there is none.
pub(crate) fn file_len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// `root` joined with a path out of a file, which may not leave `root`.
pub(crate) fn inside(root: &Path, relative: &str) -> Option<PathBuf> {
    let path = Path::new(relative);
    let tame = path.components().all(|part| matches!(part, Component::Normal(_)));
    (tame && !relative.is_empty()).then(|| root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_out_of_a_file_may_not_leave_the_dataset() {
        let root = Path::new("/data/set");
        assert_eq!(inside(root, "data/a.parquet"), Some(root.join("data/a.parquet")));
        for wild in ["", "/etc/passwd", "../x", "data/../../x", "./x"] {
            assert_eq!(inside(root, wild), None, "{wild}");
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta/info.json");
        replace_bytes(&path, b"old").unwrap();
        let failed = replace(&path, |file| {
            file.write_all(b"ne").map_err(DatasetError::write(&path))?;
            Err(DatasetError::UnknownFormat { path: path.clone() })
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        append_line(&path, "er").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"older\n");
    }
}
