//! `SpawnNet`: a folder of HDF5 files, one trajectory in each, as `ManiSkill`'s `GDict` lays it out.
//!
//! Source: the `spawnnet` repository, whose datasets open here. Differs in: every file is read,
//! however many readers share the work, and a value that is a pickled object is refused.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::DatasetError;
use crate::column::{Column, Kind};
use crate::files::file_len;
use crate::hdf5::{Axes, Element, Group, Hdf5, OpenFiles, Pixels, Survey, Table, shared_columns};
use crate::mapping::{self, Mapping, ViewRef};
use crate::source::{About, EpisodeEntry, Source, Track};

/// The folder that the reference reads, named after a token that it no longer has.
const TOKEN: &str = "none";
/// More views than any robot has; what lies above is damage.
const MAX_VIEWS: usize = 64;
/// How deep folders are searched.
const MAX_DEPTH: usize = 8;
const RGB: &str = "obs/rgb";
const DEPTH: &str = "obs/depth";
const STATE: &str = "obs/state";
const ACTIONS: &str = "actions";

/// A folder of trajectories.
pub(crate) struct SpawnNetSource {
    open: Arc<OpenFiles>,
    about: About,
    episodes: Vec<EpisodeEntry>,
    left_out: Vec<String>,
}

/// Whether folder `dir` holds trajectories: the first is laid out as here, or damaged.
pub(crate) fn is_spawnnet(dir: &Path) -> bool {
    let is_trajectory = |path: &Path| {
        let root = Hdf5::open(path, &Arc::default())?.root();
        Ok::<_, DatasetError>(child(&trajectory(&root)?, "obs")?.is_some())
    };
    let first = files(dir).ok().and_then(|files| files.into_iter().next());
    dir.is_dir() && first.is_some_and(|path| is_trajectory(&path).unwrap_or(true))
}

/// The files of trajectories, in natural order.
fn files(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let token = dir.join(TOKEN);
    let mut files = Vec::new();
    gather(if token.is_dir() { &token } else { dir }, MAX_DEPTH, &mut files)?;
    files.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(files)
}

fn gather(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
    for entry in fs::read_dir(dir).map_err(DatasetError::read(dir))? {
        let entry = entry.map_err(DatasetError::read(dir))?;
        // A link to a folder may lead in a circle.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let path = entry.path();
        if is_folder && depth > 0 {
            gather(&path, depth - 1, files)?;
        } else if path.extension().is_some_and(|ending| ending == "h5") {
            files.push(path);
        }
    }
    Ok(())
}

/// Text by text, and number by number where both have one: `traj_9` before `traj_10`.
fn natural(a: &str, b: &str) -> Ordering {
    fn pieces(text: &str) -> Vec<(&str, &str)> {
        let is_digit = |c: char| c.is_ascii_digit();
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (words, after) = rest.split_at(rest.find(is_digit).unwrap_or(rest.len()));
            let end = after.find(|c| !is_digit(c)).unwrap_or(after.len());
            let (digits, after) = after.split_at(end);
            pieces.push((words, digits.trim_start_matches('0')));
            rest = after;
        }
        pieces
    }
    let by_piece = |(a, m): &(&str, &str), (b, n): &(&str, &str)| {
        a.cmp(b).then(m.len().cmp(&n.len())).then(m.cmp(n))
    };
    let (these, those) = (pieces(a), pieces(b));
    let found = these.iter().zip(&those).map(|(a, b)| by_piece(a, b)).find(|order| order.is_ne());
    found.unwrap_or_else(|| these.len().cmp(&those.len()).then(a.cmp(b)))
}

/// A key without what `GDict` puts before it to remember its type.
fn plain(key: &str) -> &str {
    let first = |key| strip_any(key, &["dict_", "list_", "tuple_"]);
    let key = first(key);
    strip_any(key, &["str_", "int__", "int_"])
}

fn strip_any<'a>(key: &'a str, beginnings: &[&str]) -> &'a str {
    beginnings.iter().find_map(|beginning| key.strip_prefix(beginning)).unwrap_or(key)
}

