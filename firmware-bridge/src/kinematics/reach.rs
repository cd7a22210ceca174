//! Joint positions that bring the tip somewhere, found a little further every tick.
//!
//! Damped least squares from the last solution: near a singular pose, and far from the target, the
//! damping grows, so a step stays bounded. What is out of reach is approached. How much each axis
//! of the task counts is a weight, so that an arm of five joints need not turn as it cannot.

use nalgebra::{Isometry3, Matrix6, SMatrix, SVector, Vector3, Vector6};

use crate::kinematics::chain::{Chain, Jacobian, MAX_JOINTS};

/// One number per joint; those beyond the chain's joints are zero.
type Joints = SVector<f64, MAX_JOINTS>;

/// How to look for joint positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReachOptions {
    /// What an error in x, y and z counts, per metre. Zero leaves an axis free.
    pub position_weights: [f64; 3],
    /// What a turn about the tool's x, y and z counts, per radian. Zero leaves an axis free.
    pub orientation_weights: [f64; 3],
    /// Steps per tick.
    pub iterations: usize,
    /// Furthest that a joint goes in one tick, in radians or metres.
    pub max_step: f64,
    /// Condition number from which on the arm slows down.
    pub slow_from: f64,
    /// Condition number at which it goes no further.
    pub stop_at: f64,
    /// How near to a limit a joint begins to avoid it, in radians or metres.
    pub limit_margin: f64,
    /// Part of the way to the posture that joints go per step where the task leaves them free.
    pub posture_gain: f64,
}

impl Default for ReachOptions {
    /// Six axes, a radian counting as much as 0.2 m, three steps of 0.02 in all per tick.
    fn default() -> Self {
        Self {
            position_weights: [1.0; 3],
            orientation_weights: [0.2; 3],
            iterations: 3,
            max_step: 0.02,
            slow_from: 17.0,
            stop_at: 30.0,
            limit_margin: 0.1,
            posture_gain: 0.05,
        }
    }
}

impl ReachOptions {
    /// For an arm of five joints, whose hand cannot be turned freely about the vertical of its
    /// tool: orientation counts ten times less than position, so position is kept.
    pub fn five_joints() -> Self {
        Self { orientation_weights: [0.02; 3], ..Self::default() }
    }
}

/// How far the tip is from where it should be after a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reached {
    /// Distance, in metres.
    pub position_m: f64,
    /// Angle, in radians, of what the task weighs and of what it does not.
    pub angle_rad: f64,
    /// Largest by smallest of the singular values of the axes that count, a radian being worth 0.2 m
    /// of lever. It says how near a pose is at which the arm loses a direction.
    pub condition: f64,
    /// Part of the step that was taken, below 1 near such a pose.
    pub slowed_to: f64,
}

/// Why there is no step. The solution is as it was.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReachError {
    /// The target is no pose.
    #[error("expected a target of finite numbers, found {found}")]
    NotFinite {
        /// The first that is not.
        found: f64,
    },
    /// Not one position per joint.
    #[error("expected {expected} joint position(s), found {found}")]
    Count {
        /// Joints of the chain.
        expected: usize,
        /// How many came.
        found: usize,
    },
}

/// The joint positions that follow a pose.
#[derive(Debug, Clone)]
pub struct Reach {
    chain: Chain,
    options: ReachOptions,
    posture: Joints,
    solution: Joints,
}

/// What a radian is worth beside a metre when it is asked how near a singular pose is.
const LEVER_M: f64 = 0.2;
/// The largest damping, in the units of a weighted singular value.
const DAMPING: f64 = 0.02;
/// Below this smallest singular value damping sets in.
const DAMPED_BELOW: f64 = 0.02;

impl Reach {
    /// Follows poses with a chain, from a solution at zero; [`Reach::reset`] says where it is.
    /// Free directions are used to come near `posture`.
    ///
    /// # Errors
    ///
    /// When there is not one position per joint.
    pub fn new(chain: Chain, options: ReachOptions, posture: &[f64]) -> Result<Self, ReachError> {
        let (expected, found) = (chain.num_joints(), posture.len());
        if expected != found {
            return Err(ReachError::Count { expected, found });
        }
        finite(posture)?;
        let posture = Joints::from_iterator(padded(posture));
        Ok(Self { chain, options, posture, solution: Joints::zeros() })
    }

