//! `engraft serve`: a run answers a robot.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use engraft_core::{Environment, RobotSpec, ViewSpec};
use engraft_policies::Precision;
use engraft_serve::{PredictError, Predictor, Remembering, Server, ServerConfig};
use engraft_sim::{SimOptions, Simulator, Split, Task};
use engraft_wire::{Access, Contract, Keys, ServerKeys, Status, Token};
use tracing::info;

use crate::device::DeviceName;
use crate::progress::{interrupt_flag, note, say};
use crate::train::{open_run_in, otherwise_than_trained};
use crate::word::word;

/// Serve a run over ZeroMQ to our own clients and to GR00T's, and over WebSocket to openpi's.
///
/// Ctrl-C and SIGTERM answer what is waiting and stop. Without keys nothing is encrypted and it
/// listens on this machine only, unless --insecure-plaintext says otherwise.
#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools)] // flags
pub(crate) struct Args {
    /// The run.
    run: PathBuf,
    /// Where to listen.
    #[arg(long, value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:5555")]
    bind: String,
    /// Serve clients of openpi too, over WebSocket; /healthz and /metrics are there as well.
    #[arg(
        long,
        value_name = "HOST:PORT",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:8000",
        require_equals = true
    )]
    openpi: Option<String>,
    /// Encrypt, and prove to clients who this server is: its NAME.key_secret, of `engraft keys new`.
    #[arg(
        long,
        value_name = "FILE",
        requires = "curve_clients",
        conflicts_with = "insecure_plaintext"
    )]
    curve_key: Option<PathBuf>,
    /// The clients to let in: a folder of their public NAME.key, read anew whenever one connects.
    #[arg(long, value_name = "FOLDER", requires = "curve_key")]
    curve_clients: Option<PathBuf>,
    /// Listen on the network, readable and writable by everyone on it.
    #[arg(long)]
    insecure_plaintext: bool,
    /// Answer only clients that say the token in this file: GR00T's `api_token`, openpi's `api_key`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A dataset's `meta/modality.json`: what clients of other stacks call the parts of proprio and action.
    #[arg(long, value_name = "FILE")]
    modality: Option<PathBuf>,
    /// Made-up observations that the policy answers first; 0 is none.
    #[arg(long, value_name = "N", default_value_t = 20)]
    warm_up: usize,
    /// Requests of several clients that the policy answers together, where as many wait.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    batch: u16,
    /// Memory for pictures seen lately and what a frozen network made of them; 0 is none.
    #[arg(long, value_name = "MB", default_value_t = 256)]
    remember_mb: usize,
    /// What an answer should take at most: told at the start, counted while serving.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..))]
    slo_ms: Option<u32>,
    /// Do not serve if the warm-up does not keep to --slo-ms.
    #[arg(long, requires = "slo_ms")]
    enforce_slo: bool,
    /// Let clients of GR00T stop the server with `kill`.
    #[arg(long)]
    allow_kill: bool,
    /// Let clients have the run read anew: `engraft reload`.
    #[arg(long)]
    allow_reload: bool,
    /// Log as JSON, one event a line.
    #[arg(long)]
    json: bool,
    /// What to log, and all that is graver: error, warn, info or debug.
    #[arg(long, value_name = "LEVEL", default_value_t = tracing::Level::INFO)]
    log_level: tracing::Level,
    /// Where to compute: cpu, wgpu[:INDEX] or cuda[:INDEX].
    #[arg(long, default_value_t)]
    device: DeviceName,
    /// Compute frozen features in this precision, single or int8, whatever the run was trained on.
    #[arg(long, value_name = "PRECISION", value_parser = word::<Precision>)]
    frozen: Option<Precision>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let stop = interrupt_flag()?;
    log_to_stderr(args);
    // A shell's 1024 files are few for a server; what cannot be raised stays as it is.
    let _ = rlimit::increase_nofile_limit(1 << 16);
    let access = match (&args.curve_key, &args.curve_clients) {
        (Some(own), Some(clients)) => Access::Curve(ServerKeys::read(own, clients)?),
        _ if args.insecure_plaintext => Access::Plaintext,
        _ => Access::Loopback,
    };
    let token = args.token_file.as_deref().map(Token::read).transpose()?;
    let device = args.device.open()?;
    engraft_kernels::use_small_pages();
    let run = open_run_in(&args.run, &device, args.frozen)?;
    let otherwise = otherwise_than_trained(&run);
    let contract = Predictor::contract(&run);
    let keys = match &args.modality {
        None => Keys::of(&contract),
        Some(path) => {
            let json = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Keys::of_modality(&contract, &json)
                .with_context(|| format!("cannot use {}", path.display()))?
        }
    };
    let config = ServerConfig {
        openpi: args.openpi.clone(),
        access: access.clone(),
        batch: args.batch.into(),
        token,
        keys: Some(keys),
        allow_kill: args.allow_kill,
        warm_up: args.warm_up,
        slo: args.slo_ms.map(|millis| Duration::from_millis(millis.into())),
        ..ServerConfig::at(&args.bind)
    };
    let remembered = args.remember_mb << 20;
    let mut server = Server::bind(config, Remembering::new(run, remembered))?;
    if args.allow_reload {
        let (path, frozen) = (args.run.clone(), args.frozen);
        server = server.reload_with(move || {
            let run = open_run_in(&path, &device, frozen);
            let run = run.map_err(|error| PredictError(format!("{error:#}")))?;
            Ok(Box::new(Remembering::new(run, remembered)) as Box<dyn Predictor>)
        });
    }
    let promised = promise(args, server.warm_up())?;
    // What opening the run took is handed back by now; what an answer takes need not be every time.
    engraft_kernels::keep_freed_memory();
    say(format_args!("serving {} on {}", args.run.display(), server.endpoint()))?;
    if args.json {
        let (model, contract) = (server.model(), serde_json::to_string(&contract)?);
        info!(
            endpoint = server.endpoint(), model = model.name, hash = model.hash,
            device = %args.device, warm_up = promised, frozen = otherwise, contract, "serving"
        );
    } else {
        let notes = otherwise.as_deref().into_iter().chain(promised.as_deref());
        introduce(args, &server, &contract, &access, notes);
    }
    let status = server.run(&stop)?;
    account(args, &status);
    Ok(ExitCode::SUCCESS)
}

