//! LeRobot's calibration files.
