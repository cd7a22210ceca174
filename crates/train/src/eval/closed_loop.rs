//! Closed loop: the policy acts, several episodes at a time.
//!
//! Episodes run in lanes, one environment each. In each round one forward pass predicts a chunk
//! for every lane, and the lanes then play their chunks side by side. What an episode begins with
//! depends on its instance and seed alone, so that two policies meet the same episodes.

use engraft_core::{AttentionMap, Environment, Observation, Rate, Rollout};
use engraft_policies::{Checkpoint, Prediction};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::EvalError;
use super::lane::{Playing, Rules};

/// An environment for one lane of [`closed_loop`].
pub type Lane = Box<dyn Environment + Send>;

/// What to play, and who hears of it.
pub struct ClosedLoop<'a> {
    /// Instances to play; all of them if `None`.
    pub instances: Option<Vec<usize>>,
    /// Episodes in all, dealt to the instances in turn.
    pub episodes: usize,
    /// Seed of the first episode of every instance; the next has the next.
    pub seed: u64,
    /// Actions played of each chunk; the whole chunk if `None`.
    pub executed: Option<usize>,
    /// Whether rollouts hold where the policy looked.
    pub attention: bool,
    /// Hears of each episode as it ends: its row, and how many have ended.
    pub progress: &'a mut dyn FnMut(&EpisodeRow, usize),
    /// Gets each episode as it was lived. Without it nothing is recorded, and a simulator draws
    /// only what the policy sees.
    pub on_rollout: Option<&'a mut dyn FnMut(Rollout)>,
}

/// One episode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodeRow {
    /// Name of the instance.
    pub instance: String,
    /// Seed of the episode.
    pub seed: u64,
    /// Whether the task was achieved.
    pub success: bool,
    /// Control periods until it was, or until time ran out.
    pub steps: usize,
}

/// All episodes of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRow {
    /// Its name.
    pub instance: String,
    /// Its episodes.
    pub success: Rate,
}

/// What the policy did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClosedLoopReport {
    /// The task in words.
    pub task: String,
    /// The seed asked for.
    pub seed: u64,
    /// Actions played of each chunk.
    pub executed: usize,
    /// Every episode, in the order of the plan, which is the same for every policy.
    pub episodes: Vec<EpisodeRow>,
    /// Success of each instance.
    pub instances: Vec<InstanceRow>,
    /// Success of all.
    pub success: Rate,
    /// Mean steps of the episodes that succeeded.
    pub mean_success_steps: Option<f64>,
}

/// The `(instance, seed)` of every episode: instances in turn, each beginning at `seed`.
///
/// ```
/// use engraft_train::eval::episode_plan;
///
/// assert_eq!(episode_plan(&[4, 7], 3, 100), [(4, 100), (7, 100), (4, 101)]);
/// ```
pub fn episode_plan(instances: &[usize], episodes: usize, seed: u64) -> Vec<(usize, u64)> {
    let count = instances.len().max(1);
    let episode =
        |i: usize| Some((*instances.get(i % count)?, seed.wrapping_add((i / count) as u64)));
    (0..episodes).filter_map(episode).collect()
}

