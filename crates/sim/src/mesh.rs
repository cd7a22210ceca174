//! Triangle meshes made from primitives, with smooth normals and texture coordinates in metres.

use nalgebra::{Isometry3, Point3, Vector3};

/// A primitive body, for looks and for contact alike. Lengths in metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Solid {
    /// A box by its half sides.
    Cuboid([f64; 3]),
    /// A cylinder about z by radius and half length.
    Cylinder(f64, f64),
    /// A capsule about z by radius and half length of its straight part.
    Capsule(f64, f64),
    /// A ball by its radius.
    Ball(f64),
}

/// One corner of a triangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vertex {
    /// Position in metres.
    pub position: Point3<f32>,
    /// Unit normal, pointing out of the body.
    pub normal: Vector3<f32>,
    /// Texture coordinates in metres along the surface.
    pub uv: [f32; 2],
}

/// Triangles, counter-clockwise as seen from outside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mesh {
    /// The corners.
    pub vertices: Vec<Vertex>,
    /// Indices of the corners of each triangle.
    pub triangles: Vec<[u32; 3]>,
}

impl Mesh {
    /// A box with its centre at the origin.
    pub fn cuboid(half: [f32; 3]) -> Self {
        let mut mesh = Self::default();
        for axis in 0..3 {
            let (u, v) = ((axis + 1) % 3, (axis + 2) % 3);
            for sign in [1.0, -1.0] {
                let mut normal = Vector3::zeros();
                normal[axis] = sign;
                let first = mesh.vertices.len() as u32;
                for (a, b) in [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)] {
                    let mut position = Point3::origin();
                    position[axis] = sign * half[axis];
                    position[u] = a * half[u];
                    position[v] = b * half[v];
                    // The texture's second axis follows z where the face is upright.
                    let uv = if v == 2 {
                        [position[u], position[v]]
                    } else if u == 2 {
                        [position[v], position[u]]
                    } else {
                        [position[0], position[1]]
                    };
                    mesh.vertices.push(Vertex { position, normal, uv });
                }
                let [b, d] = if sign > 0.0 { [1, 3] } else { [3, 1] };
                mesh.triangles.push([first, first + b, first + 2]);
                mesh.triangles.push([first, first + 2, first + d]);
            }
        }
        mesh
    }

    /// A body of revolution about z. `profile` lists (radius, z) from the lower end to the upper,
    /// as seen with the body on the left of the path; `smooth` shares normals along it.
    pub fn lathe(profile: &[(f32, f32)], segments: u32, smooth: bool) -> Self {
        let slope = |i: usize| {
            let ((r0, z0), (r1, z1)) = (profile[i], profile[i + 1]);
            let (dr, dz) = (r1 - r0, z1 - z0);
            let length = dr.hypot(dz).max(1e-9);
            (dz / length, -dr / length) // (outward, up)
        };
        let mut mesh = Self::default();
        let last = profile.len() - 2;
        let mut along = 0.0;
        for i in 0..=last {
            let ((r0, z0), (r1, z1)) = (profile[i], profile[i + 1]);
            let blend = |a: (f32, f32), b: (f32, f32)| {
                let (x, y) = (a.0 + b.0, a.1 + b.1);
                let length = x.hypot(y).max(1e-9);
                (x / length, y / length)
            };
            let here = slope(i);
            let lower = if smooth && i > 0 { blend(here, slope(i - 1)) } else { here };
            let upper = if smooth && i < last { blend(here, slope(i + 1)) } else { here };
            let next = along + (r1 - r0).hypot(z1 - z0);
            let first = mesh.vertices.len() as u32;
            for s in 0..=segments {
                let angle = std::f32::consts::TAU * s as f32 / segments as f32;
                let (sin, cos) = angle.sin_cos();
                for (radius, z, (out, up), v) in [(r0, z0, lower, along), (r1, z1, upper, next)] {
                    mesh.vertices.push(Vertex {
                        position: Point3::new(radius * cos, radius * sin, z),
                        normal: Vector3::new(out * cos, out * sin, up),
                        uv: [angle * radius.max(0.01), v],
                    });
                }
            }
            for s in 0..segments {
                let a = first + 2 * s;
                if r0 > 0.0 {
                    mesh.triangles.push([a, a + 2, a + 3]);
                }
                if r1 > 0.0 {
                    mesh.triangles.push([a, a + 3, a + 1]);
                }
            }
            along = next;
        }
        mesh
    }

    /// A closed cylinder about z with its centre at the origin.
    pub fn cylinder(radius: f32, half_length: f32, segments: u32) -> Self {
        let (r, h) = (radius, half_length);
        let bevel = (0.15 * r).min(0.3 * h);
        let profile =
            [(0.0, -h), (r - bevel, -h), (r, bevel - h), (r, h - bevel), (r - bevel, h), (0.0, h)];
        Self::lathe(&profile, segments, false)
    }

    /// A ball with its centre at the origin.
    pub fn ball(radius: f32, segments: u32) -> Self {
        Self::capsule(radius, 0.0, segments)
    }

    /// A capsule about z: a cylinder of the given half length with a half ball at either end.
    pub fn capsule(radius: f32, half_length: f32, segments: u32) -> Self {
        let rings = (segments / 4).max(2);
        let cap = |i: u32| (std::f32::consts::FRAC_PI_2 * i as f32 / rings as f32).sin_cos();
        let mut profile = Vec::new();
        for i in 0..=rings {
            let (sin, cos) = cap(i);
            profile.push((radius * sin, -half_length - radius * cos));
        }
        let from = u32::from(half_length <= 0.0);
        for i in from..=rings {
            let (sin, cos) = cap(rings - i);
            profile.push((radius * sin, half_length + radius * cos));
        }
        profile[0].0 = 0.0;
        if let Some(end) = profile.last_mut() {
            end.0 = 0.0;
        }
        Self::lathe(&profile, segments, true)
    }

    /// What a solid looks like, with `segments` around.
    pub fn solid(solid: &Solid, segments: u32) -> Self {
        match *solid {
            Solid::Cuboid(half) => Self::cuboid(half.map(|side| side as f32)),
            Solid::Cylinder(r, h) => Self::cylinder(r as f32, h as f32, segments),
            Solid::Capsule(r, h) => Self::capsule(r as f32, h as f32, segments),
            Solid::Ball(r) => Self::ball(r as f32, segments),
        }
    }

    /// The same mesh elsewhere.
    pub fn transformed(mut self, pose: &Isometry3<f32>) -> Self {
        for vertex in &mut self.vertices {
            vertex.position = pose * vertex.position;
            vertex.normal = pose * vertex.normal;
        }
        self
    }

    /// Adds another mesh to this one.
    pub fn append(&mut self, other: &Self) {
        let first = self.vertices.len() as u32;
        self.vertices.extend_from_slice(&other.vertices);
        self.triangles.extend(other.triangles.iter().map(|t| t.map(|i| i + first)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_triangle_faces_its_normals(mesh: &Mesh) {
        for triangle in &mesh.triangles {
            let [a, b, c] = triangle.map(|i| mesh.vertices[i as usize]);
            let face = (b.position - a.position).cross(&(c.position - a.position));
            let normal = a.normal + b.normal + c.normal;
            assert!(face.dot(&normal) > 0.0, "{triangle:?} is inside out");
        }
    }

    #[test]
    fn primitives_are_wound_outwards() {
        every_triangle_faces_its_normals(&Mesh::cuboid([1.0, 2.0, 3.0]));
        every_triangle_faces_its_normals(&Mesh::cylinder(0.5, 1.0, 12));
        every_triangle_faces_its_normals(&Mesh::capsule(0.5, 1.0, 12));
        every_triangle_faces_its_normals(&Mesh::ball(0.5, 12));
    }

    #[test]
    fn a_box_has_twelve_triangles() {
        assert_eq!(Mesh::cuboid([1.0; 3]).triangles.len(), 12);
    }
}
