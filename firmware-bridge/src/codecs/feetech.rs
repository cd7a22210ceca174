//! Feetech STS/SMS: what goes over the bus of an SO-100 or SO-101.
