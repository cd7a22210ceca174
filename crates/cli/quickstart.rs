//! `engraft quickstart`: from nothing to a moving arm, and a report of how it went.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use burn::tensor::Device;
use engraft_backbones::weights::Cache;
use engraft_core::Rollout;
use engraft_datasets::{LerobotWriter, Version};
use engraft_policies::Checkpoint;
use engraft_serve::{Server, ServerConfig};
use engraft_sim::{Noise, SimOptions, Split, Task};
use engraft_train::eval::ClosedLoopReport;
use engraft_train::{FeatureCache, Options, Recipe, Summary, read_metrics, train};
use engraft_viz::{Curve, SheetOptions, contact_sheet};

use crate::data::write_png;
use crate::device::DeviceName;
use crate::eval::{Trial, play};
use crate::progress::{interrupt_flag, note, say};
use crate::record::{Plan, Recorded, record, spec};
use crate::report::write_report;
use crate::train::{minutes, open_run};
use crate::view::curves;

/// From nothing to a moving (simulated) arm.
///
/// Pulls a trained backbone, records demonstrations, trains a policy from scratch and a SpawnNet,
/// evaluates both, serves the better one, drives the simulated arm through the bridge in a second
/// process, and writes a recording, a contact sheet and a report.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// About how many minutes it may take.
    #[arg(long, default_value_t = 13.0)]
    minutes: f64,
    /// Where everything goes, a new or empty folder; the next free `quickstart` if absent.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The task: drawer or door.
    #[arg(long, default_value = "drawer")]
    task: Task,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Do without the network: no backbone is pulled, and without one there is no SpawnNet.
    #[arg(long)]
    offline: bool,
    /// Where to compute: cpu, wgpu[:INDEX] or cuda[:INDEX].
    #[arg(long, default_value_t)]
    device: DeviceName,
}

const LFS: &str = include_str!("../../policies/recipes/lfs-drawer.toml");
const SPAWNNET: &str = include_str!("../../policies/recipes/spawnnet-drawer.toml");

/// Share of the time that each policy trains.
const LFS_SHARE: f64 = 0.34;
const SPAWNNET_SHARE: f64 = 0.42;

/// One policy's part of the quick start.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) dir: PathBuf,
    pub(crate) summary: Summary,
    pub(crate) curves: Vec<Curve>,
    pub(crate) train: ClosedLoopReport,
    pub(crate) heldout: ClosedLoopReport,
}

/// All that the report tells.
pub(crate) struct Story {
    pub(crate) out: PathBuf,
    pub(crate) task: Task,
    pub(crate) recorded: Recorded,
    pub(crate) episodes: usize,
    pub(crate) candidates: Vec<Candidate>,
    /// Which of them was served.
    pub(crate) served: usize,
    pub(crate) rollouts: Vec<Rollout>,
    /// A rollout with attention maps, where a policy has them.
    pub(crate) attention: Option<Rollout>,
    pub(crate) elapsed: Duration,
    pub(crate) without_backbone: Option<String>,
}

struct Quickstart<'a> {
    args: &'a Args,
    out: PathBuf,
    device: Device,
    stop: Arc<AtomicBool>,
    began: Instant,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    minutes(args.minutes)?;
    let quickstart = Quickstart {
        args,
        out: output_folder(args.out.as_deref())?,
        device: args.device.open()?,
        stop: interrupt_flag()?,
        began: Instant::now(),
    };
    quickstart.run()
}

/// Whether a folder is new or empty.
pub(crate) fn is_free(path: &Path) -> bool {
    fs::read_dir(path).map_or(!path.exists(), |mut entries| entries.next().is_none())
}

