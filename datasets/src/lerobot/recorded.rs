//! An episode on its way to disk: checked against the robot, encoded, counted.

use engraft_core::{Observation, RobotSpec, View};

use super::numbers::{FeatureStats, Histogram};
use super::schema::{Capture, Place, Rows, depth_column, rgb_column, timestamps};
use crate::picture::{encode_depth, encode_rgb};
use crate::{DatasetError, PictureError};

/// Bytes that one column of an arrow table can hold.
const COLUMN_BYTES: usize = i32::MAX as usize;

/// Why a step could not be taken.
pub(super) enum Refusal {
    /// It does not fit the robot.
    Misfit(DatasetError),
    /// The picture of this column cannot be encoded.
    Picture(String, PictureError),
}

/// Collects encoded steps, and counts what LeRobot's statistics are made of.
#[derive(Debug)]
pub(super) struct Recorder {
    rows: Rows,
    colours: Vec<Histogram>,
    depths: Vec<Histogram>,
    /// Bytes of each column of pictures: colour of every view, then depth of every view.
    num_bytes: Vec<usize>,
}

/// The pictures of one step as PNG; nothing where a view measures no depth.
pub(super) struct Encoded {
    rgb: Vec<Vec<u8>>,
    depth: Vec<Option<Vec<u8>>>,
}

/// Checks the step `at` of an episode against the robot, and encodes its pictures.
pub(super) fn encode(
    spec: &RobotSpec,
    at: usize,
    observation: &Observation,
    action: &[f32],
) -> Result<Encoded, Refusal> {
    check_step(spec, at, observation, action).map_err(Refusal::Misfit)?;
    let mut encoded = Encoded { rgb: Vec::new(), depth: Vec::new() };
    for (view, spec) in observation.views.iter().zip(&spec.views) {
        let png = encode_rgb(&view.rgb);
        encoded.rgb.push(png.map_err(|error| Refusal::Picture(rgb_column(&spec.name), error))?);
        let depth = view.depth.as_ref().filter(|_| spec.depth);
        let png = depth.map(encode_depth).transpose();
        encoded.depth.push(png.map_err(|error| Refusal::Picture(depth_column(&spec.name), error))?);
    }
    Ok(encoded)
}

impl Recorder {
    /// Nothing recorded yet.
    pub(super) fn new(spec: &RobotSpec, has_capture: bool) -> Self {
        let rows = Rows {
            num_steps: 0,
            proprio: Vec::new(),
            actions: Vec::new(),
            rgb: vec![Vec::new(); spec.num_views()],
            depth: vec![Vec::new(); spec.num_views()],
            capture: has_capture.then(Capture::default),
        };
        let colours = spec.views.iter().map(|_| Histogram::of_rgb()).collect();
        let depth = |_| Histogram::of_depth();
        let depths = spec.views.iter().filter(|view| view.depth).map(depth).collect();
        Self { rows, colours, depths, num_bytes: vec![0; 2 * spec.num_views()] }
    }

    /// Steps so far.
    pub(super) fn num_steps(&self) -> usize {
        self.rows.num_steps
    }

    /// Takes one step, which [`encode`] has seen.
    ///
    /// `limit` bounds the bytes of all pictures; an episode that passes it cannot be finished.
    pub(super) fn take(
        &mut self,
        observation: &Observation,
        action: &[f32],
        encoded: Encoded,
        limit: usize,
    ) -> Result<(), DatasetError> {
        let num_views = self.rows.rgb.len();
        let pngs = encoded.rgb.iter().zip(&encoded.depth).enumerate();
        for (at, (rgb, depth)) in pngs {
            self.num_bytes[at] += rgb.len();
            self.num_bytes[num_views + at] += depth.as_ref().map_or(0, Vec::len);
        }
        let largest = self.num_bytes.iter().copied().max().unwrap_or(0);
        let total: usize = self.num_bytes.iter().sum();
        if largest > COLUMN_BYTES || total > limit {
            let expected = format!(
                "at most {limit} bytes of pictures in an episode and {COLUMN_BYTES} in one column \
                 of it: finish it earlier"
            );
            return Err(misfit(self.rows.num_steps, expected, format!("{total} bytes")));
        }
        let mut depths = self.depths.iter_mut();
        let pngs = encoded.rgb.into_iter().zip(encoded.depth);
        for (at, (view, (rgb, depth))) in observation.views.iter().zip(pngs).enumerate() {
            self.rows.rgb[at].push(rgb);
            self.colours[at].push_rgb(&view.rgb);
            if let (Some(png), Some(depth), Some(counted)) = (depth, &view.depth, depths.next()) {
                self.rows.depth[at].push(png);
                counted.push_depth(depth);
            }
        }
        self.rows.proprio.extend(&observation.proprio);
        self.rows.actions.extend(action);
        self.rows.num_steps += 1;
        Ok(())
    }

    /// Notes when the step that was taken last was captured.
    pub(super) fn captured(&mut self, secs: f64, dropped: i64) {
        if let Some(capture) = &mut self.rows.capture {
            capture.secs.push(secs);
            capture.dropped.push(dropped);
        }
    }

    /// The episode's rows and the statistics of its features, in the order of the columns.
    pub(super) fn finish(
        self,
        spec: &RobotSpec,
        place: &Place,
    ) -> Result<(Rows, Vec<FeatureStats>), DatasetError> {
        let rows = self.rows;
        if rows.num_steps == 0 {
            return Err(misfit(0, "a step", "the end of the episode"));
        }
        let wide = |values: &[f32]| values.iter().map(|&value| value.into()).collect::<Vec<f64>>();
        let mut stats = Vec::new();
        if spec.proprio_dim() > 0 {
            stats.push(FeatureStats::of_vectors(&wide(&rows.proprio), spec.proprio_dim()));
        }
        stats.push(FeatureStats::of_vectors(&wide(&rows.actions), spec.action_dim()));
        stats.extend(self.colours.iter().chain(&self.depths).map(Histogram::finish));
        if let Some(capture) = &rows.capture {
            let dropped: Vec<f64> = capture.dropped.iter().map(|&count| count as f64).collect();
            stats.push(FeatureStats::of_vectors(&capture.secs, 1));
            stats.push(FeatureStats::of_counter(&dropped));
        }
        let num_steps = rows.num_steps;
        let rising = |first: usize| (first..first + num_steps).map(|at| at as f64).collect();
        let constant = |value: usize| vec![value as f64; num_steps];
        let times = wide(&timestamps(num_steps, spec.control_hz));
        stats.push(FeatureStats::of_vectors(&times, 1));
        let counters: [Vec<f64>; 4] =
            [rising(0), constant(place.episode), rising(place.first_index), constant(place.task)];
        stats.extend(counters.iter().map(|values| FeatureStats::of_counter(values)));
        Ok((rows, stats))
    }
}

/// A step that does not fit.
pub(super) fn misfit(
    step: usize,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> DatasetError {
    DatasetError::Recorded { step, expected: expected.into(), found: found.into() }
}

fn check_step(
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
