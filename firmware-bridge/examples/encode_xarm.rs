//! Requests to an xArm as bytes, for the judge of the codec: a line of words in, a line of
//! hexadecimal out, or `refused` and why.
//!
//! ```text
//! echo "1 2 set_state 4" | cargo run -p firmware-bridge --example encode_xarm
//! ```
//!
//! A line is the transaction, the protocol's number, the request and its numbers.

use std::error::Error;
use std::io::{self, BufRead, BufWriter, Write};

use firmware_bridge::codecs::xarm::{Mode, Order, Protocol, Request, gripper};

/// The next `N` numbers, narrowed as the vendor narrows them.
fn floats<const N: usize>(numbers: &[f64], at: usize) -> Option<[f32; N]> {
    let numbers: &[f64; N] = numbers.get(at..at + N)?.try_into().ok()?;
    Some(numbers.map(|number| number as f32))
}

fn float(numbers: &[f64], at: usize) -> Option<f32> {
    floats::<1>(numbers, at).map(|[float]| float)
}

fn request(name: &str, n: &[f64]) -> Option<Request> {
    let byte = |at: usize| n.get(at).map(|number| *number as u8);
    let switch = |at: usize| n.get(at).map(|number| *number != 0.0);
    let mode = |number| {
        let known = [
            Mode::Position,
            Mode::Servo,
            Mode::Manual,
            Mode::JointVelocity,
            Mode::HandVelocity,
            Mode::JointOnline,
            Mode::HandOnline,
        ];
        known.into_iter().find(|mode| *mode as u8 == number)
    };
    let order = |number| {
        let known = [Order::Run, Order::Pause, Order::Stop, Order::Decelerate];
        known.into_iter().find(|order| *order as u8 == number)
    };
    Some(match name {
        "get_version" => Request::Version,
        "get_robot_sn" => Request::Serial,
        "get_state" => Request::State,
        "get_cmdnum" => Request::Waiting,
        "get_err_code" => Request::Faults,
        "clean_err" => Request::ClearError,
        "clean_war" => Request::ClearWarning,
        "get_tcp_pose" => Request::Pose,
        "get_joint_pos" => Request::Joints,
        "get_reduced_states" => Request::Reduced,
        "get_joint_states" => Request::JointStates { kinds: byte(0)? },
        "motion_en" => Request::MotionEnable { axis: byte(0)?, on: switch(1)? },
        "set_state" => Request::SetState(order(byte(0)?)?),
        "set_mode" => Request::SetMode { mode: mode(byte(0)?)?, detection: byte(1) },
        "move_joint" | "move_servoj" => {
            let (joints_rad, [speed, acceleration, secs]) = (floats(n, 0)?, floats(n, 7)?);
            if name == "move_joint" {
                Request::MoveJoints { joints_rad, speed, acceleration, secs }
            } else {
                Request::ServoJoints { joints_rad, speed, acceleration, secs }
            }
        }
        "move_servo_cartesian" => {
            let (pose, [speed, acceleration, tool]) = (floats(n, 0)?, floats(n, 6)?);
            Request::ServoPose { pose, speed, acceleration, tool }
        }
        "set_tcp_jerk" => Request::PoseJerk(float(n, 0)?),
        "set_tcp_maxacc" => Request::PoseAcceleration(float(n, 0)?),
        "set_joint_jerk" => Request::JointJerk(float(n, 0)?),
        "set_joint_maxacc" => Request::JointAcceleration(float(n, 0)?),
        "set_reduced_linespeed" => Request::ReducedHandSpeed(float(n, 0)?),
        "set_reduced_jointspeed" => Request::ReducedJointSpeed(float(n, 0)?),
        "set_collis_sens" => Request::CollisionSensitivity(byte(0)?),
        "set_reduced_mode" => Request::SetReduced(switch(0)?),
        "set_fense_on" => Request::FenceOn(switch(0)?),
        "set_collis_reb" => Request::CollisionRebound(switch(0)?),
        "set_self_collision_detection" => Request::SelfCollision(switch(0)?),
        "set_simulation_robot" => Request::Simulation(switch(0)?),
        "set_xyz_limits" => {
            let bounds: &[f64; 6] = n.try_into().ok()?;
            Request::Fence(bounds.map(|bound| bound as i32))
        }
        "set_reduced_jrange" => Request::ReducedJoints(floats(n, 0)?),
        "vc_set_jointv" => {
            let (joints_rad, together) = (floats(n, 0)?, switch(7)?);
            Request::JointVelocity { joints_rad, together, secs: float(n, 8) }
        }
        "vc_set_linev" => {
            let (velocity, tool) = (floats(n, 0)?, switch(6)?);
            Request::HandVelocity { velocity, tool, secs: float(n, 7) }
        }
        "tgpio_addr_r16" => Request::HandRegister { address: *n.first()? as u16, host: byte(1)? },
        "gripper_modbus_set_en" => gripper::enable(switch(0)?),
        "gripper_modbus_set_mode" => gripper::mode(u16::from(byte(0)?)),
        "gripper_modbus_set_posspd" => gripper::speed(*n.first()? as u16),
        "gripper_modbus_set_pos" => gripper::go(*n.first()? as i32),
        "gripper_modbus_get_pos" => gripper::POSITION,
        "gripper_modbus_get_errcode" => gripper::ERROR,
        "gripper_modbus_clean_err" => gripper::clear_error(),
        "gripper_modbus_r16s" => {
            let part = usize::from(*n.first()? as u16).checked_sub(0x0801)?;
            *gripper::VERSION.get(part)?
        }
        _ => return None,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (transaction, protocol) = (words.next(), words.next());
        let name = words.next().ok_or("expected: TRANSACTION PROTOCOL REQUEST NUMBER..")?;
        let numbers = words.map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        let request = request(name, &numbers)
            .ok_or_else(|| format!("expected a request with its numbers, found {line:?}"))?;
        let protocol = if protocol == Some("3") { Protocol::KeptAlive } else { Protocol::Plain };
        match request.encode(transaction.unwrap_or_default().parse()?, protocol) {
            Ok(encoded) => {
                for byte in encoded.as_bytes() {
                    write!(out, "{byte:02x}")?;
                }
                writeln!(out)?;
            }
            Err(error) => writeln!(out, "refused: {error}")?,
        }
    }
    out.flush()?;
    Ok(())
}
