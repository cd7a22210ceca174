//! The bridge as a process of its own: what signals do to an arm that moves.

#![allow(clippy::unwrap_used)] // A test that cannot go on says so by panicking.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const BRIDGE: &str = env!("CARGO_BIN_EXE_firmware-bridge");
const PATIENCE: Duration = Duration::from_secs(30);

/// A child that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(BRIDGE);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn wait(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Rig {
    _emulator: Process,
    bridge: Process,
    control: String,
}

impl Rig {
    /// An emulated arm and a bridge that has given it torque.
    fn new(folder: &Path) -> Self {
        // A machine that runs all tests at once is no robot's: it gets more time for each period.
        let arm = folder.join("arm.toml");
        let shipped =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("arms/so101.toml"));
        let slow = shipped.unwrap().replace("setpoint_hz = 200", "setpoint_hz = 50");
        std::fs::write(&arm, slow).unwrap();
        let (arm, link) = (arm.to_str().unwrap(), folder.join("port"));
        let link = link.to_str().unwrap();
        let mut emulator = Process::start(&["emulate", "--arm", arm, "--link", link]);
        let mut first = String::new();
        BufReader::new(emulator.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert_eq!(first.trim(), link);
        let any = "tcp://127.0.0.1:*";
        let mut bridge = Process::start(&[
            "run",
            "--arm",
            arm,
            "--port",
            link,
            "--no-policy",
            "--control",
            any,
            "--telemetry",
            any,
        ]);
        let mut lines = BufReader::new(bridge.0.stderr.take().unwrap()).lines();
        let control = lines.find_map(|line| {
            let line = line.unwrap();
            let rest = line.strip_prefix("verbs at ")?;
            Some(rest.split(',').next().unwrap().to_owned())
        });
        thread::spawn(move || lines.for_each(drop));
        let rig = Self { _emulator: emulator, bridge, control: control.unwrap() };
        let began = Instant::now();
        while rig.ask(&["torque", "on"]).0 != 0 {
            assert!(began.elapsed() < PATIENCE, "no torque: {}", rig.ask(&["torque", "on"]).1);
            thread::sleep(Duration::from_millis(50));
        }
        rig
    }

    fn ask(&self, verb: &[&str]) -> (i32, String) {
        let output = Command::new(BRIDGE).args(verb).args(["--control", &self.control]).output();
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
    }

    fn status(&self) -> serde_json::Value {
        let (_, text) = self.ask(&["status", "--json"]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// On its way, slowly, for some seconds.
    fn go(&self) -> Process {
        let going = Process::start(&[
            "goto",
            "shoulder_pan=1.8",
            "--speed",
            "0.1",
            "--control",
            &self.control,
        ]);
        let began = Instant::now();
        while self.status()["joints"][0]["velocity_rad_s"].as_f64().unwrap().abs() < 0.05 {
            assert!(began.elapsed() < PATIENCE, "it does not move: {}", self.status());
            thread::sleep(Duration::from_millis(20));
        }
        going
    }
}

#[test]
fn fault_24_sigterm_brings_a_moving_arm_to_rest_and_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path());
    let mut going = rig.go();
    let began = Instant::now();
    rig.bridge.signal("-TERM");
    assert_eq!(rig.bridge.wait(), 0);
    println!("fault 24: ended {} ms after", began.elapsed().as_millis());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Whoever waited for the arm is told, on one line.
    assert_eq!(going.wait(), 2);
    let mut said = String::new();
    going.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn fault_15_a_bridge_that_was_suspended_holds_where_the_arm_is() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let _going = rig.go();
    rig.bridge.signal("-STOP");
    thread::sleep(Duration::from_secs(1));
    rig.bridge.signal("-CONT");
    let began = Instant::now();
    loop {
        let status = rig.status();
        let still = status["joints"][0]["velocity_rad_s"].as_f64().unwrap().abs() < 0.02;
        if still && status["state"] != "Running" {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{status}");
        thread::sleep(Duration::from_millis(20));
    }
    // It does not go on by itself.
    let at = |rig: &Rig| rig.status()["joints"][0]["position_rad"].as_f64().unwrap();
    let before = at(&rig);
    thread::sleep(Duration::from_millis(500));
    assert!((at(&rig) - before).abs() < 0.01);
    assert!(before < 1.7, "it went on to the end: {before}");
}

#[test]
fn verbs_say_what_is_wrong_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    for (verb, expected) in [
        (vec!["goto", "elbow=0.1"], "no joint elbow: there are shoulder_pan, "),
        (vec!["goto", "elbow_flex=9"], "elbow_flex: 9 rad is outside -1.690 to 1.690"),
        (vec!["goto", "elbow_flex"], "expected JOINT=ANGLE"),
        (vec!["torque", "on"], "torque is on already (Ready)"),
        (vec!["reset"], "nothing follows from that in Ready"),
    ] {
        let (code, text) = rig.ask(&verb);
        assert_eq!((code, text.lines().count()), (2, 1), "{verb:?}: {text}");
        assert!(text.contains(expected), "{verb:?}: {text}");
    }
    assert_eq!(rig.ask(&["estop"]).0, 0);
    let (code, text) = rig.ask(&["status"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.starts_with("so101  Estop"), "{text}");
    // Nobody there.
    let output =
        Command::new(BRIDGE).args(["estop", "--control", "tcp://127.0.0.1:9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no bridge runs there"), "{text}");
}

#[test]
fn every_command_of_the_readme_is_one() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| line.starts_with("firmware-bridge "));
    let mut checked = 0;
    for line in lines {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let help = Command::new(BRIDGE).args([words[0], "--help"]).output().unwrap();
        assert!(help.status.success(), "`{line}`: there is no such verb");
        let help = String::from_utf8(help.stdout).unwrap();
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "`{line}`: {} has no {flag}", words[0]);
        }
        checked += 1;
    }
    assert!(checked > 10, "{checked} commands");
}
