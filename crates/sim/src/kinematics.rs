//! The arm: its joints from a URDF, where its links are, and which joint angles reach a pose.

use nalgebra::{Isometry3, Matrix6, Translation3, Unit, UnitQuaternion, Vector3, Vector6};

use crate::SimError;
use crate::mesh::Solid;

/// Joints of the arm, the gripper not among them.
pub const NUM_JOINTS: usize = 6;

/// One angle per joint, in radians.
pub type Joints = [f64; NUM_JOINTS];

const URDF: &str = include_str!("../assets/arm.urdf");

/// One revolute joint.
#[derive(Debug, Clone)]
pub struct Joint {
    /// Its name in the URDF.
    pub name: String,
    /// The joint's frame at angle zero, in the frame of the joint before it.
    pub origin: Isometry3<f64>,
    /// What it turns about, in its own frame.
    pub axis: Unit<Vector3<f64>>,
    /// Smallest angle.
    pub lower_rad: f64,
    /// Largest angle.
    pub upper_rad: f64,
    /// Largest speed.
    pub velocity_rad_s: f64,
}

/// Which moving part of the arm a body belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The base (0) or what the joint of that number, counted from one, moves.
    Link(usize),
    /// The left finger, which opens along the hand's y.
    FingerLeft,
    /// The right finger.
    FingerRight,
}

/// A body rigidly fixed to a part of the arm.
#[derive(Debug, Clone)]
pub struct LinkBody {
    /// The part it moves with.
    pub part: Part,
    /// Where it is on that part.
    pub pose: Isometry3<f64>,
    /// Its shape.
    pub shape: Solid,
    /// Its colour, red green blue from 0 to 1.
    pub rgb: [f32; 3],
}

/// A six-joint arm with a parallel gripper.
#[derive(Debug, Clone)]
pub struct Arm {
    joints: Vec<Joint>,
    tcp: Isometry3<f64>,
    finger_mount: Isometry3<f64>,
    finger_travel_m: f64,
    finger_speed_m_s: f64,
    visuals: Vec<LinkBody>,
    collisions: Vec<LinkBody>,
}

/// Where every part of the arm is.
#[derive(Debug, Clone)]
pub struct ArmPose {
    /// The base, then what each joint moves.
    pub links: [Isometry3<f64>; NUM_JOINTS + 1],
    /// The point between the fingers; x points where the hand points, y to the left finger.
    pub tcp: Isometry3<f64>,
    /// The left and the right finger.
    pub fingers: [Isometry3<f64>; 2],
}

impl ArmPose {
    /// Where a part is.
    pub fn part(&self, part: Part) -> &Isometry3<f64> {
        match part {
            Part::Link(index) => &self.links[index],
            Part::FingerLeft => &self.fingers[0],
            Part::FingerRight => &self.fingers[1],
        }
    }
}

impl Arm {
    /// The arm that the simulator ships.
    ///
    /// # Errors
    ///
    /// As [`Arm::from_urdf`].
    pub fn embedded() -> Result<Self, SimError> {
        Self::from_urdf(URDF)
    }

