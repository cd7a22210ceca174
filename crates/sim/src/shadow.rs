//! A shadow map: what the sun sees first.

use nalgebra::{Matrix3, Point3, Vector3};

use crate::render::Body;
use crate::shade::Light;

const SIDE: usize = 256;
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
            corners.extend(body.mesh.vertices.iter().map(|v| self.map(&(body.pose * v.position))));
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
        let bound = |low: f32, high: f32| {
            let from = (low - 0.5).ceil().max(0.0) as usize;
            let to = ((high - 0.5).floor() + 1.0).clamp(0.0, SIDE as f32) as usize;
            (from, to)
        };
        let (x0, x1) = bound(a.x.min(b.x).min(c.x), a.x.max(b.x).max(c.x));
        let (y0, y1) = bound(a.y.min(b.y).min(c.y), a.y.max(b.y).max(c.y));
        let slope_x = ((b.z - a.z) * (c.y - a.y) - (c.z - a.z) * (b.y - a.y)) / area;
        let slope_y = ((c.z - a.z) * (b.x - a.x) - (b.z - a.z) * (c.x - a.x)) / area;
        for y in y0..y1 {
            let fy = y as f32 + 0.5;
            for x in x0..x1 {
                let fx = x as f32 + 0.5;
                let inside = |p: &Vector3<f32>, q: &Vector3<f32>| {
                    (q.x - p.x) * (fy - p.y) - (q.y - p.y) * (fx - p.x) >= 0.0
                };
                if inside(&a, &b) && inside(&b, &c) && inside(&c, &a) {
                    let height = a.z + slope_x * (fx - a.x) + slope_y * (fy - a.y);
                    let stored = &mut self.height[y * SIDE + x];
                    *stored = stored.max(height);
                }
            }
        }
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
