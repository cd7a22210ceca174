//! What the tests of several verbs share: a bridge with an emulated arm.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use engraft_wire::operator::{BridgeStatus, Verb};

use super::arm::{ArmArgs, Bridge, BridgeArgs};
use super::operate::{Endpoint, connect, insist};
use crate::control::Request;
use crate::description::ArmDescription;
use crate::emulate::feetech::Bus;
use crate::emulate::{Emulator, Options};
use crate::pilot::PilotConfig;

/// How long anything may take.
const SOON: Duration = Duration::from_secs(10);

/// An SO-101 that a busy machine can keep up with, as a file in `folder`.
pub(super) fn slow_so101(folder: &Path) -> (ArmDescription, PathBuf) {
    let mut arm = ArmDescription::find("so101").unwrap();
    arm.setpoint_hz = 50;
    let path = folder.join("so101.toml");
    std::fs::write(&path, toml::to_string(&arm).unwrap()).unwrap();
    (arm, path)
}

/// A bridge whose emulated arm has torque.
pub(super) struct Follower {
    bridge: Bridge,
    _emulator: Emulator<Bus>,
    _folder: tempfile::TempDir,
}

impl Follower {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (arm, path) = slow_so101(folder.path());
        let emulator = Emulator::start(Bus::new(&arm), Options::default()).unwrap();
        let real =
            ArmArgs { port: Some(emulator.path().display().to_string()), ..ArmArgs::default() };
        let args = BridgeArgs {
            control: "tcp://127.0.0.1:*".into(),
            telemetry: "tcp://127.0.0.1:*".into(),
            insecure_plaintext: false,
            journal: None,
            no_realtime: true,
        };
        let path = path.display().to_string();
        // A machine that tests everything else meanwhile is away for longer than an arm's.
        let config = PilotConfig { gap: Duration::from_millis(400), ..PilotConfig::default() };
        let bridge = Bridge::start(&path, &real, &args, config).unwrap();
        let follower = Self { bridge, _emulator: emulator, _folder: folder };
        follower.wait_for(|status| status.state == "Idle");
        follower.bridge.controls.ask(Request::Torque(true), SOON).unwrap();
        follower.wait_for(|status| status.state == "Ready");
        follower
    }

    pub(super) fn endpoint(&self) -> String {
        self.bridge.control_endpoint.clone()
    }

    pub(super) fn status(&self) -> BridgeStatus {
        self.bridge.board.status()
    }

    pub(super) fn wait_for(&self, what: impl Fn(&BridgeStatus) -> bool) {
        let began = Instant::now();
        while !what(&self.status()) {
            assert!(began.elapsed() < SOON, "still {:?}", self.status());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Somebody else stops the arm.
    pub(super) fn stop_arm(&self) {
        let mut socket = connect(&Endpoint { control: self.endpoint() }).unwrap();
        insist(&mut socket, &Verb::Stop).unwrap();
    }

    pub(super) fn stop(self) {
        self.bridge.stop().unwrap();
    }
}
