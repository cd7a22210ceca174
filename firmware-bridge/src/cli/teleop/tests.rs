//! A leader and a follower, both emulated, and the bridge between them.

use std::f64::consts::TAU;
use std::time::Instant;

use engraft_wire::read_log;

use super::*;
use crate::cli::testing::{Follower, slow_so101};
use crate::emulate::feetech::Bus;
use crate::emulate::{Device, Emulator, Options};
use crate::testing::patiently;

struct Rig {
    follower: Follower,
    leader: Emulator<Bus>,
    args: TeleopArgs,
    _folder: tempfile::TempDir,
}

fn rig() -> Rig {
    let follower = Follower::start();
    let folder = tempfile::tempdir().unwrap();
    let (arm, path) = slow_so101(folder.path());
    let leader = Emulator::start(Bus::new(&arm), Options::default()).unwrap();
    let session = TeleopSession {
        leader_arm: path.display().to_string(),
        leader_port: leader.path().display().to_string(),
        leader_calibration: None,
        endpoint: Endpoint { control: follower.endpoint() },
        cameras: CameraArgs::default(),
        size: None,
        task: "swing".into(),
        hz: 50,
        episodes: EpisodesArgs { episodes: 1, seconds: None, pause: None },
    };
    let args = TeleopArgs { session, out: folder.path().join("teleop.log") };
    Rig { follower, leader, args, _folder: folder }
}

/// Where a joint of the leader's is put, in ticks.
fn lead(leader: &Emulator<Bus>, ticks: f64) {
    leader.with(|bus| {
        for joint in bus.plant().joints.iter_mut().take(5) {
            joint.position = ticks;
        }
    });
}

#[test]
fn the_follower_goes_where_the_leader_goes_and_it_is_recorded() {
    patiently(|| {
        let Rig { follower, leader, args, _folder } = rig();
        lead(&leader, 2248.0);
        let (stop, furthest) = (AtomicBool::new(false), std::cell::Cell::new(0.0_f64));
        let recorded = std::thread::scope(|scope| {
            let driven = scope.spawn(|| teleop_until(&args, &stop));
            // It meets the leader before it follows.
            follower.wait_for(|status| status.joints[0].position_rad > 0.29);
            follower.wait_for(|status| status.plans > 10);
            let began = Instant::now();
            while began.elapsed().as_secs_f64() < 3.0 {
                let wave = (began.elapsed().as_secs_f64() / 3.0 * TAU).sin();
                let ticks = 2248.0 + 260.0 * wave; // 0.84 rad/s at most
                lead(&leader, ticks);
                std::thread::sleep(Duration::from_millis(5));
                let wanted = (ticks - 2048.0) / 4096.0 * TAU;
                let off = (follower.status().joints[1].position_rad - wanted).abs();
                furthest.set(furthest.get().max(off));
            }
            stop.store(true, Ordering::Relaxed);
            driven.join().unwrap().unwrap()
        });
        assert!(furthest.get() < 0.25, "{} rad is more than the leash", furthest.get());
        assert!(recorded.furthest_rad < 0.25, "{recorded:?}");
        follower.wait_for(|status| status.state == "Ready" && status.holder.is_none());
        let recording = read_log(&args.out).unwrap();
        let rollout = &recording.rollouts[0];
        assert!(recording.whole && rollout.steps.len() == recorded.steps && recorded.steps > 90);
        assert!(rollout.steps.windows(2).all(|pair| pair[0].time_secs < pair[1].time_secs));
        let highest = rollout.steps.iter().map(|step| step.action[1]).fold(0.0, f32::max);
        assert!((highest - 0.706).abs() < 0.01, "460 ticks are 0.706 rad, found {highest}");
        let units: Vec<_> = rollout.spec.actions.iter().map(|one| one.unit.as_str()).collect();
        assert_eq!(
            units,
            ["rad", "rad", "rad", "rad", "rad", "1"],
            "those of a policy for this arm"
        );

        // What was recorded can be played again; what is there is not recorded over.
        let endpoint = args.session.endpoint.clone();
        let play = crate::cli::PlayArgs { episode: 0, speed: 1.0, endpoint };
        let replay = crate::cli::replay::ReplayArgs { log: args.out.clone(), play };
        let before = follower.status().plans;
        crate::cli::replay::replay(&replay).unwrap();
        assert!(follower.status().plans > before + 20);
        let error = teleop_until(&args, &stop).unwrap_err().to_string();
        assert!(error.ends_with("exists: record to a new file"), "{error}");
        follower.stop();
    });
}