    /// The chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The joint positions found so far.
    pub fn solution(&self) -> &[f64] {
        &self.solution.as_slice()[..self.chain.num_joints()]
    }

    /// Begins anew from where the arm is.
    ///
    /// # Errors
    ///
    /// When there is not one finite position per joint.
    pub fn reset(&mut self, positions: &[f64]) -> Result<(), ReachError> {
        let (expected, found) = (self.chain.num_joints(), positions.len());
        if expected != found {
            return Err(ReachError::Count { expected, found });
        }
        finite(positions)?;
        self.solution = Joints::from_iterator(padded(positions));
        Ok(())
    }

    /// Goes one tick towards a pose of the tip, and says how far off it is then.
    ///
    /// # Errors
    ///
    /// When the target is not finite.
    pub fn step(&mut self, target: &Isometry3<f64>) -> Result<Reached, ReachError> {
        finite(target.translation.vector.as_slice())?;
        finite(target.rotation.coords.as_slice())?;
        let before = self.solution;
        let (mut condition, mut slowed_to) = (1.0, 1.0_f64);
        for _ in 0..self.options.iterations {
            let (step, task) = self.wanted(target);
            condition = task.condition;
            let next = self.within(before, self.solution + step);
            let share = self.share(condition, next);
            slowed_to = slowed_to.min(share);
            self.solution = self.within(before, self.solution + step * share);
        }
        let tip = self.chain.pose(self.solution());
        Ok(Reached {
            position_m: (tip.translation.vector - target.translation.vector).norm(),
            angle_rad: tip.rotation.angle_to(&target.rotation),
            condition,
            slowed_to,
        })
    }

    /// The step of damped least squares, and the task it is for.
    fn wanted(&self, target: &Isometry3<f64>) -> (Joints, Task) {
        let (tip, jacobian) = self.chain.jacobian(self.solution());
        let error = twist_between(&tip, target);
        let task = self.task(&tip, &jacobian);
        let error = task.weigh * error;
        let avoid = self.avoidance(&(task.jacobian.transpose() * error));
        // Joints near a limit that would go further count less, so others do their part.
        let weighted = task.jacobian * SMatrix::from_diagonal(&avoid);
        let damping = task.damping() + 1e-3 * error.norm_squared();
        let gram = weighted * task.jacobian.transpose();
        let Some(solver) = (gram + Matrix6::from_diagonal_element(damping)).cholesky() else {
            return (Joints::zeros(), task);
        };
        let towards = weighted.transpose() * solver.solve(&error);
        // The part of the way to the posture that moves the tip nowhere.
        let drift = (self.posture - self.solution) * self.options.posture_gain;
        let drift = drift - weighted.transpose() * solver.solve(&(task.jacobian * drift));
        let drift = if task.free { drift } else { Joints::zeros() };
        (towards + drift, task)
    }

    fn task(&self, tip: &Isometry3<f64>, jacobian: &Jacobian) -> Task {
        let weights = self.options.orientation_weights;
        let turn = tip.rotation.to_rotation_matrix();
        // Weights of a turn are those of the tool's axes.
        let tool = nalgebra::Matrix3::from_diagonal(&Vector3::from(weights));
        let turns = tool * turn.matrix().transpose();
        let mut weigh = Matrix6::zeros();
        let positions = Vector3::from(self.options.position_weights);
        weigh.fixed_view_mut::<3, 3>(0, 0).set_diagonal(&positions);
        weigh.fixed_view_mut::<3, 3>(3, 3).copy_from(&turns);
        let weighted = weigh * jacobian;
        let joints = self.chain.num_joints();
        // How near a singular pose is must not depend on the weights, only on what they leave out.
        let counts = |weight: &f64| f64::from(u8::from(*weight != 0.0));
        let [a, b, c] = self.options.position_weights.map(|weight| counts(&weight));
        let [d, e, f] = weights.map(|weight| LEVER_M * counts(&weight));
        let mut turned = *jacobian;
        let rates = turn.matrix().transpose() * jacobian.fixed_rows::<3>(3);
        turned.fixed_rows_mut::<3>(3).copy_from(&rates);
        let scaled = Matrix6::from_diagonal(&Vector6::new(a, b, c, d, e, f)) * turned;
        let axes = [a, b, c, d, e, f].iter().filter(|scale| **scale != 0.0).count();
        let (condition, smallest) = condition(&scaled, axes.min(joints));
        Task { weigh, jacobian: weighted, condition, smallest, free: joints > axes }
    }

