//! The cabinets: 21 to train on and 12 (drawer) or 8 (door) held out, each a function of its index.
//!
//! Held-out instances differ in what training never shows: their kinds of handle, their patterns
//! and their range of hues. Sizes, light and camera are drawn from the same ranges for both.

use crate::draw::Draw;
use crate::handle::{Handle, HandleKind};
use crate::texture::{Look, Pattern};
use crate::{Split, Task};

/// Where a camera stands and what it looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraPlan {
    /// Its place in metres, in the arm's base frame.
    pub eye_m: [f64; 3],
    /// What is in the middle of its picture.
    pub target_m: [f64; 3],
    /// Its vertical angle of view.
    pub fov_rad: f64,
}

/// The sun of a scene.
#[derive(Debug, Clone, PartialEq)]
pub struct LightPlan {
    /// Which way it stands, not normalised.
    pub toward: [f64; 3],
    /// Its colour times its strength, linear.
    pub rgb: [f32; 3],
    /// Light from everywhere, linear.
    pub ambient: f32,
}

/// One cabinet and the room it stands in.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Drawer or door.
    pub task: Task,
    /// Whether training shows it.
    pub split: Split,
    /// Its number in the split.
    pub index: usize,
    /// The handle.
    pub handle: Handle,
    /// Colour of the handle.
    pub handle_rgb: [f32; 3],
    /// Half the width and half the height of the drawer's front or the door.
    pub panel_half_m: [f64; 2],
    /// Where the handle is on it: to the left, upwards.
    pub handle_offset_m: [f64; 2],
    /// Where the handle is in the room before a reset moves the cabinet.
    pub handle_place_m: [f64; 3],
    /// For a door: whether it hangs on its left side, as the arm sees it.
    pub hinge_left: bool,
    /// Width of the cabinet's frame around the panel.
    pub frame_m: f64,
    /// Looks of the panel.
    pub panel_look: Look,
    /// Looks of the cabinet.
    pub body_look: Look,
    /// Looks of the floor.
    pub floor_look: Look,
    /// Colour of the wall behind.
    pub wall_rgb: [f32; 3],
    /// The light.
    pub light: LightPlan,
    /// The camera.
    pub camera: CameraPlan,
    /// Force (drawer, N) or torque (door, Nm) that keeps the panel where it is.
    pub friction: f64,
}

/// How many instances a task has in a split.
pub fn num_instances(task: Task, split: Split) -> usize {
    match (task, split) {
        (_, Split::Train) => 21,
        (Task::Drawer, Split::Heldout) => 12,
        (Task::Door, Split::Heldout) => 8,
    }
}

impl Instance {
    /// The instance of that number; the same at every call.
    pub fn new(task: Task, split: Split, index: usize) -> Self {
        let mut draw = Draw::new([0x1257, task as u64, split as u64, index as u64]);
        let kinds = HandleKind::of(split);
        let kind = kinds[index % kinds.len()];
        let handle = Handle {
            kind,
            length_m: draw.within(0.09, 0.15),
            radius_m: draw.within(0.009, 0.0125),
            standoff_m: draw.within(0.042, 0.052),
        };
        let hinge_left = index % 3 == 2;
        let panel_half_m = match task {
            Task::Drawer => [draw.within(0.20, 0.26), draw.within(0.085, 0.11)],
            Task::Door => [draw.within(0.17, 0.20), draw.within(0.20, 0.26)],
        };
        let handle_offset_m = match task {
            Task::Drawer => [draw.about(0.02), draw.about(0.015)],
            Task::Door => {
                let side = if hinge_left { -1.0 } else { 1.0 };
                [side * (panel_half_m[0] - draw.within(0.045, 0.06)), draw.about(0.05)]
            }
        };
        let patterns = Pattern::of(split);
        let panel_look = look(&mut draw, split, patterns[(index / kinds.len() + index) % 4]);
        let body_pattern = *draw.pick(patterns);
        let mut body_look = look(&mut draw, split, body_pattern);
        // The frame is a shade of its own, quieter than the panel.
        for rgb in [&mut body_look.main, &mut body_look.other] {
            *rgb = rgb.map(|c| 0.75 * c + 0.05);
        }
        let floor_pattern = *draw.pick(patterns);
        let mut floor_look = look(&mut draw, split, floor_pattern);
        (floor_look.tile_m, floor_look.gloss) = (0.6, 0.1);
        for rgb in [&mut floor_look.main, &mut floor_look.other] {
            let grey = (rgb[0] + rgb[1] + rgb[2]) / 3.0;
            *rgb = rgb.map(|c| 0.5 * c + 0.5 * grey);
        }
        let wall = draw.within(0.55, 0.85) as f32;
        let wall_rgb = [0, 1, 2].map(|_| wall + draw.about(0.06) as f32);
        let strength = draw.within(0.75, 1.05) as f32;
        let warmth = draw.about(0.08) as f32;
        Self {
            task,
            split,
            index,
            handle_rgb: handle_rgb(&mut draw, split, &panel_look),
            handle,
            panel_half_m,
            handle_offset_m,
            handle_place_m: [0.70, draw.about(0.02), 0.43 + draw.about(0.02)],
            hinge_left,
            frame_m: draw.within(0.02, 0.05),
            panel_look,
            body_look,
            floor_look,
            wall_rgb,
            light: LightPlan {
                toward: [-1.0, draw.within(-0.9, 0.5), draw.within(1.2, 1.9)],
                rgb: [strength * (1.0 + warmth), strength, strength * (1.0 - warmth)],
                ambient: draw.within(0.30, 0.42) as f32,
            },
            camera: CameraPlan {
                eye_m: [0.06 + draw.about(0.03), -0.46 + draw.about(0.03), 0.80 + draw.about(0.03)],
                target_m: [0.585 + draw.about(0.01), draw.about(0.01), 0.43],
                fov_rad: draw.within(0.62, 0.65),
            },
            friction: match task {
                Task::Drawer => draw.within(2.0, 4.0),
                Task::Door => draw.within(0.5, 1.0),
            },
        }
    }