/// The first group of a file in natural order; the reference looks at no other.
fn trajectory(root: &Group) -> Result<Group, DatasetError> {
    let mut groups = root.groups()?;
    groups.sort_by(|(a, _), (b, _)| natural(a, b));
    let first = groups.into_iter().next().map(|(_, group)| group);
    first.ok_or_else(|| DatasetError::content("trajectory", "a group", "none", root.path()))
}

/// The group of that plain name.
fn child(group: &Group, name: &str) -> Result<Option<Group>, DatasetError> {
    let found = group.groups()?.into_iter().find(|(key, _)| plain(key) == name);
    Ok(found.map(|(_, group)| group))
}

/// The leaves that the reference keeps, by plain path.
fn leaves(root: &Group) -> Result<Vec<(&'static str, Table)>, DatasetError> {
    let trajectory = trajectory(root)?;
    let mut leaves = Vec::new();
    let mut take = |group: &Group, prefix: &str, wanted: &[&'static str]| {
        for leaf in group.leaves()? {
            let path = format!("{prefix}{}", plain(&leaf.name));
            if let Some(name) = wanted.iter().find(|name| **name == path) {
                let table = leaf.open()?;
                // Refuses what is pickled, for these are the values that the format is for.
                table.numbers()?;
                leaves.push((*name, table));
            }
        }
        Ok(())
    };
    if let Some(obs) = child(&trajectory, "obs")? {
        take(&obs, "obs/", &[RGB, DEPTH, STATE])?;
    }
    take(&trajectory, "", &[ACTIONS])?;
    Ok(leaves)
}

/// The columns of a leaf: one for each view, or one.
fn columns_of(name: &str, table: &Table) -> Result<Vec<Column>, DatasetError> {
    let dtype = table.element().name();
    let Some(shape) = table.shape().get(1..) else {
        return Err(table.wrong("one row for each step"));
    };
    let channels = match name {
        RGB => 3,
        DEPTH => 1,
        _ => return Ok(vec![Column::new(name, dtype, shape, Kind::Numbers)]),
    };
    let is_kind = match table.element() {
        Element::Number(number) if name == RGB => number.is_u8(),
        Element::Number(number) => number.is_float(),
        _ => false,
    };
    let size = shape.get(1..).and_then(|shape| Axes::of(shape, channels));
    let size = size.filter(|_| is_kind && shape[0] <= MAX_VIEWS);
    let Some((_, width, height)) = size else {
        let expected = if name == RGB { "uint8 pictures" } else { "floats in metres" };
        let expected = format!("{expected} of shape [steps, views, {channels}, height, width]");
        return Err(table.wrong(&expected));
    };
    let kind =
        if name == RGB { Kind::Rgb { width, height } } else { Kind::Depth { width, height } };
    let column = |view| Column::new(format!("{name}/{view}"), &*dtype, &shape[1..], kind);
    Ok((0..shape[0]).map(column).collect())
}

impl SpawnNetSource {
    /// Opens the trajectories in folder `dir`.
    ///
    /// # Errors
    ///
    /// When there is none, when one is damaged, or when what is read of it is pickled.
    pub(crate) fn open(dir: &Path) -> Result<Self, DatasetError> {
        let paths = files(dir)?;
        let Some(first) = paths.first() else {
            return Err(DatasetError::UnknownFormat { path: dir.to_owned() });
        };
        let open = Arc::new(OpenFiles::default());
        let columns = columns(&leaves(&Hdf5::open(first, &open)?.root())?)?;
        let surveys: Vec<Survey> = paths
            .par_iter()
            .map(|path| survey(&Hdf5::open(path, &open)?.root()))
            .collect::<Result<_, DatasetError>>()?;
        let name = |path: &PathBuf| {
            path.strip_prefix(dir).unwrap_or(path).with_extension("").to_string_lossy().into()
        };
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
            format: "SpawnNet HDF5".into(),
            path: dir.to_owned(),
            robot: None,
            fps: None,
            columns,
            tasks: Vec::new(),
        };
        Ok(Self { open, about, episodes, left_out })
    }
}

