//! On the way to the path within velocity, acceleration and jerk.
