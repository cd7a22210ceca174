//! A mapping held against the columns that there are: what to read, and the robot that it makes.

use std::path::Path;

use engraft_core::{Dimension, RobotSpec, ViewSpec};

use crate::DatasetError;
use crate::column::Kind;
use crate::mapping::{ColumnRef, Mapping};
use crate::source::About;

/// More joints than any robot has; what lies above is damage.
const MAX_WIDTH: usize = 4096;

/// Some numbers of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which of [`Layout::wanted`].
    pub(crate) track: usize,
    /// Numbers of the track in one step.
    pub(crate) width: usize,
    /// The first number taken.
    pub(crate) from: usize,
    /// The number after the last one taken.
    pub(crate) to: usize,
}

/// A mapping held against the columns that there are.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The mapping, guesses included.
    pub(crate) mapping: Mapping,
    /// What the robot senses and accepts.
    pub(crate) spec: RobotSpec,
    /// The columns to read, as indices into those of the source.
    pub(crate) wanted: Vec<usize>,
    /// What makes up proprio.
    pub(crate) proprio: Vec<Part>,
    /// What makes up an action.
    pub(crate) actions: Vec<Part>,
    /// Which of `wanted` are the colour and the depth of each view.
    pub(crate) views: Vec<(usize, Option<usize>)>,
}

impl Layout {
    /// Finds the columns that `said` and, for what it leaves out, `guess` name.
    pub(crate) fn find(
        about: &About,
        said: &Mapping,
        guess: Mapping,
    ) -> Result<Self, DatasetError> {
        let path = &*about.path;
        let mapping = said.or(guess);
        let mut finder = Finder { about, wanted: Vec::new() };
        let (proprio, proprio_dims) = finder.numbers(&mapping.proprio)?;
        let (actions, action_dims) = finder.numbers(&mapping.action)?;
        if actions.is_empty() {
            let found = about.columns.iter().filter(|column| column.kind == Kind::Numbers);
            let found: Vec<&str> = found.map(|column| &*column.name).collect();
            return Err(DatasetError::NoAction { found: found.join(", "), path: path.into() });
        }
        let Some(control_hz) = mapping.fps.or(about.fps) else {
            return Err(DatasetError::NoRate { path: path.into() });
        };
        if !(control_hz.is_finite() && control_hz > 0.0) {
            let found = control_hz.to_string();
            return Err(DatasetError::content("fps", "a number above zero", found, path));
        }
        let (mut views, mut specs) = (Vec::new(), Vec::<ViewSpec>::new());
        for view in &mapping.view {
            if specs.iter().any(|other| other.name == view.name) {
                let found = format!("{} twice", view.name);
                return Err(DatasetError::content("view", "names of their own", found, path));
            }
            let (rgb, width, height) = finder.pictures(&view.column, false)?;
            let depth = mapping.depth.iter().find(|depth| depth.name == view.name);
            let depth = depth.map(|depth| finder.pictures(&depth.column, true)).transpose()?;
            if let Some((_, w, h)) = depth
                && (w, h) != (width, height)
                && mapping.size.is_none()
            {
                let expected = format!("{width} x {height}, as its colour");
                let what = format!("depth of {}", view.name);
                return Err(DatasetError::content(what, expected, format!("{w} x {h}"), path));
            }
            let (width, height) = mapping.size.unwrap_or((width, height));
            specs.push(ViewSpec { name: view.name.clone(), width, height, depth: depth.is_some() });
            views.push((rgb, depth.map(|(track, ..)| track)));
        }
        if let Some(depth) = mapping.depth.iter().find(|d| !specs.iter().any(|v| v.name == d.name))
        {
            let names: Vec<&str> = specs.iter().map(|view| &*view.name).collect();
            let expected = format!("the name of a view ({})", names.join(", "));
            return Err(DatasetError::content("depth", expected, depth.to_string(), path));
        }
        let spec = RobotSpec {
            name: about.robot.clone().unwrap_or_else(|| "unknown".into()),
            control_hz,
            views: specs,
            proprio: unique(proprio_dims),
            actions: unique(action_dims),
        };
        Ok(Self { wanted: finder.wanted, mapping, spec, proprio, actions, views })
    }
}

/// Looks columns up and remembers which are wanted.
struct Finder<'a> {
    about: &'a About,
    wanted: Vec<usize>,
}

impl Finder<'_> {
    fn column(&self, name: &str) -> Result<usize, DatasetError> {
        let columns = &self.about.columns;
        columns.iter().position(|column| column.name == name).ok_or_else(|| {
            let usable = columns.iter().filter(|c| !matches!(c.kind, Kind::Index | Kind::Other));
            let names: Vec<&str> = usable.map(|column| &*column.name).collect();
            let expected = format!("one of the columns {}", names.join(", "));
            DatasetError::content(name, expected, "no such column", &self.about.path)
        })
    }

    fn want(&mut self, column: usize) -> usize {
        if let Some(track) = self.wanted.iter().position(|&wanted| wanted == column) {
            return track;
        }
        self.wanted.push(column);
        self.wanted.len() - 1
    }

    fn numbers(&mut self, refs: &[ColumnRef]) -> Result<(Vec<Part>, Vec<Dimension>), DatasetError> {
        let path: &Path = &self.about.path;
        let (mut parts, mut dimensions) = (Vec::new(), Vec::new());
        for wanted in refs {
            let index = self.column(&wanted.column)?;
            let column = &self.about.columns[index];
            let width = column.width();
            if !matches!(column.kind, Kind::Numbers | Kind::Index) {
                let found = format!("{} of shape {:?}", column.dtype, column.shape);
                return Err(DatasetError::content(
                    &column.name,
                    "a column of numbers",
                    found,
                    path,
                ));
            }
            if !(1..=MAX_WIDTH).contains(&width) {
                let expected = format!("1 to {MAX_WIDTH} numbers");
                let found = width.to_string();
                return Err(DatasetError::content(&column.name, expected, found, path));
            }
            let (from, to) = wanted.range.unwrap_or((0, width));
            if to > width {
                let (expected, found) = (format!("an end up to {width}"), wanted.to_string());
                return Err(DatasetError::content(&column.name, expected, found, path));
            }
            dimensions.extend(column.named_dimensions().drain(from..to));
            parts.push(Part { track: self.want(index), width, from, to });
        }
        Ok((parts, dimensions))
    }

    fn pictures(&mut self, name: &str, depth: bool) -> Result<(usize, usize, usize), DatasetError> {
        let index = self.column(name)?;
        let column = &self.about.columns[index];
        let size = match column.kind {
            Kind::Rgb { width, height } if !depth => Some((width, height)),
            Kind::Depth { width, height } if depth => Some((width, height)),
            _ => None,
        };
        let Some((width, height)) = size else {
            let expected = if depth { "a column of depth" } else { "a column of pictures" };
            let found = format!("{} of shape {:?}", column.dtype, column.shape);
            return Err(DatasetError::content(name, expected, found, &self.about.path));
        };
        Ok((self.want(index), width, height))
    }
}

