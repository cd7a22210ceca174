//! A daemon as a process of its own, and the emulated arm that it owns.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engraft_wire::OperatorSocket;
use engraft_wire::operator::{Answer, BridgeStatus, Verb};
use firmware_bridge::description::ArmDescription;
use firmware_bridge::emulate::feetech::Bus;
use firmware_bridge::emulate::{Device, Emulator, Options};
use rustix::process::{Pid, Signal, kill_process};

const BRIDGE: &str = env!("CARGO_BIN_EXE_firmware-bridge");

/// How long anything may take on a machine that does other things too.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How long an answer is waited for: who listens no more is not waited for longer than that.
const ANSWER: Duration = Duration::from_secs(2);

/// What `verify` says of a journal: whether it plays to the identical set-points.
pub(crate) fn verify(journal: &Path) -> Result<(), String> {
    let output = Command::new(BRIDGE).arg("verify").arg(journal).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into()) }
}

/// An emulated arm whose wire and servos outlive the daemons that own it.
pub(crate) struct Arm {
    pub(crate) description: ArmDescription,
    pub(crate) emulator: Emulator<Bus>,
    folder: PathBuf,
}

impl Arm {
    /// In `folder`: its description, its port, and later its journals.
    pub(crate) fn new(folder: &Path, setpoint_hz: u32) -> Self {
        let mut description = ArmDescription::find("tabletop").unwrap();
        description.setpoint_hz = setpoint_hz;
        let text = toml::to_string(&description).unwrap();
        std::fs::write(folder.join("arm.toml"), text).unwrap();
        let link = Some(folder.join("port"));
        let options = Options { baud: description.baud, link, seed: 5 };
        let emulator = Emulator::start(Bus::new(&description), options).unwrap();
        Self { description, emulator, folder: folder.into() }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Somebody puts the first joints there by hand, and those that are outside their limits back.
    pub(crate) fn place(&self, angles_rad: &[f64]) {
        self.emulator.with(|bus| {
            let joints = bus.plant().joints.iter_mut().zip(&self.description.joints);
            for (i, (joint, described)) in joints.enumerate() {
                let zero = f64::from(described.zero_ticks.unwrap_or(2048));
                let sign = if described.inverted { -1.0 } else { 1.0 };
                let per_rad = sign * 4096.0 / std::f64::consts::TAU;
                let (min, max) = (described.min_rad, described.max_rad);
                let outside = !(min..=max).contains(&((joint.position - zero) / per_rad));
                let put = angles_rad.get(i).copied().or(outside.then_some(min.midpoint(max)));
                if let Some(angle) = put {
                    joint.position = zero + angle * per_rad;
                    (joint.goal, joint.velocity) = (joint.position, 0.0);
                }
            }
        });
    }

    /// A daemon that owns it from now on, with these arguments besides.
    pub(crate) fn daemon(&self, more: &[&str]) -> Daemon {
        let at = |name: &str| self.file(name).display().to_string();
        let [control, telemetry] =
            ["control", "telemetry"].map(|name| format!("ipc://{}", at(name)));
        let (arm, port) = (at("arm.toml"), at("port"));
        let args = [
            "run",
            "--arm",
            &arm,
            "--port",
            &port,
            "--control",
            &control,
            "--telemetry",
            &telemetry,
            "--no-realtime",
            "--connect-timeout",
            "10",
        ];
        let mut command = Command::new(BRIDGE);
        command.args(args).args(more).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = thread::spawn(move || {
            let mut said = String::new();
            let _ = stderr.read_to_string(&mut said); // whatever it is, it is for people
            said
        });
        Daemon { control, telemetry, child, said: Some(said) }
    }
}

/// A running daemon, which does not outlive its test.
pub(crate) struct Daemon {
    control: String,
    pub(crate) telemetry: String,
    child: Child,
    said: Option<JoinHandle<String>>,
}

impl Daemon {
    pub(crate) fn is_finished(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended; its number is not given anew before it is waited for.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// What came of it: nothing, or the line that says what was wrong. It must have come to an end
    /// in time, by itself or by being told, and not by a panic or a signal.
    pub(crate) fn ended(mut self) -> Result<(), String> {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < SOON, "the daemon does not end");
            thread::sleep(Duration::from_millis(5));
        };
        let said = self.said.take().unwrap().join().unwrap();
        let told = status.signal() == Some(Signal::TERM.as_raw());
        match status.code() {
            Some(0 | 1) => Ok(()),
            // Told to end before it had begun.
            None if told && said.is_empty() => Ok(()),
            Some(2) => {
                let last = said.lines().last().unwrap_or_default();
                Err(last.trim_start_matches("firmware-bridge: ").to_owned())
            }
            _ => panic!("the daemon ended with {status}: {said}"),
        }
    }

    /// Its memory that is not on disk, in bytes; 0 once it has ended.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() << 10
    }

    pub(crate) fn operator(&self) -> Operator {
        Operator(OperatorSocket::connect(&self.control).unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody who asks for things.
pub(crate) struct Operator(OperatorSocket);

impl Operator {
    pub(crate) fn ask(&mut self, verb: &Verb) -> Option<Answer> {
        self.0.ask(verb, ANSWER).ok()
    }

    pub(crate) fn status(&mut self) -> Option<BridgeStatus> {
        self.ask(&Verb::Status).map(|answer| answer.status)
    }

    /// Waits for a state.
    pub(crate) fn wait_for(&mut self, what: impl Fn(&BridgeStatus) -> bool) -> BridgeStatus {
        let began = Instant::now();
        loop {
            let status = self.status();
            if let Some(status) = &status
                && what(status)
            {
                return status.clone();
            }
            assert!(began.elapsed() < SOON, "still {status:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
