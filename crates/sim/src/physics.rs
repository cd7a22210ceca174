//! Contact and motion.
//!
//! The panel is a rapier body on a prismatic or revolute joint with limits and dry friction; the
//! shapes that touch (fingers, palm, panel, handle, cabinet) are parry's, which rapier is built
//! on. The arm is not a chain of dynamic bodies: a real arm holds its joints stiffly where its
//! controller puts them and gives way a little to what it touches, so the arm here follows its
//! targets at bounded speed and is then pushed out of what it penetrates, while what it touches
//! is pushed back with a force that grows with depth. Between two kinematic fingers a solver sees
//! a jointed handle squeezed by two infinite masses, which has no solution unless the handle
//! happens to be centred; here the hand centres itself on the handle, as a compliant wrist does.
//!
//! A finger stops where it meets the handle. Once both fingers have met it and still want to
//! close, friction holds: a spring between hand and handle, up to a largest force, past which
//! the hand slips along it. Opening the fingers, or slipping too far, lets go. A finger behind a
//! handle also pulls without any grip, by contact alone.

use nalgebra::{Isometry3, Point3, Vector3, Vector6};
use rapier3d::parry::query;
use rapier3d::prelude::SharedShape;

use crate::cabinet::Cabinet;
use crate::handle::Piece;
use crate::kinematics::{Arm, ArmPose, Joints, NUM_JOINTS, Part};
use crate::rapier::{PanelWorld, from_rapier, shape, to_rapier};

/// Simulated instants per control period.
const SUBSTEPS: usize = 10;
/// Newtons per metre of penetration.
const CONTACT_N_M: f64 = 2500.0;
/// How much of a penetration the arm gives way in one instant.
const YIELD: f64 = 0.8;
/// Friction between fingers and handle: stiffness, damping, largest force.
const GRIP_N_M: f64 = 2000.0;
const GRIP_NS_M: f64 = 40.0;
const GRIP_MAX_N: f64 = 30.0;
/// How much of the spring's stretch the arm gives way in one instant.
const GRIP_YIELD: f64 = 0.1;
/// How far the hand may slip along the handle before it has lost it.
const SLIP_MAX_M: f64 = 0.03;
/// How much further than it is a gripper must want to close to hold.
const SQUEEZE: f64 = 0.02;

/// The state of the arm and the panel, and what moves them.
pub(crate) struct Physics {
    cabinet: Cabinet,
    period_secs: f64,
    joints: Joints,
    gripper: f64,
    grip: Option<Grip>,
    hand: Vec<(Part, Isometry3<f64>, SharedShape)>,
    handle: Vec<(Isometry3<f64>, SharedShape)>,
    panel: (Isometry3<f64>, SharedShape),
    body: (Isometry3<f64>, SharedShape),
    world: PanelWorld,
}

/// Where on the handle the hand took hold and where it holds now, in the panel's frame, and how
/// far it is from there.
#[derive(Debug, Clone, Copy)]
struct Grip {
    taken: Point3<f64>,
    anchor: Point3<f64>,
    stretch: Vector3<f64>,
}

/// One place where the hand penetrates something.
struct Touch {
    part: Part,
    /// Out of what is touched, towards the hand.
    normal: Vector3<f64>,
    depth: f64,
    place: Point3<f64>,
    on: Touched,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Touched {
    Handle,
    Panel,
    Body,
}

impl Physics {
    /// The arm at rest at `joints` with its gripper open, before a closed cabinet.
    pub(crate) fn new(
        arm: &Arm,
        cabinet: Cabinet,
        handle: &[Piece],
        friction: f64,
        joints: Joints,
        period_secs: f64,
    ) -> Self {
        let hand = (arm.collisions().iter())
            .map(|body| {
                let (pose, shape) = shape(&(body.pose, body.shape));
                (body.part, pose, shape)
            })
            .collect();
        let handle = (handle.iter())
            .map(|(pose, solid)| shape(&(cabinet.panel_from_handle() * pose, *solid)))
            .collect();
        let world = PanelWorld::new(&cabinet, friction, period_secs / SUBSTEPS as f64);
        Self {
            panel: shape(&cabinet.panel),
            body: shape(&cabinet.body),
            cabinet,
            period_secs,
            joints,
            gripper: 0.0,
            grip: None,
            hand,
            handle,
            world,
        }
    }

    /// The cabinet.
    pub(crate) fn cabinet(&self) -> &Cabinet {
        &self.cabinet
    }

    /// The joint angles.
    pub(crate) fn joints(&self) -> &Joints {
        &self.joints
    }

    /// The gripper, from 0 (open) to 1 (closed).
    pub(crate) fn gripper(&self) -> f64 {
        self.gripper
    }

    /// Whether both fingers hold the handle.
    pub(crate) fn holds(&self) -> bool {
        self.grip.is_some()
    }

    /// How far the panel is open: metres or radians.
    pub(crate) fn opening(&self) -> f64 {
        self.world.opening(&self.cabinet)
    }

