//! The panel as rapier moves it, and our geometry in rapier's words.

use nalgebra::{Isometry3, Point3, Vector3};
use rapier3d::math::{Pose, Rotation, Vector};
use rapier3d::prelude::{
    CCDSolver, ColliderSet, DefaultBroadPhase, ImpulseJointSet, IntegrationParameters,
    IslandManager, MassProperties, MotorModel, MultibodyJointSet, NarrowPhase, PhysicsPipeline,
    PrismaticJointBuilder, RevoluteJointBuilder, RigidBodyBuilder, RigidBodyHandle, RigidBodySet,
    SharedShape, SoftBodySet,
};

use crate::Task;
use crate::cabinet::Cabinet;
use crate::mesh::Solid;

/// Rapier's parts, and the one body that moves by forces.
pub(crate) struct PanelWorld {
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
    panel: RigidBodyHandle,
}

impl PanelWorld {
    /// A closed panel on its joint, with dry friction, played in steps of `dt` seconds.
    pub(crate) fn new(cabinet: &Cabinet, friction: f64, dt: f64) -> Self {
        let parameters = IntegrationParameters { dt: dt as f32, ..Default::default() };
        let mut world = Self {
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
            panel: RigidBodyHandle::invalid(),
        };
        world.panel = world.add_panel(cabinet, friction);
        world
    }

    /// How far the panel is open: metres or radians.
    pub(crate) fn opening(&self, cabinet: &Cabinet) -> f64 {
        let pose = self.bodies[self.panel].position();
        match cabinet.task() {
            Task::Drawer => cabinet.panel_pose(0.0).translation.x - f64::from(pose.translation.x),
            Task::Door => {
                let q = pose.rotation;
                2.0 * f64::from(q.z).atan2(f64::from(q.w)) * cabinet.turn()
            }
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
    pub(crate) fn push(&mut self, force: &Vector3<f64>, place: &Point3<f64>) {
        let (force, place) = (to_rapier_vector(force), to_rapier_vector(&place.coords));
        self.bodies[self.panel].add_force_at_point(force, place, true);
    }

    /// Plays one step.
    pub(crate) fn step(&mut self) {
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
pub(crate) fn shape((pose, solid): &(Isometry3<f64>, Solid)) -> (Isometry3<f64>, SharedShape) {
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

pub(crate) fn from_rapier(v: Vector) -> Vector3<f64> {
    Vector3::new(f64::from(v.x), f64::from(v.y), f64::from(v.z))
}

pub(crate) fn to_rapier(pose: &Isometry3<f64>) -> Pose {
    let q = pose.rotation.coords;
    let rotation = Rotation::from_xyzw(q.x as f32, q.y as f32, q.z as f32, q.w as f32);
    Pose::from_parts(to_rapier_vector(&pose.translation.vector), rotation)
}