    /// Reads an arm: six revolute joints from the root to a link called `tcp`, and two prismatic
    /// fingers on the last moving link.
    ///
    /// # Errors
    ///
    /// When the text is no URDF or not such an arm.
    pub fn from_urdf(text: &str) -> Result<Self, SimError> {
        let bad = |reason: String| SimError::Urdf { reason };
        let robot = urdf_rs::read_from_string(text).map_err(|error| bad(error.to_string()))?;
        // From the tcp up to the root.
        let (mut chain, mut link) = (Vec::new(), "tcp".to_owned());
        while let Some(joint) = robot.joints.iter().find(|joint| joint.child.link == link) {
            link.clone_from(&joint.parent.link);
            chain.push(joint);
            if chain.len() > robot.joints.len() {
                return Err(bad("the links form a loop".into()));
            }
        }
        chain.reverse();
        let mut parts = vec![(link, Part::Link(0))];
        let (mut joints, mut since) = (Vec::new(), Isometry3::identity());
        for joint in chain {
            since *= isometry(&joint.origin);
            if joint.joint_type == urdf_rs::JointType::Fixed {
                continue;
            }
            let axis = Unit::try_new(Vector3::from(joint.axis.xyz.0), 1e-9)
                .ok_or_else(|| bad(format!("joint `{}` has no axis", joint.name)))?;
            joints.push(Joint {
                name: joint.name.clone(),
                origin: std::mem::replace(&mut since, Isometry3::identity()),
                axis,
                lower_rad: joint.limit.lower,
                upper_rad: joint.limit.upper,
                velocity_rad_s: joint.limit.velocity,
            });
            parts.push((joint.child.link.clone(), Part::Link(joints.len())));
        }
        if joints.len() != NUM_JOINTS {
            return Err(bad(format!(
                "expected {NUM_JOINTS} joints to `tcp`, found {}",
                joints.len()
            )));
        }
        let hand = parts[NUM_JOINTS].0.clone();
        let fingers: Vec<_> = robot
            .joints
            .iter()
            .filter(|j| j.parent.link == hand && j.joint_type == urdf_rs::JointType::Prismatic)
            .collect();
        let [left, right] = fingers[..] else {
            return Err(bad(format!("expected 2 fingers on `{hand}`, found {}", fingers.len())));
        };
        parts.push((left.child.link.clone(), Part::FingerLeft));
        parts.push((right.child.link.clone(), Part::FingerRight));
        let mut arm = Self {
            joints,
            tcp: since,
            finger_mount: isometry(&left.origin),
            finger_travel_m: left.limit.upper,
            finger_speed_m_s: left.limit.velocity,
            visuals: Vec::new(),
            collisions: Vec::new(),
        };
        for link in &robot.links {
            let Some((_, part)) = parts.iter().find(|(name, _)| *name == link.name) else {
                continue;
            };
            for visual in &link.visual {
                let named = visual.material.as_ref();
                let rgb = named.and_then(|m| {
                    let shared = robot.materials.iter().find(|known| known.name == m.name);
                    m.color.clone().or_else(|| shared.and_then(|known| known.color.clone()))
                });
                let rgb = rgb.map_or([0.7; 3], |c| [0, 1, 2].map(|i| c.rgba.0[i] as f32));
                arm.visuals.push(body(*part, &visual.origin, &visual.geometry, rgb)?);
            }
            for collision in &link.collision {
                arm.collisions.push(body(*part, &collision.origin, &collision.geometry, [0.0; 3])?);
            }
        }
        Ok(arm)
    }

    /// The joints, from the base outwards.
    pub fn joints(&self) -> &[Joint] {
        &self.joints
    }

    /// What the arm looks like.
    pub fn visuals(&self) -> &[LinkBody] {
        &self.visuals
    }

    /// What of the arm touches things.
    pub fn collisions(&self) -> &[LinkBody] {
        &self.collisions
    }

    /// Fastest change of the gripper, whole strokes per second.
    pub fn gripper_speed_hz(&self) -> f64 {
        self.finger_speed_m_s / self.finger_travel_m
    }

    /// Where everything is. `gripper` runs from 0 (open) to 1 (closed).
    pub fn pose(&self, angles: &Joints, gripper: f64) -> ArmPose {
        let mut links = [Isometry3::identity(); NUM_JOINTS + 1];
        for (i, (joint, angle)) in self.joints.iter().zip(angles).enumerate() {
            let turn = UnitQuaternion::from_axis_angle(&joint.axis, *angle);
            links[i + 1] = links[i] * joint.origin * turn;
        }
        let hand = links[NUM_JOINTS];
        let open_m = self.finger_travel_m * (1.0 - gripper);
        let fingers =
            [open_m, -open_m].map(|y| hand * self.finger_mount * Translation3::new(0.0, y, 0.0));
        ArmPose { links, tcp: hand * self.tcp, fingers }
    }

    /// How the tcp moves with each joint: three rows of velocity, three of turning rate.
    pub fn jacobian(&self, pose: &ArmPose) -> Matrix6<f64> {
        let tcp = pose.tcp.translation.vector;
        let columns: Vec<_> = (self.joints.iter().zip(&pose.links[1..]))
            .map(|(joint, link)| {
                let axis = link * joint.axis.into_inner();
                let arm = axis.cross(&(tcp - link.translation.vector));
                Vector6::new(arm.x, arm.y, arm.z, axis.x, axis.y, axis.z)
            })
            .collect();
        Matrix6::from_columns(&columns)
    }

    /// The joint step that moves the tcp by a twist, damped near singular poses.
    pub fn joint_step(&self, pose: &ArmPose, twist: &Vector6<f64>) -> Joints {
        const DAMPING: f64 = 0.02;
        let jacobian = self.jacobian(pose);
        let gram = jacobian * jacobian.transpose() + Matrix6::identity() * (DAMPING * DAMPING);
        let solved = gram.lu().solve(twist).unwrap_or_else(Vector6::zeros);
        let step = jacobian.transpose() * solved;
        std::array::from_fn(|i| step[i])
    }

    /// Keeps every joint within its limits.
    pub fn clamp(&self, angles: &mut Joints) {
        for (angle, joint) in angles.iter_mut().zip(&self.joints) {
            *angle = angle.clamp(joint.lower_rad, joint.upper_rad);
        }
    }

