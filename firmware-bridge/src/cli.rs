//! The command line: one file per verb, or per few that are alike.

mod arm;
mod calibrate;
mod cameras;
mod doctor;
mod drive;
mod emulate;
mod lease;
mod operate;
mod replay;
mod run;
mod screen;
mod teleop;
#[cfg(test)]
mod testing;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Subcommand;

pub use cameras::CameraArgs;
pub use operate::Endpoint;
pub use replay::{PlayArgs, play_rollout};
pub use run::{Args, run, run_until};
pub use teleop::{EpisodesArgs, Recorded, TeleopSession, teleop_record};

/// Said whenever an arm may move.
const BANNER: &str = "firmware-bridge: limits, watchdog and stop are software and no certified \
                      safety function; on a real arm keep a hardware emergency stop in reach";

/// What the bridge can do.
#[derive(Debug, Clone, Subcommand)]
#[non_exhaustive]
pub enum Verb {
    /// Own an arm: move it with a policy's actions, or as operators ask.
    Run(Box<Args>),
    /// Say how a running bridge and its arm are.
    Status(operate::StatusArgs),
    /// Stop the arm at once, latched until a reset.
    Estop(operate::Endpoint),
    /// Bring the arm to rest within its limits.
    Stop(operate::Endpoint),
    /// Acknowledge a fault or an emergency stop; the arm is looked at anew and has no torque.
    Reset(operate::Endpoint),
    /// Switch torque on, with every goal where the joint is, or off.
    Torque(operate::TorqueArgs),
    /// Move joints, within every limit.
    Goto(operate::GotoArgs),
    /// Move every joint to zero, within every limit.
    Home(operate::HomeArgs),
    /// Drive an arm with another one, moved by hand, and record both.
    TeleopRecord(teleop::TeleopArgs),
    /// Play the actions of a recorded episode, within every limit.
    Replay(replay::ReplayArgs),
    /// Play a journal again and say whether it leads to the same set-points.
    Verify(verify::VerifyArgs),
    /// Look at everything between this machine and an arm, and say what to fix.
    Doctor(doctor::DoctorArgs),
    /// Find each joint's middle and ends, with a person who moves the arm by hand.
    Calibrate(calibrate::CalibrateArgs),
    /// Stand for an arm: its own side of the wire, so that everything can be tried without one.
    Emulate(emulate::EmulateArgs),
    /// End a running bridge; the arm comes to rest first.
    Shutdown(operate::Endpoint),
}

/// Does it. 0 is done, 1 is no.
///
/// # Errors
///
/// When it cannot be done, in one line that says what to do.
pub fn dispatch(verb: &Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Run(args) => run(args),
        Verb::Status(args) => operate::status(args),
        Verb::Estop(endpoint) => operate::estop(endpoint),
        Verb::Stop(endpoint) => operate::stop(endpoint),
        Verb::Reset(endpoint) => operate::reset(endpoint),
        Verb::Torque(args) => operate::torque(args),
        Verb::Goto(args) => operate::goto(args),
        Verb::Home(args) => operate::home(args),
        Verb::TeleopRecord(args) => teleop::teleop(args),
        Verb::Replay(args) => replay::replay(args),
        Verb::Verify(args) => verify::verify(args),
        Verb::Doctor(args) => doctor::doctor(args),
        Verb::Calibrate(args) => calibrate::calibrate(args),
        Verb::Emulate(args) => emulate::emulate(args),
        Verb::Shutdown(endpoint) => operate::shutdown(endpoint),
    }
}

/// What Ctrl-C and SIGTERM set.
fn stop_at_signals() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // Whoever runs us may already listen for signals; then theirs is the one that counts.
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
    stop
}
