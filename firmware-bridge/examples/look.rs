//! Looks through a camera once and writes what it saw: `look NAME=URL OUT.png [SECONDS]`.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, ensure};
use firmware_bridge::eyes::{CameraOptions, Cameras};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    ensure!((2..=3).contains(&args.len()), "usage: look NAME=URL OUT.png [SECONDS TO WAIT]");
    let patience = Duration::try_from_secs_f64(args.get(2).map_or(Ok(20.0), |secs| secs.parse())?)?;
    let address = args[0].parse().map_err(anyhow::Error::msg)?;
    // A picture a second is enough to look once.
    let options = CameraOptions { frozen: None, silent: Duration::from_secs(5) };
    let stop = AtomicBool::new(false);
    let mut cameras = Cameras::open(&[address], &[], options, patience, &stop)?;
    let view = cameras.look()?.pop().context("no camera")?;
    let (width, height) = (view.rgb.width() as u32, view.rgb.height() as u32);
    let pixels = view.rgb.into_pixels();
    image::save_buffer(&args[1], &pixels, width, height, image::ColorType::Rgb8)?;
    Ok(())
}
