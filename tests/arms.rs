//! What a person shows with a leader arm becomes a dataset, and moves an arm again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use engraft_datasets::open;
use firmware_bridge::description::ArmDescription;
use firmware_bridge::emulate::{CameraEmulator, Device, Emulator, Options, feetech};
use serde_json::Value;

use crate::support::Lab;

/// A child that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A bridge whose emulated SO-101 has torque, where it listens to verbs, and its telemetry.
fn bridge(lab: &Lab, port: &str) -> (Process, String, String) {
    let any = "tcp://127.0.0.1:*";
    let words = format!(
        "bridge --arm so101.toml --port {port} --no-policy --torque-on --control {any} --telemetry {any}"
    );
    let mut child = lab.command(&words).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let ends = lines.find_map(|line| {
        let (control, telemetry) = line.strip_prefix("verbs at ")?.split_once(", telemetry at ")?;
        Some((control.to_owned(), telemetry.to_owned()))
    });
    let (control, telemetry) = ends.unwrap();
    assert!(lines.any(|line| line == "torque is on"), "it has no torque");
    thread::spawn(move || lines.for_each(drop));
    (Process(child), control, telemetry)
}

#[test]
fn what_a_person_shows_becomes_a_dataset_and_moves_an_arm_again() {
    // A machine that does other things leaves an arm without a processor for so long, now and
    // then, that a fault is a fault. What fails three times has failed.
    let again = (0..2).any(|_| std::panic::catch_unwind(shown_and_played).is_ok());
    if !again {
        shown_and_played();
    }
}

fn shown_and_played() {
    let lab = Lab::new();
    // A machine that runs all tests at once is no robot's: it gets more time for each period.
    let mut arm = ArmDescription::find("so101").unwrap();
    arm.setpoint_hz = 50;
    lab.write("so101.toml", &toml::to_string(&arm).unwrap());
    let emulate = || Emulator::start(feetech::Bus::new(&arm), Options::default()).unwrap();
    let (follower, leader) = (emulate(), emulate());
    let port = |emulator: &Emulator<feetech::Bus>| emulator.path().display().to_string();
    let (mut running, control, telemetry) = bridge(&lab, &port(&follower));
    let camera = CameraEmulator::start(([127, 0, 0, 1], 0).into(), 64, 48).unwrap();

    let moving = AtomicBool::new(true);
    let words = format!(
        "teleop-record --leader-arm so101.toml --leader-port {} --control {control} --hz 20 --task \
         wave --camera front={} --size 32x24 --episodes 2 --seconds 1.5 --pause 0.2 --out shown \
         --capture-times",
        port(&leader),
        camera.url()
    );
    let said = thread::scope(|scope| {
        scope.spawn(|| {
            for period in 0.. {
                if !moving.load(Ordering::Relaxed) {
                    return;
                }
                let ticks = 2048.0 + 100.0 * (f64::from(period) * 0.02).sin();
                leader.with(|bus| bus.plant().joints[1].position = ticks);
                thread::sleep(Duration::from_millis(10));
            }
        });
        let said = lab.succeed(&words);
        moving.store(false, Ordering::Relaxed);
        said
    });
    assert!(said.starts_with("shown: 2 episode(s); the follower was 0."), "{said}");

    let shown = open(lab.path().join("shown")).unwrap();
    assert_eq!((shown.num_episodes(), shown.task(1)), (2, "wave"));
    let spec = shown.spec();
    assert_eq!((spec.control_hz, spec.views[0].width, spec.views[0].height), (20.0, 32, 24));
    let units = spec.actions.iter().map(|one| (one.name.as_str(), one.unit.as_str()));
    let units: Vec<_> = units.collect();
    assert_eq!(units[1], ("shoulder_lift", "rad"));
    assert_eq!(units[5], ("gripper", "1"), "as `bridge --arm so101` asks a policy for it");
    let episode = shown.episode(1).unwrap();
    assert!(episode.num_steps() > 15, "{} steps in 1.5 s", episode.num_steps());
    let greys: Vec<_> = (0..episode.num_steps())
        .map(|step| episode.observation(step).unwrap().views[0].rgb.pixel(16, 12)[0])
        .collect();
    let new = greys.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(new > 10, "pictures are as old as {greys:?}");
    let info: Value =
        serde_json::from_str(&lab.succeed("data inspect shown --json --check")).unwrap();
    assert_eq!(info["problems"], serde_json::json!([]));
    assert!(lab.fail(&words).contains("shown holds something: name a new folder, or --append"));

    // The same on the arm again, out of the dataset.
    let played = lab.succeed(&format!("replay shown --episode 1 --control {control}"));
    let steps = episode.num_steps();
    assert!(played.starts_with(&format!("played {steps} actions in ")), "{played}");
    let wrong = lab.fail(&format!("replay shown --episode 7 --control {control}"));
    assert!(wrong.contains("there is no episode 7: expected 0 to 1"), "{wrong}");
    // Seen live, off the control thread, where this engraft can record.
    if cfg!(feature = "viz") {
        let said = lab.succeed(&format!("view {telemetry} --seconds 1 --save arm.rrd"));
        assert_eq!(said, "wrote arm.rrd\n");
        assert!(std::fs::metadata(lab.path().join("arm.rrd")).unwrap().len() > 10_000);
    }
    let status = running.0.try_wait().unwrap();
    assert!(status.is_none(), "the bridge ended: {status:?}");
}