/// Events go to stderr, as lines for people or for programs.
fn log_to_stderr(args: &Args) {
    let log = tracing_subscriber::fmt().with_max_level(args.log_level).with_writer(std::io::stderr);
    let log = log.with_target(false).with_ansi(std::io::stderr().is_terminal());
    if args.json {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        log.init();
    }
}

/// What is served, and how to reach it.
fn introduce<'a>(
    args: &Args,
    server: &Server,
    contract: &Contract,
    access: &Access,
    notes: impl Iterator<Item = &'a str>,
) {
    let model = server.model();
    note(format_args!("{} ({}) on {}", model.name, model.short_hash(), args.device));
    notes.for_each(note);
    let spec = &contract.spec;
    let views: Vec<_> =
        spec.views.iter().map(|v| format!("{} {}x{}", v.name, v.width, v.height)).collect();
    note(format_args!(
        "it sees {} ({} frame(s)) and {} numbers of proprio at {} Hz, and answers {} actions of {}",
        views.join(", "),
        contract.num_frames,
        spec.proprio_dim(),
        spec.control_hz,
        contract.horizon,
        spec.action_dim()
    ));
    if spec.views.iter().any(|view| view.depth) {
        note(format_args!("it needs depth, which clients of GR00T and openpi cannot send"));
    } else {
        note(format_args!("clients of GR00T and openpi send and get {}", server.keys()));
    }
    if let Some(address) = server.openpi() {
        note(format_args!("openpi: ws://{address}, http://{address}/metrics"));
    }
    let endpoint = server.endpoint();
    let python = match access {
        Access::Curve(keys) => {
            note(format_args!(
                "encrypted, for clients whose keys it has; its own is {}",
                keys.own.public()
            ));
            ", server_key=\"SERVER.key\", client_key=\"CLIENT.key_secret\""
        }
        Access::Plaintext => {
            note("NOT encrypted: everyone on the network can read and write");
            ""
        }
        Access::Loopback => "",
    };
    let bridge = match access {
        Access::Curve(_) => " --server-key SERVER.key --client-key CLIENT.key_secret",
        _ => "",
    };
    let mut how = "next, in Python";
    if is_simulated(spec) {
        note(format_args!("next: engraft bridge --policy {endpoint}{bridge}"));
        how = "  or in Python";
    }
    note(format_args!("{how}, after pip install ./crates/client/python:"));
    note(format_args!(
        "      from engraft_client import Policy; policy = Policy(\"{endpoint}\"{python})"
    ));
    note(format_args!("      action = policy.act({})", seen(spec)));
}

/// Whether the bridge's simulator can stand for this robot.
fn is_simulated(spec: &RobotSpec) -> bool {
    let simulated = || {
        let options = SimOptions::from_spec(spec).ok()?;
        let simulator = Simulator::new(Task::Drawer, Split::Train, options).ok()?;
        spec.check(simulator.spec()).ok()
    };
    simulated().is_some()
}

/// An observation as a client in Python writes it.
fn seen(spec: &RobotSpec) -> String {
    let view =
        |view: &ViewSpec| format!("{:?}: uint8[{}, {}, 3]", view.name, view.height, view.width);
    let rgb: Vec<_> = spec.views.iter().map(view).collect();
    let metres =
        |view: &ViewSpec| format!("{:?}: float32[{}, {}]", view.name, view.height, view.width);
    let depth: Vec<_> = spec.views.iter().filter(|view| view.depth).map(metres).collect();
    let depth = if depth.is_empty() {
        String::new()
    } else {
        format!("\"depth\": {{{}}}, ", depth.join(", "))
    };
    let (rgb, dim) = (rgb.join(", "), spec.proprio_dim());
    format!("{{\"rgb\": {{{rgb}}}, {depth}\"proprio\": float32[{dim}]}}")
}

