//! The `engraft` command: one verb per file.

// Docs of arguments are the help text, where backticks would be noise.
#![allow(clippy::doc_markdown, rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

mod bench;
mod data;
mod device;
mod eval;
mod import;
mod keys;
mod mapping;
mod predict;
mod progress;
mod quickstart;
mod record;
mod replay;
mod report;
mod serve;
mod server;
mod teleop;
mod train;
mod view;
mod weights;
mod word;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// glibc's allocator hands large activations back to the kernel at every step; mimalloc keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Grafts frozen pre-trained vision features into policies that a robot learns from demonstrations.
///
/// New here? `engraft quickstart` goes from nothing to a moving (simulated) arm.
#[derive(Parser)]
#[command(name = "engraft", version, propagate_version = true)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Quickstart(quickstart::Args),
    #[command(subcommand)]
    Weights(weights::Args),
    #[command(subcommand)]
    Data(data::Args),
    Record(record::Args),
    Train(train::Args),
    Eval(eval::Args),
    #[command(subcommand)]
    Import(import::Args),
    Predict(predict::Args),
    Serve(serve::Args),
    Status(server::StatusArgs),
    Reload(server::ReloadArgs),
    #[command(subcommand)]
    Keys(keys::Args),
    Bridge(firmware_bridge::cli::Args),
    TeleopRecord(teleop::Args),
    Replay(replay::Args),
    View(view::Args),
    Bench(bench::Args),
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Quickstart(args) => quickstart::run(&args),
        Verb::Weights(args) => weights::run(&args),
        Verb::Data(args) => data::run(&args),
        Verb::Record(args) => record::run(&args),
        Verb::Train(args) => train::run(&args),
        Verb::Eval(args) => eval::run(&args),
        Verb::Import(args) => import::run(&args),
        Verb::Predict(args) => predict::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Status(args) => server::status(&args),
        Verb::Reload(args) => server::reload(&args),
        Verb::Keys(args) => keys::run(&args),
        Verb::Bridge(args) => firmware_bridge::cli::run(&args),
        Verb::TeleopRecord(args) => teleop::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::View(args) => view::run(&args),
        Verb::Bench(args) => bench::run(&args),
    }
}

#[allow(clippy::print_stderr)] // The one line that says what went wrong.
fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engraft: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// `engraft ... | head` is no failure.
fn broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}