fn columns(leaves: &[(&str, Table)]) -> Result<Vec<Column>, DatasetError> {
    let columns = leaves.iter().map(|(name, table)| columns_of(name, table));
    Ok(columns.collect::<Result<Vec<_>, _>>()?.concat())
}

fn survey(root: &Group) -> Result<Survey, DatasetError> {
    let leaves = leaves(root)?;
    let Some((_, actions)) = leaves.iter().find(|(name, _)| *name == ACTIONS) else {
        return Err(DatasetError::content(ACTIONS, "a dataset", "none", root.path()));
    };
    let num_steps = actions.num_rows();
    let columns = columns(&leaves)?.into_iter().map(|column| column.name).collect();
    Ok(Survey { num_steps, columns })
}

/// A view's leaf and number, where a column has them.
fn view_of(column: &str) -> Option<(&str, usize)> {
    let (leaf, view) = column.rsplit_once('/')?;
    Some((leaf, view.parse().ok()?))
}

/// Reads a column of an episode; its pictures stay in the file.
fn read(root: &Group, column: &Column) -> Result<Track, DatasetError> {
    let (leaf, view) = view_of(&column.name).unwrap_or((&column.name, 0));
    let Some((name, table)) = leaves(root)?.into_iter().find(|(name, _)| *name == leaf) else {
        return Err(DatasetError::content(leaf, "a dataset", "none", root.path()));
    };
    let alike = |other: &Column| {
        (&other.name, &other.shape, other.kind) == (&column.name, &column.shape, column.kind)
    };
    if !columns_of(name, &table)?.iter().any(alike) {
        let expected = format!("shape {:?} in each view", column.shape);
        return Err(table.wrong(&expected));
    }
    let channels = if name == RGB { 3 } else { 1 };
    match column.kind {
        Kind::Rgb { .. } | Kind::Depth { .. } => {
            let (axes, width, height) =
                Axes::of(&column.shape, channels).expect("`columns_of` looked at the same shape");
            let pixels = Pixels::new(table, axes, (width, height)).of_view(view);
            Ok(Track::Pictures(Box::new(pixels)))
        }
        _ => Ok(Track::Numbers(table.f32(0..table.num_rows())?)),
    }
}

impl Source for SpawnNetSource {
    fn about(&self) -> &About {
        &self.about
    }

    fn episodes(&self) -> &[EpisodeEntry] {
        &self.episodes
    }

    fn guess(&self) -> Mapping {
        let columns = &self.about.columns;
        let one = |name| mapping::whole(columns, name);
        let views = |wanted: &str| {
            let views = columns.iter().filter_map(|column| {
                let (_, view) = view_of(&column.name).filter(|(leaf, _)| *leaf == wanted)?;
                Some(ViewRef::new(format!("view_{view}"), &*column.name))
            });
            views.collect::<Vec<_>>()
        };
        let view = views(RGB);
        let depth = mapping::depth_of(&view, views(DEPTH));
        Mapping { proprio: one(STATE), action: one(ACTIONS), view, depth, ..Mapping::default() }
    }

    fn load(&self, episode: usize, wanted: &[usize]) -> Result<Vec<Track>, DatasetError> {
        let root = Hdf5::open(&self.episodes[episode].path, &self.open)?.root();
        wanted.iter().map(|&at| read(&root, &self.about.columns[at])).collect()
    }

    fn fingerprint(&self, hash: &mut Sha256) -> Result<(), DatasetError> {
        for entry in &self.episodes {
            let file = Hdf5::open(&entry.path, &self.open)?;
            hash.update(&entry.name);
            hash.update(file.num_bytes().to_le_bytes());
            for (_, table) in leaves(&file.root())?.iter().filter(|(name, _)| *name == ACTIONS) {
                hash.update(table.bytes(0..table.num_rows())?);
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
