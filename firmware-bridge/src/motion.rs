//! From a policy's actions to set-points: waypoints, a limited trajectory, and a last gate that
//! trusts neither. Pure: state, event and now go in.

pub mod gate;
pub mod trajectory;
pub mod waypoints;
