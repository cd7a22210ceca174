//! One dimension through one episode, in a few numbers.

use std::f32::consts::TAU;

use engraft_core::Dimension;

/// How a dimension went through an episode, which has at least one step.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) num_steps: usize,
    /// The first value.
    pub(super) first: f32,
    pub(super) mean: f64,
    /// The mean of its distance from zero.
    pub(super) mean_abs: f64,
    /// The smallest value and its step.
    pub(super) min: (f32, usize),
    /// The largest value and its step.
    pub(super) max: (f32, usize),
    /// The largest change from one step to the next, and the latter; angles that wrap are left out.
    pub(super) jump: (f32, usize),
    /// The first step at which an angle goes once around.
    pub(super) wrap: Option<usize>,
    /// Values at a regular stride.
    pub(super) samples: Vec<f32>,
}

impl Series {
    /// Of the values of one dimension; every `stride`th is kept as a sample.
    pub(super) fn of(
        values: impl ExactSizeIterator<Item = f32>,
        dimension: &Dimension,
        stride: usize,
    ) -> Option<Self> {
        let num_steps = values.len();
        let turn = turn(&dimension.unit);
        let mut series: Option<Self> = None;
        let mut last = 0.0;
        let (mut sum, mut sum_abs) = (0.0, 0.0);
        for (step, value) in values.enumerate() {
            let all = series.get_or_insert_with(|| Self {
                num_steps,
                first: value,
                mean: 0.0,
                mean_abs: 0.0,
                min: (value, step),
                max: (value, step),
                jump: (0.0, step),
                wrap: None,
                samples: Vec::new(),
            });
            sum += f64::from(value);
            sum_abs += f64::from(value.abs());
            if value < all.min.0 {
                all.min = (value, step);
            }
            if value > all.max.0 {
                all.max = (value, step);
            }
            if step > 0 {
                let change = (value - last).abs();
                if turn.is_some_and(|turn| wraps(last, value, turn)) {
                    all.wrap = all.wrap.or(Some(step));
                } else if change > all.jump.0 {
                    all.jump = (change, step);
                }
            }
            if step % stride == 0 {
                all.samples.push(value);
            }
            last = value;
        }
        let mut series = series?;
        series.mean = sum / num_steps as f64;
        series.mean_abs = sum_abs / num_steps as f64;
        // A dimension that often leaps by as much is no angle.
        if series.jump.0 > turn.unwrap_or(0.0) / 4.0 {
            series.wrap = None;
        }
        Some(series)
    }

    /// From the smallest to the largest value.
    pub(super) fn range(&self) -> f32 {
        self.max.0 - self.min.0
    }
}

/// Once around, where the unit is an angle or may be one.
fn turn(unit: &str) -> Option<f32> {
    match unit.trim_end_matches('?') {
        "rad" | "" => Some(TAU),
        "deg" => Some(360.0),
        _ => None,
    }
}

/// Whether an angle goes from one end of its range to the other: ±half a turn, or 0 to one turn.
fn wraps(before: f32, after: f32, turn: f32) -> bool {
    let near = |value: f32, end: f32| (value - end).abs() < turn / 16.0;
    let across = |a: f32, b: f32| {
        (near(a, turn / 2.0) && near(b, -turn / 2.0)) || (near(a, turn) && near(b, 0.0))
    };
    ((after - before).abs() - turn).abs() < turn / 16.0
        && (across(before, after) || across(after, before))
}

/// The value below which the fraction `q` of sorted `values` lies.
pub(super) fn quantile(values: &[f32], q: f64) -> f32 {
    let rank = q * values.len().saturating_sub(1) as f64;
    values.get(rank.round() as usize).copied().unwrap_or(0.0)
}

/// The median, whatever the order; zero of nothing.
pub(super) fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    quantile(&values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f32], unit: &str) -> Series {
        Series::of(values.iter().copied(), &Dimension::new("wrist", unit), 2).unwrap()
    }

    #[test]
    fn an_episode_is_summed_up() {
        let found = series(&[1.0, -3.0, 2.0], "m");
        assert_eq!((found.min, found.max, found.jump), ((-3.0, 1), (2.0, 2), (5.0, 2)));
        assert_eq!((found.mean, found.mean_abs, found.first), (0.0, 2.0, 1.0));
        assert_eq!(found.samples, [1.0, 2.0]);
        assert!(Series::of(std::iter::empty(), &Dimension::new("x", "m"), 1).is_none());
    }

    #[test]
    fn only_an_angle_at_the_end_of_its_range_wraps() {
        assert_eq!(series(&[3.0, 3.1, -3.1, -3.0], "rad").wrap, Some(2));
        assert_eq!(series(&[6.2, 0.05], "rad?").wrap, Some(1));
        assert_eq!(series(&[-178.0, 179.0], "deg").wrap, Some(1));
        assert_eq!(series(&[1.0, -5.28], "rad").wrap, None);
        assert_eq!(series(&[3.1, -3.1], "m").wrap, None);
        assert_eq!(series(&[3.1, -3.1, 0.0, 3.0], "rad").wrap, None);
    }
}
