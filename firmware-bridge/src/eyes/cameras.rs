//! The cameras of a real arm: the newest picture of each, as long as it is new.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use engraft_core::{RgbImage, View, ViewSpec};
use image::{ImageFormat, ImageReader, Limits};

use super::camera::{Camera, Shot};
use super::{CameraAddress, Eyes, EyesError};

/// Longest side that a picture may have.
const MAX_SIDE: u32 = 8192;
/// Bytes that decoding one picture may take.
const MAX_DECODED_BYTES: u64 = 256 << 20;

/// What is asked of cameras.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CameraOptions {
    /// How old the newest picture may be.
    pub silent: Duration,
    /// How long a camera may send the same picture, byte for byte, which no lens with a sensor
    /// behind it does. `None` lets it.
    pub frozen: Option<Duration>,
}

impl Default for CameraOptions {
    fn default() -> Self {
        Self { silent: Duration::from_millis(500), frozen: Some(Duration::from_secs(1)) }
    }
}

/// Cameras that are listened to.
#[derive(Debug)]
pub struct Cameras {
    all: Vec<Camera>,
    views: Vec<ViewSpec>,
    seen: Vec<Option<Seen>>,
    options: CameraOptions,
}

/// The last picture that could be looked at, in the size that is wanted.
#[derive(Debug)]
struct Seen {
    number: u64,
    came: Instant,
    image: RgbImage,
}

impl Cameras {
    /// Listens to each, and waits until it has a picture. Pictures come in the size that `wanted`
    /// has for a camera of that name; without it, in the camera's own.
    ///
    /// # Errors
    ///
    /// When two have one name, one sends no picture within `timeout`, or `stop` is set.
    pub fn open(
        addresses: &[CameraAddress],
        wanted: &[ViewSpec],
        options: CameraOptions,
        timeout: Duration,
        stop: &AtomicBool,
    ) -> Result<Self, EyesError> {
        for (i, address) in addresses.iter().enumerate() {
            if addresses.iter().take(i).any(|other| other.name == address.name) {
                return Err(EyesError::Twice { camera: address.name.clone() });
            }
        }
        let open = |address: &CameraAddress| Camera::open(address.clone());
        let cameras = addresses.iter().map(open).collect::<io::Result<Vec<_>>>();
        let cameras = cameras.map_err(EyesError::Thread)?;
        let mut views = Vec::with_capacity(cameras.len());
        let began = Instant::now();
        for camera in &cameras {
            let name = camera.address.name.as_str();
            let first = loop {
                let shot = camera.newest().map(|shot| decode(&shot));
                match shot {
                    Some(Ok(image)) => break image,
                    _ if stop.load(Ordering::Relaxed) => return Err(EyesError::Stopped),
                    Some(Err(detail)) if began.elapsed() > timeout => {
                        return Err(EyesError::Picture { camera: name.into(), detail });
                    }
                    None if began.elapsed() > timeout => return Err(silent(camera)),
                    _ => thread::sleep(Duration::from_millis(10)),
                }
            };
            let view = wanted.iter().find(|view| view.name == name).cloned();
            views.push(view.unwrap_or(ViewSpec {
                name: name.into(),
                width: first.width(),
                height: first.height(),
                depth: false,
            }));
        }
        let seen = cameras.iter().map(|_| None).collect();
        Ok(Self { all: cameras, views, seen, options })
    }

    /// Their names and sizes, in order.
    pub fn views(&self) -> &[ViewSpec] {
        &self.views
    }

    /// The addresses in the order of the cameras that are `wanted`.
    ///
    /// # Errors
    ///
    /// When there is none for one of them, or one too many, or depth is wanted.
    pub fn ordered(
        addresses: &[CameraAddress],
        wanted: &[ViewSpec],
    ) -> Result<Vec<CameraAddress>, EyesError> {
        if wanted.iter().any(|view| view.depth) {
            return Err(EyesError::Depth);
        }
        let named = |view: &ViewSpec| addresses.iter().find(|address| address.name == view.name);
        let ordered: Option<Vec<_>> = wanted.iter().map(|view| named(view).cloned()).collect();
        ordered.filter(|ordered| ordered.len() == addresses.len()).ok_or_else(|| {
            let expected: Vec<_> = wanted.iter().map(|view| view.name.as_str()).collect();
            let found: Vec<_> = addresses.iter().map(|address| address.name.as_str()).collect();
            EyesError::Names { expected: expected.join(", "), found: found.join(", ") }
        })
    }

