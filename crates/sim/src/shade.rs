//! Light on a surface, and the floor and wall that surround a scene.

use nalgebra::{Point3, Vector3};

use crate::render::FAR_M;
use crate::shadow::ShadowMap;
use crate::texture::Texture;

/// A sun and a sky.
#[derive(Debug, Clone)]
pub struct Light {
    /// Unit vector to the sun.
    pub toward: Vector3<f32>,
    /// The sun's colour times its strength, linear.
    pub rgb: [f32; 3],
    /// The sky's strength.
    pub ambient: f32,
}

/// A vector's direction. Square roots here are the processor's own.
#[inline]
pub(crate) fn unit(v: Vector3<f32>) -> Vector3<f32> {
    v / v.norm_squared().sqrt()
}

/// A point to be shaded.
#[derive(Debug, Clone)]
pub(crate) struct Surface {
    pub(crate) place: Point3<f32>,
    pub(crate) normal: Vector3<f32>,
    pub(crate) albedo: [f32; 3],
    pub(crate) gloss: f32,
}

/// The light that a point sends to the eye, linear.
pub(crate) fn shade(
    surface: &Surface,
    to_eye: &Vector3<f32>,
    light: &Light,
    shadow: &ShadowMap,
) -> [f32; 3] {
    let facing = surface.normal.dot(&light.toward);
    let lit = if facing > 0.0 { facing * shadow.lit(&surface.place, &surface.normal) } else { 0.0 };
    // The sky is above, a little comes back from the floor, and low places get less.
    let open = 0.75 + 0.25 * (surface.place.z * 2.5).clamp(0.0, 1.0);
    let sky = light.ambient * (0.68 + 0.32 * surface.normal.z) * open;
    let half = unit(to_eye + light.toward);
    let mirror = surface.normal.dot(&half).max(0.0);
    let mut shine = mirror * mirror;
    for _ in 0..4 {
        shine *= shine; // the 32nd power in all
    }
    let shine = if lit > 0.0 { shine * surface.gloss * lit.min(1.0) } else { 0.0 };
    // A faint rim keeps shiny bodies from going flat in shadow.
    let rim = surface.gloss * 0.12 * (1.0 - surface.normal.dot(to_eye).clamp(0.0, 1.0));
    [0, 1, 2]
        .map(|c| surface.albedo[c] * (sky + lit * light.rgb[c]) + shine * light.rgb[c] + rim * sky)
}

/// Linear light to an sRGB-like byte: the square root is close to the standard's curve.
pub(crate) fn encode(linear: f32) -> u8 {
    (linear.clamp(0.0, 1.0).sqrt() * 255.0 + 0.5) as u8
}

/// The floor at z = 0 and a wall far behind the cabinet.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The floor's colours.
    pub floor: Texture,
    /// The wall's colour, linear.
    pub wall: [f32; 3],
    /// Where the wall stands along x.
    pub wall_x_m: f32,
}

impl Ground {
    /// The colour and depth along a ray whose component along the camera's axis is one.
    pub(crate) fn shade(
        &self,
        eye: &Point3<f32>,
        direction: &Vector3<f32>,
        focal: f32,
        light: &Light,
        shadow: &ShadowMap,
    ) -> ([f32; 3], f32) {
        let down = if direction.z < -1e-4 { -eye.z / direction.z } else { f32::INFINITY };
        let ahead =
            if direction.x > 1e-4 { (self.wall_x_m - eye.x) / direction.x } else { f32::INFINITY };
        if down < ahead {
            let place = eye + direction * down;
            let along = unit(*direction);
            let footprint = 2.0 * down / focal / (-along.z).max(0.1);
            let surface = Surface {
                place,
                normal: Vector3::z(),
                albedo: self.floor.sample([place.x, place.y], footprint),
                gloss: 0.0,
            };
            (shade(&surface, &-along, light, shadow), down)
        } else {
            let height = if ahead.is_finite() { eye.z + direction.z * ahead } else { 2.0 };
            let glow = 0.45 + 0.3 * (height * 0.7).clamp(0.0, 1.0);
            (self.wall.map(|c| c * glow), ahead.min(FAR_M))
        }
    }
}
