//! An xArm's controller, from its side.
