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
use rapier3d::math::{Pose, Rotation, Vector};
use rapier3d::parry::query;
use rapier3d::prelude::{
    CCDSolver, ColliderSet, DefaultBroadPhase, ImpulseJointSet, IntegrationParameters,
    IslandManager, MassProperties, MotorModel, MultibodyJointSet, NarrowPhase, PhysicsPipeline,
    PrismaticJointBuilder, RevoluteJointBuilder, RigidBodyBuilder, RigidBodyHandle, RigidBodySet,
    SharedShape, SoftBodySet,
};

use crate::Task;
use crate::cabinet::Cabinet;
use crate::handle::Piece;
use crate::kinematics::{Arm, ArmPose, Joints, NUM_JOINTS, Part};
use crate::mesh::Solid;

/// Simulated instants per control period.
const SUBSTEPS: usize = 10;
/// Newtons per metre of penetration.
const CONTACT_N_M: f64 = 1500.0;
/// How much of a penetration the arm gives way in one instant.
const YIELD: f64 = 0.6;
/// Friction between fingers and handle: stiffness, damping, largest force.
const GRIP_N_M: f64 = 2000.0;
const GRIP_NS_M: f64 = 40.0;
const GRIP_MAX_N: f64 = 30.0;
/// How much of the spring's stretch the arm gives way in one instant.
const GRIP_YIELD: f64 = 0.25;
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
    world: RapierWorld,
    panel_body: RigidBodyHandle,
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
        let mut world = RapierWorld::new(period_secs / SUBSTEPS as f64);
        let panel_body = world.add_panel(&cabinet, friction);
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
            panel_body,
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
        let pose = self.world.bodies[self.panel_body].position();
        match self.cabinet.task() {
            Task::Drawer => {
                self.cabinet.panel_pose(0.0).translation.x - f64::from(pose.translation.x)
            }
            Task::Door => {
                let q = pose.rotation;
                2.0 * f64::from(q.z).atan2(f64::from(q.w)) * self.cabinet.turn()
            }
        }
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
        for remaining in (1..=SUBSTEPS).rev() {
            for ((angle, target), joint) in self.joints.iter_mut().zip(targets).zip(arm.joints()) {
                let limit = joint.velocity_rad_s * dt;
                *angle += ((target - *angle) / remaining as f64).clamp(-limit, limit);
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
                self.world.push(self.panel_body, &force, &touch.place);
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
        self.world.push(self.panel_body, &force, &tcp);
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

/// Rapier's parts, for the one body that moves by forces.
struct RapierWorld {
    pipeline: PhysicsPipeline,
    parameters: IntegrationParameters,
    islands: IslandManager,
    broad_phase: DefaultBroadPhase,
    narrow_phase: NarrowPhase,
    bodies: RigidBodySet,
    colliders: ColliderSet,
    joints: ImpulseJointSet,
    multibody_joints: MultibodyJointSet,
    soft_bodies: SoftBodySet,
    ccd: CCDSolver,
}

impl RapierWorld {
    fn new(dt: f64) -> Self {
        let parameters = IntegrationParameters { dt: dt as f32, ..Default::default() };
        Self {
            pipeline: PhysicsPipeline::new(),
            parameters,
            islands: IslandManager::new(),
            broad_phase: DefaultBroadPhase::new(),
            narrow_phase: NarrowPhase::new(),
            bodies: RigidBodySet::new(),
            colliders: ColliderSet::new(),
            joints: ImpulseJointSet::new(),
            multibody_joints: MultibodyJointSet::new(),
            soft_bodies: SoftBodySet::new(),
            ccd: CCDSolver::new(),
        }
    }

    /// Adds the panel on its joint. Friction is a motor that wants rest and has little strength.
    fn add_panel(&mut self, cabinet: &Cabinet, friction: f64) -> RigidBodyHandle {
        let closed = cabinet.panel_pose(0.0);
        let frame = self.bodies.insert(RigidBodyBuilder::fixed());
        let (mass, inertia) = match cabinet.task() {
            Task::Drawer => (2.0, Vector::splat(0.05)),
            Task::Door => (3.0, Vector::splat(0.04)),
        };
        let panel = RigidBodyBuilder::dynamic()
            .pose(to_rapier(&closed))
            .additional_mass_properties(MassProperties::new(Vector::ZERO, mass, inertia))
            .linear_damping(2.0)
            .angular_damping(2.0)
            .can_sleep(false);
        let panel = self.bodies.insert(panel);
        let at = |point: Vector3<f64>| to_rapier_vector(&point);
        match cabinet.task() {
            Task::Drawer => {
                let joint = PrismaticJointBuilder::new(-Vector::X)
                    .local_anchor1(at(closed.translation.vector))
                    .local_anchor2(Vector::ZERO)
                    .limits([0.0, 0.22])
                    .motor_model(MotorModel::ForceBased)
                    .motor_velocity(0.0, 300.0)
                    .motor_max_force(friction as f32);
                self.joints.insert(frame, panel, joint, true);
            }
            Task::Door => {
                let hinge = cabinet.hinge();
                let joint = RevoluteJointBuilder::new(Vector::Z * cabinet.turn() as f32)
                    .local_anchor1(at(hinge.coords))
                    .local_anchor2(at((closed.inverse() * hinge).coords))
                    .limits([0.0, 1.3])
                    .motor_model(MotorModel::ForceBased)
                    .motor_velocity(0.0, 20.0)
                    .motor_max_force(friction as f32);
                self.joints.insert(frame, panel, joint, true);
            }
        }
        panel
    }

    /// Adds a force for the next step.
    fn push(&mut self, body: RigidBodyHandle, force: &Vector3<f64>, place: &Point3<f64>) {
        let (force, place) = (to_rapier_vector(force), to_rapier_vector(&place.coords));
        self.bodies[body].add_force_at_point(force, place, true);
    }

    fn step(&mut self) {
        self.pipeline.step(
            Vector::ZERO,
            &self.parameters,
            &mut self.islands,
            &mut self.broad_phase,
            &mut self.narrow_phase,
            &mut self.bodies,
            &mut self.colliders,
            &mut self.joints,
            &mut self.multibody_joints,
            &mut self.soft_bodies,
            &mut self.ccd,
            &(),
            &(),
        );
        for (_, body) in self.bodies.iter_mut() {
            body.reset_forces(false);
            body.reset_torques(false);
        }
    }
}

/// A solid as parry knows it, and where.
fn shape((pose, solid): &(Isometry3<f64>, Solid)) -> (Isometry3<f64>, SharedShape) {
    match *solid {
        Solid::Cuboid([x, y, z]) => (*pose, SharedShape::cuboid(x as f32, y as f32, z as f32)),
        Solid::Capsule(r, h) => (*pose, SharedShape::capsule_z(h as f32, r as f32)),
        Solid::Ball(r) => (*pose, SharedShape::ball(r as f32)),
        Solid::Cylinder(r, h) => {
            // Parry's cylinders stand along y.
            let turn = Isometry3::rotation(Vector3::x() * std::f64::consts::FRAC_PI_2);
            (pose * turn, SharedShape::cylinder(h as f32, r as f32))
        }
    }
}

fn to_rapier_vector(v: &Vector3<f64>) -> Vector {
    Vector::new(v.x as f32, v.y as f32, v.z as f32)
}

fn from_rapier(v: Vector) -> Vector3<f64> {
    Vector3::new(f64::from(v.x), f64::from(v.y), f64::from(v.z))
}

fn to_rapier(pose: &Isometry3<f64>) -> Pose {
    let q = pose.rotation.coords;
    let rotation = Rotation::from_xyzw(q.x as f32, q.y as f32, q.z as f32, q.w as f32);
    Pose::from_parts(to_rapier_vector(&pose.translation.vector), rotation)
}
