//! HDF5 files: groups, datasets, attributes, and rows on demand.
//!
//! The only folder that knows the `hdf5-pure` and `hdf5-reader` crates. Their parsers read metadata
//! through [`Disk`](disk::Disk); rows that lie in the file as they are never pass through them. Links are
//! followed where they name an object of the same file and nowhere else.

mod columns;
#[cfg(test)]
mod damage;
mod disk;
mod element;
#[cfg(test)]
pub(crate) mod golden;
mod messages;
mod pictures;
mod recent;
mod table;
mod writer;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use hdf5_pure::{AttrValue, Error, FormatError, MetadataCacheConfig};

use crate::DatasetError;
use disk::Disk;

pub(crate) use columns::{Survey, describe, refuse_pickled, shared_columns, track};
pub(crate) use disk::OpenFiles;
pub(crate) use element::Element;
pub(crate) use messages::{Attribute, Stored};
pub(crate) use pictures::{Axes, Jpegs, Pixels};
pub(crate) use table::Table;
pub(crate) use writer::{Chunks, Writer, Written};

/// An HDF5 file.
pub(crate) struct Hdf5 {
    file: hdf5_pure::File,
    disk: Disk,
}

/// A group of an HDF5 file.
#[derive(Clone)]
pub(crate) struct Group {
    #[allow(clippy::struct_field_names)] // it is the library's group behind ours
    group: hdf5_pure::Group,
    disk: Disk,
    name: String,
}

/// A dataset that was found and not yet looked at.
pub(crate) struct Leaf {
    /// Its name in its group.
    pub(crate) name: String,
    dataset: hdf5_pure::Dataset,
    disk: Disk,
    path: String,
}

/// What a group says about itself.
pub(crate) struct Attributes(HashMap<String, AttrValue>);

/// Whether the file at `path` begins as an HDF5 file does.
pub(crate) fn is_hdf5(path: &Path) -> bool {
    hdf5_pure::is_hdf5(path).unwrap_or(false)
}

/// Does `work` on the file at `path`; a panic of the decoder becomes an error.
fn guarded<T, E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, DatasetError> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| DatasetError::file("HDF5", path)("damaged: its decoder gave up"))?
        .map_err(DatasetError::file("HDF5", path))
}

impl Hdf5 {
    /// Opens the file at `path`, which counts among those of `open`.
    pub(crate) fn open(path: &Path, open: &Arc<OpenFiles>) -> Result<Self, DatasetError> {
        let disk = Disk::new(path, open).map_err(DatasetError::read(path))?;
        let properties = hdf5_pure::FileAccessProperties::new()
            .with_metadata_cache(MetadataCacheConfig::disabled())
            .with_chunk_cache(table::chunk_cache());
        let source = disk.clone();
        let file = guarded(path, || hdf5_pure::File::from_source_with_options(source, properties))?;
        Ok(Self { file, disk })
    }

    /// The group that holds all others.
    pub(crate) fn root(&self) -> Group {
        Group { group: self.file.root(), disk: self.disk.clone(), name: String::new() }
    }

    /// Bytes of the file.
    pub(crate) fn num_bytes(&self) -> u64 {
        self.disk.num_bytes()
    }
}

impl Group {
    /// The file that it is in.
    pub(crate) fn path(&self) -> &Path {
        self.disk.path()
    }

    fn join(&self, name: &str) -> String {
        if self.name.is_empty() { name.into() } else { format!("{}/{name}", self.name) }
    }

    fn child(&self, name: &str, group: hdf5_pure::Group) -> Self {
        Self { group, disk: self.disk.clone(), name: self.join(name) }
    }

    /// What `all` gives; or, where a soft link keeps it from that, each member of those names.
    ///
    /// In groups of the oldest layout `hdf5-pure` takes a soft link for an object that it cannot
    /// find. It is left out, as it is in all other groups.
    fn members<T>(
        &self,
        all: impl Fn() -> Result<Vec<(String, T)>, Error>,
        pick: impl Fn((Vec<String>, Vec<String>)) -> Vec<String>,
        one: impl Fn(&str) -> Result<T, Error>,
    ) -> Result<Vec<(String, T)>, DatasetError> {
        let found = guarded(self.path(), || match all() {
            Err(error) if is_nowhere(&error) => Ok(None),
            found => found.map(Some),
        })?;
        if let Some(found) = found {
            return Ok(found);
        }
        let names = guarded(self.path(), || self.disk.member_names(&self.name))?;
        let found = pick(names).into_iter().map(|name| {
            let found = guarded(self.path(), || match one(&name) {
                Err(error) if is_nowhere(&error) => Ok(None),
                found => optional(found),
            })?;
            Ok(found.map(|found| (name, found)))
        });
        found.filter_map(Result::transpose).collect()
    }

    /// The groups in it, with their names.
    pub(crate) fn groups(&self) -> Result<Vec<(String, Self)>, DatasetError> {
        let all = || self.group.iter_groups().map(Iterator::collect);
        let found = self.members(all, |names| names.0, |name| self.group.group(name))?;
        let with_name = |(name, group): (String, hdf5_pure::Group)| {
            let child = self.child(&name, group);
            (name, child)
        };
        Ok(found.into_iter().map(with_name).collect())
    }

    /// The group of that name, if there is one.
    pub(crate) fn group(&self, name: &str) -> Result<Option<Self>, DatasetError> {
        let found = guarded(self.path(), || optional(self.group.group(name)))?;
        Ok(found.map(|group| self.child(name, group)))
    }

    /// The datasets in it.
    pub(crate) fn leaves(&self) -> Result<Vec<Leaf>, DatasetError> {
        let all = || self.group.iter_datasets().map(Iterator::collect);
        let found = self.members(all, |names| names.1, |name| self.group.dataset(name))?;
        let leaf = |(name, dataset): (String, _)| {
            let path = self.join(&name);
            Leaf { name, dataset, disk: self.disk.clone(), path }
        };
        Ok(found.into_iter().map(leaf).collect())
    }

    /// The dataset of that name, if there is one.
    pub(crate) fn table(&self, name: &str) -> Result<Option<Table>, DatasetError> {
        let found = guarded(self.path(), || optional(self.group.dataset(name)))?;
        let (disk, path) = (self.disk.clone(), self.join(name));
        found.map(|dataset| Table::new(dataset, disk, path)).transpose()
    }

    /// What the group says about itself.
    pub(crate) fn attributes(&self) -> Result<Attributes, DatasetError> {
        guarded(self.path(), || self.group.attrs()).map(Attributes)
    }
}

/// Whether an object was looked for where no file has anything, as a soft link makes the decoder.
fn is_nowhere(error: &Error) -> bool {
    matches!(error, Error::Format(FormatError::Source(text)) if text == disk::NOWHERE)
}

/// Nothing where nothing has that name.
fn optional<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(
            Error::NotADataset(_)
            | Error::NotAGroup(_)
            | Error::Format(FormatError::PathNotFound(_)),
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Leaf {
    /// Looks at its shape and its elements.
    pub(crate) fn open(self) -> Result<Table, DatasetError> {
        Table::new(self.dataset, self.disk, self.path)
    }
}

impl Attributes {
    /// One piece of text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?;
        value.as_str().or_else(|| value.as_strings().and_then(|all| Some(&**all.first()?)))
    }

    /// One whole number; also a truth, as 0 or 1.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        let value = self.0.get(name)?;
        value.as_i64().or_else(|| value.to_i64s().and_then(|all| all.first().copied()))
    }
}
