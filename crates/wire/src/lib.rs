//! What crosses the socket between a policy server and a robot.