    /// What of a step may be taken near a singular pose: all of it away from there.
    fn share(&self, condition: f64, next: Joints) -> f64 {
        let ReachOptions { slow_from, stop_at, .. } = self.options;
        if condition <= slow_from {
            return 1.0;
        }
        let (tip, jacobian) = self.chain.jacobian(&next.as_slice()[..self.chain.num_joints()]);
        let ahead = self.task(&tip, &jacobian).condition;
        if ahead < condition {
            return 1.0;
        }
        ((stop_at - condition) / (stop_at - slow_from)).clamp(0.0, 1.0)
    }

    /// How much each joint counts for a wish: less the nearer it is to the limit it would go to.
    fn avoidance(&self, wish: &Joints) -> Joints {
        let margin = self.options.limit_margin.max(f64::MIN_POSITIVE);
        let mut counts = Joints::zeros();
        for (i, joint) in self.chain.joints().iter().enumerate() {
            let position = self.solution[i];
            let room = if wish[i] > 0.0 { joint.max - position } else { position - joint.min };
            let room = (room / margin).clamp(0.0, 1.0);
            counts[i] = room * room * (3.0 - 2.0 * room);
        }
        counts
    }

    /// Positions within the joint limits, and no further than a tick's step from `before`. The
    /// whole step is shortened, so that its direction stays.
    fn within(&self, before: Joints, next: Joints) -> Joints {
        let step = next - before;
        let furthest = step.amax();
        let share =
            if furthest > self.options.max_step { self.options.max_step / furthest } else { 1.0 };
        let mut next = before + step * share;
        for ((next, before), joint) in next.iter_mut().zip(before.iter()).zip(self.chain.joints()) {
            // A joint that was found beyond its limit may come back at its own pace.
            *next = next.max(joint.min.min(*before)).min(joint.max.max(*before));
        }
        next
    }
}

/// A Jacobian with its rows weighted.
#[derive(Debug, Clone, Copy)]
struct Task {
    weigh: Matrix6<f64>,
    jacobian: Jacobian,
    condition: f64,
    smallest: f64,
    /// Whether there are more joints than axes that count.
    free: bool,
}

impl Task {
    /// None far from a singular pose, then growing smoothly.
    fn damping(&self) -> f64 {
        let near = (1.0 - (self.smallest / DAMPED_BELOW).powi(2)).max(0.0);
        1e-10 + near * DAMPING * DAMPING
    }
}

/// Largest by smallest of the first `rank` singular values, and the smallest.
fn condition(jacobian: &Jacobian, rank: usize) -> (f64, f64) {
    let mut squares = (jacobian * jacobian.transpose()).symmetric_eigenvalues();
    squares.as_mut_slice().sort_by(|a, b| b.total_cmp(a));
    let smallest = squares.as_slice().get(rank.saturating_sub(1)).copied();
    let smallest = smallest.unwrap_or(0.0).max(0.0).sqrt();
    let condition = if smallest > 0.0 { squares[0].sqrt() / smallest } else { f64::INFINITY };
    (condition, smallest)
}

/// The straight move and the turn, in the base frame, that take one pose to another.
pub fn twist_between(from: &Isometry3<f64>, to: &Isometry3<f64>) -> Vector6<f64> {
    let shift = to.translation.vector - from.translation.vector;
    let turn = (to.rotation * from.rotation.inverse()).scaled_axis();
    Vector6::new(shift.x, shift.y, shift.z, turn.x, turn.y, turn.z)
}

fn padded(positions: &[f64]) -> impl Iterator<Item = f64> {
    positions.iter().copied().chain(std::iter::repeat(0.0)).take(MAX_JOINTS)
}

fn finite(numbers: &[f64]) -> Result<(), ReachError> {
    match numbers.iter().find(|number| !number.is_finite()) {
        None => Ok(()),
        Some(&found) => Err(ReachError::NotFinite { found }),
    }
}

#[cfg(test)]
mod tests;
