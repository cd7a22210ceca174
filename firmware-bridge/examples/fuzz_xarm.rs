//! Damaged frames for the decoders of the xArm's codec and for its emulated box; none may panic.
//!
//! ```text
//! cargo run --release -p firmware-bridge --example fuzz_xarm -- --frames 10000000 --seed 1
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use firmware_bridge::codecs::xarm::{
    Frames, Mode, Order, Protocol, Reply, Report, Reports, Request, Version, encode_report, gripper,
};
use firmware_bridge::description::ArmDescription;
use firmware_bridge::emulate::xarm::ControlBox;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn option(name: &str, default: u64) -> Result<u64, Box<dyn Error>> {
    let mut words = std::env::args().skip_while(|word| word != name).skip(1);
    Ok(words.next().map_or(Ok(default), |word| word.parse())?)
}

/// Whole frames of each kind, to be damaged.
fn seeds() -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let (joints_rad, speed, acceleration, secs) = ([0.1; 7], 0.0, 0.0, 0.0);
    let requests = [
        Request::Version,
        Request::Faults,
        Request::ClearError,
        Request::MotionEnable { axis: 8, on: true },
        Request::SetMode { mode: Mode::Servo, detection: Some(0) },
        Request::SetState(Order::Run),
        Request::ServoJoints { joints_rad, speed, acceleration, secs },
        Request::MoveJoints { joints_rad, speed: 1.0, acceleration, secs },
        Request::JointVelocity { joints_rad, together: true, secs: Some(0.1) },
        Request::JointStates { kinds: 3 },
        Request::Fence([1; 6]),
        gripper::go(100),
        gripper::POSITION,
    ];
    let mut seeds = Vec::new();
    for request in requests {
        seeds.push(request.encode(1, Protocol::Plain)?.as_bytes().to_vec());
    }
    seeds.push(encode_report(&Report::default()));
    seeds.push(encode_report(&Report { force: Some([[0.0; 6]; 2]), ..Report::default() }));
    Ok(seeds)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (frames, seed) = (option("--frames", 1_000_000)?, option("--seed", 1)?);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let seeds = seeds()?;
    let mut cabinet = ControlBox::new(&ArmDescription::find("xarm7")?);
    let (mut requests, mut replies) = (Frames::requests(), Frames::replies());
    let (mut reports, mut outcome) = (Reports::default(), BTreeMap::<&str, u64>::new());
    let began = Instant::now();
    for count in 0..frames {
        let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.next_u32() as u8;
        }
        if rng.random_bool(0.3) {
            bytes.truncate(rng.random_range(0..=bytes.len()));
        }
        // A tenth joins what is left of the frame before; the rest begins anew.
        if rng.random_bool(0.9) {
            requests.clear();
            replies.clear();
            reports.clear();
        }
        requests.feed(&bytes);
        while let Some(frame) = requests.take().ok().flatten() {
            let known = Request::decode(frame.function, frame.rest).is_ok();
            *outcome.entry(if known { "requests" } else { "requests refused" }).or_default() += 1;
            let _ = cabinet.answer(frame);
        }
        if count % 1000 == 0 {
            cabinet.advance(Duration::from_millis(count / 1000));
        }
        replies.feed(&bytes);
        while let Some(reply) = replies.take().ok().flatten().and_then(Reply::read) {
            *outcome.entry("replies").or_default() += 1;
            let _ = (reply.floats::<7>(0), reply.bytes::<2>(), Version::parse(reply.data));
        }
        reports.feed(&bytes);
        while let Some(report) = reports.take().ok().flatten() {
            *outcome.entry("reports").or_default() += 1;
            let _ = report.ready();
        }
    }
    let secs = began.elapsed().as_secs_f64();
    writeln!(io::stdout(), "{frames} frames, seed {seed}, {secs:.1} s, no panic: {outcome:?}")?;
    Ok(())
}
