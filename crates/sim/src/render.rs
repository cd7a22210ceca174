//! A software rasteriser: triangles to a picture, on one core, the same bits everywhere.
//!
//! Each triangle is drawn into a buffer of depth and identity with four samples a pixel; each
//! pixel then shades every triangle it sees once. Light is a sun with a shadow map, a sky, and a
//! highlight. The floor and the wall are computed, not drawn. The kept crates that rasterise in
//! software draw one sample a pixel through a vertex pipeline of their own and have no shadow
//! pass, so little of them would have been used.

use nalgebra::{Isometry3, Point3, Vector3};

pub use crate::camera::Camera;

use crate::camera::{Corner, clip};
use crate::mesh::Mesh;
use crate::shade::{Ground, Light, Surface, encode, shade, unit};
use crate::shadow::ShadowMap;
use crate::span::Flat;
use crate::texture::Texture;

/// Depth of what is too far to measure, in metres.
pub const FAR_M: f32 = 5.0;

/// Samples along each side of a pixel.
const SAMPLES: usize = 2;
const NOTHING: u32 = u32::MAX;

/// What a body is made of.
#[derive(Debug, Clone)]
pub struct Material {
    /// Its colours.
    pub texture: Texture,
    /// How much it shines, from 0 to 1.
    pub gloss: f32,
}

/// A body somewhere.
#[derive(Debug, Clone)]
pub struct Body {
    /// Its shape.
    pub mesh: Mesh,
    /// Index of its material.
    pub material: usize,
    /// Where it is.
    pub pose: Isometry3<f32>,
}

/// Everything that can be seen.
#[derive(Debug, Clone)]
pub struct World {
    /// The bodies.
    pub bodies: Vec<Body>,
    /// What they are made of.
    pub materials: Vec<Material>,
    /// The floor and the wall.
    pub ground: Ground,
    /// The light.
    pub light: Light,
}

/// A picture, and the depth of each of its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// sRGB bytes, row by row.
    pub rgb: Vec<u8>,
    /// Depth along the camera's axis in metres, row by row; [`FAR_M`] where nothing is nearer.
    pub depth_m: Vec<f32>,
}

/// A triangle on the screen. Every weight is linear in screen x and y.
#[derive(Debug, Clone)]
struct Face {
    corners: [Corner; 3],
    material: usize,
    /// Each corner's share of 1/z at (x, y) is `a * x + b * y + c`, perspective included.
    weights: [[f32; 3]; 3],
}

/// Reusable buffers for pictures of one size.
#[derive(Debug, Clone)]
pub struct Renderer {
    width: usize,
    height: usize,
    nearness: Vec<f32>,
    owner: Vec<u32>,
    faces: Vec<Face>,
    shadow: ShadowMap,
}

impl Renderer {
    /// Buffers for pictures of this size.
    ///
    /// # Panics
    ///
    /// When a side is zero.
    pub fn new(width: usize, height: usize) -> Self {
        assert!(width > 0 && height > 0, "a picture needs at least one pixel");
        let samples = width * height * SAMPLES * SAMPLES;
        Self {
            width,
            height,
            nearness: vec![0.0; samples],
            owner: vec![NOTHING; samples],
            faces: Vec::new(),
            shadow: ShadowMap::default(),
        }
    }

    /// Draws the shadows of a world; every view of it can then be [drawn](Self::draw).
    pub fn cast_shadows(&mut self, world: &World) {
        self.shadow.cast(&world.light, &world.bodies);
    }

    /// Draws a world whose shadows have been [cast](Self::cast_shadows).
    pub fn draw(&mut self, world: &World, camera: &Camera) -> Frame {
        self.nearness.fill(0.0);
        self.owner.fill(NOTHING);
        self.faces.clear();
        let (width, height) = (self.width * SAMPLES, self.height * SAMPLES);
        let focal = height as f32 / 2.0 / (camera.fov_rad / 2.0).tan();
        let camera_from_world = camera.world_from_camera.inverse();
        let mut corners = Vec::new();
        for body in &world.bodies {
            corners.clear();
            let [turn, seen] = [&body.pose.rotation, &camera_from_world.rotation]
                .map(|rotation| rotation.to_rotation_matrix().into_inner());
            let (shift, back) =
                (body.pose.translation.vector, camera_from_world.translation.vector);
            corners.extend(body.mesh.vertices.iter().map(|vertex| {
                let place = turn * vertex.position.coords + shift;
                Corner {
                    world: place.into(),
                    normal: turn * vertex.normal,
                    uv: vertex.uv,
                    camera: (seen * place + back).into(),
                }
            }));
            for triangle in &body.mesh.triangles {
                let [a, b, c] = triangle.map(|i| corners[i as usize]);
                // Seen from behind: every body is closed.
                let normal = (b.camera - a.camera).cross(&(c.camera - a.camera));
                if normal.dot(&a.camera.coords) >= 0.0 {
                    continue;
                }
                let (polygon, count) = clip([a, b, c]);
                for i in 2..count {
                    let face = [polygon[0], polygon[i - 1], polygon[i]];
                    self.fill(face, body.material, focal, [width, height]);
                }
            }
        }
        self.resolve(world, camera, focal)
    }

