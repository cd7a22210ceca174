//! The joints from an arm's base to its hand, as a URDF has them.

use std::path::{Path, PathBuf};

use nalgebra::{Isometry3, SMatrix, Translation3, Unit, UnitQuaternion, Vector3};
use urdf_rs::JointType;

use crate::description::ArmDescription;

/// The most moving joints of a chain.
pub const MAX_JOINTS: usize = 8;
/// The most frames of a chain: the base, and what each joint holds, fixed ones too.
pub const MAX_FRAMES: usize = 24;

/// How the tip moves with each joint: three rows of velocity in metres per second, three of
/// turning rate in radians per second, in the base frame; columns beyond the joints are zero.
pub type Jacobian = SMatrix<f64, 6, MAX_JOINTS>;

/// Why a URDF is no chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// It cannot be read or is no URDF.
    #[error("the URDF is of no use: {detail} (path: {path:?})")]
    Urdf {
        /// The file; empty for a text in memory.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The tip is not in it.
    #[error("the URDF has no link {tip:?}: known are {known}")]
    Tip {
        /// What was asked for.
        tip: String,
        /// What there is.
        known: String,
    },
    /// A joint on the way to the tip is of no use.
    #[error("joint {joint} of the URDF: {detail}")]
    Joint {
        /// Its name.
        joint: String,
        /// What was expected and what was found.
        detail: String,
    },
    /// Too much between the base and the tip.
    #[error("expected 1 to {expected} {what} between the base and the tip, found {found}")]
    Count {
        /// Of what.
        what: &'static str,
        /// The most.
        expected: usize,
        /// How many.
        found: usize,
    },
    /// The description's joints are not those of the chain.
    #[error("the URDF's joints to the tip are {found}, the description's begin {expected}")]
    Names {
        /// Of the description.
        expected: String,
        /// Of the chain.
        found: String,
    },
}

/// What a joint of a chain does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Motion {
    Fixed,
    Turns(Unit<Vector3<f64>>),
    Slides(Unit<Vector3<f64>>),
}

#[derive(Debug, Clone)]
struct Segment {
    link: String,
    origin: Isometry3<f64>,
    motion: Motion,
}

/// A moving joint of a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainJoint {
    /// Its name in the URDF.
    pub name: String,
    /// Smallest position, in radians or metres; minus infinity for one that turns for ever.
    pub min: f64,
    /// Largest position.
    pub max: f64,
}

/// The joints from the root of a URDF to one of its links.
#[derive(Debug, Clone)]
pub struct Chain {
    base: String,
    segments: Vec<Segment>,
    joints: Vec<ChainJoint>,
}

impl Chain {
    /// The chain of a description: `urdf` up to `tip`. `None` where it has neither.
    ///
    /// # Errors
    ///
    /// When the URDF is of no use, or its joints are not the description's first ones.
    pub fn of(arm: &ArmDescription) -> Result<Option<Self>, ChainError> {
        let (Some(path), Some(tip)) = (&arm.urdf, &arm.tip) else { return Ok(None) };
        let bad = |detail: String| ChainError::Urdf { path: path.clone(), detail };
        let text = arm.urdf_text().map_err(|error| bad(error.to_string()))?.unwrap_or_default();
        let chain = Self::parse(&text, tip).map_err(|error| match error {
            ChainError::Urdf { detail, .. } => bad(detail),
            error => error,
        })?;
        let same = chain.joints.len() <= arm.joints.len()
            && chain.joints.iter().zip(&arm.joints).all(|(a, b)| a.name == b.name);
        if !same {
            let expected: Vec<_> = arm.joints.iter().map(|joint| joint.name.as_str()).collect();
            let found: Vec<_> = chain.joints.iter().map(|joint| joint.name.as_str()).collect();
            let (expected, found) = (expected.join(", "), found.join(", "));
            return Err(ChainError::Names { expected, found });
        }
        Ok(Some(chain))
    }