    /// Joint angles near `from` that bring the tcp to `target`, and how far off they end: metres
    /// plus radians. Damped least squares, so what is out of reach is approached, not refused.
    pub fn reach(&self, target: &Isometry3<f64>, from: &Joints) -> (Joints, f64) {
        let (mut angles, mut best) = (*from, (*from, f64::INFINITY));
        for _ in 0..80 {
            let pose = self.pose(&angles, 0.0);
            let twist = twist_between(&pose.tcp, target);
            let off = twist.fixed_rows::<3>(0).norm() + twist.fixed_rows::<3>(3).norm();
            if off < best.1 {
                best = (angles, off);
            }
            if off < 1e-7 {
                break;
            }
            let step = self.joint_step(&pose, &twist);
            let largest = step.iter().fold(0.0_f64, |max, s| max.max(s.abs()));
            let scale = if largest > 0.4 { 0.4 / largest } else { 1.0 };
            for (angle, step) in angles.iter_mut().zip(step) {
                *angle += step * scale;
            }
            self.clamp(&mut angles);
        }
        best
    }
}

/// The straight move and the turn, in world axes, that take one pose to another.
pub fn twist_between(from: &Isometry3<f64>, to: &Isometry3<f64>) -> Vector6<f64> {
    let shift = to.translation.vector - from.translation.vector;
    let turn = (to.rotation * from.rotation.inverse()).scaled_axis();
    Vector6::new(shift.x, shift.y, shift.z, turn.x, turn.y, turn.z)
}

fn isometry(pose: &urdf_rs::Pose) -> Isometry3<f64> {
    let [x, y, z] = pose.xyz.0;
    let [roll, pitch, yaw] = pose.rpy.0;
    Isometry3::from_parts(
        Translation3::new(x, y, z),
        UnitQuaternion::from_euler_angles(roll, pitch, yaw),
    )
}

fn body(
    part: Part,
    origin: &urdf_rs::Pose,
    geometry: &urdf_rs::Geometry,
    rgb: [f32; 3],
) -> Result<LinkBody, SimError> {
    use urdf_rs::Geometry;
    let shape = match geometry {
        Geometry::Box { size } => Solid::Cuboid(size.0.map(|side| side / 2.0)),
        Geometry::Cylinder { radius, length } => Solid::Cylinder(*radius, length / 2.0),
        Geometry::Capsule { radius, length } => Solid::Capsule(*radius, length / 2.0),
        Geometry::Sphere { radius } => Solid::Ball(*radius),
        Geometry::Mesh { filename, .. } => {
            let reason = format!("expected primitive shapes, found the mesh `{filename}`");
            return Err(SimError::Urdf { reason });
        }
    };
    Ok(LinkBody { part, pose: isometry(origin), shape, rgb })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANGLES: Joints = [0.2, 0.4, -0.3, 0.5, -0.2, 0.7];

    #[test]
    fn at_zero_the_hand_points_forward_at_shoulder_height_plus_upper_arm() {
        let arm = Arm::embedded().unwrap();
        let tcp = arm.pose(&[0.0; 6], 0.0).tcp;
        let expected = Vector3::new(0.30 + 0.07 + 0.06 + 0.12, 0.0, 0.30 + 0.06 + 0.32);
        assert!((tcp.translation.vector - expected).norm() < 1e-12);
        assert!(tcp.rotation.angle() < 1e-12);
    }

    #[test]
    fn the_jacobian_agrees_with_differences() {
        let arm = Arm::embedded().unwrap();
        let pose = arm.pose(&ANGLES, 0.0);
        let jacobian = arm.jacobian(&pose);
        for i in 0..NUM_JOINTS {
            let mut moved = ANGLES;
            moved[i] += 1e-6;
            let twist = twist_between(&pose.tcp, &arm.pose(&moved, 0.0).tcp) / 1e-6;
            assert!((twist - jacobian.column(i)).norm() < 1e-5, "joint {i}");
        }
    }

    #[test]
    fn reaching_the_pose_of_known_angles_finds_that_pose() {
        let arm = Arm::embedded().unwrap();
        let target = arm.pose(&ANGLES, 0.0).tcp;
        let (found, off) = arm.reach(&target, &[0.0, 0.2, 0.0, 0.0, 0.0, 0.5]);
        assert!(off < 1e-6, "off by {off}");
        assert!(twist_between(&arm.pose(&found, 0.0).tcp, &target).norm() < 1e-6);
    }

    #[test]
    fn a_file_that_is_no_arm_is_an_error_that_says_what_is_missing() {
        let error = Arm::from_urdf("<robot name=\"x\"><link name=\"tcp\"/></robot>").unwrap_err();
        assert_eq!(error.to_string(), "cannot read the arm: expected 6 joints to `tcp`, found 0");
    }
}
