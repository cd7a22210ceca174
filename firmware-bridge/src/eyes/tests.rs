//! Cameras as a server of motion JPEG has them.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::emulate::CameraEmulator;
use crate::testing::camera;

const SOON: Duration = Duration::from_secs(10);

fn address(name: &str, camera: &CameraEmulator) -> CameraAddress {
    CameraAddress { name: name.into(), url: camera.url() }
}

fn open(addresses: &[CameraAddress], wanted: &[ViewSpec]) -> Result<Cameras, EyesError> {
    let never = AtomicBool::new(false);
    Cameras::open(addresses, wanted, CameraOptions::default(), SOON, &never)
}

fn view(name: &str, width: usize, height: usize) -> ViewSpec {
    ViewSpec { name: name.into(), width, height, depth: false }
}

/// Looks until it fails.
fn until_blind(cameras: &mut Cameras) -> EyesError {
    let began = Instant::now();
    loop {
        match cameras.look() {
            Err(error) => return error,
            Ok(_) => assert!(began.elapsed() < SOON, "it still sees"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn each_look_is_at_the_newest_picture_in_the_wanted_size() {
    let [top, front] = [camera(64, 48), camera(32, 32)];
    let addresses = [address("top", &top), address("front", &front)];
    let wanted = [view("front", 32, 32), view("top", 16, 12)];
    let ordered = Cameras::ordered(&addresses, &wanted).unwrap();
    let mut cameras = open(&ordered, &wanted).unwrap();
    assert_eq!(cameras.views(), wanted);
    let (mut last, mut new) = (None, 0);
    for _ in 0..50 {
        let views = cameras.look().unwrap();
        let sizes: Vec<_> =
            views.iter().map(|view| (view.rgb.width(), view.rgb.height())).collect();
        assert_eq!(sizes, [(32, 32), (16, 12)]);
        let seen = views[0].rgb.pixel(16, 16)[0];
        new += usize::from(last != Some(seen));
        last = Some(seen);
        thread::sleep(Duration::from_millis(10));
    }
    assert!(new > 5, "{new} new pictures in half a second");
    let lines = cameras.describe(Duration::from_millis(200)).unwrap();
    assert!(lines[1].starts_with(&format!("top at {}: 64 x 48, ", top.url())), "{lines:?}");
    assert!(lines[1].ends_with("a second, made 16 x 12"), "{lines:?}");
}

#[test]
fn a_camera_that_goes_away_is_said_and_found_again() {
    let camera = camera(16, 16);
    let mut cameras = open(&[address("front", &camera)], &[]).unwrap();
    assert_eq!(cameras.views(), [view("front", 16, 16)]);
    camera.unplug(true);
    let error = until_blind(&mut cameras);
    assert!(matches!(error, EyesError::Silent { .. }), "{error}");
    let said = error.to_string();
    assert!(said.starts_with("no picture from camera front at http://127.0.0.1:"), "{said}");
    camera.unplug(false);
    let began = Instant::now();
    while cameras.look().is_err() {
        assert!(began.elapsed() < SOON, "it is not found again");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_frozen_camera_is_as_good_as_none_unless_that_is_wanted() {
    let camera = camera(16, 16);
    let mut cameras = open(&[address("front", &camera)], &[]).unwrap();
    camera.freeze(true);
    let error = until_blind(&mut cameras);
    assert!(matches!(error, EyesError::Frozen { .. }), "{error}");
    let still = CameraOptions { frozen: None, ..CameraOptions::default() };
    let never = AtomicBool::new(false);
    let addresses = [address("front", &camera)];
    let mut still = Cameras::open(&addresses, &[], still, SOON, &never).unwrap();
    thread::sleep(Duration::from_millis(1200));
    assert!(still.look().is_ok());
}

#[test]
fn what_is_no_camera_is_said_in_one_line() {
    let camera = camera(16, 16);
    let two = [address("front", &camera), address("front", &camera)];
    assert!(matches!(open(&two, &[]).unwrap_err(), EyesError::Twice { .. }));
    let names = Cameras::ordered(&two[..1], &[view("top", 8, 8), view("front", 8, 8)]).unwrap_err();
    assert!(
        names.to_string().starts_with("the policy looks through top, front, found front: give")
    );
    let deep = ViewSpec { depth: true, ..view("front", 8, 8) };
    assert!(matches!(Cameras::ordered(&two[..1], &[deep]).unwrap_err(), EyesError::Depth));
    // A page that is no stream, pictures that are none, and nobody at all.
    let soon = Duration::from_millis(700);
    let fail = |url: String| {
        let never = AtomicBool::new(false);
        let address = CameraAddress { name: "front".into(), url };
        let opened = Cameras::open(&[address], &[], CameraOptions::default(), soon, &never);
        opened.unwrap_err().to_string()
    };
    let page = fail(format!("{}?page", camera.url()));
    assert!(page.ends_with("with a boundary, found `text/html`)"), "{page}");
    let noise = fail(format!("{}?noise", camera.url()));
    assert!(noise.starts_with("camera front sends what is no JPEG picture: "), "{noise}");
    let nobody = fail("http://127.0.0.1:9/".into());
    assert!(nobody.contains("refused"), "{nobody}");
}

#[test]
fn a_damaged_picture_now_and_then_is_passed_over() {
    let camera = camera(16, 16);
    let url = format!("{}?some-noise", camera.url());
    let mut cameras = open(&[CameraAddress { name: "front".into(), url }], &[]).unwrap();
    for _ in 0..100 {
        assert!(cameras.look().is_ok());
        thread::sleep(Duration::from_millis(5));
    }
}
