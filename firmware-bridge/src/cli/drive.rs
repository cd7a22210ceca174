//! `run` on a real arm: the bridge, and a policy at its wheel.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use engraft_core::{Outcome, RobotSpec};
use engraft_wire::operator::BridgeStatus;
use engraft_wire::{ClientKeys, Contract, Hello, Token};

use super::arm::Bridge;
use super::run::{Args, CLIENT, report};
use crate::arms;
use crate::control::Request;
use crate::controller::ControlConfig;
use crate::description::{ArmDescription, Protocol};
use crate::driver::{Driver, Wheel, robot_spec};
use crate::eyes::{CameraEyes, Eyes, RemoteEyes, SimEyes};
use crate::hand::Hand;
use crate::link::{Link, LinkConfig};
use crate::machine::Patience;
use crate::pilot::PilotConfig;
use crate::recorder::Recorder;
use crate::session::EpisodeReport;

/// What sees for the arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EyesKind {
    /// The embedded simulator's cameras, whose world moves as the arm was measured to move.
    Sim,
    /// The cameras of the simulator that the arm is in, which is at --port.
    Remote,
}

/// Seconds between two waypoints where no policy says otherwise.
const PLAN_PERIOD_SECS: f64 = 0.05;

fn said(text: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{text}")
}

/// Owns the arm until a signal, or until a policy's episodes are done.
pub(super) fn drive(
    args: &Args,
    keys: Option<ClientKeys>,
    token: Option<Token>,
    contract: Option<Contract>,
    stop: &AtomicBool,
) -> anyhow::Result<ExitCode> {
    let config = pilot_config(args, contract.as_ref());
    // Before anything moves: without eyes there is nothing to begin with.
    let eyes = contract.as_ref().map(|contract| eyes(args, contract, stop)).transpose()?;
    let bridge = Bridge::start(&args.arm, &args.real, &args.bridge, config)?;
    said(&format!("when this process dies: {}", bridge.when_abandoned))?;
    match bridge.granted {
        Some(granted) if !granted.priority => said(
            "no real-time priority: periods may be late under load (give CAP_SYS_NICE, or run as \
             root)",
        )?,
        _ => {}
    }
    said(&format!(
        "verbs at {}, telemetry at {}",
        bridge.control_endpoint, bridge.telemetry_endpoint
    ))?;
    let ran = match contract.zip(eyes) {
        // Before anything gets torque.
        Some((contract, eyes)) => fit(&bridge, args, &contract, eyes).and_then(|fitted| {
            ready(&bridge, args, stop)?;
            episodes(&bridge, args, (keys, token), &contract, fitted, stop)
        }),
        None => ready(&bridge, args, stop).and_then(|()| idle(&bridge, stop)),
    };
    // Whatever happened, the arm comes to rest.
    let stopped = bridge.stop();
    let code = ran?;
    stopped?;
    Ok(code)
}

fn pilot_config(args: &Args, contract: Option<&Contract>) -> PilotConfig {
    let Some(contract) = contract else {
        return PilotConfig { plan_period_secs: PLAN_PERIOD_SECS, ..PilotConfig::default() };
    };
    let period = contract.spec.period_secs();
    let patience = Patience {
        // To the end of a whole chunk, and the answer's own time.
        chunk_age: Duration::from_secs_f64(period * (contract.horizon + 2) as f64),
        hold: Duration::try_from_secs_f64(args.hold_timeout).unwrap_or(Duration::from_secs(2)),
        first_chunk: Duration::from_secs(30),
        stop: Duration::from_secs(2),
    };
    PilotConfig { patience, plan_period_secs: period, ..PilotConfig::default() }
}