    /// Draws one triangle into the buffers.
    fn fill(&mut self, corners: [Corner; 3], material: usize, focal: f32, size: [usize; 2]) {
        let screen = corners.map(|c| {
            let scale = focal / c.camera.z;
            let [width, height] = size.map(|side| side as f32);
            [c.camera.x * scale + width / 2.0, c.camera.y * scale + height / 2.0]
        });
        let Some(flat) = Flat::new(screen) else { return };
        let weights: [[f32; 3]; 3] =
            std::array::from_fn(|i| flat.edges[i].map(|term| term / corners[i].camera.z));
        let near: [f32; 3] = std::array::from_fn(|j| weights.iter().map(|w| w[j]).sum());
        let id = self.faces.len() as u32;
        let mut seen = false;
        flat.rows(size, |y, from, to| {
            let mut nearness = near[0] * (from as f32 + 0.5) + near[1] * (y as f32 + 0.5) + near[2];
            let range = y * size[0] + from..y * size[0] + to;
            let owners = &mut self.owner[range.clone()];
            for (stored, owner) in self.nearness[range].iter_mut().zip(owners) {
                if nearness > *stored {
                    *stored = nearness;
                    *owner = id;
                    seen = true;
                }
                nearness += near[0];
            }
        });
        if seen {
            self.faces.push(Face { corners, material, weights });
        }
    }

    /// Shades what the buffers hold.
    fn resolve(&self, world: &World, camera: &Camera, focal: f32) -> Frame {
        let stride = self.width * SAMPLES;
        let eye = Point3::from(camera.world_from_camera.translation.vector);
        let mut rgb = Vec::with_capacity(self.width * self.height * 3);
        let mut depth_m = Vec::with_capacity(self.width * self.height);
        let ray = |x: f32, y: f32| {
            let (w, h) = (stride as f32 / 2.0, (self.height * SAMPLES) as f32 / 2.0);
            camera.world_from_camera * Vector3::new((x - w) / focal, (y - h) / focal, 1.0)
        };
        for y in 0..self.height {
            for x in 0..self.width {
                let at: [usize; 4] = std::array::from_fn(|i| {
                    (y * SAMPLES + i / SAMPLES) * stride + x * SAMPLES + i % SAMPLES
                });
                let owners = at.map(|sample| self.owner[sample]);
                let (mut light, mut nearest) = ([0.0; 3], 0.0_f32);
                let mut done = [false; 4];
                for first in 0..4 {
                    if done[first] {
                        continue;
                    }
                    // The mean place of the samples that see this triangle.
                    let (mut count, mut sx, mut sy) = (0.0, 0.0, 0.0);
                    for i in first..4 {
                        if owners[i] == owners[first] {
                            done[i] = true;
                            count += 1.0;
                            sx += (i % SAMPLES) as f32 + 0.5;
                            sy += (i / SAMPLES) as f32 + 0.5;
                        }
                    }
                    let px = (x * SAMPLES) as f32 + sx / count;
                    let py = (y * SAMPLES) as f32 + sy / count;
                    let (colour, nearness) = if owners[first] == NOTHING {
                        let direction = ray(px, py);
                        let (colour, far) =
                            world.ground.shade(&eye, &direction, focal, &world.light, &self.shadow);
                        (colour, 1.0 / far)
                    } else {
                        self.shade_face(
                            &self.faces[owners[first] as usize],
                            px,
                            py,
                            world,
                            &eye,
                            focal,
                        )
                    };
                    nearest = nearest.max(nearness);
                    for (sum, c) in light.iter_mut().zip(colour) {
                        *sum += c * count / 4.0;
                    }
                }
                rgb.extend(light.map(encode));
                depth_m.push(if nearest > 1.0 / FAR_M { 1.0 / nearest } else { FAR_M });
            }
        }
        Frame { rgb, depth_m }
    }

