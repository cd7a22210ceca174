//! Feetech servos on a serial port.
