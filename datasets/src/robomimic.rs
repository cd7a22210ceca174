//! robomimic: one HDF5 file with a group for each demonstration.
//!
//! Source: the `robomimic` package, whose files open here and which opens ours. Differs in: the
//! lengths and totals that the file states are never believed, and names, units and bounds are
//! kept in an attribute of our own (`engraft` of `/data`).

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engraft_core::RobotSpec;
use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::DatasetError;
use crate::column::{Column, Kind};
use crate::hdf5::{
    self, Attributes, Group, Hdf5, OpenFiles, Survey, describe, refuse_pickled, shared_columns,
    track,
};
use crate::mapping::{self, ColumnRef, Mapping, ViewRef, view_name};
use crate::source::{About, EpisodeEntry, Source, Track};

/// What robomimic reads of the robot unless it is told otherwise.
const PROPRIO: [&str; 3] = ["obs/robot0_eef_pos", "obs/robot0_eef_quat", "obs/robot0_gripper_qpos"];
/// The groups of a demonstration whose datasets are columns.
const GROUPS: [&str; 2] = ["obs", "action_dict"];
/// The attribute of `/data` that holds our [`RobotSpec`].
pub(crate) const OURS: &str = "engraft";

/// A robomimic file.
pub(crate) struct RobomimicSource {
    path: PathBuf,
    file: Hdf5,
    about: About,
    /// The robot of our own attribute.
    robot: Option<RobotSpec>,
    mask: Option<String>,
    demos: Vec<Group>,
    episodes: Vec<EpisodeEntry>,
    left_out: Vec<String>,
    claimed_total: Option<i64>,
}

/// Whether `path` is an HDF5 file, by its content or, where that is damaged, by its name.
///
/// A file of another layout, or a damaged one, is answered with what is wrong with it.
pub(crate) fn is_robomimic(path: &Path) -> bool {
    path.is_file() && (is_named(path) || hdf5::is_hdf5(path))
}

fn is_named(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "hdf5" || ending == "h5")
}

/// The robomimic file in folder `dir`, where it is the only HDF5 file there.
pub(crate) fn only_file(dir: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(dir).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let mut files = paths.filter(|path| is_named(path) && path.is_file());
    let file = files.next()?;
    let has_demos = || {
        let root = Hdf5::open(&file, &Arc::default()).ok()?.root();
        root.group("data").ok()?
    };
    (files.next().is_none() && has_demos().is_some()).then_some(file)
}

/// The number of `demo_<number>`.
fn number(demo: &str) -> Option<u64> {
    demo.strip_prefix("demo_")?.parse().ok()
}

impl RobomimicSource {
    /// Opens the file at `path`, or that part of it that `mapping.mask` names.
    ///
    /// # Errors
    ///
    /// When the file is damaged, holds no demonstration, or lacks the mask or what it names.
    pub(crate) fn open(path: &Path, mapping: &Mapping) -> Result<Self, DatasetError> {
        let file = Hdf5::open(path, &Arc::new(OpenFiles::default()))?;
        let root = file.root();
        let Some(data) = root.group("data")? else {
            let expected = "robomimic's group of demonstrations (of SpawnNet and ALOHA, name the \
                            folder)";
            return Err(DatasetError::content("data", expected, "none", path));
        };
        let mut demos = data.groups()?;
        demos.retain(|(name, _)| number(name).is_some());
        demos.sort_by_key(|(name, _)| number(name));
        if let Some(mask) = &mapping.mask {
            demos = masked(&root, mask, demos, path)?;
        }
        let Some((_, first)) = demos.first() else {
            let expected = "demonstrations named demo_0, demo_1 and so on";
            return Err(DatasetError::content("data", expected, "none", path));
        };
        let attributes = data.attributes()?;
        let stated = Stated::read(&attributes, path)?;
        let columns = columns(first, stated.robot.as_ref())?;
        refuse_pickled(&columns, mapping, path)?;
        let tells = first.attributes().is_ok_and(|attributes| task(&attributes).is_some());
        let seen: Vec<(Survey, Option<String>)> = demos
            .par_iter()
            .map(|(_, demo)| {
                let told = if tells { task(&demo.attributes()?) } else { None };
                Ok((survey(demo)?, told))
            })
            .collect::<Result<_, DatasetError>>()?;
        let (names, demos): (Vec<String>, Vec<Group>) = demos.into_iter().unzip();
        let (surveys, tasks): (Vec<Survey>, Vec<Option<String>>) = seen.into_iter().unzip();
        let (columns, left_out) = shared_columns(columns, &surveys, &names);
        let entry = |((name, survey), task): ((String, Survey), Option<String>)| EpisodeEntry {
            name,
            path: path.to_owned(),
            num_steps: survey.num_steps,
            task: task.or_else(|| stated.task.clone()).unwrap_or_default(),
        };
        let episodes: Vec<_> = names.into_iter().zip(surveys).zip(tasks).map(entry).collect();
        let mut tasks: Vec<String> = episodes.iter().map(|entry| entry.task.clone()).collect();
        tasks.sort_unstable();
        tasks.dedup();
        tasks.retain(|task| !task.is_empty());
        let about = About {
            format: "robomimic HDF5".into(),
            path: path.to_owned(),
            robot: stated.robot_name,
            fps: stated.fps,
            columns,
            tasks,
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            about,
            robot: stated.robot,
            mask: mapping.mask.clone(),
            demos,
            episodes,
            left_out,
            claimed_total: attributes.integer("total"),
        })
    }
}

