//! ACT and ALOHA: a folder with an HDF5 file `episode_<number>.hdf5` for each demonstration.
//!
//! Source: the `act` and `aloha` repositories, whose files open here. Compressed pictures are JPEG,
//! padded to rows of one length. ALOHA's recorder hands pictures in the order red, green, blue to
//! `OpenCV`, which packs them as blue, green, red, and its reader undoes this without a word; so
//! does this one, since every other reader would see blue skin. `/compress_len` is not read: its
//! order of cameras stands nowhere, and a JPEG says itself where it ends.

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::DatasetError;
use crate::column::{Column, Kind};
use crate::files::file_len;
use crate::hdf5::{
    Element, Group, Hdf5, Jpegs, OpenFiles, Survey, Table, describe, refuse_pickled,
    shared_columns, track,
};
use crate::mapping::{self, Mapping, ViewRef};
use crate::source::{About, EpisodeEntry, Source, Track};

/// Steps per second; the format does not say, and its recorder knows no other.
const FPS: f32 = 50.0;
/// The element type of a column of compressed pictures.
const JPEG: &str = "jpeg";
/// Where columns are, but for those at the root.
const GROUPS: [&str; 2] = ["observations", "observations/images"];
/// A dataset at the root that is no column.
const LENGTHS: &str = "compress_len";

/// A folder of ALOHA's files.
pub(crate) struct AlohaSource {
    open: Arc<OpenFiles>,
    about: About,
    episodes: Vec<EpisodeEntry>,
    left_out: Vec<String>,
}

/// Whether folder `dir` holds files as ALOHA names them.
pub(crate) fn is_aloha(dir: &Path) -> bool {
    files(dir).is_ok_and(|files| !files.is_empty())
}

/// The files of episodes, in the order of their numbers.
fn files(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(DatasetError::read(dir))? {
        let name = entry.map_err(DatasetError::read(dir))?.file_name();
        if let Some(number) = name.to_str().and_then(number) {
            files.push((number, dir.join(name)));
        }
    }
    files.sort_unstable();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// The number of `episode_<number>.hdf5`.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix("episode_")?.strip_suffix(".hdf5")?.parse().ok()
}

impl AlohaSource {
    /// Opens the files in folder `dir`.
    ///
    /// # Errors
    ///
    /// When there is none, or when one is damaged or of another kind.
    pub(crate) fn open(dir: &Path, mapping: &Mapping) -> Result<Self, DatasetError> {
        let paths = files(dir)?;
        let Some(first) = paths.first() else {
            return Err(DatasetError::UnknownFormat { path: dir.to_owned() });
        };
        let open = Arc::new(OpenFiles::default());
        let columns = columns(&Hdf5::open(first, &open)?.root())?;
        refuse_pickled(&columns, mapping, first)?;
        let surveys: Vec<Survey> = paths
            .par_iter()
            .map(|path| survey(&Hdf5::open(path, &open)?.root()))
            .collect::<Result<_, DatasetError>>()?;
        let name = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into();
        let names: Vec<String> = paths.iter().map(name).collect();
        let (columns, left_out) = shared_columns(columns, &surveys, &names);
        let entry = |((path, name), survey): ((PathBuf, String), Survey)| EpisodeEntry {
            name,
            path,
            num_steps: survey.num_steps,
            task: String::new(),
        };
        let episodes = paths.into_iter().zip(names).zip(surveys).map(entry).collect();
        let about = About {
            format: "ALOHA HDF5".into(),
            path: dir.to_owned(),
            robot: None,
            fps: Some(FPS),
            columns,
            tasks: Vec::new(),
        };
        Ok(Self { open, about, episodes, left_out })
    }
}

