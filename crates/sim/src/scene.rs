//! What the camera sees: the arm, the cabinet and the room, as bodies for the renderer.

use nalgebra::{Isometry3, Translation3, Vector3};

use crate::Task;
use crate::cabinet::{Cabinet, PANEL_HALF_DEPTH_M};
use crate::instances::Instance;
use crate::kinematics::{Arm, ArmPose, Part};
use crate::mesh::{Mesh, Solid};
use crate::render::{Body, Material, World};
use crate::shade::{Ground, Light};
use crate::texture::{Look, Texture};

/// What a body moves with.
#[derive(Debug, Clone, Copy)]
enum Anchor {
    Room,
    Panel,
    Arm(Part),
}

/// The bodies of one episode.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    world: World,
    anchors: Vec<Anchor>,
}

impl Scene {
    /// The scene of an instance whose cabinet stands somewhere. The light's direction is moved by
    /// `light_shift` and its strength multiplied by `brightness`.
    pub(crate) fn new(
        arm: &Arm,
        instance: &Instance,
        cabinet: &Cabinet,
        light_shift: [f64; 3],
        brightness: f32,
    ) -> Self {
        let seed = instance.index as u64;
        let linear = |rgb: [f32; 3]| rgb.map(|c| c * c);
        let toward = Vector3::from(instance.light.toward) + Vector3::from(light_shift);
        let mut scene = Self {
            world: World {
                bodies: Vec::new(),
                materials: Vec::new(),
                ground: Ground {
                    floor: Texture::bake(&instance.floor_look, seed ^ 0xf100),
                    wall: linear(instance.wall_rgb),
                    wall_x_m: 1.7,
                },
                light: Light {
                    toward: toward.normalize().cast(),
                    rgb: instance.light.rgb.map(|c| c * brightness),
                    ambient: instance.light.ambient * brightness,
                },
            },
            anchors: Vec::new(),
        };
        scene.add_cabinet(instance, cabinet, seed);
        scene.add_arm(arm);
        scene
    }

    /// Puts the arm and the panel where they are, for the next picture.
    pub(crate) fn place(&mut self, arm: &ArmPose, panel: &Isometry3<f64>) {
        for (body, anchor) in self.world.bodies.iter_mut().zip(&self.anchors) {
            body.pose = match anchor {
                Anchor::Room => Isometry3::identity(),
                Anchor::Panel => panel.cast(),
                Anchor::Arm(part) => arm.part(*part).cast(),
            };
        }
    }

