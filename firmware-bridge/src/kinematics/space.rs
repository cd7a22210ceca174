//! What a policy's numbers say about the hand: where it is to be, or by how much it is to move.

use nalgebra::{Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion, Vector3};
use serde::{Deserialize, Serialize};

/// How a turn is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Three numbers: an axis as long as its angle in radians.
    AxisAngle,
    /// Six numbers: the first two columns of a rotation matrix, one after the other. They need not
    /// be at right angles or of length one.
    Rot6d,
}

/// Whose axes a movement is along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// The base's; the tip turns in place.
    #[default]
    Base,
    /// The tip's own.
    Tool,
}

/// What the numbers of an action mean: first x, y and z in metres, then a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionSpace {
    /// Where the tip is to be, in the base frame.
    PoseAbs(Turn),
    /// How the tip is to move from where it was last told to be.
    PoseDelta(Turn, Frame),
}

/// Why an action is no pose.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// Too few or too many numbers.
    #[error("a pose has {expected} numbers here, found {found}")]
    Count {
        /// How many it has.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// A number that is none.
    #[error("number {index} of a pose: expected a finite one, found {found}")]
    NotFinite {
        /// Which one.
        index: usize,
        /// What it is.
        found: f64,
    },
    /// Six numbers that fix no rotation.
    #[error("expected two columns of a rotation that are not parallel, found a sine of {sine:.1e}")]
    Degenerate {
        /// Sine of the angle between them; zero where one is zero.
        sine: f64,
    },
}

impl Turn {
    /// How many numbers it takes.
    pub fn dim(self) -> usize {
        match self {
            Self::AxisAngle => 3,
            Self::Rot6d => 6,
        }
    }

    /// A turn in its numbers.
    fn write(self, turn: &UnitQuaternion<f64>) -> Vec<f64> {
        match self {
            Self::AxisAngle => turn.scaled_axis().iter().copied().collect(),
            Self::Rot6d => {
                let matrix = turn.to_rotation_matrix();
                matrix.matrix().fixed_columns::<2>(0).iter().copied().collect()
            }
        }
    }

    fn read(self, numbers: &[f64]) -> Result<UnitQuaternion<f64>, ActionError> {
        match (self, numbers) {
            (Self::AxisAngle, &[x, y, z]) => {
                Ok(UnitQuaternion::from_scaled_axis(Vector3::new(x, y, z)))
            }
            (Self::Rot6d, &[a, b, c, d, e, f]) => {
                rotation(&Vector3::new(a, b, c), &Vector3::new(d, e, f))
            }
            _ => Err(ActionError::Count { expected: self.dim(), found: numbers.len() }),
        }
    }
}

/// The rotation whose first column points along `first` and whose second lies in the plane of both.
fn rotation(
    first: &Vector3<f64>,
    second: &Vector3<f64>,
) -> Result<UnitQuaternion<f64>, ActionError> {
    // Scaled first: numbers of any size are fine, as long as they are not zero.
    let unit = |v: &Vector3<f64>| (v / v.amax().max(f64::MIN_POSITIVE)).try_normalize(1e-12);
    let (Some(x), Some(other)) = (unit(first), unit(second)) else {
        return Err(ActionError::Degenerate { sine: 0.0 });
    };
    let normal = x.cross(&other);
    let sine = normal.norm();
    if sine < 1e-3 {
        return Err(ActionError::Degenerate { sine });
    }
    let z = normal / sine;
    let matrix = Matrix3::from_columns(&[x, z.cross(&x), z]);
    Ok(UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(matrix)))
}

impl ActionSpace {
    /// How many numbers an action has.
    pub fn dim(self) -> usize {
        let (Self::PoseAbs(turn) | Self::PoseDelta(turn, _)) = self;
        3 + turn.dim()
    }

    /// Where the tip is to be after an action, given where it was last told to be.
    ///
    /// # Errors
    ///
    /// When the action is no pose.
    pub fn apply(
        self,
        commanded: &Isometry3<f64>,
        action: &[f64],
    ) -> Result<Isometry3<f64>, ActionError> {
        let (expected, found) = (self.dim(), action.len());
        if expected != found {
            return Err(ActionError::Count { expected, found });
        }
        if let Some((index, &found)) = action.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            return Err(ActionError::NotFinite { index, found });
        }
        let &[x, y, z, ref turn @ ..] = action else {
            return Err(ActionError::Count { expected, found });
        };
        let shift = Translation3::new(x, y, z);
        Ok(match self {
            Self::PoseAbs(kind) => Isometry3::from_parts(shift, kind.read(turn)?),
            Self::PoseDelta(kind, Frame::Tool) => {
                renormalized(commanded * Isometry3::from_parts(shift, kind.read(turn)?))
            }
            Self::PoseDelta(kind, Frame::Base) => renormalized(Isometry3::from_parts(
                shift * commanded.translation,
                kind.read(turn)? * commanded.rotation,
            )),
        })
    }
}

impl ActionSpace {
    /// The action that [`apply`](Self::apply) makes `to` of `from` with.
    pub fn between(self, from: &Isometry3<f64>, to: &Isometry3<f64>) -> Vec<f64> {
        let (shift, turn) = match self {
            Self::PoseAbs(_) => (to.translation.vector, to.rotation),
            Self::PoseDelta(_, Frame::Tool) => {
                let step = from.inv_mul(to);
                (step.translation.vector, step.rotation)
            }
            Self::PoseDelta(_, Frame::Base) => {
                let shift = to.translation.vector - from.translation.vector;
                (shift, to.rotation * from.rotation.inverse())
            }
        };
        let (Self::PoseAbs(kind) | Self::PoseDelta(kind, _)) = self;
        shift.iter().copied().chain(kind.write(&turn)).collect()
    }
}

/// Thousands of products leave a quaternion a little off length one.
fn renormalized(mut pose: Isometry3<f64>) -> Isometry3<f64> {
    pose.rotation.renormalize();
    pose
}

/// How far a commanded pose may be ahead of the measured one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoseLeash {
    /// In metres.
    pub distance_m: f64,
    /// In radians.
    pub angle_rad: f64,
}

impl PoseLeash {
    /// The commanded pose, brought within the leash of the measured one, and whether it had to be.
    /// Deltas add up on what is commanded; without this they would run away from an arm that is
    /// stuck.
    pub fn hold(
        self,
        commanded: &Isometry3<f64>,
        measured: &Isometry3<f64>,
    ) -> (Isometry3<f64>, bool) {
        let ahead = commanded.translation.vector - measured.translation.vector;
        let (distance, mut taut, mut pose) = (ahead.norm(), false, *commanded);
        if distance > self.distance_m {
            let shift = ahead * (self.distance_m / distance);
            pose.translation = Translation3::from(measured.translation.vector + shift);
            taut = true;
        }
        let turn = measured.rotation.inverse() * commanded.rotation;
        if let Some((axis, angle)) = turn.axis_angle()
            && angle > self.angle_rad
        {
            pose.rotation =
                measured.rotation * UnitQuaternion::from_axis_angle(&axis, self.angle_rad);
            taut = true;
        }
        (pose, taut)
    }
}

#[cfg(test)]
mod tests;