#[test]
fn a_rollout_becomes_demonstrations_with_the_times_that_it_had() {
    use engraft_core::{
        Dimension, Observation, Outcome, RgbImage, RobotSpec, Rollout, RolloutStep, View, ViewSpec,
    };
    let lab = Lab::new();
    let spec = RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: 8, height: 8, depth: false }],
        proprio: vec![Dimension::new("elbow", "rad")],
        actions: vec![Dimension::new("elbow", "rad")],
    };
    let step = |number: u8| RolloutStep {
        time_secs: f64::from(number) * 0.1,
        observation: Observation {
            views: vec![View { rgb: RgbImage::filled(8, 8, [number; 3]), depth: None }],
            proprio: vec![f32::from(number)],
        },
        chunk: None,
        action: vec![f32::from(number) + 0.5],
        limited: Vec::new(),
        attention: Vec::new(),
    };
    let mut log = engraft_wire::LogWriter::create(&lab.path().join("some.log")).unwrap();
    for (outcome, steps) in
        [(Outcome::Success, 4), (Outcome::Failure, 5), (Outcome::Stopped, 6), (Outcome::Unknown, 7)]
    {
        let rollout = Rollout {
            spec: spec.clone(),
            task: "bend".into(),
            instance: "one".into(),
            seed: 0,
            outcome,
            steps: Vec::new(),
        };
        log.begin(&rollout).unwrap();
        (0..steps).for_each(|number| log.step(&step(number)).unwrap());
        log.end(outcome).unwrap();
    }
    let said = lab.succeed("record --log some.log --out data");
    assert_eq!(said, "data: 2 episodes, 11 steps (2 left out)\n");
    let data = open(lab.path().join("data")).unwrap();
    assert_eq!([data.episode_len(0), data.episode_len(1)], [4, 7]);
    let episode = data.episode(1).unwrap();
    assert_eq!(episode.proprio(3).unwrap(), [3.0]);
    assert_eq!(episode.actions(2..3).unwrap().values(), [2.5]);
    assert_eq!(episode.observation(6).unwrap().views[0].rgb.pixel(0, 0), [6; 3]);
    assert_eq!((episode.task(), data.spec()), ("bend", &spec));

    lab.succeed("record --log some.log --keep failure --out data --append");
    assert_eq!(open(lab.path().join("data")).unwrap().num_episodes(), 3);
    let none = lab.fail("record --log some.log --keep success --out data");
    assert!(none.contains("data holds something"), "{none}");
    lab.succeed("record --sim drawer --episodes 1 --size 48 --out drawer");
    let other = lab.fail("record --log some.log --out drawer --append");
    assert!(other.contains("is of another robot"), "{other}");
}