/// The datasets of an episode, by the names of their columns.
fn tables(root: &Group) -> Result<Vec<(String, Table)>, DatasetError> {
    let mut tables = Vec::new();
    for leaf in root.leaves()?.into_iter().filter(|leaf| leaf.name != LENGTHS) {
        tables.push((leaf.name.clone(), leaf.open()?));
    }
    for name in GROUPS {
        let group = root.group(name)?;
        for leaf in group.map(|group| group.leaves()).transpose()?.unwrap_or_default() {
            tables.push((format!("{name}/{}", leaf.name), leaf.open()?));
        }
    }
    Ok(tables)
}

fn columns(root: &Group) -> Result<Vec<Column>, DatasetError> {
    let columns = tables(root)?.into_iter().map(|(name, table)| {
        if !is_jpeg(&name, &table) {
            return Ok(describe(&name, &table));
        }
        let Some((width, height)) = Jpegs::size(&table)? else {
            return Err(table.wrong("JPEG pictures"));
        };
        Ok(Column::new(name, JPEG, [height, width, 3], Kind::Rgb { width, height }))
    });
    columns.collect()
}

/// Whether a dataset is rows of compressed pictures; an attribute may say so, its shape does.
fn is_jpeg(name: &str, table: &Table) -> bool {
    let bytes = matches!(table.element(), Element::Number(number) if number.is_u8());
    bytes && table.shape().len() == 2 && table.num_rows() > 0 && name.starts_with(GROUPS[1])
}

fn survey(root: &Group) -> Result<Survey, DatasetError> {
    let tables = tables(root)?;
    let Some((_, actions)) = tables.iter().find(|(name, _)| name == "action") else {
        return Err(DatasetError::content("action", "a dataset", "none", root.path()));
    };
    let num_steps = actions.num_rows();
    Ok(Survey { num_steps, columns: tables.into_iter().map(|(name, _)| name).collect() })
}

impl Source for AlohaSource {
    fn about(&self) -> &About {
        &self.about
    }

    fn episodes(&self) -> &[EpisodeEntry] {
        &self.episodes
    }

    fn guess(&self) -> Mapping {
        let columns = &self.about.columns;
        let one = |name| {
            mapping::whole(columns.iter().filter(|column| column.kind == Kind::Numbers), name)
        };
        let cameras =
            mapping::pictures(columns, false).filter(|column| column.name.starts_with(GROUPS[1]));
        Mapping {
            proprio: one("observations/qpos"),
            action: one("action"),
            view: cameras.map(|column| ViewRef::new(column.short_name(), &*column.name)).collect(),
            ..Mapping::default()
        }
    }

    fn load(&self, episode: usize, wanted: &[usize]) -> Result<Vec<Track>, DatasetError> {
        let root = Hdf5::open(&self.episodes[episode].path, &self.open)?.root();
        let load = |&at: &usize| match &self.about.columns[at] {
            column @ Column { kind: Kind::Rgb { width, height }, .. } if column.dtype == JPEG => {
                let table = root.table(&column.name)?;
                let table =
                    table.filter(|table| is_jpeg(&column.name, table)).ok_or_else(|| {
                        DatasetError::content(&column.name, "JPEG pictures", "others", root.path())
                    })?;
                Ok(Track::Pictures(Box::new(Jpegs::new(table, (*width, *height)))))
            }
            column => track(&root, column),
        };
        wanted.iter().map(load).collect()
    }

    fn fingerprint(&self, hash: &mut Sha256) -> Result<(), DatasetError> {
        for entry in &self.episodes {
            let file = Hdf5::open(&entry.path, &self.open)?;
            hash.update(&entry.name);
            hash.update(file.num_bytes().to_le_bytes());
            if let Some(actions) = file.root().table("action")? {
                hash.update(actions.bytes(0..actions.num_rows())?);
            }
        }
        Ok(())
    }

    fn num_bytes(&self) -> u64 {
        self.episodes.iter().map(|entry| file_len(&entry.path)).sum()
    }

    fn warnings(&self) -> Vec<String> {
        self.left_out.clone()
    }
}