/// Lets the policy act in `lanes`, which are equal environments; one lane will do.
///
/// More lanes than cores share the cost of a forward pass; they change no episode's beginning.
///
/// # Errors
///
/// When the environment is of another robot, an option makes no sense, or the policy cannot
/// answer.
pub fn closed_loop(
    checkpoint: &Checkpoint,
    lanes: &mut [Lane],
    options: &mut ClosedLoop<'_>,
) -> Result<ClosedLoopReport, EvalError> {
    let contract = &checkpoint.contract;
    let Some(first) = lanes.first() else {
        return Err(EvalError::option("lanes", "at least one environment", &0));
    };
    contract.spec.check(first.spec())?;
    let (spec, task) = (first.spec().clone(), first.task().to_owned());
    let num_instances = first.num_instances();
    let names: Vec<_> = (0..num_instances).map(|i| first.instance_name(i)).collect();
    let instances = options.instances.clone().unwrap_or_else(|| (0..num_instances).collect());
    if let Some(missing) = instances.iter().find(|&&instance| instance >= num_instances) {
        let expected = format!("numbers below {num_instances}");
        return Err(EvalError::option("instances", expected, &missing));
    }
    let executed = options.executed.unwrap_or(contract.horizon);
    if executed == 0 || executed > contract.horizon {
        let expected = format!("a number from 1 to the horizon, {}", contract.horizon);
        return Err(EvalError::option("executed", expected, &executed));
    }
    let rules = Rules {
        num_frames: contract.num_frames,
        executed,
        max_steps: first.max_steps(),
        period_secs: spec.period_secs(),
        records: options.on_rollout.is_some(),
    };
    let plan = episode_plan(&instances, options.episodes, options.seed);
    let mut next = 0;
    let mut rows: Vec<Option<EpisodeRow>> = vec![None; plan.len()];
    let mut playing: Vec<Option<Playing>> = lanes.iter().map(|_| None).collect();
    let mut ended = 0;
    while ended < plan.len() {
        // The next episodes of the plan, for lanes that have none.
        let free =
            playing.iter_mut().zip(lanes.iter_mut()).filter(|(playing, _)| playing.is_none());
        let mut starts: Vec<_> = free.zip(next..plan.len()).collect();
        next += starts.len();
        starts.par_iter_mut().for_each(|((playing, lane), index)| {
            **playing = Some(rules.begin(lane.as_mut(), *index, plan[*index]));
        });
        drop(starts);

        let predictions = predict(checkpoint, &mut playing, options.attention && rules.records)?;
        let active = playing.iter_mut().zip(lanes.iter_mut());
        let active = active.filter_map(|(playing, lane)| Some((playing.as_mut()?, lane)));
        let mut turns: Vec<_> = active.zip(predictions.into_iter().map(Some)).collect();
        let over: Vec<bool> = turns
            .par_iter_mut()
            .map(|((playing, lane), prediction)| {
                prediction.take().is_some_and(|chunk| rules.play(lane.as_mut(), playing, chunk))
            })
            .collect();
        drop(turns);
        let mut over = over.into_iter();
        for slot in &mut playing {
            if slot.is_some()
                && over.next() == Some(true)
                && let Some(done) = slot.take()
            {
                ended += 1;
                let row = done.row();
                (options.progress)(&row, ended);
                rows[done.index] = Some(row);
                if let Some(hook) = &mut options.on_rollout
                    && let Some(rollout) = done.rollout(&spec, &task)
                {
                    hook(rollout);
                }
            }
        }
    }
    let rows: Vec<EpisodeRow> = rows.into_iter().flatten().collect();
    Ok(report(task, options.seed, executed, rows, &instances, &names))
}

/// One chunk per lane that plays.
fn predict(
    checkpoint: &Checkpoint,
    playing: &mut [Option<Playing>],
    attention: bool,
) -> Result<Vec<Prediction>, EvalError> {
    let stacks: Vec<&[Observation]> =
        playing.iter_mut().flatten().map(|playing| &*playing.frames.make_contiguous()).collect();
    if attention {
        return Ok(checkpoint.predict_detailed(&stacks)?);
    }
    let chunks = checkpoint.predict(&stacks)?.into_iter();
    let attention = Vec::<AttentionMap>::new;
    Ok(chunks.map(|chunk| Prediction { chunk, attention: attention() }).collect())
}

