//! Cameras: frozen, swapped with one another, or with red and blue swapped.

use engraft_core::{RgbImage, RobotSpec};

use super::Finding;
use super::series::median;
use super::survey::{Plan, Survey};

/// Cells of a summary, along each side.
const SIDE: usize = 8;
/// Numbers of a summary.
const CELLS: usize = SIDE * SIDE * 3;
/// Episodes that it takes to know what is usual.
const LEAST_EPISODES: usize = 3;
/// How far, in levels of 255, a picture lies from the usual one before it is suspected.
const SUSPECT_LEVELS: f32 = 10.0;
/// How much closer it has to come once it is swapped.
const CLOSER: f32 = 0.4;
/// How far the arm moves while a camera is frozen, as a fraction of its range in the episode.
const MOVES: f32 = 0.05;

/// The mean of a camera's pictures in an episode, on a coarse grid.
#[derive(Debug, Clone)]
pub(super) struct Look {
    sums: Vec<f32>,
    count: usize,
}

impl Look {
    /// Takes one more picture.
    pub(super) fn add(look: &mut Option<Self>, picture: &RgbImage) {
        let small = picture.resize(SIDE, SIDE);
        let look = look.get_or_insert_with(|| Self { sums: vec![0.0; CELLS], count: 0 });
        let each = look.sums.iter_mut().zip(small.pixels());
        each.for_each(|(sum, &value)| *sum += f32::from(value));
        look.count += 1;
    }

    fn mean(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| sum / self.count as f32).collect()
    }
}

/// Where a camera shows one picture for long while the arm moves: first and last step of each.
///
/// `prints` are the steps that were seen, `print` sees others.
pub(super) fn frozen(
    prints: &[(usize, u64)],
    print: &dyn Fn(usize) -> Option<u64>,
    moving: &[&[f32]],
    plan: &Plan,
) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for run in prints.chunk_by(|(_, a), (_, b)| a == b).filter(|run| run.len() > 1) {
        let (mut first, mut last, same) = (run[0].0, run[run.len() - 1].0, run[0].1);
        while first > 0 && print(first - 1) == Some(same) {
            first -= 1;
        }
        while last + 1 < moving.len() && print(last + 1) == Some(same) {
            last += 1;
        }
        if last - first + 1 >= plan.frozen_steps && moves(moving, first, last) {
            found.push((first, last));
        }
    }
    found
}

fn moves(rows: &[&[f32]], first: usize, last: usize) -> bool {
    let width = rows.first().map_or(0, |row| row.len());
    let range = |rows: &[&[f32]], at: usize| {
        let values = rows.iter().map(|row| row[at]);
        values.clone().fold(f32::MIN, f32::max) - values.fold(f32::MAX, f32::min)
    };
    (0..width).any(|at| {
        let whole = range(rows, at);
        whole > 0.0 && range(&rows[first..=last], at) > MOVES * whole
    })
}

/// Compares every episode's cameras with what is usual.
pub(super) fn examine(spec: &RobotSpec, surveys: &[Survey]) -> Vec<Finding> {
    let means: Vec<Vec<Option<Vec<f32>>>> = surveys
        .iter()
        .map(|survey| survey.looks.iter().map(|look| look.as_ref().map(Look::mean)).collect())
        .collect();
    let usual: Vec<Option<Vec<f32>>> = (0..spec.num_views())
        .map(|view| {
            let seen: Vec<&Vec<f32>> = means.iter().filter_map(|all| all[view].as_ref()).collect();
            let cell = |at: usize| median(seen.iter().map(|mean| mean[at]).collect());
            (seen.len() >= LEAST_EPISODES).then(|| (0..CELLS).map(cell).collect())
        })
        .collect();
    let mut findings = Vec::new();
    for (survey, means) in surveys.iter().zip(&means) {
        if let Some((a, b)) = swapped_cameras(means, &usual) {
            let (a, b) = (&spec.views[a].name, &spec.views[b].name);
            let message = format!(
                "expected cameras {a} and {b} as in the other episodes, found each showing what \
                 the other shows there"
            );
            let found = Finding::warning("swapped-cameras", message).in_episode(survey.episode);
            findings.push(found.remedy("check which camera is plugged in where"));
            continue;
        }
        for (view, (mean, usual)) in means.iter().zip(&usual).enumerate() {
            let (Some(mean), Some(usual)) = (mean, usual) else { continue };
            if has_swapped_channels(mean, usual) {
                let name = &spec.views[view].name;
                let message = format!(
                    "expected the colours of the other episodes in camera {name}, found red and \
                     blue swapped"
                );
                let found = Finding::warning("swapped-channels", message);
                let found = found.in_episode(survey.episode);
                findings.push(found.remedy("convert BGR to RGB where it was recorded"));
            }
        }
    }
    findings
}

/// Red and blue of every cell swapped.
fn swap_channels(cells: &[f32]) -> Vec<f32> {
    cells.chunks(3).flat_map(|rgb| [rgb[2], rgb[1], rgb[0]]).collect()
}

/// Whether a picture comes much closer to the usual one once red and blue are swapped.
fn has_swapped_channels(mean: &[f32], usual: &[f32]) -> bool {
    let (as_is, once_swapped) = (distance(mean, usual), distance(&swap_channels(mean), usual));
    // The tint of each cell, red against blue, is the other way round all over the picture.
    let tint = |cells: &[f32]| cells.chunks(3).map(|rgb| rgb[0] - rgb[2]).collect::<Vec<f32>>();
    as_is > SUSPECT_LEVELS
        && once_swapped < CLOSER * as_is
        && cosine(&tint(mean), &tint(usual)) < -0.7
}

/// Two cameras of which each comes much closer to what the other usually shows, and closer than
/// with its red and blue swapped.
fn swapped_cameras(
    means: &[Option<Vec<f32>>],
    usual: &[Option<Vec<f32>>],
) -> Option<(usize, usize)> {
    let comes_closer = |mean: &[f32], own: &[f32], other: &[f32]| {
        let (as_is, swapped) = (distance(mean, own), distance(mean, other));
        as_is > SUSPECT_LEVELS
            && swapped < CLOSER * as_is
            && swapped < distance(&swap_channels(mean), own)
    };
    let pairs = (0..means.len()).flat_map(|a| (a + 1..means.len()).map(move |b| (a, b)));
    pairs.into_iter().find(|&(a, b)| {
        let (Some(in_a), Some(in_b)) = (&means[a], &means[b]) else { return false };
        let (Some(usual_a), Some(usual_b)) = (&usual[a], &usual[b]) else { return false };
        comes_closer(in_a, usual_a, usual_b) && comes_closer(in_b, usual_b, usual_a)
    })
}

/// The mean difference, in levels.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let norm = (dot(a, a) * dot(b, b)).sqrt();
    if norm > 0.0 { dot(a, b) / norm } else { 0.0 }
}
