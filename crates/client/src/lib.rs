//! Asks a policy server for actions, one control tick at a time.
//!
//! A [`Policy`] holds what a request needs and a robot's program should not have to think of: the
//! session, the sequence numbers, the last observations, and chunks that overlap. For Python there
//! is a package of the same words beside this crate, in `python/`.
//!
//! ```no_run
//! use engraft_client::{Config, Policy};
//! # fn observe() -> engraft_core::Observation { loop {} }
//! # fn perform(_: &[f32]) {}
//!
//! let mut policy = Policy::connect(Config::at("tcp://127.0.0.1:5555"))?;
//! for _ in 0..100 {
//!     let action = policy.act(observe())?; // physical units, as the contract says
//!     perform(&action);
//! }
//! # Ok::<(), engraft_client::ClientError>(())
//! ```

mod policy;
#[cfg(test)]
mod tests;

pub use policy::{ClientError, Config, Policy};
