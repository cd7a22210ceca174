//! What goes over an arm's wire: bytes in, bytes out, one file per protocol. No port, no clock.

pub mod dynamixel;
pub mod feetech;
pub mod xarm;
