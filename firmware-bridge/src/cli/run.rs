//! `run`, which is `engraft bridge` too: the simulated arm here, every other in `drive.rs`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use engraft_core::{Environment, Merge, Outcome};
use engraft_sim::{SimOptions, Simulator, Split, Task};
use engraft_wire::{ClientKeys, ClientSocket, Contract, Hello, Request, Response, Token};
use serde::Serialize;

use super::BANNER;
use super::arm::{ArmArgs, BridgeArgs};
use super::cameras::CameraArgs;
use super::drive::{EyesKind, drive};
use super::stop_at_signals;
use crate::arms::{Arm, SimArm};
use crate::controller::{ControlConfig, Controller};
use crate::limits::{DimensionLimits, Meaning, from_spec};
use crate::link::{Link, LinkConfig};
use crate::machine::{Patience, State};
use crate::pace::Pace;
use crate::recorder::Recorder;
use crate::session::{BridgeError, EpisodeReport, Session};

/// What a server is told.
pub(super) const CLIENT: &str = concat!("firmware-bridge ", env!("CARGO_PKG_VERSION"));
/// Set-points of a simulated joint may change this much faster from period to period than its
/// velocity limit allows in one second; enough not to be felt, and a bound all the same.
const ACCELERATION_PER_VELOCITY: f32 = 20.0;

/// Drive an arm with a policy server's actions.
#[allow(clippy::struct_excessive_bools)] // Each is a flag of its own.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The arm to drive: sim, so101, koch, xarm7, xarm7-gripper, fr3, tabletop, or the path of a
    /// description.
    #[arg(long, value_name = "ARM", default_value = "sim")]
    pub arm: String,
    /// Where it is.
    #[command(flatten)]
    pub real: ArmArgs,
    /// How the bridge of a real arm is reached.
    #[command(flatten)]
    pub bridge: BridgeArgs,
    /// What sees for a real arm.
    #[arg(long, value_enum)]
    pub eyes: Option<EyesKind>,
    /// The cameras of a real arm.
    #[command(flatten)]
    pub cameras: CameraArgs,
    /// What is to be done, in words, for whoever reads the recording of a real arm.
    #[arg(long, value_name = "TEXT", default_value = "policy")]
    pub instruction: String,
    /// Take the units that the arm's description has for those of a policy whose demonstrations do
    /// not say theirs, as LeRobot's do not.
    #[arg(long)]
    pub units_as_described: bool,
    /// Switch a real arm's torque on at the start, rather than wait for an operator to do it.
    #[arg(long)]
    pub torque_on: bool,
    /// Run a real arm without a policy, for operators to move.
    #[arg(long)]
    pub no_policy: bool,
    /// Periods after which an episode of a real arm is over.
    #[arg(long, value_name = "N", default_value_t = 70)]
    pub max_steps: usize,
    /// Where the policy server listens.
    #[arg(long, value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:5555")]
    pub policy: String,
    /// The file with the token that the policy server asks for.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The server's public key, of a server with CURVE: `engraft keys new` makes keys.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub server_key: Option<PathBuf>,
    /// The secret key by which the server knows this client.
    #[arg(long, value_name = "FILE", requires = "server_key")]
    pub client_key: Option<PathBuf>,
    /// Episodes to play.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub episodes: u32,
    /// Task of the simulated arm: drawer or door.
    #[arg(long, default_value = "drawer")]
    pub task: Task,
    /// Instances of the simulated arm: train or heldout.
    #[arg(long, default_value = "train")]
    pub split: Split,
    /// Play this instance alone; otherwise all in turn.
    #[arg(long, value_name = "I")]
    pub instance: Option<usize>,
    /// Seed of each instance's first episode; its next one has the next seed.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Do not keep to the clock: simulated time, waiting for each answer. An episode is then the
    /// same on any machine.
    #[arg(long)]
    pub fast: bool,
    /// Record every period into this new file, for `engraft view`.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Ask where the policy looks, and record it.
    #[arg(long)]
    pub attention: bool,
    /// Ask for a new chunk when no more than this part of the playing one is left.
    #[arg(long, value_name = "PART", default_value_t = 0.5)]
    pub ask_below: f64,
    /// What is played where chunks overlap: latest, weighted:NEW, ensemble:DECAY or
    /// hold:FROZEN:RAMP.
    #[arg(long, value_name = "HOW", default_value_t = Merge::Latest)]
    pub merge: Merge,
    /// Wait this long for the policy server to appear.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub connect_timeout: f64,
    /// Hold this long without a new chunk before it becomes a fault.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub hold_timeout: f64,
    /// Slow every dimension down to this part of its velocity limit.
    #[arg(long, value_name = "PART", default_value_t = 1.0)]
    pub speed: f32,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    arm: &'a str,
    task: &'a str,
    split: String,
    model: &'a str,
    model_hash: &'a str,
    episodes: &'a [EpisodeReport],
    successes: usize,
    chunks: u64,
    rejected: u64,
    held: u64,
    limited: u64,
    round_trip_p50_micros: u32,
    round_trip_p99_micros: u32,
}

