//! Requests from their bytes: the controller's side.

use super::request::{Access, Mode, Order, Request, RequestError, function};

/// What is left of the parameters.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes().map(|[byte]| byte)
    }

    fn word(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn switch(&mut self) -> Option<bool> {
        self.byte().map(|byte| byte != 0)
    }

    fn float(&mut self) -> Option<f32> {
        self.bytes().map(f32::from_le_bytes)
    }

    fn floats<const N: usize>(&mut self) -> Option<[f32; N]> {
        let mut floats = [0.0; N];
        for float in &mut floats {
            *float = self.float()?;
        }
        Some(floats)
    }

    /// What may be missing at the end: in part it is left over, and then nobody takes it.
    fn last<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.0.is_empty() { None } else { read(self) }
    }
}

impl Request {
    /// The request that a frame asks. Its numbers are as they came: not every one need be finite.
    ///
    /// # Errors
    ///
    /// When the function is not known, or its parameters make no sense.
    pub fn decode(function: u8, parameters: &[u8]) -> Result<Self, RequestError> {
        let mut rest = Rest(parameters);
        let malformed = RequestError::Malformed { function, found: parameters.len() };
        let known = read(function, &mut rest)?.ok_or(malformed)?;
        if rest.0.is_empty() { Ok(known) } else { Err(malformed) }
    }
}

fn read(function: u8, rest: &mut Rest<'_>) -> Result<Option<Request>, RequestError> {
    Ok(match function {
        function::VERSION => Some(Request::Version),
        function::SERIAL => Some(Request::Serial),
        function::STATE => Some(Request::State),
        function::WAITING => Some(Request::Waiting),
        function::FAULTS => Some(Request::Faults),
        function::CLEAR_ERROR => Some(Request::ClearError),
        function::CLEAR_WARNING => Some(Request::ClearWarning),
        function::POSE => Some(Request::Pose),
        function::REDUCED => Some(Request::Reduced),
        function::MOTION_ENABLE => {
            rest.bytes().map(|[axis, on]: [u8; 2]| Request::MotionEnable { axis, on: on != 0 })
        }
        function::SET_STATE => rest.byte().and_then(order).map(Request::SetState),
        function::SET_MODE => mode(rest),
        function::MOVE_JOINTS | function::SERVO_JOINTS => joints(function, rest),
        function::SERVO_POSE => servo_pose(rest),
        function::POSE_JERK => rest.float().map(Request::PoseJerk),
        function::POSE_ACCELERATION => rest.float().map(Request::PoseAcceleration),
        function::JOINT_JERK => rest.float().map(Request::JointJerk),
        function::JOINT_ACCELERATION => rest.float().map(Request::JointAcceleration),
        function::REDUCED_HAND_SPEED => rest.float().map(Request::ReducedHandSpeed),
        function::REDUCED_JOINT_SPEED => rest.float().map(Request::ReducedJointSpeed),
        function::COLLISION_SENSITIVITY => rest.byte().map(Request::CollisionSensitivity),
        function::JOINTS => Some(match rest.last(Rest::byte) {
            None => Request::Joints,
            Some(kinds) => Request::JointStates { kinds },
        }),
        function::SET_REDUCED => rest.switch().map(Request::SetReduced),
        function::FENCE_ON => rest.switch().map(Request::FenceOn),
        function::COLLISION_REBOUND => rest.switch().map(Request::CollisionRebound),
        function::SELF_COLLISION => rest.switch().map(Request::SelfCollision),
        function::SIMULATION => rest.switch().map(Request::Simulation),
        function::FENCE => fence(rest),
        function::REDUCED_JOINTS => rest.floats().map(Request::ReducedJoints),
        function::JOINT_VELOCITY => joint_velocity(rest),
        function::HAND_VELOCITY => hand_velocity(rest),
        function::RS485 => rs485(rest),
        function::HAND_REGISTER => hand_register(rest),
        function => return Err(RequestError::Unknown { function }),
    })
}

fn order(byte: u8) -> Option<Order> {
    let known = [Order::Run, Order::Pause, Order::Stop, Order::Decelerate];
    known.into_iter().find(|order| *order as u8 == byte)
}

fn mode(rest: &mut Rest<'_>) -> Option<Request> {
    use Mode::{HandOnline, HandVelocity, JointOnline, JointVelocity, Manual, Position, Servo};
    let known = [Position, Servo, Manual, JointVelocity, HandVelocity, JointOnline, HandOnline];
    let byte = rest.byte()?;
    let mode = known.into_iter().find(|mode| *mode as u8 == byte)?;
    Some(Request::SetMode { mode, detection: rest.last(Rest::byte) })
}

fn joints(function: u8, rest: &mut Rest<'_>) -> Option<Request> {
    let joints_rad = rest.floats()?;
    let [speed, acceleration, secs] = rest.floats()?;
    Some(if function == function::MOVE_JOINTS {
        Request::MoveJoints { joints_rad, speed, acceleration, secs }
    } else {
        Request::ServoJoints { joints_rad, speed, acceleration, secs }
    })
}

fn servo_pose(rest: &mut Rest<'_>) -> Option<Request> {
    let pose = rest.floats()?;
    let [speed, acceleration, tool] = rest.floats()?;
    Some(Request::ServoPose { pose, speed, acceleration, tool })
}

fn fence(rest: &mut Rest<'_>) -> Option<Request> {
    let mut bounds = [0; 6];
    for bound in &mut bounds {
        *bound = rest.bytes().map(i32::from_le_bytes)?;
    }
    Some(Request::Fence(bounds))
}

fn joint_velocity(rest: &mut Rest<'_>) -> Option<Request> {
    let joints_rad = rest.floats()?;
    let together = rest.switch()?;
    Some(Request::JointVelocity { joints_rad, together, secs: rest.last(Rest::float) })
}

fn hand_velocity(rest: &mut Rest<'_>) -> Option<Request> {
    let velocity = rest.floats()?;
    let tool = rest.switch()?;
    Some(Request::HandVelocity { velocity, tool, secs: rest.last(Rest::float) })
}

fn hand_register(rest: &mut Rest<'_>) -> Option<Request> {
    Some(Request::HandRegister { host: rest.byte()?, address: rest.word()? })
}

fn rs485(rest: &mut Rest<'_>) -> Option<Request> {
    let [host, id, kind] = rest.bytes()?;
    let address = rest.word()?;
    let count = rest.word()?;
    let access = match (kind, count) {
        (3, _) => Access::Read { address, count },
        (16, 1) if rest.byte()? == 2 => Access::Write { address, value: rest.word()? },
        (16, 2) if rest.byte()? == 4 => {
            Access::WriteLong { address, value: rest.bytes().map(i32::from_be_bytes)? }
        }
        _ => return None,
    };
    Some(Request::Rs485 { host, id, access })
}
