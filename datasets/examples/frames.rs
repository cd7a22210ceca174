//! Writes frames of an mp4 as raw RGB, for the judges, and prints what there is.
//!
//! `cargo run -p engraft-datasets --example frames -- MP4 OUT FRAME..`, where each FRAME is a place
//! in the order of showing, or `@SECS` for the nearest to a time.

#![allow(clippy::print_stdout)] // printing is what it is for

use std::error::Error;
use std::io::Write;
use std::path::Path;

use engraft_datasets::Video;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mp4, out, frames @ ..] = &arguments[..] else {
        return Err("usage: frames MP4 OUT FRAME..".into());
    };
    let video = Video::open(Path::new(mp4))?;
    let mut out = std::fs::File::create(out)?;
    let mut found = Vec::new();
    for frame in frames {
        let (index, off_secs) = match frame.strip_prefix('@') {
            Some(secs) => video.nearest(secs.parse()?).ok_or("no frames")?,
            None => (frame.parse()?, 0.0),
        };
        out.write_all(video.frame(index)?.pixels())?;
        found.push(json!({ "index": index, "off_secs": off_secs }));
    }
    println!(
        "{}",
        json!({
            "codec": video.codec().to_string(),
            "width": video.width(),
            "height": video.height(),
            "times": video.times(),
            "frames": found,
        })
    );
    Ok(())
}