/// What the attributes of `/data` say.
struct Stated {
    robot: Option<RobotSpec>,
    robot_name: Option<String>,
    fps: Option<f32>,
    task: Option<String>,
}

impl Stated {
    fn read(attributes: &Attributes, path: &Path) -> Result<Self, DatasetError> {
        let json =
            |name: &str| -> Option<Value> { serde_json::from_str(attributes.text(name)?).ok() };
        let robot: Option<RobotSpec> = match attributes.text(OURS) {
            Some(text) => Some(serde_json::from_str(text).map_err(DatasetError::json(path))?),
            None => None,
        };
        let env = json("env_args").unwrap_or_default();
        let options = &env["env_kwargs"];
        let robots = &options["robots"];
        let name = robots.as_str().or_else(|| robots[0].as_str()).map(str::to_owned);
        let rate = options["control_freq"].as_f64().map(|hz| hz as f32);
        let problem = json("problem_info").unwrap_or_default();
        let asked = problem["language_instruction"].as_str().map(str::to_owned);
        let env_name = env["env_name"].as_str().filter(|name| !name.is_empty());
        Ok(Self {
            robot_name: robot.as_ref().map(|robot| robot.name.clone()).or(name),
            fps: robot.as_ref().map(|robot| robot.control_hz).or(rate),
            task: task(attributes).or(asked).or_else(|| env_name.map(str::to_owned)),
            robot,
        })
    }
}