/// Runs the bridge until its episodes are done or something stops it: Ctrl-C and SIGTERM bring
/// the arm to rest first. 0 is done, 1 is stopped by a signal.
///
/// # Errors
///
/// When no policy fits, a fault stops the arm, or something cannot be read or written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let stop = stop_at_signals();
    run_until(args, &stop)
}

/// [`run`], stopped by `stop` instead of by signals.
///
/// # Errors
///
/// As [`run`].
pub fn run_until(args: &Args, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
    let said = |text: &str| writeln!(io::stderr(), "{text}");
    said(BANNER)?;
    ensure!(args.episodes > 0, "--episodes must be at least 1");
    ensure!((0.0..1.0).contains(&args.ask_below), "--ask-below must be from 0 to below 1");
    ensure!(args.speed > 0.0 && args.speed <= 1.0, "--speed must be above 0 and at most 1");
    let seconds = |name: &str, value: f64| {
        Duration::try_from_secs_f64(value).with_context(|| format!("{name} is no length of time"))
    };
    let connect_timeout = seconds("--connect-timeout", args.connect_timeout)?;
    let hold = seconds("--hold-timeout", args.hold_timeout)?;

    let token = args.token_file.as_deref().map(Token::read).transpose()?;
    let hello = Hello { client: CLIENT.into(), spec: None, token: token.clone() };
    let keys = match (&args.server_key, &args.client_key) {
        (Some(server), Some(client)) => Some(ClientKeys::read(server, client)?),
        _ => None,
    };
    let ask = |keys| contract(&args.policy, keys, hello, connect_timeout, stop);
    if args.arm != "sim" {
        let contract = (!args.no_policy).then(|| ask(keys.clone())).transpose()?;
        return drive(args, keys, token, contract, stop);
    }
    let real = args.no_policy || args.real.port.is_some() || !args.cameras.cameras.is_empty();
    ensure!(!real, "--no-policy, --port and --camera: give --arm too");
    let contract = ask(keys.clone())?;
    // A simulator takes any camera: it gets those that the policy was trained with.
    let options = SimOptions::from_spec(&contract.spec)?;
    let simulator = Simulator::new(args.task, args.split, options)?;
    let limits = limits(&simulator, args.speed);
    let arm = SimArm::new(simulator).with_limits(limits.clone());
    if let Some(instance) = args.instance {
        let instances = arm.num_instances();
        ensure!(instance < instances, "--instance {instance}: there are {instances}");
    }
    let spec = arm.spec().clone();
    let period = Duration::from_secs_f64(spec.period_secs());
    let patience = Patience {
        chunk_age: period * (contract.horizon as u32 + 1),
        hold,
        first_chunk: Duration::from_secs(30),
        stop: Duration::from_secs(2),
    };
    let config = ControlConfig {
        patience,
        ask_below: args.ask_below,
        merge: args.merge,
        attention: args.attention,
        ..ControlConfig::default()
    };
    let hello = Hello { client: CLIENT.into(), spec: Some(spec.clone()), token };
    let recorder = args.log.as_deref().map(|path| Recorder::create(path, args.fast)).transpose()?;
    let mut session = Session {
        arm,
        controller: Controller::new(spec, limits, config)?,
        link: Link::open(&args.policy, keys, hello, LinkConfig::default())?,
        pace: if args.fast { Pace::lockstep(period) } else { Pace::real_time(period) },
        recorder,
        stop,
        answer_timeout: Duration::from_secs(30),
        watch: ticker(),
    };
    session.connect(&args.policy, connect_timeout)?;
    if let Some(welcome) = session.controller.welcome() {
        let (model, hash) = (&welcome.model.name, &welcome.model.hash);
        let (frames, horizon) = (welcome.contract.num_frames, welcome.contract.horizon);
        let short = hash.get(..8).unwrap_or(hash);
        said(&format!("{model} ({short}): {frames} frame(s) in, {horizon} action(s) out"))?;
    }
    let (episodes, ended) = play(&mut session, args, connect_timeout)?;
    report(&session.controller, args, &episodes)?;
    let recorded = session.recorder.take().map(Recorder::finish).transpose()?;
    if let (Some(path), Some(dropped)) = (&args.log, recorded) {
        said(&format!(
            "recorded to {}{}",
            path.display(),
            match dropped {
                0 => String::new(),
                dropped => format!(", {dropped} record(s) lost to a slow disk"),
            }
        ))?;
    }
    ended?;
    let all = episodes.len() == args.episodes as usize && !stop.load(Ordering::Relaxed);
    Ok(ExitCode::from(u8::from(!all)))
}