    /// What each sees now.
    ///
    /// # Errors
    ///
    /// When one sent nothing for too long, nothing new, or nothing that is a picture.
    pub fn look(&mut self) -> Result<Vec<View>, EyesError> {
        let mut looked = Vec::with_capacity(self.all.len());
        for ((camera, view), seen) in self.all.iter().zip(&self.views).zip(&mut self.seen) {
            let name = &camera.address.name;
            let shot = camera.newest().ok_or_else(|| silent(camera))?;
            if shot.came.elapsed() > self.options.silent {
                return Err(silent(camera));
            }
            let same = shot.came.saturating_duration_since(shot.same_since);
            if let Some(limit) = self.options.frozen
                && same > limit
            {
                return Err(EyesError::Frozen { camera: name.clone(), since: same });
            }
            if seen.as_ref().is_none_or(|seen| seen.number != shot.number) {
                match decode(&shot) {
                    Ok(image) => {
                        let image = image.resize(view.width, view.height);
                        *seen = Some(Seen { number: shot.number, came: shot.came, image });
                    }
                    // One damaged picture is no reason to stop: the one before it is still new.
                    Err(detail) => {
                        let old = seen.as_ref().map(|seen| seen.came.elapsed());
                        if old.is_none_or(|old| old > self.options.silent) {
                            return Err(EyesError::Picture { camera: name.clone(), detail });
                        }
                    }
                }
            }
            let seen = seen.as_ref().ok_or_else(|| silent(camera))?;
            looked.push(View { rgb: seen.image.clone(), depth: None });
        }
        Ok(looked)
    }

    /// One line about each: what it sends, and how much of that in a second.
    ///
    /// Listens for `time`.
    ///
    /// # Errors
    ///
    /// When one sends nothing.
    pub fn describe(&self, time: Duration) -> Result<Vec<String>, EyesError> {
        let count = || self.all.iter().map(Camera::newest).collect::<Vec<_>>();
        let (before, began) = (count(), Instant::now());
        thread::sleep(time);
        let (after, secs) = (count(), began.elapsed().as_secs_f64());
        let all = self.all.iter().zip(&self.views).zip(before.iter().zip(after));
        all.map(|((camera, view), (before, after))| {
            let after = after.ok_or_else(|| silent(camera))?;
            let image = decode(&after).map_err(|detail| {
                let camera = camera.address.name.clone();
                EyesError::Picture { camera, detail }
            })?;
            let first = before.as_ref().map_or(0, |before| before.number);
            let (width, height) = (image.width(), image.height());
            let rate = (after.number - first) as f64 / secs;
            let mut line = format!("{}: {width} x {height}, {rate:.1} a second", camera.address);
            if (view.width, view.height) != (width, height) {
                let _ = write!(line, ", made {} x {}", view.width, view.height);
                // Squashed as in training, where a dataset of another shape was too.
                if view.width * height != view.height * width {
                    line.push_str(
                        " (another shape: right only if the demonstrations had this one)",
                    );
                }
            }
            Ok(line)
        })
        .collect()
    }
}

fn silent(camera: &Camera) -> EyesError {
    let since = camera.newest().map_or(camera.opened, |shot| shot.came);
    EyesError::Silent {
        camera: camera.address.to_string(),
        waited: since.elapsed(),
        trouble: camera.trouble(),
    }
}

fn decode(shot: &Shot) -> Result<RgbImage, String> {
    let bytes: &Arc<Vec<u8>> = &shot.jpeg;
    let mut reader = ImageReader::with_format(io::Cursor::new(bytes.as_slice()), ImageFormat::Jpeg);
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| error.to_string())?.into_rgb8();
    let (width, height) = image.dimensions();
    RgbImage::new(width as usize, height as usize, image.into_raw())
        .map_err(|error| error.to_string())
}

/// Cameras as the eyes of a policy.
#[derive(Debug)]
pub struct CameraEyes {
    cameras: Cameras,
    task: String,
}

impl CameraEyes {
    /// Looks through `cameras` while `task` is done.
    pub fn new(cameras: Cameras, task: &str) -> Self {
        Self { cameras, task: task.to_owned() }
    }
}

impl Eyes for CameraEyes {
    fn views(&self) -> &[ViewSpec] {
        self.cameras.views()
    }

    fn task(&self) -> &str {
        &self.task
    }

    fn begin(&mut self, _instance: usize, _seed: u64) -> Result<Option<Vec<f32>>, EyesError> {
        self.cameras.look().map(|_| None)
    }

    fn instance_name(&self, _instance: usize) -> String {
        "cameras".into()
    }

    fn num_instances(&self) -> usize {
        1
    }

    fn look(&mut self, _proprio: &[f32]) -> Result<Vec<View>, EyesError> {
        self.cameras.look()
    }

    fn success(&self) -> Option<bool> {
        None
    }
}