/// The folder asked for if it is new or empty; else the next free one.
fn output_folder(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match asked {
        Some(path) if is_free(path) => path.to_owned(),
        Some(path) => bail!(
            "expected a new or empty folder, found something in it; name another with --out \
             (path: {})",
            path.display()
        ),
        None => {
            let name =
                |n: u32| if n == 1 { "quickstart".into() } else { format!("quickstart-{n}") };
            let names = (1..1000).map(|n| PathBuf::from(name(n)));
            names
                .into_iter()
                .find(|path| is_free(path))
                .context("a thousand quick starts lie here")?
        }
    };
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

impl Quickstart<'_> {
    fn step(&self, text: &str) {
        let secs = self.began.elapsed().as_secs();
        note(format_args!("\n[{:>2}:{:02}] {text}", secs / 60, secs % 60));
    }

    fn go_on(&self) -> anyhow::Result<()> {
        if self.stop.load(Ordering::SeqCst) {
            bail!("stopped; what was made so far lies in {}", self.out.display());
        }
        Ok(())
    }

    /// At least `least`, and `per_minute` of each minute there is.
    fn scaled(&self, per_minute: f64, least: usize) -> usize {
        ((self.args.minutes * per_minute) as usize).max(least)
    }

    fn run(&self) -> anyhow::Result<ExitCode> {
        let (args, out) = (self.args, &self.out);
        note(format_args!(
            "about {} minutes; everything goes to {}",
            args.minutes.ceil(),
            out.display()
        ));

        self.step("1/6  a trained backbone");
        let without_backbone = self.backbone().err().map(|error| format!("{error:#}"));
        if let Some(reason) = &without_backbone {
            note(format_args!("no backbone: {reason}"));
            note("going on with learning from scratch alone");
        }

        self.step("2/6  demonstrations");
        let episodes = self.scaled(20.0, 21).min(252) / 21 * 21;
        let recorded = self.record(episodes)?;

        self.step("3/6  learning from scratch (LfS)");
        let mut candidates = vec![self.candidate("LfS", LFS, LFS_SHARE)?];
        if without_backbone.is_none() {
            self.step("4/6  SpawnNet: frozen features grafted onto a learned stream");
            candidates.push(self.candidate("SpawnNet", SPAWNNET, SPAWNNET_SHARE)?);
        } else {
            self.step("4/6  SpawnNet: left out, it needs the backbone");
        }

        let worth =
            |candidate: &Candidate| (candidate.heldout.success.rate, candidate.train.success.rate);
        let better = |&a: &usize, &b: &usize| {
            let (a, b) = (worth(&candidates[a]), worth(&candidates[b]));
            a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)
        };
        let served = (0..candidates.len()).max_by(better).unwrap_or(0);
        self.step(&format!("5/6  serving {}, and an arm that moves", candidates[served].name));
        let rollouts = self.drive(&candidates[served].dir)?;

        self.step("6/6  recording, pictures, report");
        let attention = match candidates.iter().find(|candidate| candidate.name == "SpawnNet") {
            Some(candidate) => self.attention(&candidate.dir)?,
            None => None,
        };
        let story = Story {
            out: out.clone(),
            task: args.task,
            recorded,
            episodes,
            candidates,
            served,
            rollouts,
            attention,
            elapsed: self.began.elapsed(),
            without_backbone,
        };
        self.pictures(&story)?;
        write_report(&story)?;
        self.farewell(&story)?;
        Ok(ExitCode::SUCCESS)
    }

    fn backbone(&self) -> anyhow::Result<()> {
        let cache = Cache::open()?;
        let weights = cache.named("efficientnet-lite0")?;
        if self.args.offline && !cache.has(&weights) {
            bail!("--offline, and {} is not in the cache", weights.name);
        }
        crate::weights::pull(&cache, &weights.name)?;
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.out.join("demonstrations")
    }

    fn record(&self, episodes: usize) -> anyhow::Result<Recorded> {
        let plan = Plan {
            task: self.args.task,
            split: Split::Train,
            options: SimOptions::default(),
            noise: Noise::default(),
            episodes,
            seed: self.args.seed,
        };
        let mut writer = LerobotWriter::create(self.data(), &spec(&plan)?, Version::V30)?;
        let recorded = record(&plan, &mut writer)?;
        writer.finish()?;
        self.go_on()?;
        Ok(recorded)
    }

    fn candidate(&self, name: &'static str, recipe: &str, share: f64) -> anyhow::Result<Candidate> {
        let mut recipe: Recipe = toml::from_str(recipe).context("cannot read a built-in recipe")?;
        recipe.seed = self.args.seed;
        recipe.dataset = Some(self.data());
        let dir = self.out.join(name.to_lowercase());
        let options = Options {
            interrupt: Arc::clone(&self.stop),
            progress: Box::new(|progress| note(progress)),
            report_every: Duration::from_secs(15),
            features: Some(FeatureCache { dir: self.out.join("features"), budget_bytes: 4 << 30 }),
            time_limit: Some(minutes(self.args.minutes * share)?),
            ..Options::default()
        };
        let dataset = Arc::from(engraft_datasets::open(self.data())?);
        let summary = train(&recipe, dataset, &dir, &self.device, options)?;
        self.go_on()?;
        let run = open_run(&dir, &self.device)?;
        let [train_episodes, heldout_episodes] =
            [(Split::Train, 0.25), (Split::Heldout, 0.5)].map(|(split, rounds)| {
                let instances = engraft_sim::num_instances(self.args.task, split);
                self.scaled(rounds * instances as f64, 3)
            });
        let report = Candidate {
            name,
            curves: curves(name, &read_metrics(&dir)?),
            train: self.trial(&run, name, Split::Train, train_episodes)?,
            heldout: self.trial(&run, name, Split::Heldout, heldout_episodes)?,
            dir,
            summary,
        };
        self.go_on()?;
        Ok(report)
    }

    fn trial(
        &self,
        run: &Checkpoint,
        name: &str,
        split: Split,
        episodes: usize,
    ) -> anyhow::Result<ClosedLoopReport> {
        let title = format!("{name}, {split}");
        // Far from the seeds that demonstrations begin with.
        let seed = 1_000_000 + self.args.seed;
        let task = self.args.task;
        play(run, &Trial { title: &title, task, split, episodes, seed, executed: None }, None)
    }

    /// Serves the run here and lets the bridge, a second process, drive the arm with it.
    fn drive(&self, dir: &Path) -> anyhow::Result<Vec<Rollout>> {
        let log = self.out.join("rollouts.log");
        let server =
            Server::bind(ServerConfig::at("tcp://127.0.0.1:*"), open_run(dir, &self.device)?)?;
        let endpoint = server.endpoint().to_owned();
        let done = Arc::new(AtomicBool::new(false));
        let serving = {
            let done = Arc::clone(&done);
            std::thread::Builder::new().name("serve".into()).spawn(move || server.run(&done))?
        };
        let program = std::env::current_exe().context("cannot find this program")?;
        let outcome = Command::new(program)
            .arg("bridge")
            .args(["--policy", &endpoint, "--task", self.args.task.name(), "--split", "heldout"])
            .args(["--episodes", &self.scaled(0.25, 1).min(3).to_string()])
            .args(["--seed", &self.args.seed.to_string()])
            .arg("--attention")
            .arg("--log")
            .arg(&log)
            .status()
            .context("cannot start the bridge");
        done.store(true, Ordering::SeqCst);
        let status = match serving.join() {
            Ok(status) => status?,
            Err(_) => bail!("the server's thread panicked"),
        };
        let outcome = outcome?;
        self.go_on()?;
        if !outcome.success() {
            bail!("the bridge ended with {outcome}");
        }
        note(format_args!("served {} chunks from {endpoint}", status.replied));
        Ok(engraft_wire::read_log(&log)?.rollouts)
    }

    /// One held-out episode with the policy's attention.
    fn attention(&self, dir: &Path) -> anyhow::Result<Option<Rollout>> {
        let run = open_run(dir, &self.device)?;
        let (task, split, seed) = (self.args.task, Split::Heldout, 2_000_000 + self.args.seed);
        let trial = Trial { title: "attention", task, split, episodes: 1, seed, executed: None };
        let mut kept = None;
        play(&run, &trial, Some(&mut |rollout| kept = Some(rollout)))?;
        Ok(kept)
    }

    fn pictures(&self, story: &Story) -> anyhow::Result<()> {
        let options = SheetOptions::default();
        if let Some(rollout) = story.rollouts.first() {
            write_png(&contact_sheet(rollout, &options), &self.out.join("contact-sheet.png"))?;
            #[cfg(feature = "viz")]
            crate::view::save_rollout(rollout, &self.out.join("rollout.rrd"))?;
        }
        if let Some(rollout) = &story.attention {
            write_png(&contact_sheet(rollout, &options), &self.out.join("attention.png"))?;
        }
        Ok(())
    }

    fn farewell(&self, story: &Story) -> anyhow::Result<()> {
        let out = self.out.display();
        say("")?;
        for candidate in &story.candidates {
            say(format_args!("{:<9} train      {}", candidate.name, candidate.train.success))?;
            say(format_args!("{:<9} held out   {}", "", candidate.heldout.success))?;
        }
        say("")?;
        say(format_args!("report         {out}/report.html"))?;
        say(format_args!("contact sheet  {out}/contact-sheet.png"))?;
        #[cfg(feature = "viz")]
        say(format_args!("recording      {out}/rollout.rrd   (view it: rerun {out}/rollout.rrd)"))?;
        let secs = self.began.elapsed().as_secs();
        say(format_args!(
            "\ndone in {}:{:02}; what to try next stands in the report",
            secs / 60,
            secs % 60
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_recipes_are_valid() {
        for text in [LFS, SPAWNNET] {
            let recipe: Recipe = toml::from_str(text).unwrap();
            recipe.check().unwrap();
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(output_folder(Some(folder.path())).is_ok());
        fs::write(folder.path().join("note"), "mine").unwrap();
        let error = output_folder(Some(folder.path())).unwrap_err().to_string();
        assert!(error.starts_with("expected a new or empty folder"), "{error}");
    }
}
