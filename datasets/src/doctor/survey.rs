//! One episode, read once and summed up.

use engraft_core::{Observation, RobotSpec};
use sha2::{Digest, Sha256};

use super::gripper::{Correlation, pairs_of_grippers};
use super::pictures::{Look, frozen};
use super::series::Series;
use super::{
    EMPTY_EPISODE, Examination, Finding, NOT_FINITE, UNREADABLE_EPISODE, UNREADABLE_PICTURE,
};
use crate::{Dataset, DatasetError, Episode, chain};

/// Values that are kept of each dimension over all episodes.
const MAX_SAMPLES: usize = 100_000;

/// What is looked at in each episode.
pub(super) struct Plan {
    /// Every how many steps pictures are decoded.
    pub(super) picture_stride: usize,
    /// Steps for which a camera may stand still while the arm moves.
    pub(super) frozen_steps: usize,
    /// Every how many steps a number is kept.
    sample_stride: usize,
    /// Dimensions of action and proprio that are the same joint.
    same: Vec<(usize, usize)>,
    /// Dimensions of action and proprio that are the same gripper.
    pub(super) grippers: Vec<(usize, usize)>,
    /// By how many steps a gripper may follow its command.
    delays: [usize; 2],
}

impl Plan {
    pub(super) fn new(dataset: &dyn Dataset, options: &Examination) -> Self {
        let spec = dataset.spec();
        let frozen_steps = (options.frozen_secs * spec.control_hz).ceil().max(2.0) as usize;
        Self {
            picture_stride: if options.every_picture { 1 } else { (frozen_steps / 2).max(1) },
            frozen_steps,
            sample_stride: dataset.num_steps().div_ceil(MAX_SAMPLES).max(1),
            same: same_joints(spec),
            grippers: pairs_of_grippers(spec),
            delays: [0, (0.3 * spec.control_hz).round() as usize],
        }
    }
}

/// Dimensions of action and proprio with the same name; by place where there are none but as many
/// of one as of the other. Nothing, where that leaves out half of the action.
fn same_joints(spec: &RobotSpec) -> Vec<(usize, usize)> {
    let of = |(at, dimension): (usize, &engraft_core::Dimension)| {
        Some((at, spec.proprio.iter().position(|other| other.name == dimension.name)?))
    };
    let mut same: Vec<_> = spec.actions.iter().enumerate().filter_map(of).collect();
    if same.is_empty() && spec.action_dim() == spec.proprio_dim() {
        same = (0..spec.action_dim()).map(|at| (at, at)).collect();
    }
    if same.len() * 2 < spec.action_dim() { Vec::new() } else { same }
}

/// What is kept of an episode that was read.
pub(super) struct Survey {
    pub(super) episode: usize,
    pub(super) num_steps: usize,
    pub(super) num_steps_seen: usize,
    /// One per dimension; none in an episode without steps.
    pub(super) proprio: Vec<Series>,
    /// One per dimension; none in an episode without steps.
    pub(super) actions: Vec<Series>,
    /// Of every number and of the pictures that were seen.
    pub(super) hash: [u8; 32],
    /// Of the actions, to four digits after the point.
    pub(super) actions_hash: [u8; 32],
    /// One per view, where a picture was seen.
    pub(super) looks: Vec<Option<Look>>,
    /// One per pair of grippers: the best over the delays.
    pub(super) grippers: Vec<Option<f64>>,
    /// Steps whose action is the proprio of the same step.
    pub(super) echoes: usize,
    /// Steps at the start, and at the end, during which nothing moves.
    pub(super) still: (usize, usize),
    /// What is wrong within the episode.
    pub(super) findings: Vec<Finding>,
}

