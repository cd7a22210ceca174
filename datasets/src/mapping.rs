//! Which columns are pictures, proprio and action: guessed, shown, and said otherwise where the
//! guess is wrong.

use std::fmt;
use std::str::FromStr;

use engraft_core::RobotSpec;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::column::{Column, Kind};

/// Which columns are what. What is left out is guessed.
///
/// In a recipe this is the table `[data]`; on the command line it is `--proprio`, `--action`,
/// `--view`, `--depth` and so on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Columns that make up proprio, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proprio: Vec<ColumnRef>,
    /// Columns that make up the action, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub action: Vec<ColumnRef>,
    /// Cameras, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub view: Vec<ViewRef>,
    /// Depth of the cameras that have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depth: Vec<ViewRef>,
    /// Steps per second, where the format does not say or is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f32>,
    /// What was asked of the demonstrator, where the format does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// A list of episodes that the file itself names, such as robomimic's `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// Width and height that every picture is resized to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<(usize, usize)>,
}

/// A column, or some of its numbers: `action`, `observation.state[0:7]`, `action[6]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnRef {
    /// The column's name.
    pub column: String,
    /// The numbers of it, from the first to before the second; all of them if absent.
    pub range: Option<(usize, usize)>,
}

/// A camera and the column of its pictures: `front=observation.images.front`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRef {
    /// What the camera is called.
    pub name: String,
    /// The column's name.
    pub column: String,
}

/// Why text names no column.
#[derive(Debug, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct ParseRefError {
    expected: &'static str,
    found: String,
}

impl ColumnRef {
    /// The whole column of that name.
    pub fn whole(column: impl Into<String>) -> Self {
        Self { column: column.into(), range: None }
    }
}

impl ViewRef {
    /// The camera `name`, whose pictures are in `column`.
    pub fn new(name: impl Into<String>, column: impl Into<String>) -> Self {
        Self { name: name.into(), column: column.into() }
    }
}

impl FromStr for ColumnRef {
    type Err = ParseRefError;

    fn from_str(text: &str) -> Result<Self, ParseRefError> {
        let wrong = || ParseRefError {
            expected: "COLUMN, COLUMN[INDEX] or COLUMN[FROM:TO]",
            found: text.into(),
        };
        let Some((column, range)) = text.strip_suffix(']').and_then(|text| text.rsplit_once('['))
        else {
            return if text.is_empty() { Err(wrong()) } else { Ok(Self::whole(text)) };
        };
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
        let (from, to) = match range.split_once(':') {
            Some((from, to)) => (number(from)?, number(to)?),
            None => (number(range)?, number(range)?.saturating_add(1)),
        };
        if column.is_empty() || from >= to {
            return Err(wrong());
        }
        Ok(Self { column: column.into(), range: Some((from, to)) })
    }
}

impl FromStr for ViewRef {
    type Err = ParseRefError;

    fn from_str(text: &str) -> Result<Self, ParseRefError> {
        match text.split_once('=') {
            Some((name, column)) if !name.is_empty() && !column.is_empty() => {
                Ok(Self::new(name, column))
            }
            _ => Err(ParseRefError { expected: "NAME=COLUMN", found: text.into() }),
        }
    }
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range {
            None => f.write_str(&self.column),
            Some((from, to)) if to == from + 1 => write!(f, "{}[{from}]", self.column),
            Some((from, to)) => write!(f, "{}[{from}:{to}]", self.column),
        }
    }
}

impl fmt::Display for ViewRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.column)
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(ColumnRef);
as_text!(ViewRef);

impl Mapping {
    /// This mapping where it says something, `guess` where it does not.
    pub fn or(&self, guess: Self) -> Self {
        fn first<T: Clone>(said: &[T], guessed: Vec<T>) -> Vec<T> {
            if said.is_empty() { guessed } else { said.to_vec() }
        }
        // Whoever names the cameras also says which of them have depth.
        let depth = if self.view.is_empty() { guess.depth } else { Vec::new() };
        Self {
            proprio: first(&self.proprio, guess.proprio),
            action: first(&self.action, guess.action),
            view: first(&self.view, guess.view),
            depth: first(&self.depth, depth),
            fps: self.fps.or(guess.fps),
            task: self.task.clone().or(guess.task),
            mask: self.mask.clone().or(guess.mask),
            size: self.size.or(guess.size),
        }
    }
}

/// Guesses by names alone, for formats without conventions of their own.
pub(crate) fn guess(columns: &[Column]) -> Mapping {
    let numbers = || columns.iter().filter(|column| column.kind == Kind::Numbers);
    let named = |names: &[&str]| {
        let found = names.iter().find_map(|name| numbers().find(|c| c.short_name() == *name));
        found.map(|column| ColumnRef::whole(&*column.name)).into_iter().collect()
    };
    let views = |depth| -> Vec<ViewRef> {
        let name = |column: &Column| ViewRef::new(view_name(column.short_name()), &*column.name);
        pictures(columns, depth).map(name).collect()
    };
    let view = views(false);
    let depth = depth_of(&view, views(true));
    Mapping {
        proprio: named(&["state", "qpos", "proprio", "agent_pos", "joint_positions"]),
        action: named(&["action", "actions"]),
        view,
        depth,
        ..Mapping::default()
    }
}

/// A camera's name without what only says that it is a picture: `agentview_image`, `rgb_front`.
pub(crate) fn view_name(column: &str) -> &str {
    let endings = ["_image", "_rgb", "_depth"];
    let name = endings.iter().find_map(|ending| column.strip_suffix(ending)).unwrap_or(column);
    let beginnings = ["image_", "rgb_", "depth_"];
    beginnings.iter().find_map(|beginning| name.strip_prefix(beginning)).unwrap_or(name)
}

/// The columns of colour, or those of depth.
pub(crate) fn pictures(columns: &[Column], depth: bool) -> impl Iterator<Item = &Column> {
    columns.iter().filter(move |column| match column.kind {
        Kind::Rgb { .. } => !depth,
        Kind::Depth { .. } => depth,
        _ => false,
    })
}

/// The depth of cameras that have colour.
pub(crate) fn depth_of(view: &[ViewRef], depth: impl IntoIterator<Item = ViewRef>) -> Vec<ViewRef> {
    let has_colour = |depth: &ViewRef| view.iter().any(|view| view.name == depth.name);
    depth.into_iter().filter(has_colour).collect()
}

/// The whole column of that name, where there is one.
pub(crate) fn whole<'a>(
    columns: impl IntoIterator<Item = &'a Column>,
    name: &str,
) -> Vec<ColumnRef> {
    let found = columns.into_iter().find(|column| column.name == name);
    found.map(|column| ColumnRef::whole(&*column.name)).into_iter().collect()
}

/// Puts cameras in the order in which `robot` has them; those that it has not come last.
pub(crate) fn sort_as(robot: &RobotSpec, views: &mut [ViewRef]) {
    let place = |view: &ViewRef| robot.views.iter().position(|other| other.name == view.name);
    views.sort_by_key(|view| place(view).unwrap_or(usize::MAX));
}
