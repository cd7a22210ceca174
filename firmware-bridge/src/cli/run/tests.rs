//! The whole bridge on the simulated arm, with the scripted expert behind a socket.

use std::thread;

use engraft_core::{ActionChunk, Dimension, RobotSpec};
use engraft_wire::read_log;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::cli::testing::{PolicyServer, run_args};
use crate::cli::verify;
use crate::description::ArmDescription;
use crate::emulate::{Device, Emulator, Options, feetech};
use crate::hand::Hand;
use crate::limits::Limiter;
use crate::testing::patiently;
use crate::units::JointScales;

const HORIZON: usize = 8;

/// Plays the episode in a simulator of its own to know what the arm's does: a simulated episode
/// is a function of its instance, seed and actions.
struct Expert {
    simulator: Simulator,
    instance: usize,
    seed: u64,
    episode: u32,
    played: Vec<Vec<f32>>,
    hand: Option<(Hand, Vec<JointScales>)>,
}

impl Expert {
    fn chunk(&mut self, episode: u32, tick: u64) -> ActionChunk {
        if episode != self.episode {
            self.episode = episode;
            self.played.clear();
        }
        self.played.truncate(tick as usize);
        self.simulator.reset_blind(self.instance, self.seed + u64::from(episode));
        for action in &self.played {
            self.simulator.step_blind(action);
        }
        let mut values = Vec::new();
        for _ in 0..HORIZON {
            let action = self.simulator.expert_action();
            self.simulator.step_blind(&action);
            match &self.hand {
                Some((hand, scales)) => values.extend(in_hand(hand, scales, &action)),
                None => values.extend(&action),
            }
            self.played.push(action);
        }
        ActionChunk::new(HORIZON, values.len() / HORIZON, values).unwrap()
    }
}

/// The pose of the hand that an action of the joints leads to.
fn in_hand(hand: &Hand, scales: &[JointScales], action: &[f32]) -> Vec<f32> {
    let joints = action.iter().zip(scales);
    let angles: Vec<f64> = joints
        .map(|(&value, scales)| scales.policy.convert(f64::from(value), scales.radians))
        .collect();
    hand.action(&angles, &angles, scales)
}

fn contract(simulator: &Simulator) -> Contract {
    let spec = Environment::spec(simulator).clone();
    Contract { spec, num_frames: 1, horizon: HORIZON }
}

/// The scripted expert behind a socket.
fn serve_expert(
    instance: usize,
    seed: u64,
    hand: Option<(Hand, Vec<JointScales>)>,
) -> PolicyServer {
    let options = SimOptions { image_size: 32, ..SimOptions::default() };
    let simulator = Simulator::new(Task::Drawer, Split::Heldout, options).unwrap();
    let mut contract = contract(&simulator);
    if let Some((hand, _)) = &hand {
        contract.spec.actions = hand.dimensions(&contract.spec.actions);
    }
    let mut expert = Expert { simulator, instance, seed, episode: 0, played: Vec::new(), hand };
    PolicyServer::start(contract, move |infer| expert.chunk(infer.episode, infer.tick))
}

/// The embedded simulator's arm as servos on an emulated bus, described in a file.
struct Tabletop {
    arm: ArmDescription,
    emulator: Emulator<feetech::Bus>,
    folder: tempfile::TempDir,
}

impl Tabletop {
    fn start(change: impl FnOnce(&mut ArmDescription)) -> Self {
        let mut arm = ArmDescription::find("tabletop").unwrap();
        // A machine that runs all tests at once is no robot's: it gets more time for each period.
        arm.setpoint_hz = 50;
        change(&mut arm);
        let options = Options { baud: arm.baud, ..Options::default() };
        let emulator = Emulator::start(feetech::Bus::new(&arm), options).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("arm.toml"), toml::to_string(&arm).unwrap()).unwrap();
        Self { arm, emulator, folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// What is typed to let a policy drive it, recorded to `run.log`.
    fn run(&self, policy: &PolicyServer, more: &str) -> String {
        format!(
            "--arm {} --port {} --torque-on --policy {} --log {} --control tcp://127.0.0.1:* \
             --telemetry tcp://127.0.0.1:* {more}",
            self.path("arm.toml").display(),
            self.emulator.path().display(),
            policy.endpoint,
            self.path("run.log").display(),
        )
    }
}

/// The episode that the expert plays.
const EPISODE: &str = "--eyes sim --split heldout --instance 2 --seed 7";

#[test]
fn the_expert_opens_drawers_over_the_wire_and_no_limit_is_in_its_joints_way() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("run.log");
    let server = serve_expert(2, 7, None);
    let endpoint = &server.endpoint;
    let log_path = log.display();
    let args = run_args(&format!(
        "--policy {endpoint} --episodes 2 --split heldout --instance 2 --seed 7 --fast --log {log_path}"
    ));
    let stop = AtomicBool::new(false);
    assert_eq!(run_until(&args, &stop).unwrap(), ExitCode::SUCCESS);
    let recording = read_log(&log).unwrap();
    assert!(recording.whole);
    assert_eq!(recording.rollouts.len(), 2);
    for (rollout, seed) in recording.rollouts.iter().zip([7, 8]) {
        assert_eq!((rollout.outcome, rollout.seed), (Outcome::Success, seed));
        assert_eq!(rollout.steps[0].observation.views[0].rgb.width(), 32, "as the policy wants it");
        // The expert shuts the gripper at once; a set-point moves no faster than the gripper can.
        let gripper = rollout.spec.action_dim() - 1;
        assert!(rollout.steps.iter().flat_map(|step| &step.limited).all(|&i| i == gripper));
        assert_eq!(rollout.steps.iter().position(|step| step.chunk.is_some()), Some(0));
    }
    // What is there is not written over.
    let error = run_until(&args, &stop).unwrap_err();
    assert!(format!("{error:#}").starts_with("cannot create rollout log"), "{error:#}");
}

