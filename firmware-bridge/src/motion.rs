//! From a policy's actions to set-points: waypoints, a limited trajectory, and a last gate that
//! trusts neither. Pure: state, event and now go in.
//!
//! ```text
//! actions ──► waypoints::Path ──► trajectory::Trajectory ──► rounding ──► gate::Gate ──► motors
//!             where to be when    within every limit        to ticks     refuses, never changes
//! ```
//!
//! Nothing here allocates once it is built, save where the solver of [`joint`] fails and words its
//! error; the joint then brakes with arithmetic of our own.

pub mod fuzz;
pub mod gate;
pub mod joint;
pub mod trajectory;
pub mod waypoints;