    /// Reads a URDF file.
    ///
    /// # Errors
    ///
    /// See [`ChainError`].
    pub fn read(path: &Path, tip: &str) -> Result<Self, ChainError> {
        let bad = |detail: String| ChainError::Urdf { path: path.into(), detail };
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        Self::parse(&text, tip).map_err(|error| match error {
            ChainError::Urdf { detail, .. } => bad(detail),
            error => error,
        })
    }

    /// Reads the text of a URDF.
    ///
    /// # Errors
    ///
    /// See [`ChainError`].
    pub fn parse(text: &str, tip: &str) -> Result<Self, ChainError> {
        let bad = |detail: String| ChainError::Urdf { path: PathBuf::new(), detail };
        let robot = urdf_rs::read_from_string(text).map_err(|error| bad(error.to_string()))?;
        if !robot.links.iter().any(|link| link.name == tip) {
            let known: Vec<_> = robot.links.iter().map(|link| link.name.as_str()).collect();
            return Err(ChainError::Tip { tip: tip.into(), known: known.join(", ") });
        }
        let (mut path, mut link) = (Vec::new(), tip);
        while let Some(joint) = robot.joints.iter().find(|joint| joint.child.link == link) {
            link = &joint.parent.link;
            path.push(joint);
            if path.len() >= MAX_FRAMES {
                let (expected, found) = (MAX_FRAMES - 1, path.len());
                return Err(ChainError::Count { what: "joints, fixed ones too,", expected, found });
            }
        }
        let mut chain = Self { base: link.into(), segments: Vec::new(), joints: Vec::new() };
        for joint in path.into_iter().rev() {
            chain.push(joint)?;
        }
        let found = chain.joints.len();
        if !(1..=MAX_JOINTS).contains(&found) {
            return Err(ChainError::Count { what: "moving joints", expected: MAX_JOINTS, found });
        }
        Ok(chain)
    }

    fn push(&mut self, joint: &urdf_rs::Joint) -> Result<(), ChainError> {
        let bad = |detail| Err(ChainError::Joint { joint: joint.name.clone(), detail });
        let (xyz, rpy) = (joint.origin.xyz.0, joint.origin.rpy.0);
        if xyz.iter().chain(&rpy).any(|number| !number.is_finite()) {
            return bad(format!("expected a finite origin, found {xyz:?} and {rpy:?}"));
        }
        let moves = joint.joint_type != JointType::Fixed;
        let axis = Unit::try_new(Vector3::from(joint.axis.xyz.0), 1e-6);
        let (mut min, mut max) = (joint.limit.lower, joint.limit.upper);
        let motion = match (&joint.joint_type, axis) {
            (JointType::Fixed, _) => Motion::Fixed,
            (JointType::Revolute, Some(axis)) => Motion::Turns(axis),
            (JointType::Prismatic, Some(axis)) => Motion::Slides(axis),
            (JointType::Continuous, Some(axis)) => {
                (min, max) = (f64::NEG_INFINITY, f64::INFINITY);
                Motion::Turns(axis)
            }
            (JointType::Revolute | JointType::Prismatic | JointType::Continuous, None) => {
                return bad(format!("expected an axis, found {:?}", joint.axis.xyz.0));
            }
            (other, _) => {
                return bad(format!(
                    "expected revolute, continuous, prismatic or fixed, found {other:?}"
                ));
            }
        };
        if moves && joint.mimic.is_some() {
            return bad("it mimics another, which is not supported on the way to the tip".into());
        }
        if moves && (min >= max || min.is_nan() || max.is_nan()) {
            return bad(format!("expected a range of positions, found {min} to {max}"));
        }
        if moves {
            self.joints.push(ChainJoint { name: joint.name.clone(), min, max });
        }
        let origin = Isometry3::from_parts(
            Translation3::from(xyz),
            UnitQuaternion::from_euler_angles(rpy[0], rpy[1], rpy[2]),
        );
        self.segments.push(Segment { link: joint.child.link.clone(), origin, motion });
        Ok(())
    }

    /// How many joints move.
    pub fn num_joints(&self) -> usize {
        self.joints.len()
    }