    fn shade_face(
        &self,
        face: &Face,
        x: f32,
        y: f32,
        world: &World,
        eye: &Point3<f32>,
        focal: f32,
    ) -> ([f32; 3], f32) {
        let shares = face.weights.map(|[a, b, c]| (a * x + b * y + c).max(0.0));
        let nearness = shares.iter().sum::<f32>().max(1e-6);
        let [i, j, k] = shares.map(|share| share / nearness);
        let [a, b, c] = &face.corners;
        let place = a.world.coords * i + b.world.coords * j + c.world.coords * k;
        let normal = unit(a.normal * i + b.normal * j + c.normal * k);
        let uv = [0, 1].map(|axis| a.uv[axis] * i + b.uv[axis] * j + c.uv[axis] * k);
        let to_eye = unit(eye.coords - place);
        let slant = normal.dot(&to_eye).max(0.2);
        let footprint = SAMPLES as f32 / (focal * nearness * slant);
        let material = &world.materials[face.material];
        let surface = Surface {
            place: Point3::from(place),
            normal,
            albedo: material.texture.sample(uv, footprint),
            gloss: material.gloss,
        };
        (shade(&surface, &to_eye, &world.light, &self.shadow), nearness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texture::Look;

    fn box_before_the_camera(side_m: f32) -> (World, Camera) {
        let texture = |rgb| Texture::bake(&Look::plain(rgb, 0.0), 0);
        let body = Body {
            mesh: Mesh::cuboid([side_m / 2.0; 3]),
            material: 0,
            pose: Isometry3::translation(0.4, 0.0, 0.5),
        };
        let world = World {
            bodies: vec![body],
            materials: vec![Material { texture: texture([0.9, 0.1, 0.1]), gloss: 0.0 }],
            ground: Ground { floor: texture([0.1, 0.1, 0.9]), wall: [0.2; 3], wall_x_m: 2.0 },
            light: Light {
                toward: Vector3::new(-1.0, 0.0, 1.0).normalize(),
                rgb: [1.0; 3],
                ambient: 0.3,
            },
        };
        let camera = Camera::look_at(
            Point3::new(-0.6, 0.0, 0.5),
            Point3::new(0.4, 0.0, 0.5),
            &Vector3::z(),
            1.0,
        );
        (world, camera)
    }

    fn draw(world: &World, camera: &Camera) -> Frame {
        let mut renderer = Renderer::new(32, 32);
        renderer.cast_shadows(world);
        renderer.draw(world, camera)
    }

    #[test]
    fn a_box_is_where_it_is_and_as_far_as_it_is() {
        let (world, camera) = box_before_the_camera(0.2);
        let frame = draw(&world, &camera);
        let middle = 16 * 32 + 16;
        assert!((frame.depth_m[middle] - 0.9).abs() < 1e-3, "{}", frame.depth_m[middle]);
        let [r, g, b] = [0, 1, 2].map(|c| frame.rgb[middle * 3 + c]);
        assert!(r / 2 > g && r / 2 > b, "{r} {g} {b}");
        // 0.2 m at 0.9 m is 6.5 pixels of 32 at a tangent of 0.546 for 16, and its border.
        let red = frame.rgb.chunks_exact(3).filter(|p| p[0] / 2 > p[2]).count();
        assert!((36..=64).contains(&red), "{red} red pixels");
    }

    #[test]
    fn a_body_that_crosses_the_camera_is_cut_not_dropped() {
        let (mut world, camera) = box_before_the_camera(0.2);
        // A long beam from behind the camera to well before it, below its axis.
        world.bodies[0].mesh = Mesh::cuboid([2.0, 0.3, 0.02]);
        world.bodies[0].pose = Isometry3::translation(0.4, 0.0, 0.4);
        let frame = draw(&world, &camera);
        let bottom = 31 * 32 + 16;
        assert!(frame.rgb[bottom * 3] / 2 > frame.rgb[bottom * 3 + 2]);
        assert!(frame.depth_m[bottom] < 0.3, "{}", frame.depth_m[bottom]);
    }

    #[test]
    fn the_floor_is_darker_where_the_sun_does_not_reach() {
        let (mut world, mut camera) = box_before_the_camera(0.2);
        world.light.toward = Vector3::new(-0.1, 0.0, 1.0).normalize();
        let (eye, target) = (Point3::new(0.2, 0.0, 1.6), Point3::new(0.45, 0.0, 0.0));
        camera = Camera::look_at(eye, target, &Vector3::x(), camera.fov_rad);
        let lit =
            |world: &World| draw(world, &camera).rgb.iter().map(|b| u64::from(*b)).sum::<u64>();
        let shadowed = lit(&world);
        world.bodies[0].pose = Isometry3::translation(0.4, 3.0, 0.5);
        assert!(shadowed < lit(&world));
    }
}
