//! Grippers that close when they are told to open.

use engraft_core::RobotSpec;

use super::Finding;
use super::series::{Series, median};
use super::survey::{Plan, Survey};

/// From where on a correlation is beyond doubt.
const CLEAR: f64 = 0.5;
/// Episodes that it takes to know which way is usual.
const LEAST_EPISODES: usize = 4;

/// The sums behind a correlation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Correlation {
    count: f64,
    a: f64,
    b: f64,
    aa: f64,
    bb: f64,
    ab: f64,
}

impl Correlation {
    /// Of a dimension of the actions with one of proprio, which follows after one of `delays`;
    /// the largest, and nothing where one of them does not move.
    pub(super) fn best(
        actions: &[&[f32]],
        proprio: &[&[f32]],
        (action, sensed): (usize, usize),
        delays: &[usize],
    ) -> Option<f64> {
        let of = |&delay: &usize| {
            let mut sums = Self::default();
            for (a, b) in actions.iter().zip(proprio.iter().skip(delay)) {
                sums.push(a[action].into(), b[sensed].into());
            }
            sums.value()
        };
        delays.iter().filter_map(of).max_by(f64::total_cmp)
    }

    fn push(&mut self, a: f64, b: f64) {
        self.count += 1.0;
        self.a += a;
        self.b += b;
        self.aa += a * a;
        self.bb += b * b;
        self.ab += a * b;
    }

    fn value(&self) -> Option<f64> {
        let spread = |square: f64, sum: f64| square / self.count - (sum / self.count).powi(2);
        let (aa, bb) = (spread(self.aa, self.a), spread(self.bb, self.b));
        let ab = self.ab / self.count - self.a * self.b / self.count.powi(2);
        (self.count > 2.0 && aa > 1e-9 && bb > 1e-9).then(|| ab / (aa * bb).sqrt())
    }
}

/// Dimensions of action and proprio that are the same gripper: by name, or by their order where
/// there are as many of one as of the other.
pub(super) fn pairs_of_grippers(spec: &RobotSpec) -> Vec<(usize, usize)> {
    let grippers = |all: &[engraft_core::Dimension]| -> Vec<usize> {
        let each = all.iter().enumerate();
        each.filter(|(_, one)| is_gripper(&one.name)).map(|(at, _)| at).collect()
    };
    let (actions, proprio) = (grippers(&spec.actions), grippers(&spec.proprio));
    let same_name = |&a: &usize| {
        let name = &spec.actions[a].name;
        Some((a, *proprio.iter().find(|&&p| spec.proprio[p].name == *name)?))
    };
    let named: Vec<_> = actions.iter().filter_map(same_name).collect();
    if named.is_empty() && actions.len() == proprio.len() {
        return actions.into_iter().zip(proprio).collect();
    }
    named
}

fn is_gripper(name: &str) -> bool {
    name.to_lowercase().contains("gripper")
}

