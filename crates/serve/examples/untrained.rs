//! A policy server with an untrained network behind it, for timing.
//!
//! ```text
//! cargo run --release -p engraft-serve --example untrained -- tcp://127.0.0.1:5555 [SIDE] [BATCH]
//! ```
//!
//! Hansen's shallow ConvNet sees two views of SIDE x SIDE pixels (224 if absent) and seven joints,
//! and answers eight actions, to BATCH clients at once (1 if absent). Prints its endpoint and serves
//! until its standard input ends; then says on standard error how long each stage took.

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use burn::tensor::Device;
use engraft_core::{Dimension, RobotSpec, Stats, ViewSpec};
use engraft_policies::{Checkpoint, Contract, HansenConfig, PolicyConfig, Provenance, Transform};
use engraft_serve::{Server, ServerConfig};

const JOINTS: usize = 7;

/// The command's allocator: it keeps the memory of the last request for the next one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().unwrap_or_else(|| "tcp://127.0.0.1:5555".into());
    let side: usize = arguments.next().map_or(Ok(224), |side| side.parse())?;
    let batch = arguments.next().map_or(Ok(1), |batch| batch.parse())?;
    let view = |name: &str| ViewSpec { name: name.into(), width: side, height: side, depth: false };
    let joints = || (0..JOINTS).map(|i| Dimension::new(format!("joint_{i}"), "rad")).collect();
    let spec = RobotSpec {
        name: "untrained".into(),
        control_hz: 10.0,
        views: vec![view("front"), view("wrist")],
        proprio: joints(),
        actions: joints(),
    };
    let contract = Contract {
        spec,
        num_frames: 1,
        horizon: 8,
        use_proprio: true,
        use_depth: false,
        relative_actions: false,
    };
    let network = if side < 160 { HansenConfig::small() } else { HansenConfig::large() };
    let config = PolicyConfig::Hansen(network);
    let policy = config.init(&contract, 1, &Device::flex())?;
    let stats = || Stats::identity(JOINTS);
    let transform = Transform::new(contract, stats(), stats())?;
    let checkpoint = Checkpoint::new(config, transform, policy, Provenance::default());

    let config = ServerConfig { warm_up: 20, batch, ..ServerConfig::at(endpoint) };
    let server = Server::bind(config, checkpoint)?;
    writeln!(io::stdout(), "{}", server.endpoint())?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new()); // an error is an end, too
        flag.store(true, Ordering::Relaxed);
    });
    for stage in server.run(&stop)?.latency {
        writeln!(io::stderr(), "{} p50 {} p99 {} us", stage.stage, stage.p50, stage.p99)?;
    }
    Ok(())
}