#[test]
fn a_leader_that_dies_brings_the_follower_to_rest() {
    patiently(|| {
        for pulled in [false, true] {
            let Rig { follower, mut leader, args, _folder } = rig();
            let error = std::thread::scope(|scope| {
                let driven = scope.spawn(|| teleop_until(&args, &AtomicBool::new(false)));
                follower.wait_for(|status| status.plans > 20);
                if pulled {
                    leader.hang_up();
                } else {
                    leader.faults(|faults| faults.silent = vec![2]);
                }
                format!("{:#}", driven.join().unwrap().unwrap_err())
            });
            assert!(
                error.starts_with("the leader is silent, so the follower was stopped"),
                "{error}"
            );
            assert!(
                error.contains(if pulled { "hung up" } else { "shoulder_lift (id 2)" }),
                "{error}"
            );
            follower.wait_for(|status| status.state == "Ready" && status.torque);
            let status = follower.status();
            assert!(status.joints.iter().all(|joint| joint.velocity_rad_s.abs() < 0.01));
            let recording = read_log(&args.out).unwrap();
            assert_eq!(recording.rollouts[0].outcome, Outcome::Stopped, "what there was is kept");
            follower.stop();
        }
    });
}

#[test]
fn episodes_follow_one_another_with_what_the_cameras_see() {
    patiently(|| {
        let Rig { follower, leader, mut args, _folder } = rig();
        let camera = crate::testing::camera(48, 32);
        args.session.cameras.cameras = vec![format!("front={}", camera.url()).parse().unwrap()];
        args.session.size = Some((24, 16));
        let (episodes, seconds, pause) = (2, Some(1.0), Some(0.3));
        args.session.episodes = EpisodesArgs { episodes, seconds, pause };
        lead(&leader, 2100.0);
        let recorded = teleop_until(&args, &AtomicBool::new(false)).unwrap();
        assert_eq!(recorded.episodes, 2);
        let recording = read_log(&args.out).unwrap();
        assert_eq!(recording.rollouts.len(), 2);
        for rollout in &recording.rollouts {
            assert_eq!(rollout.outcome, Outcome::Unknown);
            let view = &rollout.spec.views[0];
            assert_eq!((view.name.as_str(), view.width, view.height), ("front", 24, 16));
            assert!(rollout.steps.len() > 20, "{} steps in a second", rollout.steps.len());
            assert!(rollout.steps[0].time_secs < 0.2);
            let views = rollout.steps.iter().map(|step| &step.observation.views[0].rgb);
            let brightness: Vec<_> = views.map(|image| image.pixel(12, 8)[0]).collect();
            let new = brightness.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(new > 10, "pictures are as old as {brightness:?}");
        }
        follower.wait_for(|status| status.state == "Ready" && status.holder.is_none());
        follower.stop();
    });
}

#[test]
fn a_camera_that_dies_brings_the_follower_to_rest_and_what_was_recorded_stays() {
    patiently(|| {
        let Rig { follower, leader: _leader, mut args, _folder } = rig();
        let camera = crate::testing::camera(48, 32);
        args.session.cameras.cameras = vec![format!("front={}", camera.url()).parse().unwrap()];
        let error = std::thread::scope(|scope| {
            let driven = scope.spawn(|| teleop_until(&args, &AtomicBool::new(false)));
            follower.wait_for(|status| status.plans > 40);
            drop(camera);
            format!("{:#}", driven.join().unwrap().unwrap_err())
        });
        assert!(error.starts_with("stopped, for a camera is blind: no picture from camera front"));
        follower.wait_for(|status| status.state == "Ready" && status.torque);
        let recording = read_log(&args.out).unwrap();
        assert_eq!(recording.rollouts[0].outcome, Outcome::Stopped);
        assert!(!recording.rollouts[0].steps.is_empty());
        follower.stop();
    });
}

#[test]
fn another_arm_cannot_lead() {
    patiently(|| {
        let Rig { follower, args, _folder, .. } = rig();
        let mut other = args.clone();
        other.session.leader_arm = "tabletop".into();
        let error = teleop_until(&other, &AtomicBool::new(false)).unwrap_err().to_string();
        assert!(error.starts_with("the follower's joints are shoulder_pan, "), "{error}");
        let mut fast = args;
        fast.session.hz = 1000;
        let error = teleop_until(&fast, &AtomicBool::new(false)).unwrap_err().to_string();
        assert_eq!(error, "--hz must be from 10 to 200, found 1000");
        follower.stop();
    });
}