fn report(
    task: String,
    seed: u64,
    executed: usize,
    episodes: Vec<EpisodeRow>,
    instances: &[usize],
    names: &[String],
) -> ClosedLoopReport {
    let rate =
        |rows: &[&EpisodeRow]| Rate::new(rows.iter().filter(|row| row.success).count(), rows.len());
    let of_instance = |&instance: &usize| {
        let name = &names[instance];
        let rows: Vec<_> = episodes.iter().filter(|row| row.instance == *name).collect();
        InstanceRow { instance: name.clone(), success: rate(&rows) }
    };
    let per_instance = instances.iter().map(of_instance).collect();
    let success = rate(&episodes.iter().collect::<Vec<_>>());
    let steps = episodes.iter().filter(|row| row.success).map(|row| row.steps).sum::<usize>();
    let mean_success_steps =
        (success.successes > 0).then(|| steps as f64 / success.successes as f64);
    ClosedLoopReport {
        task,
        seed,
        executed,
        episodes,
        instances: per_instance,
        success,
        mean_success_steps,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use burn::tensor::Device;
    use engraft_policies::Provenance;

    use super::*;
    use crate::testing::{Toy, ToyWorld, policy, recipe};
    use crate::{contract, measure};

    fn checkpoint() -> Checkpoint {
        let (recipe, toy) = (recipe(), Arc::new(Toy::new(&[9, 9])));
        let device = Device::flex();
        let policy = policy(&recipe, &*toy, &device);
        let transform = measure(contract(&recipe, &*toy), &*toy, &[0, 1]).unwrap();
        Checkpoint::new(recipe.policy, transform, policy, Provenance::default())
    }

    fn lanes(count: usize) -> Vec<Lane> {
        (0..count).map(|_| Box::new(ToyWorld::new()) as Lane).collect()
    }

    fn play(count: usize, executed: Option<usize>) -> (ClosedLoopReport, Vec<Rollout>) {
        let mut rollouts = Vec::new();
        let mut keep = |rollout| rollouts.push(rollout);
        let mut options = ClosedLoop {
            instances: None,
            episodes: 7,
            seed: 3,
            executed,
            attention: true,
            progress: &mut |_, _| (),
            on_rollout: Some(&mut keep),
        };
        let report = closed_loop(&checkpoint(), &mut lanes(count), &mut options).unwrap();
        (report, rollouts)
    }

    #[test]
    fn the_plan_is_played_whatever_the_number_of_lanes() {
        let (one, rollouts) = play(1, Some(1));
        assert_eq!(one.episodes.len(), 7);
        let plan: Vec<_> = one.episodes.iter().map(|row| (&*row.instance, row.seed)).collect();
        let expected = [
            ("toy-0", 3),
            ("toy-1", 3),
            ("toy-0", 4),
            ("toy-1", 4),
            ("toy-0", 5),
            ("toy-1", 5),
            ("toy-0", 6),
        ];
        assert_eq!(plan, expected);
        assert_eq!(one.instances[0].success.episodes, 4);
        for (row, rollout) in one.episodes.iter().zip(&rollouts) {
            assert_eq!((row.steps, row.seed), (rollout.steps.len(), rollout.seed));
            assert!(rollout.steps.iter().all(|step| step.chunk.is_some()));
        }
        let (three, _) = play(3, Some(1));
        let begun = |report: &ClosedLoopReport| {
            report.episodes.iter().map(|row| (row.instance.clone(), row.seed)).collect::<Vec<_>>()
        };
        assert_eq!(begun(&one), begun(&three));
    }

    #[test]
    fn a_report_without_pictures_is_the_report_with_them() {
        let (recorded, _) = play(2, None);
        let mut options = ClosedLoop {
            instances: None,
            episodes: 7,
            seed: 3,
            executed: None,
            attention: false,
            progress: &mut |_, _| (),
            on_rollout: None,
        };
        let blind = closed_loop(&checkpoint(), &mut lanes(2), &mut options).unwrap();
        assert_eq!(blind, recorded);
        options.executed = Some(3);
        let error = closed_loop(&checkpoint(), &mut lanes(2), &mut options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`executed` needs a number from 1 to the horizon, 2, found 3"
        );
        options.executed = None;
        options.instances = Some(vec![2]);
        let error = closed_loop(&checkpoint(), &mut lanes(2), &mut options).unwrap_err();
        assert_eq!(error.to_string(), "`instances` needs numbers below 2, found 2");
    }
}
