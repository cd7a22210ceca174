//! Writing robomimic: one HDF5 file, each demonstration streamed into it.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use engraft_core::{Observation, RobotSpec};
use serde_json::json;

use crate::hdf5::{Attribute, Chunks, Stored, Writer, Written};
use crate::lerobot::check_step;
use crate::robomimic::OURS;
use crate::{DatasetError, DatasetWriter, Step};

/// Writes a robomimic file, one whole episode at a time.
///
/// Pictures go to disk as they come, so that an episode may be of any length. The file lies beside
/// its name until [`finish`](Self::finish) gives it that name; whoever is killed before has none.
///
/// A view `front` becomes `obs/front_image` and `obs/front_depth`, proprio `obs/state`, and an
/// action `actions`. Names, units and bounds are kept in the attribute `engraft` of `/data`, and
/// what was asked of the demonstrator in `ep_meta` of each demonstration.
pub struct RobomimicWriter {
    writer: Writer,
    path: PathBuf,
    spec: RobotSpec,
    deflate: Option<u32>,
    demos: Vec<(String, u64)>,
    masks: Vec<(String, Vec<usize>)>,
    num_steps: usize,
}

impl RobomimicWriter {
    /// Starts a file at `path`, where there is none yet.
    ///
    /// # Errors
    ///
    /// When there is a file, when the robot cannot be written, or when the folder cannot be.
    pub fn create(path: impl AsRef<Path>, spec: &RobotSpec) -> Result<Self, DatasetError> {
        let path = path.as_ref().to_owned();
        if path.exists() {
            return Err(DatasetError::Exists { path });
        }
        check_spec(spec, &path)?;
        let (writer, spec) = (Writer::create(&path)?, spec.clone());
        let (demos, masks) = (Vec::new(), Vec::new());
        Ok(Self { writer, path, spec, deflate: None, demos, masks, num_steps: 0 })
    }

    /// Packs pictures with gzip at `level`, 1 to 9: smaller, and slower to read.
    pub fn with_gzip(mut self, level: u32) -> Self {
        self.deflate = Some(level.clamp(1, 9));
        self
    }

    /// Episodes written so far.
    pub fn num_episodes(&self) -> usize {
        self.demos.len()
    }

    /// Writes an episode and returns its index.
    ///
    /// # Errors
    ///
    /// When there is no step, when a step does not fit the robot or is not finite, or when the
    /// file cannot be written: it then holds the episodes before and nothing of this one.
    pub fn add_episode(
        &mut self,
        task: &str,
        steps: impl IntoIterator<Item = (Observation, Vec<f32>)>,
    ) -> Result<usize, DatasetError> {
        self.add_fallible(task, &mut steps.into_iter().map(Ok))
    }

    fn add_fallible(
        &mut self,
        task: &str,
        steps: &mut dyn Iterator<Item = Result<Step, DatasetError>>,
    ) -> Result<usize, DatasetError> {
        let mut recorded = Recorded::new(&self.spec, self.deflate);
        for step in steps {
            let (observation, action) = step?;
            check_step(&self.spec, recorded.num_steps, &observation, &action)?;
            recorded.push(&mut self.writer, &observation, &action)?;
        }
        if recorded.num_steps == 0 {
            let (expected, found) = ("at least one step".into(), "none".into());
            return Err(DatasetError::Recorded { step: 0, expected, found });
        }
        let index = self.demos.len();
        let num_steps = recorded.num_steps;
        let demo = recorded.finish(&mut self.writer, &self.spec, task)?;
        self.demos.push((format!("demo_{index}"), demo.address()));
        self.num_steps += num_steps;
        Ok(index)
    }

    /// Names some of the episodes, as robomimic's splits do: `train`, `valid`.
    ///
    /// # Errors
    ///
    /// When one of them is not there or the name is none.
    pub fn add_mask(&mut self, name: &str, episodes: &[usize]) -> Result<(), DatasetError> {
        let taken = self.masks.iter().any(|(mask, _)| mask == name);
        if taken || !is_name(name) {
            let expected = "a name of its own, without a slash";
            return Err(DatasetError::content("mask", expected, name, &self.path));
        }
        let num_episodes = self.demos.len();
        if let Some(&episode) = episodes.iter().find(|&&episode| episode >= num_episodes) {
            return Err(DatasetError::NoEpisode { episode, num_episodes });
        }
        self.masks.push((name.to_owned(), episodes.to_vec()));
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<(), DatasetError> {
        self.write_groups()
    }

    /// Writes what holds the episodes together, and gives the file its name.
    fn write_groups(&mut self) -> Result<(), DatasetError> {
        let environment = json!({
            "env_name": self.spec.name,
            "env_version": "",
            "type": 2,
            "env_kwargs": { "control_freq": self.spec.control_hz, "robots": [self.spec.name] },
        });
        let ours = serde_json::to_string(&self.spec).expect("a spec is plain data");
        let about = [
            ("total", Attribute::Integer(self.num_steps as i64)),
            ("env_args", Attribute::Text(&environment.to_string())),
            (OURS, Attribute::Text(&ours)),
        ];
        let names: Vec<String> = self.demos.iter().map(|(name, _)| name.clone()).collect();
        let data = self.writer.group(std::mem::take(&mut self.demos), &about)?;
        let mut members = vec![("data".into(), data.address())];
        if !self.masks.is_empty() {
            let mut masks = Vec::new();
            for (mask, episodes) in std::mem::take(&mut self.masks) {
                let width = episodes.iter().map(|&at| names[at].len()).max().unwrap_or(1);
                let mut bytes = Vec::with_capacity(width * episodes.len());
                for at in &episodes {
                    bytes.extend(names[*at].as_bytes());
                    bytes.resize(bytes.len().next_multiple_of(width), 0);
                }
                let stored = Stored::Text(width as u32);
                masks.push((mask, self.writer.dataset(stored, &[episodes.len()], &bytes)?));
            }
            members.push(("mask".into(), self.writer.group(masks, &[])?.address()));
        }
        let root = self.writer.group(members, &[])?;
        self.writer.finish(&root)
    }
}

impl DatasetWriter for RobomimicWriter {
    fn add_episode(
        &mut self,
        task: &str,
        steps: &mut dyn Iterator<Item = Result<Step, DatasetError>>,
    ) -> Result<usize, DatasetError> {
        self.add_fallible(task, steps)
    }

