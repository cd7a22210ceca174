//! Episodes in other units than the rest.

use super::Finding;
use super::series::Series;

/// Episodes that it takes to know what is usual.
const LEAST_EPISODES: usize = 4;
/// How far the magnitudes of one group may lie apart, as a factor.
const ALIKE: f64 = 6.0;
/// How far the ratio of two groups may lie from that of their units, as a factor.
const TOLERANCE: f64 = 1.6;
/// What the factor between two groups may be.
const FACTORS: [(f64, &str); 2] =
    [(180.0 / std::f64::consts::PI, "degrees and radians"), (1000.0, "millimetres and metres")];

/// Episodes whose numbers are larger or smaller than those of the rest by the factor of two units.
///
/// Magnitudes fall into two groups, each of which is alike, and the smaller group is the odd one.
pub(super) fn changed_units(name: &str, all: &[(usize, &Series)]) -> Vec<Finding> {
    let mut sized: Vec<(f64, usize)> = all
        .iter()
        .filter(|(_, series)| series.mean_abs > 1e-6)
        .map(|(episode, series)| (series.mean_abs, *episode))
        .collect();
    if sized.len() < LEAST_EPISODES {
        return Vec::new();
    }
    sized.sort_by(|a, b| a.0.total_cmp(&b.0));
    let gap = |at: &usize| sized[*at].0 / sized[at - 1].0;
    let widest = (1..sized.len()).max_by(|a, b| gap(a).total_cmp(&gap(b)));
    let Some(at) = widest else { return Vec::new() };
    let (small, large) = sized.split_at(at);
    let alike = |group: &[(f64, usize)]| group[group.len() - 1].0 / group[0].0 <= ALIKE;
    let middle = |group: &[(f64, usize)]| group[group.len() / 2].0;
    let ratio = middle(large) / middle(small);
    let factor =
        FACTORS.iter().find(|(factor, _)| (1.0 / TOLERANCE..TOLERANCE).contains(&(ratio / factor)));
    let Some((_, units)) = factor.filter(|_| alike(small) && alike(large)) else {
        return Vec::new();
    };
    let (odd, usual) = if small.len() < large.len() { (small, large) } else { (large, small) };
    let usual = middle(usual);
    odd.iter()
        .map(|&(size, episode)| {
            let message = format!(
                "expected {name} of about {usual:.3} as in the other episodes, found {size:.3}, \
                 which is a factor of {ratio:.0}, as between {units}"
            );
            let found = Finding::warning("unit-change", message).in_episode(episode);
            found.remedy("convert the episode to the unit of the others")
        })
        .collect()
}