/// What came of the episodes, and the fault that ended them, if one did.
type Played = (Vec<EpisodeReport>, Result<(), BridgeError>);

fn play<A: Arm>(
    session: &mut Session<'_, A>,
    args: &Args,
    connect_timeout: Duration,
) -> io::Result<Played> {
    let mut episodes = Vec::new();
    for episode in 0..args.episodes {
        // As `engraft eval --sim` plans its episodes, so that the two can be compared.
        let count = if args.instance.is_some() { 1 } else { session.arm.num_instances() };
        let instance = args.instance.unwrap_or(episode as usize % count);
        let seed = args.seed.wrapping_add(u64::from(episode) / count as u64);
        let report = session
            .connect(&args.policy, connect_timeout)
            .and_then(|()| session.episode(episode, instance, seed));
        let report = match report {
            Ok(report) => report,
            Err(error) => return Ok((episodes, Err(error))),
        };
        let EpisodeReport { instance_name, seed, outcome, steps, .. } = &report;
        let outcome = format!("{outcome:?}").to_lowercase();
        let (number, all) = (episode + 1, args.episodes);
        let line = format!(
            "episode {number}/{all}: {instance_name}, seed {seed}: {outcome}, {steps} steps"
        );
        // On a terminal a status line stands there, to be written over.
        let clear = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
        writeln!(io::stderr(), "{clear}{line}")?;
        let stopped = report.outcome == Outcome::Stopped;
        episodes.push(report);
        if let Err(fault) = session.check() {
            return Ok((episodes, Err(fault)));
        }
        if stopped {
            break;
        }
    }
    Ok((episodes, Ok(())))
}

