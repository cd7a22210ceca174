//! The cameras of a real arm, as they are asked for.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use engraft_core::ViewSpec;

use crate::eyes::{CameraAddress, CameraOptions, Cameras, EyesError};

/// How long the first pictures may take.
const FIRST: Duration = Duration::from_secs(10);
/// How long a camera is listened to before its rate is said.
const LISTEN: Duration = Duration::from_secs(1);

/// The cameras of a real arm.
#[derive(Debug, Clone, clap::Args)]
pub struct CameraArgs {
    /// A camera that sends motion JPEG over HTTP, under the name that the demonstrations have for
    /// it; once for each.
    #[arg(long = "camera", value_name = "NAME=URL")]
    pub cameras: Vec<CameraAddress>,
    /// Stop the arm when a camera has sent nothing for so long.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    pub camera_timeout: f64,
    /// Let a camera send the same picture again and again; otherwise that stops the arm, for it is
    /// what an unplugged camera does.
    #[arg(long)]
    pub still_cameras: bool,
}

impl Default for CameraArgs {
    fn default() -> Self {
        Self { cameras: Vec::new(), camera_timeout: 0.5, still_cameras: false }
    }
}

impl CameraArgs {
    /// Opens them, in the order and with the sizes of `wanted`, or in their own, and says what they
    /// send.
    pub(super) fn open(
        &self,
        wanted: Option<&[ViewSpec]>,
        stop: &AtomicBool,
    ) -> anyhow::Result<Cameras> {
        let silent = Duration::try_from_secs_f64(self.camera_timeout)
            .context("--camera-timeout is no length of time")?;
        let usual = CameraOptions::default();
        let frozen = usual.frozen.filter(|_| !self.still_cameras);
        let options = CameraOptions { silent, frozen };
        let addresses = match wanted {
            Some(wanted) => Cameras::ordered(&self.cameras, wanted)?,
            None => self.cameras.clone(),
        };
        let cameras = Cameras::open(&addresses, wanted.unwrap_or(&[]), options, FIRST, stop)?;
        let listen = if addresses.is_empty() { Duration::ZERO } else { LISTEN };
        for line in cameras.describe(listen)? {
            writeln!(io::stderr(), "camera {line}")?;
        }
        Ok(cameras)
    }

    /// Looks at each by itself and says what it sends, or why nothing. Whether all do.
    pub(super) fn examine(&self, say: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<bool> {
        let mut well = true;
        for address in &self.cameras {
            let all = std::slice::from_ref(address);
            let never = AtomicBool::new(false);
            let looked = Cameras::open(all, &[], CameraOptions::default(), FIRST, &never)
                .and_then(|mut cameras| {
                    let lines = cameras.describe(LISTEN + LISTEN)?;
                    cameras.look().map(|_| lines)
                })
                .map_err(|error: EyesError| error.to_string());
            match looked {
                Ok(lines) => lines.iter().try_for_each(|line| say(&format!("camera {line}")))?,
                Err(error) => {
                    well = false;
                    say(&error)?;
                }
            }
        }
        Ok(well)
    }
}
