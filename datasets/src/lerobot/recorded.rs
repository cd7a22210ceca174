//! An episode on its way to disk: checked against the robot, encoded, counted.

use engraft_core::{Observation, RobotSpec, View};

use super::numbers::{FeatureStats, Histogram};
use super::schema::{Place, Rows, depth_column, rgb_column, timestamps};
use crate::picture::{encode_depth, encode_rgb};
use crate::{DatasetError, PictureError};

/// Why a step could not be taken.
pub(super) enum Refusal {
    /// It does not fit the robot.
    Misfit(DatasetError),
    /// The picture of this column cannot be encoded.
    Picture(String, PictureError),
}

/// Encodes steps, and counts what LeRobot's statistics are made of.
pub(super) struct Recorder<'a> {
    spec: &'a RobotSpec,
    rows: Rows,
    colours: Vec<Histogram>,
    depths: Vec<Histogram>,
}

impl<'a> Recorder<'a> {
    /// Nothing recorded yet.
    pub(super) fn new(spec: &'a RobotSpec) -> Self {
        let rows = Rows {
            num_steps: 0,
            proprio: Vec::new(),
            actions: Vec::new(),
            rgb: vec![Vec::new(); spec.num_views()],
            depth: vec![Vec::new(); spec.num_views()],
        };
        let colours = spec.views.iter().map(|_| Histogram::of_rgb()).collect();
        let depth = |_| Histogram::of_depth();
        let depths = spec.views.iter().filter(|view| view.depth).map(depth).collect();
        Self { spec, rows, colours, depths }
    }

    /// Takes one step.
    pub(super) fn push(
        &mut self,
        observation: &Observation,
        action: &[f32],
    ) -> Result<(), Refusal> {
        let step = self.rows.num_steps;
        check_step(self.spec, step, observation, action).map_err(Refusal::Misfit)?;
        let mut depths = self.depths.iter_mut();
        for (at, (view, spec)) in observation.views.iter().zip(&self.spec.views).enumerate() {
            let png = encode_rgb(&view.rgb);
            let png = png.map_err(|error| Refusal::Picture(rgb_column(&spec.name), error))?;
            self.rows.rgb[at].push(png);
            self.colours[at].push_rgb(&view.rgb);
            if !spec.depth {
                continue;
            }
            if let (Some(depth), Some(counted)) = (&view.depth, depths.next()) {
                let png = encode_depth(depth);
                let png = png.map_err(|error| Refusal::Picture(depth_column(&spec.name), error))?;
                self.rows.depth[at].push(png);
                counted.push_depth(depth);
            }
        }
        self.rows.proprio.extend(&observation.proprio);
        self.rows.actions.extend(action);
        self.rows.num_steps += 1;
        Ok(())
    }

    /// The episode's rows and the statistics of its features, in the order of the columns.
    pub(super) fn finish(self, place: &Place) -> Result<(Rows, Vec<FeatureStats>), DatasetError> {
        let rows = self.rows;
        if rows.num_steps == 0 {
            return Err(misfit(0, "a step", "the end of the episode"));
        }
        let wide = |values: &[f32]| values.iter().map(|&value| value.into()).collect::<Vec<f64>>();
        let mut stats = Vec::new();
        if self.spec.proprio_dim() > 0 {
            stats.push(FeatureStats::of_vectors(&wide(&rows.proprio), self.spec.proprio_dim()));
        }
        stats.push(FeatureStats::of_vectors(&wide(&rows.actions), self.spec.action_dim()));
        stats.extend(self.colours.iter().chain(&self.depths).map(Histogram::finish));
        let num_steps = rows.num_steps;
        let rising = |first: usize| (first..first + num_steps).map(|at| at as f64).collect();
        let constant = |value: usize| vec![value as f64; num_steps];
        let times = wide(&timestamps(num_steps, self.spec.control_hz));
        stats.push(FeatureStats::of_vectors(&times, 1));
        let counters: [Vec<f64>; 4] =
            [rising(0), constant(place.episode), rising(place.first_index), constant(place.task)];
        stats.extend(counters.iter().map(|values| FeatureStats::of_counter(values)));
        Ok((rows, stats))
    }
}

fn misfit(step: usize, expected: impl Into<String>, found: impl Into<String>) -> DatasetError {
    DatasetError::Recorded { step, expected: expected.into(), found: found.into() }
}

/// Checks that a step is one of this robot.
pub(crate) fn check_step(
    spec: &RobotSpec,
    step: usize,
    observation: &Observation,
    action: &[f32],
) -> Result<(), DatasetError> {
    for (what, values, dim) in [
        ("proprio", &*observation.proprio, spec.proprio_dim()),
        ("action", action, spec.action_dim()),
    ] {
        if values.len() != dim {
            let (expected, found) = (format!("{what} of {dim} numbers"), values.len());
            return Err(misfit(step, expected, found.to_string()));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let found = format!("{} in dimension {at}", values[at]);
            return Err(misfit(step, format!("finite {what}"), found));
        }
    }
    if observation.views.len() != spec.num_views() {
        let (expected, found) = (spec.num_views(), observation.views.len());
        return Err(misfit(step, format!("{expected} view(s)"), found.to_string()));
    }
    for (view, spec) in observation.views.iter().zip(&spec.views) {
        let View { rgb, depth } = view;
        let say = |width: usize, height: usize| format!("{} of {width} x {height}", spec.name);
        let expected = say(spec.width, spec.height);
        if (rgb.width(), rgb.height()) != (spec.width, spec.height) {
            return Err(misfit(step, expected, say(rgb.width(), rgb.height())));
        }
        let depth = depth.as_ref().map(|depth| (depth.width(), depth.height()));
        if spec.depth && depth != Some((spec.width, spec.height)) {
            let found = depth.map_or("none".into(), |(width, height)| say(width, height));
            return Err(misfit(step, format!("depth of {expected}"), found));
        }
    }
    Ok(())
}
