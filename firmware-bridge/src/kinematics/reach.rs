//! Which joints bring the hand somewhere.
