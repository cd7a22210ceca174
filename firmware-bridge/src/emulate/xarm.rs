//! An xArm's control box on TCP: requests on one port, reports on another, several clients.
//!
//! What it does with a request is in [`ControlBox`], which has neither socket nor clock.

mod control_box;
mod gripper;
mod server;
#[cfg(test)]
mod tests;

pub use control_box::ControlBox;
pub use gripper::Gripper;
pub use server::{Controller, ControllerFaults, ControllerOptions};
