//! A shadow map: what the sun sees first.

use nalgebra::{Matrix3, Point3, Vector3};

use crate::render::Body;
use crate::shade::Light;
use crate::span::Flat;

const SIDE: usize = 320;
/// Middle of what can cast a shadow, and how far the map reaches from it.
const MIDDLE_M: [f32; 3] = [0.42, 0.0, 0.38];
const REACH_M: f32 = 0.78;
const BIAS_M: f32 = 0.006;

/// How near to the sun the first thing along each of its rays is.
#[derive(Debug, Clone)]
pub(crate) struct ShadowMap {
    /// Rows: right, up, towards the sun.
    axes: Matrix3<f32>,
    height: Vec<f32>,
}

impl Default for ShadowMap {
    fn default() -> Self {
        Self { axes: Matrix3::identity(), height: vec![f32::NEG_INFINITY; SIDE * SIDE] }
    }
}

impl ShadowMap {
    /// Draws the bodies as the sun sees them.
    pub(crate) fn cast(&mut self, light: &Light, bodies: &[Body]) {
        self.height.fill(f32::NEG_INFINITY);
        let right = Vector3::z().cross(&light.toward).normalize();
        let up = light.toward.cross(&right);
        self.axes =
            Matrix3::from_rows(&[right.transpose(), up.transpose(), light.toward.transpose()]);
        let mut corners = Vec::new();
        for body in bodies {
            corners.clear();
            let turn = body.pose.rotation.to_rotation_matrix().into_inner();
            let shift = body.pose.translation.vector;
            let places = body.mesh.vertices.iter().map(|v| turn * v.position.coords + shift);
            corners.extend(places.map(|place| self.map(&place.into())));
            for triangle in &body.mesh.triangles {
                let [a, b, c] = triangle.map(|i| corners[i as usize]);
                self.fill(a, b, c);
            }
        }
    }

    /// Column, row and height of a place.
    fn map(&self, place: &Point3<f32>) -> Vector3<f32> {
        let local = self.axes * (place.coords - Vector3::from(MIDDLE_M));
        let scale = SIDE as f32 / (2.0 * REACH_M);
        Vector3::new((local.x + REACH_M) * scale, (local.y + REACH_M) * scale, local.z)
    }

    fn fill(&mut self, a: Vector3<f32>, b: Vector3<f32>, c: Vector3<f32>) {
        let area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
        // The sides turned away from the sun hide behind the ones turned to it.
        if area <= 1e-6 {
            return;
        }
        let Some(flat) = Flat::new([a, b, c].map(|p| [p.x, p.y])) else { return };
        let slope_x = ((b.z - a.z) * (c.y - a.y) - (c.z - a.z) * (b.y - a.y)) / area;
        let slope_y = ((c.z - a.z) * (b.x - a.x) - (b.z - a.z) * (c.x - a.x)) / area;
        flat.rows([SIDE, SIDE], |y, from, to| {
            let (dx, dy) = (from as f32 + 0.5 - a.x, y as f32 + 0.5 - a.y);
            let mut height = a.z + slope_x * dx + slope_y * dy;
            for stored in &mut self.height[y * SIDE + from..y * SIDE + to] {
                *stored = stored.max(height);
                height += slope_x;
            }
        });
    }

    /// How much of the sun reaches a place, from 0 to 1; smooth over two texels.
    pub(crate) fn lit(&self, place: &Point3<f32>, normal: &Vector3<f32>) -> f32 {
        let at = self.map(&(place + normal * BIAS_M));
        let (x, y) = (at.x - 0.5, at.y - 0.5);
        let limit = SIDE as f32 - 1.0;
        if !(x >= 0.0 && y >= 0.0 && x < limit && y < limit) {
            return 1.0;
        }
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = (x - left as f32, y - top as f32);
        let open = |dx: usize, dy: usize| {
            f32::from(self.height[(top + dy) * SIDE + left + dx] <= at.z + BIAS_M)
        };
        let upper = open(0, 0) * (1.0 - fx) + open(1, 0) * fx;
        let lower = open(0, 1) * (1.0 - fx) + open(1, 1) * fx;
        upper * (1.0 - fy) + lower * fy
    }
}