/// What was asked of the demonstrator, by the names that this goes under.
fn task(attributes: &Attributes) -> Option<String> {
    let meta: Option<Value> =
        attributes.text("ep_meta").and_then(|text| serde_json::from_str(text).ok());
    let lang = meta.as_ref().and_then(|meta| meta["lang"].as_str());
    let mut plain = ["lang", "language_instruction", "language"].into_iter();
    let found = lang.or_else(|| plain.find_map(|name| attributes.text(name)));
    found.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The demonstrations that `/mask/<mask>` names, in their own order.
fn masked(
    root: &Group,
    mask: &str,
    mut demos: Vec<(String, Group)>,
    path: &Path,
) -> Result<Vec<(String, Group)>, DatasetError> {
    let masks = root.group("mask")?;
    let table = masks.as_ref().map(|masks| masks.table(mask)).transpose()?.flatten();
    let Some(table) = table else {
        let known = masks.map(|masks| masks.leaves()).transpose()?.unwrap_or_default();
        let known: Vec<String> = known.into_iter().map(|leaf| leaf.name).collect();
        let expected = match &known[..] {
            [] => "no mask, as the file has none".into(),
            _ => format!("one of the masks {}", known.join(", ")),
        };
        return Err(DatasetError::content("mask", expected, mask, path));
    };
    let names = table.texts()?;
    if let Some(unknown) = names.iter().find(|name| !demos.iter().any(|(demo, _)| demo == *name)) {
        let expected = "the name of a demonstration in the file";
        return Err(DatasetError::content(table.name(), expected, unknown, path));
    }
    demos.retain(|(demo, _)| names.contains(demo));
    Ok(demos)
}

/// The columns of one demonstration, named and described.
fn columns(demo: &Group, robot: Option<&RobotSpec>) -> Result<Vec<Column>, DatasetError> {
    let mut columns = Vec::new();
    for leaf in demo.leaves()? {
        let name = leaf.name.clone();
        columns.push(describe(&name, &leaf.open()?));
    }
    for group in GROUPS {
        for leaf in demo.group(group)?.map(|group| group.leaves()).transpose()?.unwrap_or_default()
        {
            let name = format!("{group}/{}", leaf.name);
            columns.push(describe(&name, &leaf.open()?));
        }
    }
    for column in &mut columns {
        column.dimensions = match (robot, &*column.name) {
            (Some(robot), "obs/state") => robot.proprio.clone(),
            (Some(robot), "actions") => robot.actions.clone(),
            _ => continue,
        };
    }
    Ok(columns)
}

/// The names of a demonstration's columns, and how many steps it has.
fn survey(demo: &Group) -> Result<Survey, DatasetError> {
    let mut columns = Vec::new();
    let mut num_steps = None;
    for leaf in demo.leaves()? {
        columns.push(leaf.name.clone());
        if leaf.name == "actions" || num_steps.is_none() {
            num_steps = Some(leaf.open()?.num_rows());
        }
    }
    for group in GROUPS {
        for leaf in demo.group(group)?.map(|group| group.leaves()).transpose()?.unwrap_or_default()
        {
            columns.push(format!("{group}/{}", leaf.name));
        }
    }
    Ok(Survey { num_steps: num_steps.unwrap_or(0), columns })
}

impl Source for RobomimicSource {
    fn about(&self) -> &About {
        &self.about
    }

    fn episodes(&self) -> &[EpisodeEntry] {
        &self.episodes
    }

    fn guess(&self) -> Mapping {
        let columns = &self.about.columns;
        let has = |name: &str| columns.iter().any(|c| c.name == name && c.kind == Kind::Numbers);
        let mut proprio: Vec<&str> = PROPRIO.into_iter().filter(|name| has(name)).collect();
        if proprio.is_empty() {
            let low_dim = columns.iter().filter(|column| {
                column.kind == Kind::Numbers
                    && column.name.starts_with("obs/")
                    && column.shape.len() <= 1
            });
            proprio = low_dim.map(|column| &*column.name).collect();
        }
        let action = if has("actions") { vec![ColumnRef::whole("actions")] } else { Vec::new() };
        let cameras = |depth| {
            let name = |column: &Column| ViewRef::new(self.camera(column), &*column.name);
            mapping::pictures(columns, depth).map(name)
        };
        let mut view: Vec<ViewRef> = Vec::new();
        for mut camera in cameras(false) {
            if view.iter().any(|other| other.name == camera.name) {
                camera.name.clone_from(&camera.column);
            }
            view.push(camera);
        }
        if let Some(robot) = &self.robot {
            mapping::sort_as(robot, &mut view);
        }
        Mapping {
            proprio: proprio.into_iter().map(ColumnRef::whole).collect(),
            action,
            depth: mapping::depth_of(&view, cameras(true)),
            view,
            mask: self.mask.clone(),
            ..Mapping::default()
        }
    }

    fn load(&self, episode: usize, wanted: &[usize]) -> Result<Vec<Track>, DatasetError> {
        let demo = &self.demos[episode];
        wanted.iter().map(|&at| track(demo, &self.about.columns[at])).collect()
    }

    fn fingerprint(&self, hash: &mut Sha256) -> Result<(), DatasetError> {
        hash.update(self.num_bytes().to_le_bytes());
        for (demo, entry) in self.demos.iter().zip(&self.episodes) {
            hash.update(&entry.name);
            if let Some(actions) = demo.table("actions")? {
                hash.update(actions.bytes(0..actions.num_rows())?);
            }
        }
        Ok(())
    }

    fn num_bytes(&self) -> u64 {
        self.file.num_bytes()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.left_out.clone();
        for (demo, entry) in self.demos.iter().zip(&self.episodes) {
            let claimed = demo.attributes().ok().and_then(|a| a.integer("num_samples"));
            if let Some(claimed) = claimed
                && claimed != entry.num_steps as i64
            {
                let (name, found) = (&entry.name, entry.num_steps);
                warnings.push(format!("{name}: num_samples = {claimed}, the data has {found}"));
            }
        }
        let total: usize = self.episodes.iter().map(|entry| entry.num_steps).sum();
        if let Some(claimed) = self.claimed_total
            && self.mask.is_none()
            && claimed != total as i64
        {
            warnings.push(format!("total = {claimed}, the data has {total}"));
        }
        warnings
    }
}

impl RobomimicSource {
    /// The camera that a column of pictures belongs to.
    fn camera<'a>(&'a self, column: &'a Column) -> &'a str {
        let name = column.short_name();
        let ours = self.robot.iter().flat_map(|robot| &robot.views).find(|view| {
            let rest = name.strip_prefix(&*view.name);
            rest.is_some_and(|rest| matches!(rest, "_image" | "_depth"))
        });
        ours.map_or_else(|| view_name(name), |view| &view.name)
    }
}

impl std::fmt::Debug for RobomimicSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "robomimic HDF5 at {:?}", self.path)
    }
}
