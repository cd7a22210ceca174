//! Where the hand is for given joints, and which joints bring it somewhere.

pub mod chain;
pub mod reach;
