//! UFACTORY's controller, xArm 5, 6 and 7: requests and replies on its control port, and the
//! reports that it streams. Bytes in, bytes out.
//!
//! ```text
//! request  transaction u16 | protocol u16 | length u16 | function u8 | parameters
//! reply    transaction u16 | protocol u16 | length u16 | function u8 | state u8 | data
//! report   length u32 | mode << 4 | state, u8 | waiting u16 | joints, pose, torques: 20 f32 | ...
//! ```
//!
//! Integers are big-endian and floats little-endian, but for the few integers of the fence, which
//! are little-endian too. Angles are radians, lengths millimetres. `length` counts what follows it,
//! a report's counts itself as well. There is no checksum and no mark to find the next frame by:
//! after a malformed one a stream is of no use, and its decoder says so from then on.

mod decode;
mod fault;
mod frame;
pub mod gripper;
mod reply;
mod report;
mod request;
#[cfg(test)]
mod tests;

pub use fault::{Fault, GRIPPER_FAULTS, gripper_fault};
pub use frame::{Frame, FrameError, Frames, HEADER, MAX_LENGTH, Protocol};
pub use reply::{Reply, ReplyError, StateBits, Version};
pub use report::{
    FORCE_REPORT, MAX_REPORT, REAL_REPORT, Report, ReportError, Reports, encode_report,
};
pub use request::{Access, Encoded, Mode, Order, Request, RequestError, function};

/// Where the controller takes requests.
pub const CONTROL_PORT: u16 = 502;

/// Where it streams a [`Report`] a hundred times a second.
pub const REPORT_PORT: u16 = 30003;

/// Reports per second.
pub const REPORT_HZ: f64 = 100.0;

/// Set-points per second that it takes at most; of more, only the last of each period counts.
pub const MAX_SETPOINT_HZ: f64 = 250.0;

/// Joints in every message: those that an arm of five or six lacks are zero.
pub const JOINTS: usize = 7;

/// Microradians of an angle, this protocol's tick. `None` for what is not finite or no 32-bit
/// number.
pub fn ticks(angle_rad: f32) -> Option<i32> {
    crate::units::microradians(f64::from(angle_rad))
}

/// The angle that is sent for microradians. Back through [`ticks`] it is the same number, up to
/// eight radians.
pub fn angle_rad(ticks: i32) -> f32 {
    (f64::from(ticks) * 1e-6) as f32
}
