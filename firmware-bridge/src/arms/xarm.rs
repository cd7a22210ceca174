//! An xArm behind its controller.
