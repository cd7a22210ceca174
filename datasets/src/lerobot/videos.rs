//! A camera's pictures through one episode, out of a video that may hold many episodes.

use std::path::PathBuf;
use std::sync::Arc;

use engraft_core::RgbImage;

use crate::column::{Column, Kind};
use crate::source::Frames;
use crate::video::VideoCache;
use crate::{DatasetError, PictureError};

/// One frame of a video per step, decoded when it is asked for.
pub(super) struct VideoFrames {
    videos: Arc<VideoCache>,
    path: PathBuf,
    width: usize,
    height: usize,
    /// When each step's frame is shown in the video.
    times_secs: Vec<f64>,
    /// How far off a frame may be.
    tolerance_secs: f64,
}

impl VideoFrames {
    /// The frames nearest to `times_secs` of the video at `path`, whose index is read.
    ///
    /// A frame more than half a step off is another step's: then that step has none.
    pub(super) fn open(
        videos: &Arc<VideoCache>,
        path: PathBuf,
        column: &Column,
        times_secs: Vec<f64>,
        fps: f32,
    ) -> Result<Self, DatasetError> {
        let video = videos.get(&path)?;
        let (width, height) = match column.kind {
            Kind::Rgb { width, height } => (width, height),
            _ => (video.width(), video.height()),
        };
        if (video.width(), video.height()) != (width, height) {
            let (expected, found) = (
                format!("{width} x {height}, as `meta/info.json` says"),
                format!("{} x {}", video.width(), video.height()),
            );
            return Err(DatasetError::content(&column.name, expected, found, &path));
        }
        let tolerance_secs = 0.5 / f64::from(fps);
        Ok(Self { videos: Arc::clone(videos), path, width, height, times_secs, tolerance_secs })
    }
}

impl Frames for VideoFrames {
    fn rgb(&self, step: usize) -> Result<RgbImage, PictureError> {
        let &secs = self.times_secs.get(step).ok_or(PictureError::Missing)?;
        let video = self.videos.get(&self.path);
        let video = video.map_err(|error| PictureError::Pixels(error.into()))?;
        match video.nearest(secs) {
            Some((frame, off)) if off <= self.tolerance_secs => {
                let picture = video.frame(frame)?;
                let found = (picture.width(), picture.height());
                let expected = (self.width, self.height);
                if found == expected {
                    Ok(picture)
                } else {
                    Err(PictureError::Size { expected, found })
                }
            }
            nearest => Err(PictureError::NoFrame {
                path: self.path.clone(),
                secs,
                off_secs: nearest.map_or(f64::INFINITY, |(_, off)| off),
                tolerance_secs: self.tolerance_secs,
            }),
        }
    }

    fn len(&self) -> usize {
        self.times_secs.len()
    }

    fn num_bytes(&self) -> usize {
        self.times_secs.len() * size_of::<f64>()
    }
}