/// Asks the server what its policy was trained for, until it answers.
fn contract(
    endpoint: &str,
    keys: Option<ClientKeys>,
    hello: Hello,
    timeout: Duration,
    stop: &AtomicBool,
) -> anyhow::Result<Contract> {
    let began = Instant::now();
    let mut socket = ClientSocket::connect(endpoint, keys)?;
    let hello = Request::Hello(hello);
    let mut waiting = false;
    loop {
        match socket.ask(&hello, Duration::from_millis(500)) {
            Ok(Response::Welcome(welcome)) => {
                let goodbye = Request::Goodbye { session: welcome.session };
                let _ = socket.send(&goodbye, Duration::ZERO); // good manners only
                return Ok(welcome.contract);
            }
            Ok(Response::Error(refusal)) => {
                anyhow::bail!("the policy server refuses: {}", refusal.detail)
            }
            Ok(_) => {}
            Err(error) if began.elapsed() > timeout => {
                let help = format!("start one with `engraft serve RUN --bind {endpoint}`");
                return Err(error).with_context(|| format!("no policy server answers; {help}"));
            }
            Err(_) => {
                if !waiting {
                    writeln!(io::stderr(), "waiting for a policy server at {endpoint}")?;
                }
                waiting = true;
                socket.reconnect()?;
            }
        }
        ensure!(!stop.load(Ordering::Relaxed), "stopped before the policy server answered");
    }
}

/// Bounds from the spec, velocities from the arm's description.
fn limits(simulator: &Simulator, speed: f32) -> Vec<DimensionLimits> {
    let arm = simulator.arm();
    let joints = arm.joints().iter().map(|joint| joint.velocity_rad_s);
    let velocities = joints.chain([arm.gripper_speed_hz()]);
    let mut limits = from_spec(Environment::spec(simulator));
    for (limits, velocity) in limits.iter_mut().zip(velocities) {
        if limits.meaning == Meaning::Position {
            limits.max_velocity = velocity as f32 * speed;
            limits.max_acceleration = limits.max_velocity * ACCELERATION_PER_VELOCITY;
            // From where the joint is, as the simulator itself limits it.
            limits.leash = 0.0;
        }
    }
    limits
}

/// A line on a terminal that says where the episode is.
fn ticker() -> Box<dyn FnMut(u64, State)> {
    if !io::stderr().is_terminal() {
        return Box::new(|_, _| {});
    }
    let mut last: Option<Instant> = None;
    Box::new(move |tick, state| {
        if last.is_none_or(|last| last.elapsed() > Duration::from_millis(200)) {
            last = Some(Instant::now());
            // A status line that cannot be written is no reason to stop.
            let _ = write!(io::stderr(), "\r  step {tick:>4}  {:<10}\r", state.name());
        }
    })
}

/// Says what came of the episodes.
pub(super) fn report(
    controller: &Controller,
    args: &Args,
    episodes: &[EpisodeReport],
) -> anyhow::Result<()> {
    let successes = episodes.iter().filter(|episode| episode.outcome == Outcome::Success).count();
    let mut trips = controller.round_trips().to_vec();
    trips.sort_unstable();
    let percentile = |part: usize| trips.get(trips.len().saturating_sub(1) * part / 100);
    let [p50, p99] = [50, 99].map(|part| percentile(part).copied().unwrap_or(0));
    let counters = controller.counters();
    let model = controller.welcome().map(|welcome| &welcome.model);
    if args.json {
        let summary = Summary {
            arm: &args.arm,
            task: args.task.name(),
            split: args.split.to_string(),
            model: model.map_or("", |model| &model.name),
            model_hash: model.map_or("", |model| &model.hash),
            episodes,
            successes,
            chunks: counters.chunks,
            rejected: counters.rejected,
            held: counters.held,
            limited: counters.limited,
            round_trip_p50_micros: p50,
            round_trip_p99_micros: p99,
        };
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&summary)?)?;
        return Ok(());
    }
    let num = episodes.len();
    let steps: usize = episodes.iter().map(|episode| episode.steps).sum();
    let [p50, p99] = [p50, p99].map(|micros| f64::from(micros) / 1000.0);
    writeln!(io::stdout(), "{successes} of {num} episode(s) succeeded")?;
    writeln!(
        io::stdout(),
        "{steps} steps, {} chunks ({} refused), held in {}, limited in {}; round trip {p50:.1} ms p50, {p99:.1} ms p99",
        counters.chunks,
        counters.rejected,
        counters.held,
        counters.limited,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