    /// Plays one control period towards these targets. What is no number holds its joint.
    pub(crate) fn advance(&mut self, arm: &Arm, targets: &Joints, gripper: f64) {
        let mut targets: Joints =
            std::array::from_fn(
                |i| {
                    if targets[i].is_finite() { targets[i] } else { self.joints[i] }
                },
            );
        arm.clamp(&mut targets);
        let gripper = if gripper.is_finite() { gripper.clamp(0.0, 1.0) } else { self.gripper };
        let dt = self.period_secs / SUBSTEPS as f64;
        // An even pace; who is held up does not rush afterwards.
        let pace: Joints = std::array::from_fn(|i| {
            let way = (targets[i] - self.joints[i]).abs() / SUBSTEPS as f64;
            way.min(arm.joints()[i].velocity_rad_s * dt)
        });
        for _ in 0..SUBSTEPS {
            for ((angle, target), pace) in self.joints.iter_mut().zip(targets).zip(pace) {
                *angle += (target - *angle).clamp(-pace, pace);
            }
            self.instant(arm, gripper, dt);
        }
    }

    /// Fingers, contact, friction and the panel's motion for one instant.
    fn instant(&mut self, arm: &Arm, wanted: f64, dt: f64) {
        let panel = self.cabinet.panel_pose(self.opening());
        let limit = arm.gripper_speed_hz() * dt;
        let tried = self.gripper + (wanted - self.gripper).clamp(-limit, limit);
        let pose = arm.pose(&self.joints, tried);
        let mut touches = self.touches(&pose, &panel);
        let across = pose.tcp * Vector3::y();
        let squeezed = |touches: &[Touch], part: Part, outwards: f64| {
            (touches.iter())
                .filter(|t| t.part == part && t.on == Touched::Handle)
                .filter(|t| t.normal.dot(&across) * outwards > 0.5)
                .map(|t| t.depth)
                .fold(0.0, f64::max)
        };
        let left = squeezed(&touches, Part::FingerLeft, 1.0);
        let right = squeezed(&touches, Part::FingerRight, -1.0);
        let closes = wanted > self.gripper + SQUEEZE;
        if !closes {
            self.grip = None;
        } else if self.grip.is_none() && left > 0.0 && right > 0.0 {
            let tcp = Point3::from(pose.tcp.translation.vector);
            let anchor = panel.inverse() * tcp;
            self.grip = Some(Grip { taken: anchor, anchor, stretch: Vector3::zeros() });
        }
        let mut push = Vector3::zeros();
        if self.grip.is_some() {
            // The fingers stay where they met the handle; the grip stands for their contact.
            touches.retain(|t| t.on != Touched::Handle || t.part == Part::Link(NUM_JOINTS));
            push = self.hold(&pose, &panel, dt);
        } else {
            self.gripper = tried;
        }
        for touch in &touches {
            let missing = touch.depth * YIELD - push.dot(&touch.normal);
            push += touch.normal * missing.max(0.0);
            if touch.on != Touched::Body {
                let force = -touch.normal * (touch.depth * CONTACT_N_M);
                self.world.push(&force, &touch.place);
            }
        }
        if push.norm_squared() > 0.0 {
            let twist = Vector6::new(push.x, push.y, push.z, 0.0, 0.0, 0.0);
            for (angle, step) in self.joints.iter_mut().zip(arm.joint_step(&pose, &twist)) {
                *angle += step;
            }
            arm.clamp(&mut self.joints);
        }
        self.world.step();
    }

    /// Friction between the fingers and the handle: pulls the panel, and says how far the arm
    /// gives way to it.
    fn hold(&mut self, pose: &ArmPose, panel: &Isometry3<f64>, dt: f64) -> Vector3<f64> {
        let Some(mut grip) = self.grip else { return Vector3::zeros() };
        let tcp = Point3::from(pose.tcp.translation.vector);
        let stretch = tcp - panel * grip.anchor;
        let mut force = stretch * GRIP_N_M + (stretch - grip.stretch) * (GRIP_NS_M / dt);
        grip.stretch = stretch;
        let bearable = GRIP_MAX_N / GRIP_N_M;
        if stretch.norm() > bearable {
            // It slips: the anchor follows until the spring is as long as friction bears.
            grip.stretch = stretch * (bearable / stretch.norm());
            grip.anchor = panel.inverse() * (tcp - grip.stretch);
        }
        force *= (GRIP_MAX_N / force.norm().max(1e-9)).min(1.0);
        self.world.push(&force, &tcp);
        let lost = (grip.anchor - grip.taken).norm() > SLIP_MAX_M;
        self.grip = (!lost).then_some(grip);
        -grip.stretch * GRIP_YIELD
    }

