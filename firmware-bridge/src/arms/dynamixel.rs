//! Dynamixel servos on a serial port.
