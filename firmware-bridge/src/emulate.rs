//! The device's side of each arm, so that everything can be tried without one.
//!
//! An emulator answers on a pseudo-terminal or a TCP port as the arm's own firmware does, takes as
//! long as the real bus would, moves its joints with bounded speed and acceleration, and damages
//! what it says on request. The vendors' own SDKs judge it. A camera has its emulator too.

mod camera;
pub mod dynamixel;
mod faults;
pub mod feetech;
mod line;
mod plant;
pub mod xarm;

pub use camera::CameraEmulator;
pub use faults::Faults;
pub use line::{Device, Emulator, EmulatorError, Options, Reply};
pub use plant::{Plant, PlantJoint};
