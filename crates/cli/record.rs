//! `engraft record`: demonstrations from the embedded simulator's scripted expert, or from rollouts.

mod dataset;
mod logs;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use engraft_core::Environment;
use engraft_datasets::LerobotWriter;
use engraft_sim::{
    Demonstration, Noise, SimOptions, SimView, Simulator, Split, Task, record_episode,
};

pub(crate) use dataset::{Dataset, DatasetArgs};
use logs::Kept;

use crate::progress::{Bar, note, say};

/// Record demonstrations as a LeRobot dataset: in the embedded simulator, or out of rollout logs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The embedded simulator's task: drawer or door.
    #[arg(long, value_name = "TASK", required_unless_present = "logs")]
    sim: Option<Task>,
    /// A rollout log instead, of `engraft bridge --log` or of teleoperation; repeat it for more.
    #[arg(long = "log", value_name = "LOG", conflicts_with = "sim")]
    logs: Vec<PathBuf>,
    /// Episodes of logs that are taken: those that ended so.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["success", "unknown"])]
    keep: Vec<Kept>,
    /// The instances: train or heldout.
    #[arg(long, default_value = "train")]
    split: Split,
    /// Episodes to record, dealt out over the instances in turn.
    #[arg(long, default_value_t = 84)]
    episodes: usize,
    #[command(flatten)]
    dataset: DatasetArgs,
    /// Where resets and noise are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Side of a picture in pixels.
    #[arg(long, default_value_t = 96)]
    size: usize,
    /// Record the camera on the hand too.
    #[arg(long)]
    wrist: bool,
    /// How much the expert is disturbed; labels stay clean, so recovery is shown. 0 is not at all.
    #[arg(long, default_value_t = 1.0)]
    noise: f64,
}

/// What to record.
pub(crate) struct Plan {
    pub(crate) task: Task,
    pub(crate) split: Split,
    pub(crate) options: SimOptions,
    pub(crate) noise: Noise,
    pub(crate) episodes: usize,
    pub(crate) seed: u64,
}

/// What came of it.
pub(crate) struct Recorded {
    pub(crate) steps: usize,
    /// Attempts at which the expert failed; they are not in the dataset.
    pub(crate) dropped: usize,
}

/// Attempts per episode before the recording is given up.
const MAX_ATTEMPTS: u64 = 20;

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(task) = args.sim else {
        return logs::record(&args.logs, &args.keep, Dataset::new(&args.dataset)?);
    };
    if !(args.noise.is_finite() && args.noise >= 0.0) {
        bail!("--noise needs a number not below 0, found {}", args.noise);
    }
    let usual = Noise::default();
    let noise = Noise {
        joint_rad: usual.joint_rad * args.noise,
        push_chance: (usual.push_chance * args.noise).min(0.5),
        push_m: usual.push_m,
        gripper_chance: (usual.gripper_chance * args.noise).min(0.5),
    };
    let mut views = vec![SimView::Front];
    views.extend(args.wrist.then_some(SimView::Wrist));
    let options = SimOptions { image_size: args.size, views, ..SimOptions::default() };
    let (split, episodes, seed) = (args.split, args.episodes, args.seed);
    let plan = Plan { task, split, options, noise, episodes, seed };
    let mut dataset = Dataset::new(&args.dataset)?;
    let started = Instant::now();
    let recorded = record(&plan, dataset.writer(&spec(&plan)?)?)?;
    let out = dataset.finish()?;
    let rate = recorded.steps as f64 / started.elapsed().as_secs_f64();
    note(format_args!("{rate:.0} steps/s"));
    say(format_args!(
        "{out}: {} episodes, {} steps ({} failed attempts left out)",
        args.episodes, recorded.steps, recorded.dropped
    ))?;
    note(format_args!("next: engraft data inspect {out}"));
    Ok(ExitCode::SUCCESS)
}

/// What the simulated robot senses and accepts.
pub(crate) fn spec(plan: &Plan) -> anyhow::Result<engraft_core::RobotSpec> {
    Ok(Simulator::new(plan.task, plan.split, plan.options.clone())?.spec().clone())
}

/// Records on all cores; episode `i` is the same whatever their number.
pub(crate) fn record(plan: &Plan, writer: &mut LerobotWriter) -> anyhow::Result<Recorded> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut simulators = (0..workers)
        .map(|_| Simulator::new(plan.task, plan.split, plan.options.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    let task = plan.task.instruction();
    let period_secs = simulators[0].spec().period_secs();
    let mut bar =
        Bar::new(format!("recording {} ({})", plan.task, plan.split), plan.episodes as u64);
    let mut recorded = Recorded { steps: 0, dropped: 0 };
    let mut next = 0;
    while next < plan.episodes {
        let batch: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = simulators
                .iter_mut()
                .zip(next..plan.episodes)
                .map(|(simulator, index)| scope.spawn(move || attempt(simulator, plan, index)))
                .collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        for result in batch {
            let Ok(result) = result else { bail!("a simulator thread panicked") };
            let (demonstration, dropped) = result?;
            recorded.steps += demonstration.steps.len();
            recorded.dropped += dropped;
            // The simulator's clock never drops a frame; a real robot's would say so here.
            let mut episode = writer.begin(task);
            for (step, (observation, action)) in demonstration.steps.iter().enumerate() {
                episode.push(observation, action, step as f64 * period_secs)?;
            }
            if let Some(warning) = episode.finish()?.warning {
                note(warning);
            }
            next += 1;
        }
        bar.set(next as u64, &format!("{} steps", recorded.steps));
    }
    bar.finish(&format!("{} episodes, {} steps", plan.episodes, recorded.steps));
    Ok(recorded)
}

/// Records until the expert succeeds; says how often it did not.
fn attempt(
    simulator: &mut Simulator,
    plan: &Plan,
    index: usize,
) -> anyhow::Result<(Demonstration, usize)> {
    let instance = index % simulator.num_instances();
    for retry in 0..MAX_ATTEMPTS {
        // Episodes take every MAX_ATTEMPTS-th seed, so a retry never repeats a neighbour's.
        let seed =
            plan.seed.wrapping_mul(1 << 32).wrapping_add(index as u64 * MAX_ATTEMPTS + retry);
        let demonstration = record_episode(simulator, instance, seed, &plan.noise);
        if demonstration.success {
            return Ok((demonstration, retry as usize));
        }
    }
    bail!(
        "the expert failed {MAX_ATTEMPTS} times in a row on instance {instance}; try less --noise"
    )
}
