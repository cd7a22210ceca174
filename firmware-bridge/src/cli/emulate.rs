//! An arm without hardware: the device's side on a pseudo-terminal or a port.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::stop_at_signals;
use crate::arms::xarm::report_address;
use crate::description::{ArmDescription, Protocol};
use crate::emulate::{CameraEmulator, Device, Emulator, Faults, Options, dynamixel, feetech, xarm};

/// Stand for an arm.
#[derive(Debug, Clone, clap::Args)]
pub struct EmulateArgs {
    /// The arm: so101, koch, xarm7, xarm7-gripper, tabletop, or the path of a description.
    #[arg(long, value_name = "ARM", default_value = "so101")]
    arm: String,
    /// A stable name for the serial port of a servo arm; what stands there is replaced when it is
    /// a link.
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
    /// Where an xArm listens for control; its report stream is on the port that is next.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:502")]
    listen: SocketAddr,
    /// Answer at once instead of at the bus's speed.
    #[arg(long)]
    fast: bool,
    /// What goes wrong, as often as wanted: flip=PART, lose=PART, insert=PART, delay=MILLIS,
    /// silent=ID, echo.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,
    /// A camera beside it, at this address; once for each.
    #[arg(long = "camera", value_name = "ADDR")]
    cameras: Vec<SocketAddr>,
    /// Seed of what goes wrong.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
}

/// Columns and rows of an emulated camera's pictures.
const CAMERA: (u32, u32) = (320, 240);

/// Emulates until Ctrl-C or SIGTERM.
pub(super) fn emulate(args: &EmulateArgs) -> anyhow::Result<ExitCode> {
    let arm = ArmDescription::find(&args.arm)?;
    let faults = faults(&args.faults)?;
    let stop = stop_at_signals();
    let cameras = args.cameras.iter().map(|&address| camera(address));
    let _cameras = cameras.collect::<anyhow::Result<Vec<_>>>()?;
    match arm.protocol {
        Protocol::Feetech => serial(feetech::Bus::new(&arm), &arm, args, faults, &stop),
        Protocol::Dynamixel => serial(dynamixel::Bus::new(&arm)?, &arm, args, faults, &stop),
        Protocol::Xarm => network(&arm, args, &stop),
        Protocol::Simulator => bail!(
            "a simulator stands for an arm by itself: start it, such as `engraft-mujoco`, and give \
             its address to `firmware-bridge run --port`"
        ),
        Protocol::Franka => bail!(
            "{} is not emulated here: `pip install franka-sim` has a simulator that stands for it",
            arm.name
        ),
    }
}

fn camera(address: SocketAddr) -> anyhow::Result<CameraEmulator> {
    let (width, height) = CAMERA;
    let camera = CameraEmulator::start(address, width, height)
        .with_context(|| format!("cannot listen at {address}: choose another port"))?;
    writeln!(io::stderr(), "an emulated camera at {}", camera.url())?;
    Ok(camera)
}

fn serial<D: Device>(
    device: D,
    arm: &ArmDescription,
    args: &EmulateArgs,
    faults: Faults,
    stop: &AtomicBool,
) -> anyhow::Result<ExitCode> {
    let baud = if args.fast { None } else { arm.baud };
    let options = Options { baud, link: args.link.clone(), seed: args.seed };
    let emulator = Emulator::start(device, options)?;
    emulator.faults(|now| *now = faults);
    let path = emulator.path().display();
    writeln!(io::stdout(), "{path}")?;
    writeln!(
        io::stderr(),
        "an emulated {} at {path}; try `firmware-bridge run --arm {} --port {path} --no-policy`",
        arm.name,
        args.arm
    )?;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
        if let Some(trouble) = emulator.trouble() {
            bail!("the emulator ended: {trouble}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn network(
    arm: &ArmDescription,
    args: &EmulateArgs,
    stop: &AtomicBool,
) -> anyhow::Result<ExitCode> {
    ensure!(args.faults.is_empty(), "--fault is for serial arms");
    let options = xarm::ControllerOptions {
        control: args.listen,
        report: report_address(args.listen),
        ..xarm::ControllerOptions::default()
    };
    let started = xarm::Controller::start(arm, options);
    let address = args.listen;
    let controller = started.with_context(|| {
        format!(
            "cannot listen at {address}: ports below 1024 need root, try --listen 127.0.0.1:5020"
        )
    })?;
    let control = controller.control();
    writeln!(io::stdout(), "{control}")?;
    writeln!(
        io::stderr(),
        "an emulated {} at {control}; try `firmware-bridge run --arm {} --port {control} --no-policy`",
        arm.name,
        args.arm
    )?;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(ExitCode::SUCCESS)
}

fn faults(texts: &[String]) -> anyhow::Result<Faults> {
    let mut faults = Faults::default();
    for text in texts {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let number = || -> anyhow::Result<f64> {
            value.parse().with_context(|| format!("--fault {text}: expected a number after `=`"))
        };
        match name {
            "flip" => faults.flip = number()?,
            "lose" => faults.lose = number()?,
            "insert" => faults.insert = number()?,
            "delay" => faults.delay = Duration::try_from_secs_f64(number()? / 1000.0)?,
            "silent" => faults.silent.push(number()? as u8),
            "echo" => faults.echo = true,
            _ => bail!("--fault {text}: expected flip, lose, insert, delay, silent or echo"),
        }
    }
    Ok(faults)
}
