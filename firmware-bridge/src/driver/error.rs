//! Why an episode could not be played.

use std::time::Duration;

use crate::because;
use crate::eyes::EyesError;
use crate::hand::HandError;
use crate::limits::LimitsError;

/// Why an episode could not be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// No policy server answered.
    #[error("no policy server at {endpoint} within {waited:?}{}", because(.trouble.as_ref()))]
    NoServer {
        /// Where it was looked for.
        endpoint: String,
        /// For how long.
        waited: Duration,
        /// What was heard last.
        trouble: Option<String>,
    },
    /// The policy is for another robot.
    #[error("the policy does not fit this robot: {0}")]
    Mismatch(String),
    /// The bridge did not do what it was asked for.
    #[error("{asked}: {detail}")]
    Refused {
        /// What it was asked for.
        asked: &'static str,
        /// Why not.
        detail: String,
    },
    /// The bridge is in a fault that only a person may clear.
    #[error("stopped by a fault: {cause}{}", because(.trouble.as_ref()))]
    Fault {
        /// What it is.
        cause: String,
        /// What went wrong last.
        trouble: Option<String>,
    },
    /// A stop was asked for.
    #[error("stopped")]
    Stopped,
    /// Nothing can be seen; the arm came to rest.
    #[error("stopped, for the policy is blind")]
    Blind(#[from] EyesError),
    /// The hand cannot go where the policy wants it.
    #[error("plan: {0}")]
    Hand(#[from] HandError),
    /// Limits make no sense.
    #[error(transparent)]
    Limits(#[from] LimitsError),
}