#[test]
fn the_drawer_opens_through_plans_servos_and_their_bus() {
    patiently(|| {
        let bench = Tabletop::start(|_| {});
        let server = serve_expert(2, 7, None);
        let journal = bench.path("run.journal");
        let args =
            run_args(&bench.run(&server, &format!("{EPISODE} --journal {}", journal.display())));
        assert_eq!(run_until(&args, &AtomicBool::new(false)).unwrap(), ExitCode::SUCCESS);
        let recording = read_log(&bench.path("run.log")).unwrap();
        assert_eq!(recording.rollouts[0].outcome, Outcome::Success);
        // What went into the pilot plays to the set-points that came out of it, bit for bit.
        let verified = verify::play(&journal).unwrap();
        assert_eq!(verified.differs, None);
        assert!(verified.set_points > 150, "{verified:?}");
    });
}

#[test]
fn the_drawer_opens_by_poses_of_the_hand() {
    patiently(|| {
        let assets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/sim/assets");
        let bench = Tabletop::start(|arm| {
            (arm.urdf, arm.tip) = (Some(assets.join("arm.urdf")), Some("tcp".into()));
            let hand = "action = \"pose\"\nturn = \"rot6d\"";
            arm.hand = Some(toml::from_str(hand).unwrap());
        });
        let scales = crate::arms::scales(&bench.arm, None).unwrap();
        let hand = Hand::of(&bench.arm, 0.1).unwrap().unwrap();
        let server = serve_expert(2, 7, Some((hand, scales)));
        let args = run_args(&bench.run(&server, EPISODE));
        assert_eq!(run_until(&args, &AtomicBool::new(false)).unwrap(), ExitCode::SUCCESS);
        let rollout = &read_log(&bench.path("run.log")).unwrap().rollouts[0];
        assert_eq!(rollout.outcome, Outcome::Success);
        let names: Vec<_> = rollout.spec.actions.iter().map(|one| one.name.as_str()).collect();
        assert_eq!([names[0], names[3], names[9]], ["hand_x", "hand_r1", "gripper"]);
        assert!(rollout.steps.iter().all(|step| step.action.len() == 10));
    });
}

