//! A bus of Feetech STS3215 servos, from their side.
