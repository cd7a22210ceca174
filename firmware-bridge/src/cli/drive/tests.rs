//! The whole bridge with a simulator of one's own: its arm, its cameras, and a policy in a thread.

use std::path::Path;

use engraft_core::{ActionChunk, Dimension, RobotSpec, ViewSpec};
use engraft_wire::{Infer, read_log};

use super::*;
use crate::cli::run::run_until;
use crate::cli::testing::{PolicyServer, run_args};
use crate::cli::verify;
use crate::testing::simulator::{Double, Manner, arm};

const HORIZON: usize = 8;

fn contract() -> Contract {
    let dimensions = [("shoulder", "rad"), ("elbow", "rad"), ("gripper", "1")];
    let dimensions = dimensions.map(|(name, unit)| Dimension::new(name, unit)).to_vec();
    let spec = RobotSpec {
        name: "bench_arm".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: 16, height: 12, depth: false }],
        proprio: dimensions.clone(),
        actions: dimensions,
    };
    Contract { spec, num_frames: 1, horizon: HORIZON }
}

/// Raises the shoulder from where it is, and leaves the rest where it is.
fn raise(infer: &Infer) -> ActionChunk {
    let seen = infer.stack.last().unwrap();
    assert_eq!(seen.views[0].rgb.pixels()[..3], [7, 8, 9], "what the simulator shows");
    let steps = (1..=HORIZON).flat_map(|step| {
        let mut action = seen.proprio.clone();
        action[0] += 0.04 * step as f32;
        action
    });
    ActionChunk::new(HORIZON, 3, steps.collect()).unwrap()
}

fn policy() -> PolicyServer {
    PolicyServer::start(contract(), raise)
}

/// The arm's description as a file, and a command line with both endpoints free.
fn command(folder: &Path, port: &str, policy: &PolicyServer, more: &str) -> Args {
    let description = folder.join("arm.toml");
    std::fs::write(&description, toml::to_string(&arm()).unwrap()).unwrap();
    run_args(&format!(
        "--arm {} --port {port} --torque-on --policy {} --seed 7 --control tcp://127.0.0.1:* \
         --telemetry tcp://127.0.0.1:* {more}",
        description.display(),
        policy.endpoint,
    ))
}

#[test]
fn a_policy_drives_a_simulator_of_one_s_own_and_sees_through_its_cameras() {
    let (simulator, policy) = (Double::start(), policy());
    let folder = tempfile::tempdir().unwrap();
    let [log, journal] = ["run.log", "run.journal"].map(|name| folder.path().join(name));
    // Pictures that take most of a period make no set-point late.
    simulator.world().look = Duration::from_millis(40);
    let more = format!(
        "--eyes remote --episodes 2 --log {} --journal {}",
        log.display(),
        journal.display()
    );
    let args = command(folder.path(), &simulator.endpoint(), &policy, &more);
    assert_eq!(run_until(&args, &AtomicBool::new(false)).unwrap(), ExitCode::SUCCESS);

    assert_eq!(simulator.world().resets, [(0, 7), (1, 7)]);
    let recording = read_log(&log).unwrap();
    assert_eq!(recording.rollouts.len(), 2);
    for (rollout, instance) in recording.rollouts.iter().zip(["left", "right"]) {
        assert_eq!((rollout.outcome, &*rollout.instance), (Outcome::Success, instance));
        assert_eq!(rollout.task, "raise the shoulder");
        let first = &rollout.steps[0].observation;
        assert_eq!((first.views[0].rgb.width(), first.views[0].rgb.height()), (16, 12));
        // It began where the simulator says that an episode begins.
        for (joint, start) in first.proprio.iter().zip([0.0, 0.1, 0.5]) {
            assert!((joint - start).abs() < 0.05, "{:?}", first.proprio);
        }
    }
    let verified = verify::play(&journal).unwrap();
    assert_eq!(verified.differs, None);
    assert!(verified.set_points > 100, "{verified:?}");
    assert!(simulator.world().commands > 100);
}

#[test]
fn remote_eyes_are_for_an_arm_in_a_simulator_that_has_cameras() {
    let (simulator, policy) = (Double::start(), policy());
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &str| {
        let args = command(folder.path(), &simulator.endpoint(), &policy, more);
        format!("{:#}", run_until(&args, &AtomicBool::new(false)).unwrap_err())
    };
    let error = run("");
    assert!(error.contains("the policy looks through front"), "{error}");
    simulator.world().description.eyes_port = None;
    let error = run("--eyes remote");
    assert!(error.contains("it has no eyes"), "{error}");
}

/// Lets something happen once the policy has begun to move the arm; the error that it ends in.
fn in_motion(simulator: &Double, happens: impl FnOnce(&Double) + Send) -> String {
    let policy = policy();
    let folder = tempfile::tempdir().unwrap();
    simulator.world().done_rad = 10.0;
    let more = "--eyes remote --max-steps 200";
    let args = command(folder.path(), &simulator.endpoint(), &policy, more);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                if simulator.world().position_rad[0] > 0.1 {
                    return happens(simulator);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let run = run_until(&args, &AtomicBool::new(false));
        ended.store(true, Ordering::Relaxed);
        format!("{:#}", run.unwrap_err())
    })
}

#[test]
fn fault_17_a_simulator_that_says_nothing_any_more_stops_the_policy() {
    for (manner, words) in [(Manner::Silent, "does not answer"), (Manner::NotANumber, "found NaN")]
    {
        let simulator = Double::start();
        let error = in_motion(&simulator, |simulator| simulator.world().manner = manner);
        assert!(error.contains("fault") && error.contains(words), "{error}");
    }
}

#[test]
fn an_arm_whose_cameras_show_nothing_any_more_comes_to_rest() {
    let simulator = Double::start();
    let error = in_motion(&simulator, |simulator| {
        simulator.world().look = Duration::from_secs(3);
    });
    assert!(error.contains("the policy is blind") && error.contains("no answer"), "{error}");
    let world = simulator.world();
    // The last goals that came are where the arm stands.
    for (position, goal) in world.position_rad.iter().zip(&world.goal_rad) {
        assert!((position - goal).abs() < 1e-6, "{world:?}");
    }
}
