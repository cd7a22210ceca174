//! The pinhole camera, and what lies before it.

use nalgebra::{Isometry3, Point3, Vector3};

const NEAR_M: f32 = 0.02;

/// A pinhole camera: x right, y down, z forward.
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    /// Where it is and how it is turned.
    pub world_from_camera: Isometry3<f32>,
    /// Vertical angle of view.
    pub fov_rad: f32,
}

impl Camera {
    /// A camera at `eye` with `target` in the middle of its picture and `up` upwards in it.
    pub fn look_at(eye: Point3<f32>, target: Point3<f32>, up: &Vector3<f32>, fov_rad: f32) -> Self {
        // `face_towards` has z forward and y up; a half turn about z puts y down.
        let facing = Isometry3::face_towards(&eye, &target, up);
        let turn =
            nalgebra::UnitQuaternion::from_axis_angle(&Vector3::z_axis(), std::f32::consts::PI);
        Self { world_from_camera: facing * turn, fov_rad }
    }
}

/// A corner of a triangle, in the room and before the camera.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Corner {
    pub(crate) world: Point3<f32>,
    pub(crate) normal: Vector3<f32>,
    pub(crate) uv: [f32; 2],
    pub(crate) camera: Point3<f32>,
}

/// Cuts a triangle at the near plane: up to four corners, and how many there are.
pub(crate) fn clip(corners: [Corner; 3]) -> ([Corner; 4], usize) {
    let mut kept = [corners[0]; 4];
    let mut count = 0;
    for i in 0..3 {
        let (here, next) = (corners[i], corners[(i + 1) % 3]);
        let (inside, next_inside) = (here.camera.z >= NEAR_M, next.camera.z >= NEAR_M);
        if inside {
            kept[count] = here;
            count += 1;
        }
        if inside != next_inside {
            let t = (NEAR_M - here.camera.z) / (next.camera.z - here.camera.z);
            kept[count] = Corner {
                world: here.world + (next.world - here.world) * t,
                normal: here.normal + (next.normal - here.normal) * t,
                uv: [0, 1].map(|k| here.uv[k] + (next.uv[k] - here.uv[k]) * t),
                camera: here.camera + (next.camera - here.camera) * t,
            };
            count += 1;
        }
    }
    (kept, count)
}
