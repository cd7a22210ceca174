//! Verbs of an operator: they talk to a bridge that runs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use engraft_wire::OperatorSocket;
use engraft_wire::operator::{Answer, BridgeStatus, Verb};

use super::screen;

/// How long a bridge may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often a lease is kept.
const KEEP: Duration = Duration::from_millis(100);
/// How far a joint may be from where it was sent to count as there, in radians.
const THERE_RAD: f64 = 0.03;

/// Where the bridge is.
#[derive(Debug, Clone, clap::Args)]
pub struct Endpoint {
    /// The bridge's control socket.
    #[arg(long, value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:5557")]
    pub control: String,
}

/// Say how a bridge is.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    endpoint: Endpoint,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// Keep showing it on one screen. Space is an emergency stop, q leaves.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// The bridge's telemetry socket, for --watch.
    #[arg(long, value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:5556")]
    telemetry: String,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Torque on: every goal is set to where the joint is first.
    On,
    /// Torque off: an arm without brakes falls.
    Off,
}

/// Switch torque.
#[derive(Debug, Clone, clap::Args)]
pub struct TorqueArgs {
    /// Which of both.
    #[arg(value_enum)]
    switch: Switch,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Move joints.
#[derive(Debug, Clone, clap::Args)]
pub struct GotoArgs {
    /// Where to, in radians: JOINT=ANGLE, as often as there are joints to move.
    #[arg(required = true, value_name = "JOINT=ANGLE")]
    targets: Vec<String>,
    #[command(flatten)]
    motion: MotionArgs,
}

/// Move every joint to zero.
#[derive(Debug, Clone, clap::Args)]
pub struct HomeArgs {
    #[command(flatten)]
    motion: MotionArgs,
}

/// How to move.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MotionArgs {
    /// Part of each joint's range that it may travel in a second on average, at most 1.
    #[arg(long, value_name = "PART", default_value_t = 0.2)]
    speed: f64,
    /// Take the lease from whoever has it; the arm comes to rest first.
    #[arg(long)]
    steal: bool,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(super) fn connect(endpoint: &Endpoint) -> anyhow::Result<OperatorSocket> {
    Ok(OperatorSocket::connect(&endpoint.control)?)
}

pub(super) fn ask(socket: &mut OperatorSocket, verb: &Verb) -> anyhow::Result<Answer> {
    let answer = socket.ask(verb, PATIENCE);
    answer.context("no bridge runs there: start one with `firmware-bridge run --arm ARM`")
}

pub(super) fn insist(socket: &mut OperatorSocket, verb: &Verb) -> anyhow::Result<Answer> {
    let answer = ask(socket, verb)?;
    ensure!(answer.ok, "{}", answer.detail);
    Ok(answer)
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

fn simple(endpoint: &Endpoint, verb: &Verb, done: &str) -> anyhow::Result<ExitCode> {
    let answer = insist(&mut connect(endpoint)?, verb)?;
    say(&format!("{done} ({})", answer.status.state))?;
    Ok(ExitCode::SUCCESS)
}

/// Says how a bridge is.
pub(super) fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let mut socket = connect(&args.endpoint)?;
    if args.watch {
        return screen::watch(&mut socket, &args.telemetry);
    }
    let status = insist(&mut socket, &Verb::Status)?.status;
    if args.json {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        write!(io::stdout(), "{}", screen::page(&status))?;
    }
    let well = !matches!(status.state.as_str(), "Fault" | "Estop" | "Disconnected");
    Ok(ExitCode::from(u8::from(!well)))
}

/// Stops the arm, latched.
pub(super) fn estop(endpoint: &Endpoint) -> anyhow::Result<ExitCode> {
    let mut socket = connect(endpoint)?;
    insist(&mut socket, &Verb::Estop)?;
    let began = Instant::now();
    loop {
        let status = insist(&mut socket, &Verb::Status)?.status;
        if status.state == "Estop" {
            say("stopped; the arm holds where it is. Reset it with `firmware-bridge reset`")?;
            return Ok(ExitCode::SUCCESS);
        }
        ensure!(began.elapsed() < PATIENCE, "the bridge is still in {}", status.state);
        thread::sleep(Duration::from_millis(5));
    }
}

/// Brings the arm to rest.
pub(super) fn stop(endpoint: &Endpoint) -> anyhow::Result<ExitCode> {
    simple(endpoint, &Verb::Stop, "comes to rest")
}

/// Acknowledges a fault.
pub(super) fn reset(endpoint: &Endpoint) -> anyhow::Result<ExitCode> {
    simple(endpoint, &Verb::Reset, "reset; `firmware-bridge torque on` is next")
}

/// Ends a bridge.
pub(super) fn shutdown(endpoint: &Endpoint) -> anyhow::Result<ExitCode> {
    simple(endpoint, &Verb::Shutdown, "comes to rest and ends")
}

/// Switches torque.
pub(super) fn torque(args: &TorqueArgs) -> anyhow::Result<ExitCode> {
    let on = args.switch == Switch::On;
    let done = if on { "torque is on" } else { "torque is off" };
    simple(&args.endpoint, &Verb::Torque { on }, done)
}

/// Moves joints.
pub(super) fn goto(args: &GotoArgs) -> anyhow::Result<ExitCode> {
    let mut targets = BTreeMap::new();
    for target in &args.targets {
        let (joint, angle) = target
            .split_once('=')
            .with_context(|| format!("{target:?}: expected JOINT=ANGLE, as elbow_flex=0.3"))?;
        let angle: f64 = angle
            .parse()
            .with_context(|| format!("{target:?}: expected an angle in radians after `=`"))?;
        ensure!(targets.insert(joint, angle).is_none(), "{joint} is named twice");
    }
    go(&args.motion, |status| {
        let names: Vec<_> = status.joints.iter().map(|joint| joint.name.as_str()).collect();
        for joint in targets.keys() {
            ensure!(names.contains(joint), "no joint {joint}: there are {}", names.join(", "));
        }
        let goals = status
            .joints
            .iter()
            .map(|joint| targets.get(joint.name.as_str()).copied().unwrap_or(joint.goal_rad));
        Ok(goals.collect())
    })
}

/// Moves every joint to zero.
pub(super) fn home(args: &HomeArgs) -> anyhow::Result<ExitCode> {
    let zero = |status: &BridgeStatus| {
        let zeros = status.joints.iter().map(|joint| {
            let [min, max] = joint.bounds_rad;
            0.0_f64.clamp(min, max)
        });
        Ok(zeros.collect())
    };
    go(&args.motion, zero)
}

fn go(
    args: &MotionArgs,
    goal: impl Fn(&BridgeStatus) -> anyhow::Result<Vec<f64>>,
) -> anyhow::Result<ExitCode> {
    ensure!(args.speed > 0.0 && args.speed <= 1.0, "--speed must be above 0 and at most 1");
    let mut socket = connect(&args.endpoint)?;
    let status = insist(&mut socket, &Verb::Status)?.status;
    let goals = goal(&status)?;
    let mut secs: f64 = 0.1;
    for (joint, &goal) in status.joints.iter().zip(&goals) {
        let [min, max] = joint.bounds_rad;
        ensure!(
            (min..=max).contains(&goal),
            "{}: {goal} rad is outside {min:.3} to {max:.3}",
            joint.name
        );
        secs = secs.max((goal - joint.goal_rad).abs() / ((max - min) * args.speed));
    }
    let holder = format!("goto ({})", std::process::id());
    let taken = insist(&mut socket, &Verb::Take { holder, steal: args.steal })?;
    let lease = taken.lease.context("the bridge gave no lease")?;
    let moved = travel(&mut socket, lease, &goals, secs);
    let _ = ask(&mut socket, &Verb::Release { lease }); // a fault may have taken it already
    moved
}

/// Goes, in pieces that a plan can hold, and waits.
fn travel(
    socket: &mut OperatorSocket,
    lease: u64,
    goals: &[f64],
    secs: f64,
) -> anyhow::Result<ExitCode> {
    let verb =
        Verb::Go { lease, period_secs: secs, waypoints_rad: vec![goals.to_vec()], last: true };
    insist(socket, &verb)?;
    let began = Instant::now();
    let patience = Duration::from_secs_f64(secs + 10.0);
    loop {
        thread::sleep(KEEP);
        let answer = ask(socket, &Verb::Keep { lease })?;
        let status = answer.status;
        let there = status
            .joints
            .iter()
            .zip(goals)
            .all(|(joint, goal)| (joint.position_rad - goal).abs() < THERE_RAD);
        match status.state.as_str() {
            "Armed" if there => {
                say(&format!("there, in {:.1} s", began.elapsed().as_secs_f64()))?;
                return Ok(ExitCode::SUCCESS);
            }
            "Armed" => {
                let far =
                    status.joints.iter().zip(goals).map(|(joint, goal)| {
                        (joint.name.as_str(), (joint.position_rad - goal).abs())
                    });
                let far = far.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
                bail!("stopped {:.3} rad short in {}: was it told to?", far.1, far.0);
            }
            "Running" | "Hold" | "Stopping" => {}
            state => {
                let why = status.cause.or(status.trouble).unwrap_or_default();
                bail!("the bridge is in {state}: {why}");
            }
        }
        ensure!(began.elapsed() < patience, "not there after {patience:?}");
    }
}
