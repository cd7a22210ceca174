//! `engraft status` and `engraft reload`: a server that runs somewhere, asked and told.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use engraft_client::{Config, Policy};
use engraft_wire::{ClientKeys, Token};
use serde_json::json;

use crate::progress::{note, say};

/// How to reach a server.
#[derive(clap::Args)]
pub(crate) struct Connection {
    /// Where it listens.
    #[arg(value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:5555")]
    endpoint: String,
    /// The token of a server that asks for one.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The server's public key, of a server with CURVE.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    server_key: Option<PathBuf>,
    /// The secret key by which the server knows this client.
    #[arg(long, value_name = "FILE", requires = "server_key")]
    client_key: Option<PathBuf>,
}

impl Connection {
    fn open(&self) -> anyhow::Result<Policy> {
        let keys = match (&self.server_key, &self.client_key) {
            (Some(server), Some(client)) => Some(ClientKeys::read(server, client)?),
            _ => None,
        };
        let token = self.token_file.as_deref().map(Token::read).transpose()?;
        let name = "engraft".into();
        Ok(Policy::connect(Config { keys, token, name, ..Config::at(&self.endpoint) })?)
    }
}

/// Say how a policy server fares, and what it takes for its answers.
#[derive(clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    connection: Connection,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let mut policy = args.connection.open()?;
    let ping = policy.ping()?;
    let status = policy.status()?;
    if args.json {
        let ping_micros = u64::try_from(ping.as_micros()).unwrap_or(u64::MAX);
        let all = json!({
            "ping_micros": ping_micros, "status": status, "contract": policy.contract()
        });
        say(serde_json::to_string_pretty(&all)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let spec = &policy.contract().spec;
    let hash = status.model.short_hash();
    let up = Duration::from_secs(status.uptime_millis / 1000);
    say(format_args!("{} ({hash}) for {}, up {up:?}", status.model.name, spec.name))?;
    // One of them asks this.
    let others = status.clients.saturating_sub(1);
    let busy = if status.busy { "at work" } else { "idle" };
    say(format_args!("{others} other client(s), {} waiting, the model is {busy}", status.waiting))?;
    say(format_args!(
        "{} messages: {} answered, {} stale, {} refused, {} late",
        status.received, status.replied, status.stale, status.refused, status.late
    ))?;
    say(format_args!("a ping takes {:.2} ms", ping.as_secs_f64() * 1e3))?;
    if status.replied > 0 {
        say(format_args!("{:<12}{:>9}{:>9}{:>9}{:>9}", "ms", "p50", "p95", "p99", "p99.9"))?;
        for stage in &status.latency {
            let ms = |micros: u32| f64::from(micros) / 1e3;
            let [a, b, c, d] = [stage.p50, stage.p95, stage.p99, stage.p999].map(ms);
            say(format_args!("{:<12}{a:>9.2}{b:>9.2}{c:>9.2}{d:>9.2}", stage.stage))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Have a policy server read its run anew, as its training left it by now; no request is lost.
///
/// The server must have been started with --allow-reload. It answers from the model before until
/// the new one is read and warm, and keeps it if the run no longer fits. A bridge in the middle of an
/// episode brings its arm to rest: it was started with another policy.
#[derive(clap::Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    connection: Connection,
    /// How long to wait for the new model.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

pub(crate) fn reload(args: &ReloadArgs) -> anyhow::Result<ExitCode> {
    let mut policy = args.connection.open()?;
    let before = policy.model().hash.clone();
    let model = policy.reload(Duration::from_secs(args.timeout))?;
    say(format_args!("{} ({}) answers now", model.name, model.short_hash()))?;
    if model.hash == before {
        note("it is the same as before: did the training save since?");
    }
    Ok(ExitCode::SUCCESS)
}
