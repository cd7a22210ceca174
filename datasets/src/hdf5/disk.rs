//! The bytes of files, read at any place by any number of threads, few of them open at once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hdf5_pure::{FormatError, Source};
use hdf5_reader::Hdf5File;

use super::recent;

/// Files that are open at once; a process may commonly have 1024.
const MAX_OPEN: usize = 64;

/// The error for a place that no file has.
pub(super) const NOWHERE: &str = "no file has such a place";

/// The error for a file that is shorter than it says.
const CUT_SHORT: &str = "it ends too early; was its recording or copy finished?";

/// Files that were used lately, the latest first.
#[derive(Default)]
pub(crate) struct OpenFiles {
    files: Mutex<Vec<(Arc<Path>, Arc<File>)>>,
}

impl OpenFiles {
    fn get(&self, path: &Arc<Path>) -> io::Result<Arc<File>> {
        if let Some(file) = self.touch(path) {
            return Ok(file);
        }
        let file = Arc::new(File::open(path)?);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.truncate(MAX_OPEN - 1);
        files.insert(0, (Arc::clone(path), Arc::clone(&file)));
        Ok(file)
    }

    fn touch(&self, path: &Arc<Path>) -> Option<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let at = files.iter().position(|(known, _)| Arc::ptr_eq(known, path))?;
        files[..=at].rotate_right(1);
        Some(Arc::clone(&files[0].1))
    }
}

/// One file; opened again where it had to make room.
#[derive(Clone)]
pub(super) struct Disk {
    path: Arc<Path>,
    len: u64,
    open: Arc<OpenFiles>,
    recent: Arc<OnceLock<Hdf5File>>,
}

impl Disk {
    /// The file at `path`, which counts among those of `open`.
    pub(super) fn new(path: &Path, open: &Arc<OpenFiles>) -> io::Result<Self> {
        let (path, open) = (Arc::from(path), Arc::clone(open));
        let len = open.get(&path)?.metadata()?.len();
        Ok(Self { path, len, open, recent: Arc::default() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file when it was first opened.
    pub(super) fn num_bytes(&self) -> u64 {
        self.len
    }

    /// The same file as the `hdf5-reader` crate sees it.
    pub(super) fn recent(&self) -> Result<&Hdf5File, hdf5_reader::error::Error> {
        if let Some(file) = self.recent.get() {
            return Ok(file);
        }
        let file = recent::open(self)?;
        Ok(self.recent.get_or_init(|| file))
    }

    /// The names of the groups and of the datasets in a group, which is named from the root on.
    pub(super) fn member_names(
        &self,
        group: &str,
    ) -> Result<(Vec<String>, Vec<String>), hdf5_reader::error::Error> {
        let file = self.recent()?;
        let group = if group.is_empty() { file.root_group()? } else { file.group(group)? };
        group.member_names()
    }

    /// Fills `bytes` from place `offset` on.
    pub(super) fn fill(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let read = self.open.get(&self.path)?.read_exact_at(bytes, offset);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), CUT_SHORT),
            _ => error,
        })
    }
}

impl Source for Disk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), FormatError> {
        if i64::try_from(offset).is_err() {
            return Err(FormatError::Source(NOWHERE.into()));
        }
        self.fill(offset, bytes).map_err(|error| FormatError::Source(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_are_read_with_few_of_them_open() {
        let folder = tempfile::tempdir().unwrap();
        let open = Arc::new(OpenFiles::default());
        let disks: Vec<Disk> = (0..MAX_OPEN + 9)
            .map(|i| {
                let path = folder.path().join(i.to_string());
                std::fs::write(&path, [i as u8; 3]).unwrap();
                Disk::new(&path, &open).unwrap()
            })
            .collect();
        for (i, disk) in disks.iter().enumerate().chain(disks.iter().enumerate()) {
            let mut bytes = [0; 2];
            disk.fill(1, &mut bytes).unwrap();
            assert_eq!((bytes, disk.num_bytes()), ([i as u8; 2], 3));
            assert!(open.files.lock().unwrap().len() <= MAX_OPEN);
        }
        assert!(disks[0].fill(2, &mut [0; 2]).is_err());
    }
}
