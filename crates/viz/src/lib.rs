//! Pictures of what happened, for people to look at.
//!
//! Everything here turns core types into something to see, and nothing here is on the way from
//! an observation to an action.
//!
//! | to see | without a viewer | in the rerun viewer (feature `rerun`) |
//! | --- | --- | --- |
//! | a rollout | [`contact_sheet`], [`rollout_curves`] | `rollout_to_rrd`, `RolloutRecording` |
//! | a rollout, while it happens | | `Recorder` |
//! | an arm, while it runs | | `ArmRecording` |
//! | a dataset | [`write_png`] of one picture | `dataset_to_rrd`, `DatasetRecording` |
//! | a training run | [`training_curves`] | `curves_to_rrd`, `TrainingRecording` |
//! | an evaluation | [`success_bars`] | |
//! | a benchmark | [`ratio_bars`] | |
//! | all of it | [`Report`], one HTML file | |
//!
//! Pictures are [`RgbImage`](engraft_core::RgbImage)s; figures are SVG text that follows the
//! page's text colour, so they read on light and on dark paper alike.
//!
//! # Recordings
//!
//! This is the only crate that knows rerun. Without the feature it needs neither rerun nor
//! anything that rerun brings. A recording is a `.rrd` file, or goes to a viewer as it is made.
//! It brings its layout along, and lies on the timelines `step` and `time`:
//!
//! | entity | holds |
//! | --- | --- |
//! | `camera/VIEW`, `depth/VIEW` | what a camera saw, without loss |
//! | `attention/VIEW/TAP` | where the policy looked, over what it saw |
//! | `proprio/NAME` | what the joints said |
//! | `action/NAME/executed` | what was sent to the arm; in a dataset, what was demonstrated |
//! | `action/NAME/predicted/LINE` | predicted chunks, over the steps for which they are meant |
//! | `action/NAME/limited` | where a limit changed what was sent |
//! | `events`, `about` | limits, episodes and outcome in words |
//! | `training/METRIC/RUN` | training curves |
//! | `joint/NAME`, `load`, `temperature`, `lateness` | an arm, as its bridge tells |
//!
//! # Example
//!
//! ```
//! use engraft_core::{AttentionMap, RgbImage};
//! use engraft_viz::overlay;
//!
//! let picture = RgbImage::filled(8, 8, [100; 3]);
//! let weights = vec![0.1, 0.1, 0.1, 0.7];
//! let map = AttentionMap { view: 0, tap: "layer_4".into(), width: 2, height: 2, weights };
//! let seen = overlay(&picture, &map).unwrap();
//! assert_eq!(seen.pixel(7, 7), [177, 166, 69]); // half picture, half viridis' yellow
//! ```

mod axis;
mod canvas;
mod chart;
mod colormap;
mod data;
mod figure;
mod overlay;
mod png;
mod ratios;
mod report;
mod sheet;
mod sheet_curves;
mod style;
mod trace;

#[cfg(feature = "rerun")]
mod arm;
#[cfg(feature = "rerun")]
mod layout;
#[cfg(feature = "rerun")]
mod recorder;
#[cfg(feature = "rerun")]
mod recording;
#[cfg(feature = "rerun")]
mod robot_log;
#[cfg(feature = "rerun")]
mod stream;

pub use colormap::viridis;
pub use data::{Bar, Curve};
pub use figure::{rollout_curves, success_bars, training_curves};
pub use overlay::{OverlayError, overlay};
pub use png::{PngError, png_bytes, write_png};
pub use ratios::{Ratio, ratio_bars};
pub use report::{Block, Command, Report, Section, Table};
pub use sheet::{SheetOptions, contact_sheet};

#[cfg(feature = "rerun")]
pub use arm::{ArmMoment, ArmRecording, JointMoment};
#[cfg(feature = "rerun")]
pub use recorder::Recorder;
#[cfg(feature = "rerun")]
pub use recording::{
    About, DatasetRecording, RolloutRecording, TrainingRecording, curves_to_rrd, dataset_to_rrd,
    rollout_to_rrd,
};
#[cfg(feature = "rerun")]
pub use stream::{RecordingError, Sink};
