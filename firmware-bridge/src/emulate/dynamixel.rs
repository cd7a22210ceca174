//! A bus of Dynamixel X servos, from their side.
