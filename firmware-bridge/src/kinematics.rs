//! Where the hand is for given joints, and which joints bring it somewhere.
//!
//! All of it takes joint positions in radians (metres for a prismatic joint) and gives metres and
//! radians in the frame of the base. Nothing allocates after a [`chain::Chain`] is read.

pub mod chain;
pub mod reach;
pub mod space;
