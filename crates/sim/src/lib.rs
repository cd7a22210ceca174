//! The embedded simulator: a gripper arm before drawers and doors.
