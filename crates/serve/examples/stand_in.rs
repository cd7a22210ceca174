//! A policy server without a policy: it tells every robot arm to stay where it is.
//!
//! For trying out a client, and for the judges of servers:
//!
//! ```text
//! cargo run -p engraft-serve --example stand_in -- tcp://127.0.0.1:5555 [rgb] [kill] [token WORD]
//!     [openpi HOST:PORT] [curve SECRET CLIENTS] [reload] [forward MILLIS] [batch MOST MILLIS]
//! ```
//!
//! With `rgb` no view has depth, and clients of other stacks find an `arm` and a `gripper`; with
//! `kill` GR00T's may stop it; with `curve` it takes its secret key and its clients' public ones
//! from files; with `reload` it can be read anew, and then has another hash each time; `forward` is
//! how long it takes to answer (20), and `batch` how many it answers at once and how long each takes
//! beside the first. Prints where it listens and serves until its standard input ends.

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use engraft_core::{ActionChunk, Dimension, Observation, RobotSpec, ViewSpec};
use engraft_serve::{PredictError, Prediction, Predictor, Server, ServerConfig};
use engraft_wire::{Access, Contract, Keys, Model, ServerKeys, Token};

const HORIZON: usize = 8;

#[derive(Clone)]
struct StandIn {
    depth: bool,
    /// Milliseconds that an answer takes.
    forward: f64,
    /// Milliseconds that each further answer takes that is given with it.
    further: f64,
    /// Times that it was read anew.
    age: usize,
}

impl StandIn {
    fn work(&self, answers: usize) {
        let millis = self.forward + self.further * (answers - 1) as f64;
        thread::sleep(Duration::from_secs_f64(millis / 1e3));
    }
}

fn stay(stack: &[Observation]) -> Result<Prediction, PredictError> {
    let newest = stack.last().ok_or_else(|| PredictError("the stack is empty".into()))?;
    let values = newest.proprio.repeat(HORIZON);
    let chunk = ActionChunk::new(HORIZON, newest.proprio.len(), values);
    let chunk = chunk.map_err(|error| PredictError(error.to_string()))?;
    Ok(Prediction { chunk, attention: Vec::new(), preprocess: Duration::ZERO })
}

impl Predictor for StandIn {
    fn contract(&self) -> Contract {
        let view = |name: &str, depth| ViewSpec { name: name.into(), width: 96, height: 64, depth };
        let joint = |name: &str| Dimension::new(name, "rad").within(-2.0, 2.0);
        let joints = || ["shoulder", "elbow", "gripper"].map(joint).to_vec();
        let spec = RobotSpec {
            name: "stand-in".into(),
            control_hz: 10.0,
            views: vec![view("front", self.depth), view("wrist", false)],
            proprio: joints(),
            actions: joints(),
        };
        Contract { spec, num_frames: 2, horizon: HORIZON }
    }

    fn model(&self) -> Model {
        Model { name: "stand-in".into(), hash: self.age.to_string().repeat(64) }
    }

    fn predict(&mut self, stack: &[Observation], _: bool) -> Result<Prediction, PredictError> {
        self.work(1);
        stay(stack)
    }

    fn predict_many(
        &mut self,
        stacks: &[&[Observation]],
        _: bool,
    ) -> Result<Vec<Prediction>, PredictError> {
        self.work(stacks.len());
        stacks.iter().map(|stack| stay(stack)).collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().unwrap_or_else(|| "tcp://127.0.0.1:5555".into());
    let mut config = ServerConfig::at(endpoint);
    let mut stand_in = StandIn { depth: true, forward: 20.0, further: 20.0, age: 0 };
    let mut reload = false;
    while let Some(word) = arguments.next() {
        match &*word {
            "rgb" => stand_in.depth = false,
            "reload" => reload = true,
            "curve" => {
                let mut path = || arguments.next().ok_or("which files?");
                let (own, clients) = (path()?, path()?);
                config.access = Access::Curve(ServerKeys::read(own.as_ref(), clients.as_ref())?);
            }
            "forward" => stand_in.forward = arguments.next().ok_or("how long?")?.parse()?,
            "batch" => {
                config.batch = arguments.next().ok_or("how many?")?.parse()?;
                stand_in.further = arguments.next().ok_or("how long?")?.parse()?;
            }
            "kill" => config.allow_kill = true,
            "openpi" => config.openpi = Some(arguments.next().ok_or("where?")?),
            "token" => config.token = Some(Token::new(arguments.next().ok_or("which token?")?)),
            _ => {
                return Err(format!(
                    "`{word}`: expected rgb, kill, reload, openpi HOST:PORT, token WORD, \
                     forward MILLIS, batch MOST MILLIS or curve SECRET CLIENTS"
                )
                .into());
            }
        }
    }
    if !stand_in.depth {
        let parts = vec![("arm".into(), 0..2), ("gripper".into(), 2..3)];
        let keys = Keys::of(&stand_in.contract());
        config.keys = Some(Keys { state: parts.clone(), action: parts, ..keys });
    }
    let mut server = Server::bind(config, stand_in.clone())?;
    if reload {
        server = server.reload_with(move || {
            stand_in.age += 1;
            Ok(Box::new(stand_in.clone()))
        });
    }
    let openpi = server.openpi().map(|address| format!(" {address}")).unwrap_or_default();
    writeln!(io::stdout(), "{}{openpi}", server.endpoint())?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new()); // an error is an end, too
        flag.store(true, Ordering::Relaxed);
    });
    let status = server.run(&stop)?;
    writeln!(io::stderr(), "{} answered, {} refused", status.replied, status.refused)?;
    Ok(())
}