/// Waits for the arm, and for its torque.
fn ready(bridge: &Bridge, args: &Args, stop: &AtomicBool) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut told = None;
    while !bridge.board.is_connected() {
        ensure!(!stop.load(Ordering::Relaxed), "stopped before the arm answered");
        let trouble = bridge.board.trouble();
        if trouble.is_some() && trouble != told {
            said(&format!("waiting for the arm: {}", trouble.as_deref().unwrap_or_default()))?;
            told = trouble;
        }
        if began.elapsed().as_secs_f64() > args.connect_timeout {
            let why = bridge.board.trouble().unwrap_or_else(|| "it says nothing".into());
            bail!("no {}: {why}; `firmware-bridge doctor` looks closer", args.arm);
        }
        thread::sleep(Duration::from_millis(20));
    }
    said(&format!("{} is connected, {} joint(s)", args.arm, bridge.arm.joints.len()))?;
    if args.torque_on {
        let on = bridge.controls.ask(Request::Torque(true), Duration::from_secs(5));
        on.map_err(anyhow::Error::msg).context("torque stays off")?;
        said("torque is on")?;
    }
    Ok(())
}

/// No policy: operators move the arm.
fn idle(bridge: &Bridge, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
    said(
        "no policy: `firmware-bridge status --watch`, `torque on`, `goto` and `shutdown` are yours",
    )?;
    let mut known = String::new();
    while !stop.load(Ordering::Relaxed) && !bridge.is_finished() {
        let BridgeStatus { state, cause, trouble, .. } = bridge.board.status();
        if state != known && matches!(state.as_str(), "Fault" | "Estop" | "Disconnected") {
            let why = [cause, trouble].into_iter().flatten().collect::<Vec<_>>().join(": ");
            said(&format!(
                "{state} ({why}): `firmware-bridge status` says more, `reset` leads out"
            ))?;
        }
        known = state;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the policy looks through.
fn eyes(args: &Args, contract: &Contract, stop: &AtomicBool) -> anyhow::Result<Box<dyn Eyes>> {
    let views = &contract.spec.views;
    match args.eyes {
        Some(_) if !args.cameras.cameras.is_empty() => bail!("give --eyes or --camera, not both"),
        Some(EyesKind::Sim) => Ok(Box::new(SimEyes::new(args.task, args.split, &contract.spec)?)),
        Some(EyesKind::Remote) => {
            let arm = ArmDescription::find(&args.arm)?;
            let simulated = arm.protocol == Protocol::Simulator;
            ensure!(simulated, "--eyes remote is for an arm in a simulator, {} is none", arm.name);
            let port = args.real.port.as_deref().context("--port is missing: where is it?")?;
            let scales = arms::scales(&arm, None)?;
            Ok(Box::new(RemoteEyes::connect(port, &contract.spec, scales)?))
        }
        None if args.cameras.cameras.is_empty() && !views.is_empty() => {
            let names: Vec<_> = views.iter().map(|view| view.name.as_str()).collect();
            let names = names.join(", ");
            bail!("the policy looks through {names}: give --camera NAME=URL for each, or --eyes")
        }
        None => {
            let cameras = args.cameras.open(Some(views), stop)?;
            Ok(Box::new(CameraEyes::new(cameras, &args.instruction)))
        }
    }
}

/// A policy that was trained for this arm.
struct Fitted {
    eyes: Box<dyn Eyes>,
    hand: Option<Hand>,
    /// The arm in the policy's words.
    spec: RobotSpec,
}

/// What the arm is in the policy's words, if that is what the policy was trained for.
fn fit(
    bridge: &Bridge,
    args: &Args,
    contract: &Contract,
    eyes: Box<dyn Eyes>,
) -> anyhow::Result<Fitted> {
    let hand = Hand::of(&bridge.arm, contract.spec.period_secs())?;
    let (arm, rate) = (&bridge.arm, contract.spec.control_hz);
    let spec = robot_spec(arm, &bridge.scales, rate, eyes.as_ref(), hand.as_ref());
    let spec = as_lerobot_has_it(spec, &contract.spec, args.units_as_described)?;
    contract.spec.check(&spec).context("the policy was not trained for this arm")?;
    Ok(Fitted { eyes, hand, spec })
}

fn episodes(
    bridge: &Bridge,
    args: &Args,
    (keys, token): (Option<ClientKeys>, Option<Token>),
    contract: &Contract,
    Fitted { eyes, hand, spec }: Fitted,
    stop: &AtomicBool,
) -> anyhow::Result<ExitCode> {
    let hello = Hello { client: CLIENT.into(), spec: Some(spec.clone()), token };
    let config = ControlConfig {
        patience: pilot_config(args, Some(contract)).patience,
        ask_below: args.ask_below,
        merge: args.merge,
        attention: args.attention,
        ..ControlConfig::default()
    };
    let wheel = Wheel {
        controls: bridge.controls.clone(),
        board: bridge.board.clone(),
        leases: bridge.leases.clone(),
        plan_period_secs: contract.spec.period_secs(),
        stop,
    };
    let link = Link::open(&args.policy, keys, hello, LinkConfig::default())?;
    let scales = bridge.scales.clone();
    let mut driver = Driver::new(&bridge.arm, scales, spec, wheel, link, eyes, config)?;
    driver.hand = hand;
    driver.recorder = args.log.as_deref().map(|path| Recorder::create(path, false)).transpose()?;
    await_torque(bridge, stop)?;
    let (played, ended) = play(&mut driver, args, stop)?;
    report(driver.controller(), args, &played)?;
    if let (Some(path), Some(recorder)) = (&args.log, driver.recorder.take()) {
        recorder.finish()?;
        said(&format!("recorded to {}", path.display()))?;
    }
    ended?;
    let all = played.len() == args.episodes as usize && !stop.load(Ordering::Relaxed);
    Ok(ExitCode::from(u8::from(!all)))
}

/// The arm in the contract's words, where those are `LeRobot`'s: joints with `.pos` behind their
/// names, in units that nobody wrote down.
pub(super) fn as_lerobot_has_it(
    mut arm: RobotSpec,
    contract: &RobotSpec,
    units_as_described: bool,
) -> anyhow::Result<RobotSpec> {
    let sides = [(&mut arm.proprio, &contract.proprio), (&mut arm.actions, &contract.actions)];
    for (dimensions, contract) in sides {
        for (dimension, contract) in dimensions.iter_mut().zip(contract) {
            if contract.name.strip_suffix(".pos") == Some(&dimension.name) {
                dimension.name.clone_from(&contract.name);
            }
            if contract.name == dimension.name && contract.unit.is_empty() {
                ensure!(
                    units_as_described,
                    "nobody wrote down what unit {} was demonstrated in, and the description says \
                     `{}`: look at `engraft data stats`, give the joints their `unit`, then \
                     --units-as-described",
                    dimension.name,
                    dimension.unit
                );
                dimension.unit.clear();
            }
        }
    }
    Ok(arm)
}

/// Torque is an operator's to give.
fn await_torque(bridge: &Bridge, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut told = false;
    while !bridge.board.moment().is_some_and(|moment| moment.torque) {
        ensure!(!stop.load(Ordering::Relaxed) && !bridge.is_finished(), "stopped without torque");
        if !told {
            said("waiting for torque: `firmware-bridge torque on`, or start with --torque-on")?;
            told = true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

type Played = (Vec<EpisodeReport>, anyhow::Result<()>);

fn play(driver: &mut Driver<'_>, args: &Args, stop: &AtomicBool) -> anyhow::Result<Played> {
    let mut played = Vec::new();
    let timeout = Duration::try_from_secs_f64(args.connect_timeout)?;
    for episode in 0..args.episodes {
        let count = if args.instance.is_some() { 1 } else { driver.num_instances().max(1) };
        let instance = args.instance.unwrap_or(episode as usize % count);
        let seed = args.seed.wrapping_add(u64::from(episode) / count as u64);
        let report = driver
            .connect(&args.policy, timeout)
            .and_then(|()| driver.episode(episode, instance, seed, args.max_steps));
        let report = match report {
            Ok(report) => report,
            Err(error) => return Ok((played, Err(error.into()))),
        };
        let outcome = format!("{:?}", report.outcome).to_lowercase();
        said(&format!(
            "episode {}/{}: {}, seed {}: {outcome}, {} steps",
            episode + 1,
            args.episodes,
            report.instance_name,
            report.seed,
            report.steps
        ))?;
        let stopped = report.outcome == Outcome::Stopped;
        played.push(report);
        if stopped || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok((played, Ok(())))
}

#[cfg(test)]
mod tests;