impl Survey {
    /// Reads an episode; what cannot be read at all is the finding.
    pub(super) fn of(dataset: &dyn Dataset, index: usize, plan: &Plan) -> Result<Self, Finding> {
        let unreadable = |error: &DatasetError| unreadable(dataset, index, error);
        let episode = dataset.episode(index).map_err(|error| unreadable(&error))?;
        let spec = dataset.spec();
        let num_steps = episode.num_steps();
        let actions = episode.actions(0..num_steps).map_err(|error| unreadable(&error))?;
        let proprio: Result<Vec<&[f32]>, _> = (0..num_steps).map(|s| episode.proprio(s)).collect();
        let proprio = proprio.map_err(|error| unreadable(&error))?;
        let actions: Vec<&[f32]> = actions.actions().collect();
        let mut survey = Self {
            episode: index,
            num_steps,
            num_steps_seen: 0,
            proprio: all_series(&proprio, &spec.proprio, plan.sample_stride),
            actions: all_series(&actions, &spec.actions, plan.sample_stride),
            hash: [0; 32],
            actions_hash: rounded_hash(&actions),
            looks: vec![None; spec.num_views()],
            grippers: plan
                .grippers
                .iter()
                .map(|pair| Correlation::best(&actions, &proprio, *pair, &plan.delays))
                .collect(),
            echoes: count_echoes(&actions, &proprio, &plan.same),
            still: still_ends(if spec.proprio_dim() > 0 { &proprio } else { &actions }),
            findings: Vec::new(),
        };
        if num_steps == 0 {
            let empty = Finding::error(EMPTY_EPISODE, "the episode has no step").in_episode(index);
            survey.findings.push(empty.remedy("leave it out").repairable());
        }
        let mut hash = Sha256::new();
        for values in actions.iter().chain(&proprio) {
            values.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        survey.look(&*episode, spec, plan, &proprio, &actions, &mut hash);
        survey.hash = hash.finalize().into();
        Ok(survey)
    }

    /// Looks at pictures at a stride.
    fn look(
        &mut self,
        episode: &dyn Episode,
        spec: &RobotSpec,
        plan: &Plan,
        proprio: &[&[f32]],
        actions: &[&[f32]],
        hash: &mut Sha256,
    ) {
        if spec.num_views() == 0 {
            return;
        }
        let mut prints: Vec<Vec<(usize, u64)>> = vec![Vec::new(); spec.num_views()];
        let mut failed = false;
        for step in (0..self.num_steps).step_by(plan.picture_stride) {
            let observation = match episode.observation(step) {
                Ok(observation) => observation,
                Err(error) => {
                    // One of an episode is enough.
                    if !std::mem::replace(&mut failed, true) {
                        let found = Finding::error(UNREADABLE_PICTURE, chain(&error));
                        let found = found.in_episode(self.episode).at_step(step).repairable();
                        self.findings.push(found.remedy("leave the episode out"));
                    }
                    continue;
                }
            };
            self.num_steps_seen += 1;
            for (at, print) in fingerprints(&observation, hash).into_iter().enumerate() {
                prints[at].push((step, print));
                Look::add(&mut self.looks[at], &observation.views[at].rgb);
            }
        }
        let moving = if spec.proprio_dim() > 0 { proprio } else { actions };
        for (at, prints) in prints.iter().enumerate() {
            let print = |step: usize| {
                let observation = episode.observation(step).ok()?;
                Some(fingerprints(&observation, &mut Sha256::new())[at])
            };
            for (first, last) in frozen(prints, &print, moving, plan) {
                let name = &spec.views[at].name;
                let message = format!(
                    "camera {name} shows the same picture from step {first} to step {last} while \
                     the arm moves"
                );
                let found = Finding::warning("frozen-camera", message);
                let found = found.in_episode(self.episode).at_step(first);
                self.findings.push(found.remedy("check the camera's driver and cable"));
            }
        }
    }
}

/// A print of each view's picture; all of them go into `hash`.
fn fingerprints(observation: &Observation, hash: &mut Sha256) -> Vec<u64> {
    let views = observation.views.iter();
    views
        .map(|view| {
            let digest = Sha256::digest(view.rgb.pixels());
            hash.update(digest);
            if let Some(depth) = &view.depth {
                depth.metres().iter().for_each(|metres| hash.update(metres.to_le_bytes()));
            }
            let mut first = [0; 8];
            first.copy_from_slice(&digest[..8]);
            u64::from_le_bytes(first)
        })
        .collect()
}

fn all_series(rows: &[&[f32]], all: &[engraft_core::Dimension], stride: usize) -> Vec<Series> {
    let each = all.iter().enumerate();
    each.filter_map(|(at, one)| Series::of(rows.iter().map(|row| row[at]), one, stride)).collect()
}

/// A hash that small differences do not change, most of the time.
fn rounded_hash(rows: &[&[f32]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for value in rows.iter().flat_map(|row| row.iter()) {
        hash.update(((f64::from(*value) * 1e4).round() as i64).to_le_bytes());
    }
    hash.finalize().into()
}

fn count_echoes(actions: &[&[f32]], proprio: &[&[f32]], same: &[(usize, usize)]) -> usize {
    if same.is_empty() {
        return 0;
    }
    let echo = |(action, sensed): &(&&[f32], &&[f32])| {
        same.iter().all(|&(a, p)| action[a].to_bits() == sensed[p].to_bits())
    };
    actions.iter().zip(proprio).filter(echo).count()
}

/// Steps at both ends that stay within half a percent of the episode's range.
fn still_ends(rows: &[&[f32]]) -> (usize, usize) {
    let Some((first, last)) = rows.first().zip(rows.last()) else { return (0, 0) };
    let ranges: Vec<f32> = (0..first.len())
        .map(|at| {
            let values = rows.iter().map(|row| row[at]);
            values.clone().fold(f32::MIN, f32::max) - values.fold(f32::MAX, f32::min)
        })
        .collect();
    let still = |row: &&&[f32], from: &[f32]| {
        let each = row.iter().zip(from).zip(&ranges);
        each.into_iter().all(|((value, from), range)| (value - from).abs() <= range * 5e-3)
    };
    let start = rows.iter().take_while(|row| still(row, first)).count();
    let end = rows.iter().rev().take_while(|row| still(row, last)).count();
    (start, end)
}

fn unreadable(dataset: &dyn Dataset, index: usize, error: &DatasetError) -> Finding {
    if let DatasetError::NotFinite { feature, step, dimension, .. } = error {
        let features = dataset.info().map(|info| info.features).unwrap_or_default();
        let named = features.iter().find(|found| found.name == *feature);
        let named = named.and_then(|found| found.dimensions.get(*dimension));
        let name = named.map_or(String::new(), |found| format!(" (`{}`)", found.name));
        let message = format!(
            "expected finite numbers, found NaN or infinity in `{feature}`, dimension \
             {dimension}{name}"
        );
        let found = Finding::error(NOT_FINITE, message).in_episode(index).at_step(*step);
        return found.remedy("leave the episode out, or record it again").repairable();
    }
    let found = Finding::error(UNREADABLE_EPISODE, chain(error)).in_episode(index);
    found.remedy("leave the episode out, or restore its file").repairable()
}