/// How it fared.
fn account(args: &Args, status: &Status) {
    if args.json {
        let latency = serde_json::to_string(&status.latency).unwrap_or_default();
        info!(
            received = status.received,
            answered = status.replied,
            stale = status.stale,
            refused = status.refused,
            late = status.late,
            latency,
            "stopped"
        );
        return;
    }
    note(format_args!(
        "stopped: {} requests, {} answered, {} stale, {} refused",
        status.received, status.replied, status.stale, status.refused
    ));
    if status.replied == 0 {
        return;
    }
    if let Some(millis) = args.slo_ms {
        note(format_args!("{} of {} took longer than {millis} ms", status.late, status.replied));
    }
    for stage in &status.latency {
        note(format_args!(
            "{:<12} p50 {:>8.2} ms   p99 {:>8.2} ms",
            stage.stage,
            f64::from(stage.p50) / 1e3,
            f64::from(stage.p99) / 1e3
        ));
    }
}

/// What the warm-up tells of the policy; an error if it breaks a promise that is to be kept.
fn promise(args: &Args, warm_up: &[Duration]) -> anyhow::Result<Option<String>> {
    let (Some(median), Some(worst)) = (warm_up.get(warm_up.len() / 2), warm_up.last()) else {
        if args.enforce_slo {
            bail!("--enforce-slo needs a warm-up: say --warm-up 20");
        }
        return Ok(None);
    };
    let millis = |time: &Duration| time.as_secs_f64() * 1e3;
    // The first answers are what warming up is for.
    let settled = &warm_up[(warm_up.len() - 1) * 9 / 10];
    let said = format!(
        "warm-up: {} answers, half within {:.1} ms, nine of ten within {:.1} ms, the slowest {:.1} ms",
        warm_up.len(),
        millis(median),
        millis(settled),
        millis(worst)
    );
    let kept = match args.slo_ms {
        None => String::new(),
        Some(limit) => {
            let met = millis(settled) <= f64::from(limit);
            if !met && args.enforce_slo {
                bail!(
                    "expected nine of ten answers within {limit} ms, found {:.1} ms: not serving",
                    millis(settled)
                );
            }
            format!("; {limit} ms {}", if met { "met" } else { "MISSED" })
        }
    };
    Ok(Some(format!("{said}{kept}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn told(flags: &str, millis: &[u64]) -> Result<Option<String>, String> {
        let words = ["serve", "run"].into_iter().chain(flags.split_whitespace());
        let args = Command::try_parse_from(words).map_err(|error| error.to_string())?.args;
        let warm_up: Vec<Duration> = millis.iter().map(|&ms| Duration::from_millis(ms)).collect();
        promise(&args, &warm_up).map_err(|error| error.to_string())
    }

    #[test]
    fn a_limit_is_met_by_nine_of_ten_answers() {
        let took: Vec<u64> = (1..=10).collect();
        let said = told("--slo-ms 9", &took).unwrap().unwrap();
        assert!(
            said.contains("10 answers, half within 6.0 ms, nine of ten within 9.0 ms"),
            "{said}"
        );
        assert!(said.ends_with("9 ms met"), "{said}");
        assert!(told("--slo-ms 8", &took).unwrap().unwrap().ends_with("8 ms MISSED"));
        let error = told("--slo-ms 8 --enforce-slo", &took).unwrap_err();
        assert!(error.contains("within 8 ms, found 9.0 ms"), "{error}");
        assert!(told("--slo-ms 9 --enforce-slo", &took).is_ok());
    }

    #[test]
    fn only_a_robot_that_the_simulator_stands_for_is_told_of_the_bridge() {
        let options = SimOptions { image_size: 32, ..SimOptions::default() };
        let simulator = Simulator::new(Task::Door, Split::Heldout, options).unwrap();
        let spec = simulator.spec();
        assert!(is_simulated(spec));
        let dimension = &spec.proprio[0];
        let others = [
            RobotSpec { control_hz: 30.0, ..spec.clone() },
            RobotSpec { proprio: vec![dimension.clone()], ..spec.clone() },
            RobotSpec { views: Vec::new(), ..spec.clone() },
        ];
        assert!(!others.iter().any(is_simulated));
    }

    #[test]
    fn without_a_warm_up_nothing_is_promised() {
        assert_eq!(told("--slo-ms 9", &[]), Ok(None));
        assert!(told("--slo-ms 9 --enforce-slo", &[]).unwrap_err().contains("--warm-up 20"));
        assert!(told("--enforce-slo", &[5]).unwrap_err().contains("--slo-ms"));
        assert!(told("", &[5]).unwrap().unwrap().ends_with("the slowest 5.0 ms"));
    }
}
