//! How fast frames come out of an mp4: one after another, and in windows of four at random.
//!
//! `cargo run --release -p engraft-datasets --example video_speed -- MP4 [THREADS] [SECS]`

#![allow(clippy::print_stdout)] // printing is what it is for

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use engraft_datasets::{PictureError, Video};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Frames per second of threads that each call `work` with a number of their own until time is up.
fn rate(
    threads: usize,
    limit: Duration,
    work: impl Fn(usize) -> Result<usize, PictureError> + Sync,
) -> Result<f64, PictureError> {
    let (start, frames) = (Instant::now(), AtomicUsize::new(0));
    thread::scope(|scope| {
        let run = |thread| {
            let (work, frames) = (&work, &frames);
            move || {
                let mut call = thread;
                while start.elapsed() < limit {
                    frames.fetch_add(work(call)?, Ordering::Relaxed);
                    call += threads;
                }
                Ok::<(), PictureError>(())
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    Ok(frames.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mp4 = arguments.next().ok_or("usage: video_speed MP4 [THREADS] [SECS]")?;
    let threads = arguments.next().map_or(Ok(1), |threads| threads.parse())?;
    let secs = arguments.next().map_or(Ok(5.0), |secs| secs.parse())?;
    let limit = Duration::from_secs_f64(secs);
    let opened = Instant::now();
    let video = Video::open(Path::new(&mp4))?;
    println!("{video:?}, index read in {:?}", opened.elapsed());
    let count = video.times().len();

    // Each thread goes through its own stretch, again and again.
    let stretch = count / threads;
    let in_order = rate(threads, limit, |call| {
        let (thread, at) = (call % threads, call / threads);
        video.frame(thread * stretch + at % stretch).map(|_| 1)
    })?;
    println!("{threads} threads, one after another: {in_order:.0} frames/s");

    let windows = rate(threads, limit, |call| {
        let mut draws = ChaCha8Rng::seed_from_u64(call as u64);
        let start = draws.next_u32() as usize % (count - 3);
        (start..start + 4).try_for_each(|frame| video.frame(frame).map(drop)).map(|()| 4)
    })?;
    println!("{threads} threads, windows of 4 at random: {windows:.0} frames/s");
    Ok(())
}
