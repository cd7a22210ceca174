//! Handles: what the gripper takes hold of.
//!
//! A handle's frame lies on the panel: x runs along the handle, y across it (the gripper closes
//! along y), z out of the panel.

use nalgebra::{Isometry3, Translation3, UnitQuaternion, Vector3};

use crate::Split;
use crate::mesh::Solid;

/// The shape of a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandleKind {
    /// A round bar on two posts.
    Bar,
    /// A flat bar on two posts.
    Slab,
    /// A ball on a stem.
    Knob,
    /// A bow from one foot to the other.
    Arch,
    /// A short bar on one stem.
    Tee,
    /// A flat round knob.
    Disc,
    /// A ring that stands on the panel.
    Ring,
    /// A half shell, open to one side.
    Cup,
    /// A thin bar between two balls.
    Dumbbell,
    /// A cube on its edge.
    Diamond,
}

impl HandleKind {
    /// The kinds of a split. No kind is in both.
    pub fn of(split: Split) -> &'static [Self] {
        match split {
            Split::Train => &[Self::Bar, Self::Knob, Self::Slab, Self::Arch, Self::Tee, Self::Disc],
            Split::Heldout => &[Self::Ring, Self::Cup, Self::Dumbbell, Self::Diamond],
        }
    }

    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bar => "bar",
            Self::Slab => "slab",
            Self::Knob => "knob",
            Self::Arch => "arch",
            Self::Tee => "tee",
            Self::Disc => "disc",
            Self::Ring => "ring",
            Self::Cup => "cup",
            Self::Dumbbell => "dumbbell",
            Self::Diamond => "diamond",
        }
    }
}

/// A handle of some size.
#[derive(Debug, Clone, PartialEq)]
pub struct Handle {
    /// Its shape.
    pub kind: HandleKind,
    /// Extent along x; knobs have their own.
    pub length_m: f64,
    /// Radius of what is gripped.
    pub radius_m: f64,
    /// Distance of what is gripped from the panel.
    pub standoff_m: f64,
}

/// One solid of a handle, in the handle's frame.
pub type Piece = (Isometry3<f64>, Solid);

