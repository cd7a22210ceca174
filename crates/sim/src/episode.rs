//! One episode: what a reset draws from its seed.

use nalgebra::{Isometry3, Translation3, UnitQuaternion, Vector3};

use crate::Task;
use crate::cabinet::Cabinet;
use crate::draw::Draw;
use crate::instances::Instance;
use crate::kinematics::Arm;
use crate::physics::Physics;
use crate::render::Camera;
use crate::scene::Scene;

pub(crate) const CONTROL_HZ: f64 = 10.0;

/// What a reset makes.
pub(crate) struct Episode {
    pub(crate) instance: usize,
    pub(crate) physics: Physics,
    pub(crate) scene: Scene,
    pub(crate) front: Camera,
    pub(crate) step: usize,
    pub(crate) success: bool,
}

impl Episode {
    /// Begins an episode: the same instance and seed always begin the same one.
    pub(crate) fn begin(arm: &Arm, instance: &Instance, seed: u64) -> Self {
        let words = [instance.task as u64, instance.split as u64, instance.index as u64, seed];
        let mut draw = Draw::new(words);
        let shift = [draw.about(0.02), draw.about(0.04), draw.about(0.03)];
        let cabinet = Cabinet::new(instance, shift);
        let start = start_pose(instance.task, &mut draw);
        let roll = match instance.task {
            Task::Drawer => std::f64::consts::FRAC_PI_2,
            Task::Door => 0.0,
        };
        let (joints, _) = arm.reach(&start, &[0.0, -0.5, 0.7, -0.2, 0.0, roll]);
        let handle = instance.handle.pieces();
        let friction = instance.friction;
        let eye = instance.camera.eye_m.map(|x| (x + draw.about(0.008)) as f32);
        let target = instance.camera.target_m.map(|x| (x + draw.about(0.006)) as f32);
        let fov = instance.camera.fov_rad as f32;
        let front = Camera::look_at(eye.into(), target.into(), &Vector3::z(), fov);
        let light = [draw.about(0.1), draw.about(0.15), draw.about(0.1)];
        let brightness = draw.within(0.93, 1.07) as f32;
        let scene = Scene::new(arm, instance, &cabinet, light, brightness);
        let physics = Physics::new(arm, cabinet, &handle, friction, joints, 1.0 / CONTROL_HZ);
        Self { instance: instance.index, physics, scene, front, step: 0, success: false }
    }

    /// Puts the bodies where they are now, for the next picture.
    pub(crate) fn place(&mut self, arm: &Arm) {
        let pose = arm.pose(self.physics.joints(), self.physics.gripper());
        let panel = self.physics.cabinet().panel_pose(self.physics.opening());
        self.scene.place(&pose, &panel);
    }
}

/// Where the hand is when an episode begins.
fn start_pose(task: Task, draw: &mut Draw) -> Isometry3<f64> {
    let place = [0.46 + draw.about(0.03), draw.about(0.05), 0.44 + draw.about(0.04)];
    let tilt = Vector3::new(draw.about(0.06), draw.about(0.08), draw.about(0.10));
    let roll = match task {
        Task::Drawer => std::f64::consts::FRAC_PI_2,
        Task::Door => 0.0,
    };
    Isometry3::from_parts(
        Translation3::from(Vector3::from(place)),
        UnitQuaternion::from_scaled_axis(tilt)
            * UnitQuaternion::from_axis_angle(&Vector3::x_axis(), roll),
    )
}
