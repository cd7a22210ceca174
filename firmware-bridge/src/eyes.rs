//! What sees for the arm: cameras, whatever they are.

mod camera;
mod cameras;
mod multipart;
mod remote;
mod sim;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use engraft_core::{View, ViewSpec};

use crate::because;

pub use camera::CameraAddress;
pub use cameras::{CameraEyes, CameraOptions, Cameras};
pub use remote::RemoteEyes;
pub use sim::SimEyes;

/// Why nothing can be seen. An arm whose policy is blind comes to rest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EyesError {
    /// A simulator shows nothing, or not what it should.
    #[error("the simulator at {endpoint} shows nothing: {detail}")]
    Simulator {
        /// Where its arm listens.
        endpoint: String,
        /// What was expected and what was found.
        detail: String,
    },
    /// A camera sends nothing.
    #[error("no picture from camera {camera} for {:.1} s{}", waited.as_secs_f64(), because(.trouble.as_ref()))]
    Silent {
        /// Its name and where it is.
        camera: String,
        /// For how long.
        waited: Duration,
        /// What went wrong last.
        trouble: Option<String>,
    },
    /// A camera sends the same picture again and again.
    #[error(
        "camera {camera} has sent the same picture for {:.1} s: is it plugged in? (--still-cameras \
         if it shows something that never changes)",
        since.as_secs_f64()
    )]
    Frozen {
        /// Its name.
        camera: String,
        /// For how long.
        since: Duration,
    },
    /// What a camera sends is no picture.
    #[error("camera {camera} sends what is no JPEG picture: {detail}")]
    Picture {
        /// Its name.
        camera: String,
        /// What the decoder said.
        detail: String,
    },
    /// Two cameras have one name.
    #[error("two cameras are called {camera}: each needs a name of its own")]
    Twice {
        /// The name.
        camera: String,
    },
    /// The policy looks through other cameras.
    #[error("the policy looks through {expected}, found {found}: give --camera NAME=URL for each")]
    Names {
        /// Those of the policy.
        expected: String,
        /// Those that there are.
        found: String,
    },
    /// The policy needs depth.
    #[error("the policy needs depth, which no camera over HTTP sends")]
    Depth,
    /// A stop was asked for.
    #[error("stopped before the cameras had a picture")]
    Stopped,
    /// A thread cannot be started.
    #[error("cannot start the thread of a camera")]
    Thread(#[source] io::Error),
}

/// Cameras around an arm, and whoever can tell whether the task is done.
pub trait Eyes {
    /// The cameras, in order.
    fn views(&self) -> &[ViewSpec];

    /// The task in words.
    fn task(&self) -> &str;

    /// Prepares an episode; where the arm should stand when it begins, in the policy's units, if
    /// that matters.
    ///
    /// # Errors
    ///
    /// When nothing can be seen.
    fn begin(&mut self, instance: usize, seed: u64) -> Result<Option<Vec<f32>>, EyesError>;

    /// An instance's name.
    fn instance_name(&self, instance: usize) -> String;

    /// How many instances there are.
    fn num_instances(&self) -> usize;

    /// What is seen now, with the arm where `proprio` says, one control period after the last
    /// look.
    ///
    /// # Errors
    ///
    /// When a camera says nothing, or nothing new.
    fn look(&mut self, proprio: &[f32]) -> Result<Vec<View>, EyesError>;

    /// Whether the task is done, where somebody can tell.
    fn success(&self) -> Option<bool>;
}