impl Handle {
    /// The solids that make it up.
    pub fn pieces(&self) -> Vec<Piece> {
        let (l, r, h) = (self.length_m / 2.0, self.radius_m, self.standoff_m);
        let stem = |x: f64| rod([x, 0.0, 0.0], [x, 0.0, h], 0.75 * r.min(0.011));
        match self.kind {
            HandleKind::Bar => {
                vec![rod([-l, 0.0, h], [l, 0.0, h], r), stem(-0.75 * l), stem(0.75 * l)]
            }
            HandleKind::Slab => {
                let block = |x: f64, half: [f64; 3], z: f64| {
                    (Isometry3::translation(x, 0.0, z), Solid::Cuboid(half))
                };
                let post = [0.8 * r, 0.7 * r, h / 2.0];
                vec![
                    block(0.0, [l, r, 0.8 * r], h),
                    block(-0.8 * l, post, h / 2.0),
                    block(0.8 * l, post, h / 2.0),
                ]
            }
            HandleKind::Knob => {
                let ball = (Isometry3::translation(0.0, 0.0, h), Solid::Ball(1.9 * r));
                vec![ball, rod([0.0; 3], [0.0, 0.0, h], 0.8 * r)]
            }
            HandleKind::Arch => {
                let at = |i: usize| {
                    let (sin, cos) = (std::f64::consts::PI * i as f64 / 8.0).sin_cos();
                    [l * cos, 0.0, h * sin.sqrt()]
                };
                (0..8).map(|i| rod(at(i), at(i + 1), r)).collect()
            }
            HandleKind::Tee => {
                vec![rod([-0.6 * l, 0.0, h], [0.6 * l, 0.0, h], 1.15 * r), stem(0.0)]
            }
            HandleKind::Disc => vec![
                (Isometry3::translation(0.0, 0.0, h), Solid::Cylinder(2.1 * r, 0.010)),
                rod([0.0; 3], [0.0, 0.0, h], 0.9 * r),
            ],
            HandleKind::Ring => {
                let radius = 0.034;
                let at = |i: usize| {
                    let (sin, cos) = (std::f64::consts::TAU * i as f64 / 12.0).sin_cos();
                    [radius * cos, 0.0, h + radius * sin]
                };
                let mut pieces: Vec<_> = (0..12).map(|i| rod(at(i), at(i + 1), 0.8 * r)).collect();
                pieces.push(rod([0.0; 3], [0.0, 0.0, h - radius], 1.3 * r));
                pieces
            }
            HandleKind::Cup => {
                // A quarter of a barrel: from the panel above to a lip in front.
                let depth = h + r;
                let mut pieces = Vec::new();
                for i in 0..4 {
                    let angle = std::f64::consts::FRAC_PI_2 * (f64::from(i) + 0.5) / 4.0;
                    let (sin, cos) = angle.sin_cos();
                    let middle = Translation3::new(0.0, 1.6 * r * (2.0 * cos - 1.0), depth * sin);
                    let tilt = (2.0 * 1.6 * r * sin).atan2(depth * cos);
                    let turn = UnitQuaternion::from_axis_angle(&Vector3::x_axis(), tilt);
                    let half_chord = 0.2 * (depth * cos).hypot(3.2 * r * sin) + 0.002;
                    pieces.push((
                        Isometry3::from_parts(middle, turn),
                        Solid::Cuboid([0.8 * l, 0.003, half_chord]),
                    ));
                }
                for x in [-0.8 * l, 0.8 * l] {
                    let side = Isometry3::translation(x, 0.35 * r, 0.42 * depth);
                    pieces.push((side, Solid::Cuboid([0.003, 1.1 * r, 0.42 * depth])));
                }
                pieces
            }
            HandleKind::Dumbbell => {
                let ball = |x: f64| (Isometry3::translation(x, 0.0, h), Solid::Ball(1.8 * r));
                let e = 0.034;
                vec![ball(-e), ball(e), rod([-e, 0.0, h], [e, 0.0, h], 0.9 * r), stem(0.0)]
            }
            HandleKind::Diamond => {
                let turn = UnitQuaternion::from_axis_angle(
                    &Vector3::z_axis(),
                    std::f64::consts::FRAC_PI_4,
                );
                let cube = Isometry3::from_parts(Translation3::new(0.0, 0.0, h), turn);
                vec![
                    (cube, Solid::Cuboid([1.5 * r, 1.5 * r, 0.017])),
                    rod([0.0; 3], [0.0, 0.0, h], 0.8 * r),
                ]
            }
        }
    }
}

/// A capsule from one point to another.
fn rod(from: [f64; 3], to: [f64; 3], radius: f64) -> Piece {
    let (from, to) = (Vector3::from(from), Vector3::from(to));
    let along = to - from;
    let turn = UnitQuaternion::rotation_between(&Vector3::z(), &along).unwrap_or_else(|| {
        UnitQuaternion::from_axis_angle(&Vector3::x_axis(), std::f64::consts::PI)
    });
    let pose = Isometry3::from_parts(Translation3::from((from + to) / 2.0), turn);
    (pose, Solid::Capsule(radius, along.norm() / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_of_handle_is_in_both_splits() {
        for kind in HandleKind::of(Split::Heldout) {
            assert!(!HandleKind::of(Split::Train).contains(kind), "{kind:?}");
        }
    }

    #[test]
    fn a_bar_is_one_rod_on_two_posts() {
        let handle =
            Handle { kind: HandleKind::Bar, length_m: 0.12, radius_m: 0.01, standoff_m: 0.05 };
        let pieces = handle.pieces();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[0].1, Solid::Capsule(0.01, 0.06));
        assert_eq!(pieces[0].0.translation.vector, Vector3::new(0.0, 0.0, 0.05));
    }
}