    /// The moving joints, from the base outwards.
    pub fn joints(&self) -> &[ChainJoint] {
        &self.joints
    }

    /// How many frames there are: the base and what each joint holds.
    pub fn num_frames(&self) -> usize {
        self.segments.len() + 1
    }

    /// The link of a frame; the base is 0.
    pub fn link(&self, frame: usize) -> Option<&str> {
        match frame.checked_sub(1) {
            None => Some(&self.base),
            Some(segment) => self.segments.get(segment).map(|segment| segment.link.as_str()),
        }
    }

    /// The first frame that a second moving joint can move: what the first holds turns in place.
    /// One past the first for a chain of one joint.
    pub fn first_moving(&self) -> usize {
        let moves = |segment: &Segment| segment.motion != Motion::Fixed;
        self.segments.iter().position(moves).map_or(1, |segment| segment + 2)
    }

    /// Where the tip is. Positions that are missing count as zero.
    pub fn pose(&self, positions: &[f64]) -> Isometry3<f64> {
        self.walk(positions, |_, _, _| {})
    }

    /// Where every frame is, the base first and the tip last. Frames beyond the room that is given
    /// are left out; there are at most [`MAX_FRAMES`].
    pub fn frames<'a>(
        &self,
        positions: &[f64],
        room: &'a mut [Isometry3<f64>],
    ) -> &'a [Isometry3<f64>] {
        if let Some(base) = room.first_mut() {
            *base = Isometry3::identity();
        }
        self.walk(positions, |segment, frame, _| {
            if let Some(place) = room.get_mut(segment + 1) {
                *place = *frame;
            }
        });
        let count = self.num_frames().min(room.len());
        &room[..count]
    }

    /// Where the tip is, and how it moves with each joint.
    pub fn jacobian(&self, positions: &[f64]) -> (Isometry3<f64>, Jacobian) {
        let mut jacobian = Jacobian::zeros();
        let mut joint = 0;
        // First where each axis is and where it points, then how the tip turns round it.
        let tip = self.walk(positions, |_, frame, motion| {
            let (axis, turns) = match motion {
                Motion::Fixed => return,
                Motion::Turns(axis) => (frame * axis.into_inner(), true),
                Motion::Slides(axis) => (frame * axis.into_inner(), false),
            };
            let mut column = jacobian.column_mut(joint);
            if turns {
                column.fixed_rows_mut::<3>(0).copy_from(&frame.translation.vector);
                column.fixed_rows_mut::<3>(3).copy_from(&axis);
            } else {
                column.fixed_rows_mut::<3>(0).copy_from(&axis);
            }
            joint += 1;
        });
        for mut column in jacobian.column_iter_mut() {
            let axis: Vector3<f64> = column.fixed_rows::<3>(3).into();
            if axis != Vector3::zeros() {
                let from: Vector3<f64> = column.fixed_rows::<3>(0).into();
                let velocity = axis.cross(&(tip.translation.vector - from));
                column.fixed_rows_mut::<3>(0).copy_from(&velocity);
            }
        }
        (tip, jacobian)
    }

    fn walk(
        &self,
        positions: &[f64],
        mut visit: impl FnMut(usize, &Isometry3<f64>, Motion),
    ) -> Isometry3<f64> {
        let mut positions = positions.iter().copied();
        let mut frame = Isometry3::identity();
        for (i, segment) in self.segments.iter().enumerate() {
            frame *= segment.origin;
            match segment.motion {
                Motion::Fixed => {}
                Motion::Turns(axis) => {
                    let angle = positions.next().unwrap_or(0.0);
                    frame *= UnitQuaternion::from_axis_angle(&axis, angle);
                }
                Motion::Slides(axis) => {
                    let shift = positions.next().unwrap_or(0.0);
                    frame *= Translation3::from(axis.into_inner() * shift);
                }
            }
            visit(i, &frame, segment.motion);
        }
        frame
    }
}

#[cfg(test)]
mod tests;