/// Compares every episode's grippers with what is usual.
pub(super) fn examine(spec: &RobotSpec, plan: &Plan, surveys: &[Survey]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, &(action, sensed)) in plan.grippers.iter().enumerate() {
        let known: Vec<(usize, f64)> = surveys
            .iter()
            .filter_map(|survey| Some((survey.episode, survey.grippers[at]?)))
            .collect();
        let (action, sensed) = (&spec.actions[action].name, &spec.proprio[sensed].name);
        let usual = f64::from(median(known.iter().map(|(_, r)| *r as f32).collect()));
        if usual < -CLEAR {
            let message = format!(
                "expected proprio `{sensed}` to follow action `{action}`, found it going the \
                 other way (correlation {usual:.2})"
            );
            // Under another name it may be measured the other way round on purpose.
            let make = if action == sensed { Finding::warning } else { Finding::note };
            findings.push(make("gripper-sign", message).remedy("check which end is open"));
        }
        if known.len() < LEAST_EPISODES || usual.abs() < CLEAR {
            continue;
        }
        let opposite = known.iter().filter(|(_, r)| r * usual < 0.0 && r.abs() > CLEAR);
        findings.extend(opposite.map(|(episode, r)| {
            let message = format!(
                "expected action and proprio of `{action}` to go together as in the other \
                 episodes (correlation {usual:.2}), found {r:.2}"
            );
            let found = Finding::warning("gripper-sign", message).in_episode(*episode);
            found.remedy("check which end is open in this episode")
        }));
    }
    for (what, dimensions, of) in [
        ("action", &spec.actions, (|survey| &survey.actions) as fn(&Survey) -> &Vec<Series>),
        ("proprio", &spec.proprio, |survey| &survey.proprio),
    ] {
        for (at, dimension) in dimensions.iter().enumerate() {
            if !is_gripper(&dimension.name) {
                continue;
            }
            let name = format!("{what} `{}`", dimension.name);
            let all =
                surveys.iter().filter_map(|survey| Some((survey.episode, of(survey).get(at)?)));
            let all: Vec<(usize, &Series)> = all.collect();
            let found = opposite_range(&name, &all).chain(opposite_course(&name, &all));
            for finding in found {
                let told = |other: &Finding| {
                    other.check == finding.check && other.episode == finding.episode
                };
                if !findings.iter().any(told) {
                    findings.push(finding);
                }
            }
        }
    }
    findings
}

/// Episodes whose range is that of the others with the sign changed: -1 to 0 for 0 to 1.
fn opposite_range<'a>(
    name: &'a str,
    all: &'a [(usize, &'a Series)],
) -> impl Iterator<Item = Finding> + 'a {
    let low = median(all.iter().map(|(_, series)| series.min.0).collect());
    let high = median(all.iter().map(|(_, series)| series.max.0).collect());
    let span = high - low;
    let sided = all.len() >= LEAST_EPISODES && (low + high).abs() > 0.5 * span && span > 0.0;
    all.iter()
        .filter(move |(_, series)| {
            let (min, max) = (series.min.0, series.max.0);
            sided && (min + high).abs() < 0.1 * span && (max + low).abs() < 0.1 * span
        })
        .map(move |(episode, series)| {
            let message = format!(
                "expected {name} between {low} and {high} as in the other episodes, found {} to {}",
                series.min.0, series.max.0
            );
            Finding::warning("gripper-sign", message).in_episode(*episode)
        })
}

/// Episodes that begin at the end where no other begins, and stay there as the others do here.
fn opposite_course<'a>(
    name: &'a str,
    all: &'a [(usize, &'a Series)],
) -> impl Iterator<Item = Finding> + 'a {
    let low = median(all.iter().map(|(_, series)| series.min.0).collect());
    let high = median(all.iter().map(|(_, series)| series.max.0).collect());
    let scaled = move |value: f32| (value - low) / (high - low);
    let start = median(all.iter().map(|(_, series)| scaled(series.first)).collect());
    let mean = median(all.iter().map(|(_, series)| scaled(series.mean as f32)).collect());
    let usual = move |series: &Series, start: f32, mean: f32| {
        (scaled(series.first) - start).abs() < 0.1
            && (scaled(series.mean as f32) - mean).abs() < 0.15
    };
    let agreeing = all.iter().filter(|(_, series)| usual(series, start, mean)).count();
    let known = high > low
        && all.len() > LEAST_EPISODES
        && (mean - 0.5).abs() > 0.1
        && agreeing + 1 + all.len() / 20 >= all.len();
    all.iter().filter(move |(_, series)| known && usual(series, 1.0 - start, 1.0 - mean)).map(
        move |(episode, series)| {
            let expected = low + start * (high - low);
            let message = format!(
                "expected {name} to begin near {expected} as in the other episodes, found {} and \
                 the whole course upside down",
                series.first
            );
            Finding::warning("gripper-sign", message).in_episode(*episode)
        },
    )
}
