//! Dimensions that never move, leap, wrap, or leave the range of the rest.

use engraft_core::{Dimension, RobotSpec};

use super::Finding;
use super::series::{Series, median, quantile};
use super::survey::Survey;
use super::units::changed_units;

/// Values that it takes to know what is usual.
const LEAST_SAMPLES: usize = 50;
/// Episodes that it takes to know which leaps are usual.
const LEAST_EPISODES: usize = 4;
/// How many times the usual spread a value may lie outside it.
const OUTSIDE: f32 = 6.0;
/// What share of all values may lie outside and still be an exception.
const RARE: f64 = 0.005;
/// How many times the usual largest leap a leap may be.
const LEAPS: f32 = 10.0;
/// Steps below which nothing is said of an episode's constant dimensions.
const LEAST_STEPS: usize = 5;

/// Looks at every dimension over all episodes.
pub(super) fn examine(spec: &RobotSpec, surveys: &[Survey]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (what, dimensions, of) in [
        ("action", &spec.actions, (|survey| &survey.actions) as fn(&Survey) -> &Vec<Series>),
        ("proprio", &spec.proprio, |survey| &survey.proprio),
    ] {
        for (at, dimension) in dimensions.iter().enumerate() {
            let all =
                surveys.iter().filter_map(|survey| Some((survey.episode, of(survey).get(at)?)));
            let all: Vec<(usize, &Series)> = all.collect();
            if !all.is_empty() {
                findings.extend(one_dimension(what, dimension, &all));
            }
        }
    }
    findings
}

fn one_dimension(what: &str, dimension: &Dimension, all: &[(usize, &Series)]) -> Vec<Finding> {
    let name = format!("{what} `{}`", dimension.name);
    let mut findings = constant(&name, all);
    findings.extend(wrapped(&name, all));
    let changed = changed_units(&name, all);
    let is_changed = |episode: usize| changed.iter().any(|found| found.episode == Some(episode));
    let usual: Vec<(usize, &Series)> =
        all.iter().filter(|(episode, _)| !is_changed(*episode)).copied().collect();
    findings.extend(outliers(&name, &usual));
    findings.extend(changed);
    findings
}

fn constant(name: &str, all: &[(usize, &Series)]) -> Vec<Finding> {
    let low = all.iter().map(|(_, series)| series.min.0).fold(f32::MAX, f32::min);
    let high = all.iter().map(|(_, series)| series.max.0).fold(f32::MIN, f32::max);
    let num_steps: usize = all.iter().map(|(_, series)| series.num_steps).sum();
    if low >= high {
        let message = format!("expected {name} to move, found {low} in every step");
        let found = Finding::warning("constant-dimension", message);
        let found = found.remedy("leave it out with a mapping, or check the sensor");
        return if num_steps > 1 { vec![found] } else { Vec::new() };
    }
    let still = |series: &Series| series.num_steps >= LEAST_STEPS && series.range() <= 0.0;
    let still: Vec<usize> =
        all.iter().filter(|(_, series)| still(series)).map(|(episode, _)| *episode).collect();
    let Some(&first) = still.first() else { return Vec::new() };
    let message =
        format!("{name} does not move in {} of {} episodes, first in this", still.len(), all.len());
    vec![Finding::note("constant-dimension", message).in_episode(first)]
}

fn wrapped<'a>(name: &'a str, all: &'a [(usize, &Series)]) -> impl Iterator<Item = Finding> + 'a {
    all.iter().filter_map(move |(episode, series)| {
        let step = series.wrap?;
        let message = format!(
            "expected {name} to go on smoothly, found it leaping by a whole turn: the angle wraps"
        );
        let found = Finding::warning("angle-wrap", message).in_episode(*episode).at_step(step);
        Some(found.remedy("unwrap the angle where it is recorded"))
    })
}

/// Values far outside the usual range, and leaps far beyond the usual ones.
fn outliers(name: &str, all: &[(usize, &Series)]) -> Vec<Finding> {
    let mut values: Vec<f32> = all.iter().flat_map(|(_, series)| series.samples.clone()).collect();
    values.sort_by(f32::total_cmp);
    let (low, high) = (quantile(&values, 0.05), quantile(&values, 0.95));
    let spread = high - low;
    if values.len() < LEAST_SAMPLES || spread <= 0.0 {
        return Vec::new();
    }
    let (least, most) = (low - OUTSIDE * spread, high + OUTSIDE * spread);
    let outside = values.iter().filter(|value| !(least..=most).contains(*value)).count();
    let is_rare = outside as f64 <= (RARE * values.len() as f64).max(1.0);
    let usual_leap = median(all.iter().map(|(_, series)| series.jump.0).collect());
    let mut findings = Vec::new();
    for (episode, series) in all {
        let worst = if series.max.0 - high > low - series.min.0 { series.max } else { series.min };
        let (leap, after) = series.jump;
        if is_rare && !(least..=most).contains(&worst.0) {
            let message = format!(
                "expected {name} around {low:.4} to {high:.4}, as in nine of ten steps, found {}",
                worst.0
            );
            let found = Finding::warning("outlier", message).in_episode(*episode);
            findings.push(found.at_step(worst.1).remedy("look at the step before training on it"));
        } else if all.len() >= LEAST_EPISODES
            && usual_leap > 0.0
            && leap > LEAPS * usual_leap
            && leap > 0.5 * spread
        {
            let message = format!(
                "expected {name} to change by at most about {usual_leap:.4} from one step to the \
                 next, as in the other episodes, found {leap:.4}"
            );
            let found = Finding::warning("leap", message).in_episode(*episode);
            findings.push(found.at_step(after).remedy("look at the step before training on it"));
        }
    }
    findings
}