    fn finish(&mut self) -> Result<(), DatasetError> {
        self.write_groups()
    }
}

impl std::fmt::Debug for RobomimicWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "robomimic HDF5 for {:?}, {} episodes", self.path, self.demos.len())
    }
}

/// An episode on its way into the file: its pictures are there already, its numbers are not.
struct Recorded {
    cameras: Vec<(Chunks, Option<Chunks>)>,
    proprio: Vec<u8>,
    actions: Vec<u8>,
    num_steps: usize,
}

impl Recorded {
    fn new(spec: &RobotSpec, deflate: Option<u32>) -> Self {
        let camera = |view: &engraft_core::ViewSpec| {
            let rgb = Chunks::new(Stored::U8, &[view.height, view.width, 3], deflate);
            let depth = || Chunks::new(Stored::F32, &[view.height, view.width, 1], deflate);
            (rgb, view.depth.then(depth))
        };
        let cameras = spec.views.iter().map(camera).collect();
        Self { cameras, proprio: Vec::new(), actions: Vec::new(), num_steps: 0 }
    }

    fn push(
        &mut self,
        writer: &mut Writer,
        observation: &Observation,
        action: &[f32],
    ) -> Result<(), DatasetError> {
        for (view, (rgb, depth)) in observation.views.iter().zip(&mut self.cameras) {
            writer.row(rgb, view.rgb.pixels())?;
            if let (Some(metres), Some(depth)) = (&view.depth, depth) {
                writer.row(depth, &bytes(metres.metres()))?;
            }
        }
        self.proprio.extend(bytes(&observation.proprio));
        self.actions.extend(bytes(action));
        self.num_steps += 1;
        Ok(())
    }

    fn finish(
        self,
        writer: &mut Writer,
        spec: &RobotSpec,
        task: &str,
    ) -> Result<Written, DatasetError> {
        let steps = self.num_steps;
        let mut obs = Vec::new();
        for (view, (rgb, depth)) in spec.views.iter().zip(&self.cameras) {
            obs.push((format!("{}_image", view.name), writer.chunked(rgb)?));
            if let Some(depth) = depth {
                obs.push((format!("{}_depth", view.name), writer.chunked(depth)?));
            }
        }
        if spec.proprio_dim() > 0 {
            let shape = [steps, spec.proprio_dim()];
            obs.push(("state".into(), writer.dataset(Stored::F32, &shape, &self.proprio)?));
        }
        let obs = writer.group(obs, &[])?.address();
        let shape = [steps, spec.action_dim()];
        let actions = writer.dataset(Stored::F32, &shape, &self.actions)?;
        let rewards = writer.dataset(Stored::F64, &[steps], &vec![0; steps * size_of::<f64>()])?;
        let ends = (0..steps).flat_map(|step| i64::from(step + 1 == steps).to_le_bytes());
        let dones = writer.dataset(Stored::I64, &[steps], &ends.collect::<Vec<u8>>())?;
        let members = [("obs", obs), ("actions", actions), ("rewards", rewards), ("dones", dones)];
        let members = members.map(|(name, address)| (name.to_owned(), address)).into();
        let meta = json!({ "lang": task }).to_string();
        let about = [
            ("num_samples", Attribute::Integer(steps as i64)),
            ("ep_meta", Attribute::Text(&meta)),
        ];
        writer.group(members, &about)
    }
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Checks that a robot can be written.
fn check_spec(spec: &RobotSpec, path: &Path) -> Result<(), DatasetError> {
    let wrong = |what: &str, expected: &str, found: String| {
        Err(DatasetError::content(what, expected, found, path))
    };
    if spec.action_dim() == 0 {
        return wrong("actions", "at least one dimension", "none".into());
    }
    if !(spec.control_hz.is_finite() && spec.control_hz > 0.0) {
        return wrong("control_hz", "a rate above zero", spec.control_hz.to_string());
    }
    for (at, view) in spec.views.iter().enumerate() {
        let taken = spec.views[..at].iter().any(|other| other.name == view.name);
        if taken || !is_name(&view.name) {
            return wrong("views", "names of their own, without a slash", view.name.clone());
        }
        if view.width == 0 || view.height == 0 {
            return wrong("views", "at least one pixel", format!("{} without", view.name));
        }
    }
    Ok(())
}

/// Whether HDF5 takes it for the name of one thing.
fn is_name(name: &str) -> bool {
    !(name.is_empty() || name == "." || name.contains(['/', '\0']))
}
