//! What a policy predicted and what was done, one action dimension at a time.

use engraft_core::{Dimension, Rollout};

/// How many chunks are drawn at most; the paper's figures show one in ten steps.
const MAX_CHUNKS: usize = 24;

/// Points of one unbroken line: step and value.
pub(crate) type Line = Vec<[f64; 2]>;

/// One action dimension of a rollout.
pub(crate) struct Trace {
    /// Name and unit.
    pub(crate) title: String,
    /// What was sent to the arm, broken where it is no number.
    pub(crate) executed: Vec<Line>,
    /// Some of the predicted chunks, each from the step at which it arrived.
    pub(crate) predicted: Vec<Line>,
    /// Where a limit changed what was sent.
    pub(crate) limited: Line,
    /// Smallest and largest value to show, with some air.
    pub(crate) range: [f64; 2],
}

/// A dimension's name with its unit.
pub(crate) fn title(dimension: &Dimension) -> String {
    match dimension.unit.as_str() {
        "" | "1" => dimension.name.clone(),
        unit => format!("{} [{unit}]", dimension.name),
    }
}

/// One trace per action dimension of the spec.
pub(crate) fn traces(rollout: &Rollout) -> Vec<Trace> {
    let drawn = drawn_chunks(rollout);
    let each = rollout.spec.actions.iter().enumerate();
    each.map(|(dim, dimension)| {
        let sent = |step: usize| rollout.steps[step].action.get(dim).copied();
        let executed = lines((0..rollout.steps.len()).map(|step| (step, sent(step))));
        let predicted =
            drawn.iter().filter_map(|&step| Some((step, rollout.steps[step].chunk.as_ref()?)));
        let predicted: Vec<Line> = predicted
            .flat_map(|(step, chunk)| {
                let values = chunk.actions().enumerate();
                lines(values.map(|(ahead, action)| (step + ahead, action.get(dim).copied())))
            })
            .collect();
        let limited = rollout.steps.iter().enumerate();
        let limited = limited.filter(|(_, step)| step.limited.contains(&dim));
        let limited = lines(limited.map(|(step, _)| (step, sent(step)))).concat();
        let range = range(executed.iter().chain(&predicted).flatten());
        Trace { title: title(dimension), executed, predicted, limited, range }
    })
    .collect()
}

/// The steps whose chunks are drawn: all of them where there are few.
fn drawn_chunks(rollout: &Rollout) -> Vec<usize> {
    let apart = rollout.steps.len().div_ceil(MAX_CHUNKS);
    let mut drawn: Vec<usize> = Vec::new();
    for (step, what) in rollout.steps.iter().enumerate() {
        if what.chunk.is_some() && drawn.last().is_none_or(|last| step >= last + apart) {
            drawn.push(step);
        }
    }
    drawn
}

/// Unbroken lines through what are numbers.
fn lines(points: impl Iterator<Item = (usize, Option<f32>)>) -> Vec<Line> {
    let mut lines = vec![Line::new()];
    for (step, value) in points {
        match value.filter(|value| value.is_finite()) {
            Some(value) => {
                if let Some(line) = lines.last_mut() {
                    line.push([step as f64, f64::from(value)]);
                }
            }
            None => lines.push(Line::new()),
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// The values' range with some air, and never too narrow to draw.
fn range<'a>(points: impl Iterator<Item = &'a [f64; 2]>) -> [f64; 2] {
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for [_, value] in points {
        (min, max) = (min.min(*value), max.max(*value));
    }
    if min > max {
        return [-1.0, 1.0];
    }
    let least = 1e-3 + 0.02 * min.abs().max(max.abs());
    let air = ((max - min) * 0.08).max((least - (max - min)) / 2.0);
    [min - air, max + air]
}

#[cfg(test)]
pub(crate) mod tests {
    use engraft_core::{ActionChunk, Observation, Outcome, RobotSpec, RolloutStep};

    use super::*;

    /// A rollout of one dimension; each step has its action and, perhaps, a chunk.
    pub(crate) fn rollout(steps: &[(f32, Option<&[f32]>)]) -> Rollout {
        let step = |(i, (action, chunk)): (usize, &(f32, Option<&[f32]>))| RolloutStep {
            time_secs: i as f64 / 10.0,
            observation: Observation { views: vec![], proprio: vec![0.0] },
            chunk: chunk.map(|c| ActionChunk::new(c.len(), 1, c.to_vec()).unwrap()),
            action: vec![*action],
            limited: if i == 1 { vec![0] } else { vec![] },
            attention: vec![],
        };
        Rollout {
            spec: RobotSpec {
                name: "arm".into(),
                control_hz: 10.0,
                views: vec![],
                proprio: vec![Dimension::new("elbow", "rad")],
                actions: vec![Dimension::new("elbow", "rad")],
            },
            task: "open the drawer".into(),
            instance: "knob".into(),
            seed: 3,
            outcome: Outcome::Success,
            steps: steps.iter().enumerate().map(step).collect(),
        }
    }

    #[test]
    fn a_chunk_starts_at_the_step_at_which_it_arrived() {
        let rollout = rollout(&[(0.0, None), (1.0, Some(&[1.0, 2.0])), (2.0, None)]);
        let trace = &traces(&rollout)[0];
        assert_eq!(trace.title, "elbow [rad]");
        assert_eq!(trace.predicted, [[[1.0, 1.0], [2.0, 2.0]]]);
        assert_eq!(trace.executed, [[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]]);
        assert_eq!(trace.limited, [[1.0, 1.0]]);
    }

    #[test]
    fn what_is_no_number_breaks_the_line() {
        let rollout = rollout(&[(0.0, None), (f32::NAN, None), (2.0, None)]);
        let trace = &traces(&rollout)[0];
        assert_eq!(trace.executed, [[[0.0, 0.0]], [[2.0, 2.0]]]);
        assert_eq!(trace.limited, [] as [[f64; 2]; 0]);
    }

    #[test]
    fn a_constant_still_has_a_range() {
        let rollout = rollout(&[(5.0, None), (5.0, None)]);
        let [min, max] = traces(&rollout)[0].range;
        assert!(min < 5.0 && max > 5.0);
        let nothing = &traces(&self::rollout(&[]))[0];
        assert_eq!(nothing.range, [-1.0, 1.0]);
    }
}