    /// Its name: task, split, number, handle.
    pub fn name(&self) -> String {
        let (task, split, kind) = (self.task.name(), self.split.name(), self.handle.kind.name());
        format!("{task}-{split}-{:02}-{kind}", self.index)
    }

    /// How far it must open: metres for a drawer, radians for a door.
    pub fn success_opening(&self) -> f64 {
        match self.task {
            Task::Drawer => 0.09,
            Task::Door => 0.35,
        }
    }
}

fn look(draw: &mut Draw, split: Split, pattern: Pattern) -> Look {
    // Training shows reds to yellows, greens and blues; held out are teals, purples and pinks.
    let (low, high) = *match split {
        Split::Train => draw.pick(&[(5.0, 55.0), (10.0, 50.0), (95.0, 130.0), (195.0, 230.0)]),
        Split::Heldout => draw.pick(&[(150.0, 180.0), (260.0, 290.0), (300.0, 340.0)]),
    };
    let hue = draw.within(low, high);
    let (saturation, value) = (draw.within(0.15, 0.6), draw.within(0.35, 0.9));
    let main = hsv(hue, saturation, value);
    let darker = draw.within(0.60, 0.78);
    let other = hsv(hue + draw.about(15.0), saturation, value * darker);
    let tile_m = draw.within(0.14, 0.26) as f32;
    Look { pattern, main, other, tile_m, gloss: draw.within(0.05, 0.35) as f32 }
}

/// The colour of the split's handles that stands out most, or nearly, from the panel.
fn handle_rgb(draw: &mut Draw, split: Split, panel: &Look) -> [f32; 3] {
    let known: [[f32; 3]; 4] = match split {
        Split::Train => {
            [[0.10, 0.10, 0.11], [0.84, 0.85, 0.88], [0.90, 0.72, 0.28], [0.30, 0.14, 0.08]]
        }
        Split::Heldout => {
            [[0.08, 0.12, 0.32], [0.97, 0.96, 0.90], [0.86, 0.48, 0.32], [0.12, 0.28, 0.14]]
        }
    };
    let light = |rgb: [f32; 3]| 0.3 * rgb[0] + 0.6 * rgb[1] + 0.1 * rgb[2];
    let panel = 0.6 * light(panel.main) + 0.4 * light(panel.other);
    let apart: Vec<_> =
        known.into_iter().filter(|rgb| (light(*rgb) - panel).abs() > 0.28).collect();
    if apart.is_empty() { known[0] } else { *draw.pick(&apart) }
}

fn hsv(hue_deg: f64, saturation: f64, value: f64) -> [f32; 3] {
    [5.0, 3.0, 1.0].map(|n: f64| {
        let k = (n + hue_deg / 60.0).rem_euclid(6.0);
        (value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_as_many_as_the_paper_has() {
        assert_eq!(num_instances(Task::Drawer, Split::Train), 21);
        assert_eq!(num_instances(Task::Drawer, Split::Heldout), 12);
        assert_eq!(num_instances(Task::Door, Split::Heldout), 8);
    }

    #[test]
    fn an_instance_is_a_function_of_its_index() {
        let here = Instance::new(Task::Door, Split::Train, 4);
        assert_eq!(here, Instance::new(Task::Door, Split::Train, 4));
        assert_ne!(here.panel_look, Instance::new(Task::Door, Split::Train, 5).panel_look);
        assert_eq!(here.name(), "door-train-04-tee");
    }

    #[test]
    fn held_out_instances_show_no_handle_and_no_pattern_of_training() {
        for task in [Task::Drawer, Task::Door] {
            let all =
                |split| (0..num_instances(task, split)).map(move |i| Instance::new(task, split, i));
            for held in all(Split::Heldout) {
                for train in all(Split::Train) {
                    assert_ne!(held.handle.kind, train.handle.kind);
                    assert_ne!(held.panel_look.pattern, train.panel_look.pattern);
                    assert_ne!(held.handle_rgb, train.handle_rgb);
                }
            }
        }
    }

    #[test]
    fn pure_hues_are_red_green_and_blue() {
        assert_eq!(hsv(0.0, 1.0, 1.0), [1.0, 0.0, 0.0]);
        assert_eq!(hsv(120.0, 1.0, 1.0), [0.0, 1.0, 0.0]);
        assert_eq!(hsv(240.0, 1.0, 1.0), [0.0, 0.0, 1.0]);
    }
}