/// The same, with a number behind names that stand there already.
fn unique(mut dimensions: Vec<Dimension>) -> Vec<Dimension> {
    for at in 1..dimensions.len() {
        let (before, after) = dimensions.split_at_mut(at);
        let taken = |name: &str| before.iter().any(|other| other.name == name);
        let plain = after[0].name.clone();
        let mut number = 2;
        while taken(&after[0].name) {
            after[0].name = format!("{plain}_{number}");
            number += 1;
        }
    }
    dimensions
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::column::Column;
    use crate::mapping::{ViewRef, guess};

    fn about() -> About {
        let picture = Kind::Rgb { width: 8, height: 6 };
        About {
            format: "test".into(),
            path: PathBuf::from("set"),
            robot: None,
            fps: Some(10.0),
            columns: vec![
                Column::new("obs/qpos", "float32", [3], Kind::Numbers),
                Column::new("obs/gripper", "float32", [1], Kind::Numbers),
                Column::new("obs/front_image", "uint8", [6, 8, 3], picture),
                Column::new("actions", "float32", [4], Kind::Numbers),
            ],
            tasks: Vec::new(),
        }
    }

    fn find(said: &Mapping) -> Result<Layout, DatasetError> {
        let about = about();
        Layout::find(&about, said, guess(&about.columns))
    }

    #[test]
    fn names_say_what_a_column_is() {
        let layout = find(&Mapping::default()).unwrap();
        let names = |dims: &[Dimension]| dims.iter().map(|d| d.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&layout.spec.proprio), ["qpos_0", "qpos_1", "qpos_2"]);
        assert_eq!(layout.spec.action_dim(), 4);
        assert_eq!(layout.spec.views[0].name, "front");
        assert_eq!((layout.spec.views[0].width, layout.spec.views[0].height), (8, 6));
    }

    #[test]
    fn whoever_says_otherwise_is_heard() {
        let said = Mapping {
            proprio: vec!["obs/gripper".parse().unwrap(), "obs/qpos[1:3]".parse().unwrap()],
            action: vec!["actions[0:2]".parse().unwrap(), "actions[3]".parse().unwrap()],
            view: vec!["top=obs/front_image".parse().unwrap()],
            fps: Some(5.0),
            size: Some((4, 4)),
            ..Mapping::default()
        };
        let layout = find(&said).unwrap();
        let names: Vec<&str> = layout.spec.actions.iter().map(|d| &*d.name).collect();
        assert_eq!(names, ["actions_0", "actions_1", "actions_3"]);
        assert_eq!(layout.proprio[1], Part { track: 1, width: 3, from: 1, to: 3 });
        assert_eq!(layout.spec.control_hz, 5.0);
        assert_eq!((&*layout.spec.views[0].name, layout.spec.views[0].width), ("top", 4));
        let text = serde_json::to_string(&said).unwrap();
        assert_eq!(serde_json::from_str::<Mapping>(&text).unwrap(), said);
    }

    #[test]
    fn a_column_that_is_not_there_is_answered_with_those_that_are() {
        let said = Mapping { proprio: vec![ColumnRef::whole("obs/joints")], ..Mapping::default() };
        let error = find(&said).unwrap_err().to_string();
        assert!(error.contains("`obs/joints`: expected one of the columns obs/qpos"), "{error}");
        let said = Mapping { action: vec!["actions[2:9]".parse().unwrap()], ..Mapping::default() };
        let error = find(&said).unwrap_err().to_string();
        assert!(error.contains("an end up to 4, found actions[2:9]"), "{error}");
        let said = Mapping { view: vec![ViewRef::new("front", "actions")], ..Mapping::default() };
        assert!(find(&said).unwrap_err().to_string().contains("a column of pictures"));
        for wrong in ["", "a[", "a[]", "a[3:3]", "a[x]", "[1]"] {
            let parsed = wrong.parse::<ColumnRef>();
            assert!(parsed.is_err() || wrong == "a[", "{wrong}: {parsed:?}");
        }
    }

    #[test]
    fn names_that_stand_twice_get_a_number() {
        let names = ["x", "y", "x", "x"].map(|name| Dimension::new(name, ""));
        let unique: Vec<_> = unique(names.into()).into_iter().map(|d| d.name).collect();
        assert_eq!(unique, ["x", "y", "x_2", "x_3"]);
    }
}
