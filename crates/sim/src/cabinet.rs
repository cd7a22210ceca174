//! Where a cabinet's parts are, in the arm's base frame: x to the cabinet, y left, z up.

use nalgebra::{Isometry3, Matrix3, Point3, Rotation3, Translation3, UnitQuaternion, Vector3};

use crate::Task;
use crate::instances::Instance;
use crate::mesh::Solid;

/// Half the thickness of a drawer's front or a door.
pub(crate) const PANEL_HALF_DEPTH_M: f64 = 0.011;
const BODY_HALF_DEPTH_M: f64 = 0.18;

/// A cabinet put in its place. An opening is in metres for a drawer, in radians for a door.
#[derive(Debug, Clone)]
pub struct Cabinet {
    task: Task,
    /// Middle of the closed panel's outer face.
    closed: Vector3<f64>,
    /// The hinge relative to it, and which way it turns.
    hinge: Vector3<f64>,
    turn: f64,
    /// The handle's frame in the panel's.
    panel_from_handle: Isometry3<f64>,
    standoff_m: f64,
    /// The fixed box behind the panel.
    pub(crate) body: (Isometry3<f64>, Solid),
    /// The panel's own box, in its frame.
    pub(crate) panel: (Isometry3<f64>, Solid),
}

impl Cabinet {
    /// The cabinet of an instance, moved by `shift_m`.
    pub fn new(instance: &Instance, shift_m: [f64; 3]) -> Self {
        let [half_width, half_height] = instance.panel_half_m;
        let [left, up] = instance.handle_offset_m;
        let handle = Vector3::from(instance.handle_place_m) + Vector3::from(shift_m);
        let closed = handle + Vector3::new(instance.handle.standoff_m, -left, -up);
        // Columns: along the handle, across it, out of the panel.
        let columns = match instance.task {
            Task::Drawer => [-Vector3::y(), Vector3::z(), -Vector3::x()],
            Task::Door => [Vector3::z(), Vector3::y(), -Vector3::x()],
        };
        let rotation = Rotation3::from_matrix_unchecked(Matrix3::from_columns(&columns));
        let panel_from_handle = Isometry3::from_parts(
            Translation3::new(0.0, left, up),
            UnitQuaternion::from_rotation_matrix(&rotation),
        );
        let side = if instance.hinge_left { 1.0 } else { -1.0 };
        let top = closed.z + half_height + instance.frame_m;
        let front = closed.x + 2.0 * PANEL_HALF_DEPTH_M;
        let body_half = [BODY_HALF_DEPTH_M, half_width + instance.frame_m, top / 2.0];
        let body = Isometry3::translation(front + BODY_HALF_DEPTH_M, closed.y, top / 2.0);
        let panel = Isometry3::translation(PANEL_HALF_DEPTH_M, 0.0, 0.0);
        Self {
            task: instance.task,
            closed,
            hinge: Vector3::new(2.0 * PANEL_HALF_DEPTH_M, side * half_width, 0.0),
            turn: -side,
            panel_from_handle,
            standoff_m: instance.handle.standoff_m,
            body: (body, Solid::Cuboid(body_half)),
            panel: (panel, Solid::Cuboid([PANEL_HALF_DEPTH_M, half_width, half_height])),
        }
    }

    /// Drawer or door.
    pub fn task(&self) -> Task {
        self.task
    }

    /// Where the panel is: its frame is in the middle of its outer face.
    pub fn panel_pose(&self, opening: f64) -> Isometry3<f64> {
        self.carry(&Isometry3::translation(self.closed.x, self.closed.y, self.closed.z), opening)
    }

    /// The handle's frame in the panel's.
    pub fn panel_from_handle(&self) -> &Isometry3<f64> {
        &self.panel_from_handle
    }

    /// Where the tcp should be to take hold: x into the panel, y across the handle.
    pub fn grasp(&self, opening: f64) -> Isometry3<f64> {
        let columns = [-Vector3::z(), Vector3::y(), Vector3::x()];
        let rotation = Rotation3::from_matrix_unchecked(Matrix3::from_columns(&columns));
        let handle_from_grasp = Isometry3::from_parts(
            Translation3::new(0.0, 0.0, self.standoff_m),
            UnitQuaternion::from_rotation_matrix(&rotation),
        );
        self.panel_pose(opening) * self.panel_from_handle * handle_from_grasp
    }

    /// Moves a pose as the panel moves when it opens by `opening`.
    pub fn carry(&self, pose: &Isometry3<f64>, opening: f64) -> Isometry3<f64> {
        match self.task {
            Task::Drawer => Translation3::new(-opening, 0.0, 0.0) * pose,
            Task::Door => {
                let hinge = Translation3::from(self.closed + self.hinge);
                let turn = UnitQuaternion::from_axis_angle(&Vector3::z_axis(), self.turn * opening);
                hinge * turn * hinge.inverse() * pose
            }
        }
    }

    /// A place on the hinge's axis, for a door.
    pub(crate) fn hinge(&self) -> Point3<f64> {
        Point3::from(self.closed + self.hinge)
    }

    /// Which way a door turns about z when it opens.
    pub(crate) fn turn(&self) -> f64 {
        self.turn
    }

    /// How far the handle travels when the panel opens by one: 1 for a drawer, metres per radian
    /// for a door.
    pub fn lever(&self) -> f64 {
        match self.task {
            Task::Drawer => 1.0,
            Task::Door => {
                let grasp = self.grasp(0.0).translation.vector;
                (grasp - self.hinge().coords).xy().norm()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Split;

    #[test]
    fn a_drawer_opens_towards_the_arm() {
        let instance = Instance::new(Task::Drawer, Split::Train, 0);
        let cabinet = Cabinet::new(&instance, [0.01, -0.02, 0.03]);
        let (closed, open) = (cabinet.grasp(0.0), cabinet.grasp(0.1));
        let [x, y, z] = instance.handle_place_m;
        let expected = Vector3::new(x + 0.01, y - 0.02, z + 0.03);
        assert!((closed.translation.vector - expected).norm() < 1e-9);
        let moved = open.translation.vector - closed.translation.vector;
        assert!((moved - Vector3::new(-0.1, 0.0, 0.0)).norm() < 1e-9);
    }

    #[test]
    fn the_hand_points_into_the_panel_and_closes_across_the_handle() {
        for (task, across) in [(Task::Drawer, Vector3::z()), (Task::Door, Vector3::y())] {
            let cabinet = Cabinet::new(&Instance::new(task, Split::Train, 0), [0.0; 3]);
            let grasp = cabinet.grasp(0.0);
            assert!((grasp * Vector3::x() - Vector3::x()).norm() < 1e-9);
            assert!((grasp * Vector3::y() - across).norm() < 1e-9);
        }
    }

    #[test]
    fn a_door_opens_towards_the_arm_on_either_hinge() {
        for index in [0, 2] {
            let instance = Instance::new(Task::Door, Split::Train, index);
            let cabinet = Cabinet::new(&instance, [0.0; 3]);
            let (closed, open) = (cabinet.grasp(0.0), cabinet.grasp(0.2));
            let moved = open.translation.vector - closed.translation.vector;
            assert!(moved.x < -0.04, "hinge left {}: {moved:?}", instance.hinge_left);
            assert!((moved.norm() - 0.2 * cabinet.lever()).abs() < 0.002);
        }
    }
}
