//! A chain of joints from a URDF: where its links are and how they move.