    /// Every place where the hand penetrates something.
    fn touches(&self, pose: &ArmPose, panel: &Isometry3<f64>) -> Vec<Touch> {
        let mut touches = Vec::new();
        let handle =
            (self.handle.iter()).map(|(local, shape)| (panel * local, shape, Touched::Handle));
        let rest = [
            (panel * self.panel.0, &self.panel.1, Touched::Panel),
            (self.body.0, &self.body.1, Touched::Body),
        ];
        let things: Vec<_> =
            handle.chain(rest).map(|(at, shape, on)| (to_rapier(&at), shape, on)).collect();
        for (part, local, shape) in &self.hand {
            let here = to_rapier(&(pose.part(*part) * local));
            for (there, other, on) in &things {
                let found = query::contact(there, &***other, &here, &**shape, 0.0);
                let Ok(Some(contact)) = found else { continue };
                if contact.dist < 0.0 {
                    touches.push(Touch {
                        part: *part,
                        normal: from_rapier(contact.normal1),
                        depth: f64::from(-contact.dist),
                        place: Point3::from(from_rapier(contact.point1)),
                        on: *on,
                    });
                }
            }
        }
        touches
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::Translation3;

    use super::*;
    use crate::instances::Instance;
    use crate::{Split, Task};

    /// The hand around the handle of a closed drawer, its gripper open.
    fn around_a_handle() -> (Arm, Physics) {
        let arm = Arm::embedded().unwrap();
        let instance = Instance::new(Task::Drawer, Split::Train, 0);
        let cabinet = Cabinet::new(&instance, [0.0; 3]);
        let start = [0.0, -0.2, 0.4, -0.2, 0.0, std::f64::consts::FRAC_PI_2];
        let (joints, off) = arm.reach(&cabinet.grasp(0.0), &start);
        assert!(off < 1e-6);
        let pieces = instance.handle.pieces();
        let physics = Physics::new(&arm, cabinet, &pieces, 3.0, joints, 0.1);
        (arm, physics)
    }

    /// Moves the hand by `step` in each of several periods.
    fn drag(arm: &Arm, physics: &mut Physics, step: Vector3<f64>, gripper: f64, periods: usize) {
        for _ in 0..periods {
            let tcp = arm.pose(physics.joints(), 0.0).tcp;
            let (joints, _) = arm.reach(&(Translation3::from(step) * tcp), physics.joints());
            physics.advance(arm, &joints, gripper);
        }
    }

    #[test]
    fn fingers_stop_on_the_handle_and_hold_it() {
        let (arm, mut physics) = around_a_handle();
        drag(&arm, &mut physics, Vector3::zeros(), 1.0, 8);
        assert!(physics.holds());
        // Fingers 0.05 m from the middle when open, a bar of about 0.01 m radius.
        assert!((0.7..0.85).contains(&physics.gripper()), "{}", physics.gripper());
        assert!(physics.opening().abs() < 0.003);
    }

    #[test]
    fn a_hand_off_centre_centres_itself_on_the_handle() {
        let (arm, mut physics) = around_a_handle();
        drag(&arm, &mut physics, Vector3::new(0.0, 0.0, 0.01), 0.0, 2);
        let aside = |physics: &Physics| {
            let tcp = arm.pose(physics.joints(), 0.0).tcp.translation.vector;
            (tcp - physics.cabinet().grasp(0.0).translation.vector).z
        };
        assert!((aside(&physics) - 0.02).abs() < 1e-3);
        drag(&arm, &mut physics, Vector3::zeros(), 1.0, 10);
        assert!(physics.holds());
        assert!(aside(&physics).abs() < 0.006, "{}", aside(&physics));
    }

    #[test]
    fn a_held_drawer_follows_to_its_stop_where_the_hand_slips_off() {
        let (arm, mut physics) = around_a_handle();
        drag(&arm, &mut physics, Vector3::zeros(), 1.0, 8);
        drag(&arm, &mut physics, Vector3::new(-0.015, 0.0, 0.0), 1.0, 8);
        assert!((0.09..0.125).contains(&physics.opening()), "{}", physics.opening());
        drag(&arm, &mut physics, Vector3::new(-0.03, 0.0, 0.0), 1.0, 10);
        assert!(!physics.holds());
        assert!((0.2..0.225).contains(&physics.opening()), "{}", physics.opening());
    }

    #[test]
    fn an_open_hand_drags_nothing_and_can_push_a_drawer_shut() {
        let (arm, mut physics) = around_a_handle();
        drag(&arm, &mut physics, Vector3::zeros(), 1.0, 8);
        drag(&arm, &mut physics, Vector3::new(-0.015, 0.0, 0.0), 1.0, 8);
        drag(&arm, &mut physics, Vector3::zeros(), 0.0, 5);
        let open = physics.opening();
        drag(&arm, &mut physics, Vector3::new(-0.01, 0.0, 0.0), 0.0, 3);
        assert!((physics.opening() - open).abs() < 0.01);
        drag(&arm, &mut physics, Vector3::new(0.015, 0.0, 0.0), 0.0, 10);
        assert!(physics.opening() < open - 0.03, "{} of {open}", physics.opening());
    }
}