    /// The bodies, their materials and the light.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    fn material(&mut self, look: &Look, seed: u64) -> usize {
        let material = Material { texture: Texture::bake(look, seed), gloss: look.gloss };
        self.world.materials.push(material);
        self.world.materials.len() - 1
    }

    fn add(&mut self, anchor: Anchor, material: usize, mesh: Mesh) {
        self.world.bodies.push(Body { mesh, material, pose: Isometry3::identity() });
        self.anchors.push(anchor);
    }

    /// The arm: one body per moving part and colour.
    fn add_arm(&mut self, arm: &Arm) {
        let mut known: Vec<(Part, [f32; 3], Mesh)> = Vec::new();
        for visual in arm.visuals() {
            let mesh = Mesh::solid(&visual.shape, 16).transformed(&visual.pose.cast());
            let same =
                known.iter_mut().find(|(part, rgb, _)| (*part, *rgb) == (visual.part, visual.rgb));
            if let Some((_, _, together)) = same {
                together.append(&mesh);
            } else {
                known.push((visual.part, visual.rgb, mesh));
            }
        }
        let mut colours: Vec<([f32; 3], usize)> = Vec::new();
        for (part, rgb, mesh) in known {
            let found = colours.iter().find(|(colour, _)| *colour == rgb).map(|(_, index)| *index);
            let material = found.unwrap_or_else(|| self.material(&Look::plain(rgb, 0.35), 1));
            if found.is_none() {
                colours.push((rgb, material));
            }
            self.add(Anchor::Arm(part), material, mesh);
        }
    }

    fn add_cabinet(&mut self, instance: &Instance, cabinet: &Cabinet, seed: u64) {
        let body = self.material(&instance.body_look, seed ^ 0xb0d1);
        let panel = self.material(&instance.panel_look, seed ^ 0x9a7e);
        let handle = self.material(&Look::plain(instance.handle_rgb, 0.6), 2);
        let dark = self.material(&Look::plain([0.10, 0.09, 0.09], 0.0), 3);
        let (body_pose, body_solid) = &cabinet.body;
        self.add(Anchor::Room, body, Mesh::solid(body_solid, 0).transformed(&body_pose.cast()));
        // The opening behind the panel.
        let [half_width, half_height] = instance.panel_half_m.map(|side| side as f32);
        let closed = cabinet.panel_pose(0.0);
        let face = closed * Translation3::new(2.0 * PANEL_HALF_DEPTH_M, 0.0, 0.0);
        let hole = Mesh::cuboid([0.002, half_width - 0.012, half_height - 0.012]);
        self.add(Anchor::Room, dark, hole.transformed(&face.cast()));
        let mut front = Mesh::solid(&cabinet.panel.1, 0).transformed(&cabinet.panel.0.cast());
        if instance.task == Task::Drawer {
            self.add_drawer_box(half_width, half_height, body);
            self.add_blind_fronts(instance, &closed, panel);
        } else {
            // A raised border, so that the door reads as a door.
            let border = Mesh::cuboid([0.004, half_width - 0.035, half_height - 0.035]);
            front.append(&border.transformed(&Isometry3::translation(-0.002, 0.0, 0.0)));
        }
        self.add(Anchor::Panel, panel, front);
        let mut pieces = Mesh::default();
        for (pose, solid) in instance.handle.pieces() {
            let pose = cabinet.panel_from_handle() * pose;
            pieces.append(&Mesh::solid(&solid, 12).transformed(&pose.cast()));
        }
        self.add(Anchor::Panel, handle, pieces);
    }

    /// The drawer behind its front: two sides, a bottom, a back.
    fn add_drawer_box(&mut self, half_width: f32, half_height: f32, material: usize) {
        let (w, h) = (half_width - 0.02, half_height - 0.03);
        let back = 2.0 * PANEL_HALF_DEPTH_M as f32;
        let depth = 0.13;
        let middle = back + depth;
        let mut drawer = Mesh::default();
        let mut wall = |half: [f32; 3], at: [f32; 3]| {
            let pose = Isometry3::translation(at[0], at[1], at[2]);
            drawer.append(&Mesh::cuboid(half).transformed(&pose));
        };
        wall([depth, 0.005, h], [middle, w, 0.0]);
        wall([depth, 0.005, h], [middle, -w, 0.0]);
        wall([depth, w, 0.005], [middle, 0.0, -h]);
        wall([0.005, w, h], [back + 2.0 * depth, 0.0, 0.0]);
        self.add(Anchor::Panel, material, drawer);
    }

    /// Fronts below the drawer, without handles, down to the floor.
    fn add_blind_fronts(&mut self, instance: &Instance, closed: &Isometry3<f64>, material: usize) {
        let [half_width, half_height] = instance.panel_half_m;
        let gap = 0.02;
        let space = closed.translation.z - half_height - gap - 0.04;
        let count = (space / (2.0 * half_height + gap)).round().max(1.0);
        let half = ((space - (count - 1.0) * gap) / count / 2.0).max(0.01);
        let solid = Solid::Cuboid([0.008, half_width, half]);
        for i in 0..count as usize {
            let z = 0.04 + half + i as f64 * (2.0 * half + gap);
            let pose = Isometry3::translation(
                closed.translation.x + 2.0 * PANEL_HALF_DEPTH_M,
                closed.translation.y,
                z,
            );
            self.add(Anchor::Room, material, Mesh::solid(&solid, 0).transformed(&pose.cast()));
        }
    }
}