#[test]
fn a_policy_looks_through_cameras_and_the_arm_rests_when_one_goes_blind() {
    patiently(|| {
        let bench = Tabletop::start(|_| {});
        let server = serve_expert(2, 7, None);
        let camera = crate::testing::camera(64, 32);
        let text = bench.run(&server, "--max-steps 100000 --instruction look");
        let log = bench.path("run.log");
        let stop = AtomicBool::new(false);
        let error = run_until(&run_args(&text), &stop).unwrap_err().to_string();
        let expected = "the policy looks through front: give --camera NAME=URL for each, or --eyes";
        assert_eq!(error, expected);
        let other = run_args(&format!("{text} --camera side={}", camera.url()));
        let error = run_until(&other, &stop).unwrap_err().to_string();
        assert!(error.starts_with("the policy looks through front, found side"), "{error}");

        let seeing = run_args(&format!("{text} --camera front={}", camera.url()));
        let error = thread::scope(|scope| {
            let ran = scope.spawn(|| run_until(&seeing, &stop).unwrap_err());
            let began = Instant::now();
            while std::fs::metadata(&log).map_or(0, |file| file.len()) < 100_000 {
                assert!(began.elapsed() < Duration::from_mins(1), "nothing is recorded");
                thread::sleep(Duration::from_millis(20));
            }
            camera.unplug(true);
            format!("{:#}", ran.join().unwrap())
        });
        let blind = "stopped, for the policy is blind: no picture from camera front at http://";
        assert!(error.starts_with(blind), "{error}");
        let recording = read_log(&log).unwrap();
        let rollout = &recording.rollouts[0];
        assert_eq!((rollout.outcome, rollout.task.as_str()), (Outcome::Stopped, "look"));
        assert!(recording.whole && rollout.steps.len() > 10);
        let seen = rollout.steps.iter().map(|step| &step.observation.views[0].rgb);
        assert!(seen.clone().all(|image| (image.width(), image.height()) == (32, 32)));
        let greys: std::collections::BTreeSet<_> =
            seen.map(|image| image.pixel(16, 16)[0]).collect();
        assert!(greys.len() > 5, "it saw {greys:?}");
        // The arm stands: nothing is told to it any more.
        let at = |emulator: &Emulator<feetech::Bus>| {
            emulator.with(|bus| {
                bus.plant().joints.iter().map(|joint| joint.position).collect::<Vec<_>>()
            })
        };
        let before = at(&bench.emulator);
        thread::sleep(Duration::from_millis(300));
        let moved =
            before.iter().zip(at(&bench.emulator)).map(|(before, after)| (after - before).abs());
        assert!(moved.fold(0.0, f64::max) < 3.0, "ticks");
    });
}

#[test]
fn an_arm_in_lerobot_s_words_needs_its_units_said() {
    let described = RobotSpec {
        name: "so101".into(),
        control_hz: 30.0,
        views: Vec::new(),
        proprio: vec![Dimension::new("elbow_flex", "%")],
        actions: vec![Dimension::new("elbow_flex", "%")],
    };
    let mut contract = described.clone();
    contract.proprio[0] = Dimension::new("elbow_flex.pos", "");
    contract.actions[0] = Dimension::new("elbow_flex.pos", "");
    let as_is = crate::cli::drive::as_lerobot_has_it;
    let error = as_is(described.clone(), &contract, false).unwrap_err().to_string();
    assert!(error.contains("what unit elbow_flex.pos was demonstrated in"), "{error}");
    assert!(error.ends_with("then --units-as-described"), "{error}");
    contract.check(&as_is(described.clone(), &contract, true).unwrap()).unwrap();
    // Other names, and units that are said, are held against each other as ever.
    contract.actions[0] = Dimension::new("elbow_flex.pos", "rad");
    let found = as_is(described, &contract, true).unwrap();
    assert!(contract.check(&found).is_err());
}

#[test]
fn no_server_or_nothing_to_do_is_an_error_that_says_so() {
    let nobody = run_args("--policy tcp://127.0.0.1:9 --connect-timeout 0.1");
    let error = run_until(&nobody, &AtomicBool::new(false)).unwrap_err();
    assert!(
        format!("{error:#}").contains("engraft serve RUN --bind tcp://127.0.0.1:9"),
        "{error:#}"
    );
    let zero = run_args("--episodes 0");
    let error = run_until(&zero, &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.to_string(), "--episodes must be at least 1");
}

#[test]
fn the_simulated_arm_s_limits_are_those_of_its_own_joints() {
    let simulator = || Simulator::new(Task::Drawer, Split::Train, SimOptions::default()).unwrap();
    let (mut free, mut limited) = (simulator(), simulator());
    let mut limiter = Limiter::new(limits(&free, 1.0), 0.1).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for seed in 0..5 {
        free.reset_blind(seed as usize, seed);
        limited.reset_blind(seed as usize, seed);
        let measured: Vec<_> = limited.proprio().into_iter().map(Some).collect();
        limiter.reset(&measured);
        let (mut action, mut reasons) = (Vec::new(), Vec::new());
        let mut saturated = 0;
        let home = free.proprio();
        for _ in 0..60 {
            // Around the place where it begins, far from the cabinet: what touches it pushes
            // joints about within a period.
            let near = |joint: &f32| joint + random.random_range(-0.15..0.15);
            let mut wanted: Vec<f32> = home.iter().map(near).collect();
            wanted[6] = random.random_range(-0.2..1.2);
            let measured: Vec<_> = limited.proprio().into_iter().map(Some).collect();
            limiter.follow(&measured);
            limiter.step(Some(&wanted), &mut action, &mut reasons);
            saturated += usize::from(reasons.iter().any(|(dimension, _)| *dimension < 6));
            free.step_blind(&wanted);
            limited.step_blind(&action);
            for (a, b) in free.proprio().iter().zip(limited.proprio()) {
                assert!((a - b).abs() < 1e-4, "seed {seed}: {a} and {b}");
            }
        }
        assert!(saturated > 5);
    }
}
