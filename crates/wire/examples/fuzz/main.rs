//! Throws damaged messages at every decoder of the wire and watches that none panics, fills
//! memory, takes long, or takes what it cannot give back.
//!
//! ```text
//! cargo run --release -p engraft-wire --example fuzz -- [--decoder NAME|all] [--frames N]
//!     [--seconds S] [--seed X] [--first I] [--careful]
//! cargo run --release -p engraft-wire --example fuzz -- --decoder NAME --replay FILE
//! cargo run --release -p engraft-wire --example fuzz -- --write-corpus
//! ```
//!
//! An hour of each: `--frames 0 --seconds 3600 --seed "$(date +%s)"`. Frames are those that one
//! seed makes, one after the other: `--seed X --first I --frames 1` makes frame I again.
//!
//! It begins with the messages in `crates/wire/corpus/NAME`: the `ok-` ones must be taken, the
//! `bad-` ones, which once hurt, must be refused. What fails is written to `fuzz-NAME.bin` with
//! how to replay it; put it into the corpus as `bad-WHAT.bin`. A process that is ended from
//! outside, or by a full stack, writes nothing: with `--careful` each frame is written before it
//! is decoded. One thread decodes, since memory is counted for the process; for more, run several.
//!
//! No coverage guides it: that needs a nightly compiler. Instead [`mutate`] knows how messages are
//! made, and a run is told to have failed which did not reach every kind of message and of error.
//! `cargo test` runs the same, briefly.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a program

mod meter;
mod mutate;
mod pieces;
mod seeds;
mod targets;
mod words;

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::meter::Cost;
use crate::mutate::Mutator;
use crate::targets::{TARGETS, Tally, Target, Verdict};

/// Bytes that decoding may allocate for each byte of the message, and beyond that.
const MAX_PEAK: (usize, usize) = (4, 1 << 20);
/// How long decoding one message may take.
const MAX_TIME: Duration = Duration::from_secs(1);
/// Bytes of a message of the corpus that is damaged.
const MAX_SEED: usize = 8 << 10;
/// Below so many frames not every kind need be reached.
const ENOUGH: u64 = 50_000;

/// How long to go on, and from where.
#[derive(Clone)]
struct Options {
    /// 0 is no limit.
    frames: u64,
    seconds: Option<u64>,
    seed: u64,
    first: u64,
    careful: bool,
}

/// What came of many frames.
#[derive(Default)]
struct Report {
    tally: Tally,
    /// Error texts without names and numbers.
    wordings: HashSet<u64>,
    worst: Cost,
    /// The greatest share of [`MAX_PEAK`] that one message took.
    share: f64,
    frames: u64,
    seconds: f64,
}

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The corpus' messages with their names, in the order of these.
fn messages(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = corpus(target);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut all: Vec<_> = files
        .map(|file| {
            let path = file.expect("a folder that is read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    all.sort();
    all
}

/// Decodes one message and checks what must be true.
fn judged(target: &Target, message: &[u8]) -> Result<(Verdict, Cost), String> {
    let once = || {
        let mut cost = Cost::default();
        let verdict = catch_unwind(AssertUnwindSafe(|| (target.judge)(message, &mut cost)));
        verdict.map(|verdict| (verdict, cost)).map_err(|_| "it panicked".to_owned())
    };
    let (verdict, mut cost) = once()?;
    let most = allowed(message);
    if cost.peak > most {
        return Err(format!("it allocated {} bytes, at most {most} are allowed", cost.peak));
    }
    // Another process may have had the processor: what is slow is slow each time.
    for _ in 0..3 {
        if cost.time > MAX_TIME {
            cost.time = cost.time.min(once()?.1.time);
        }
    }
    if cost.time > MAX_TIME {
        return Err(format!("it took {:?}", cost.time));
    }
    Ok((verdict, cost))
}

fn allowed(message: &[u8]) -> usize {
    MAX_PEAK.0 * message.len() + MAX_PEAK.1
}

/// The corpus as it is, each message with the verdict that its name promises.
fn check_corpus(target: &Target) -> Result<(), String> {
    for (name, message) in messages(target) {
        let (verdict, _) =
            judged(target, &message).map_err(|why| format!("{} {name}: {why}", target.name))?;
        if verdict.is_ok() != name.starts_with("ok-") {
            return Err(format!("{} {name}: {verdict:?}", target.name));
        }
    }
    Ok(())
}

/// Damaged messages, until one hurts.
fn fuzz(target: &Target, options: &Options) -> Result<Report, String> {
    check_corpus(target)?;
    let seeds = messages(target).into_iter().map(|(_, message)| message);
    // What is large is large for a reason, and slow to damage.
    let seeds = seeds.filter(|message| message.len() <= MAX_SEED).collect();
    let mutator = Mutator::new(target.form, seeds);
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut report = Report::default();
    let file = format!("fuzz-{}.bin", target.name);
    let began = Instant::now();
    let more = |report: &Report| {
        let time = options.seconds.is_none_or(|seconds| began.elapsed().as_secs() < seconds);
        time && (options.frames == 0 || report.frames < options.frames)
    };
    while more(&report) {
        let frame = options.first + report.frames;
        rng.set_stream(frame);
        rng.set_word_pos(0);
        let message = mutator.next(&mut rng);
        if options.careful {
            fs::write(&file, &message).map_err(|error| error.to_string())?;
        }
        let (verdict, cost) = judged(target, &message).map_err(|why| {
            let seed = options.seed;
            let written = fs::write(&file, &message);
            let written = written.map_or_else(|error| error.to_string(), |()| file.clone());
            format!(
                "{name}: frame {frame} of seed {seed}: {why}\n  {len} bytes: {written}\n  again: \
                 cargo run --release -p engraft-wire --example fuzz -- --decoder {name} --replay \
                 {file}",
                name = target.name,
                len = message.len(),
            )
        })?;
        report.frames += 1;
        report.share = report.share.max(cost.peak as f64 / allowed(&message) as f64);
        report.worst.peak = report.worst.peak.max(cost.peak);
        report.worst.time = report.worst.time.max(cost.time);
        let kind = match verdict {
            Ok(kind) => (true, kind),
            Err((kind, words)) => {
                report.wordings.insert(wording(&words));
                (false, kind)
            }
        };
        *report.tally.entry(kind).or_default() += 1;
    }
    report.seconds = began.elapsed().as_secs_f64();
    let missed = target.missed(&report.tally);
    if report.frames >= ENOUGH && !missed.is_empty() {
        return Err(format!(
            "{}: not reached in {} frames: {missed:?}",
            target.name, report.frames
        ));
    }
    Ok(report)
}

/// A hash of what is said, whatever it is said of.
fn wording(words: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (i, part) in words.split(['`', '"']).enumerate() {
        if i % 2 == 0 {
            part.bytes().filter(u8::is_ascii_alphabetic).for_each(|byte| byte.hash(&mut hasher));
        }
    }
    hasher.finish()
}

impl Report {
    fn print(&self, name: &str) {
        let part = |count: u64| 100.0 * count as f64 / self.frames.max(1) as f64;
        let taken = self.tally.iter().filter(|((taken, _), _)| *taken).map(|(_, count)| count);
        println!(
            "{name}: {} frames in {:.0} s, {:.0} a second; {:.1} % taken; {} wordings of errors; \
             most memory {} KiB ({:.0} % of what is allowed); longest {:?}",
            self.frames,
            self.seconds,
            self.frames as f64 / self.seconds,
            part(taken.sum()),
            self.wordings.len(),
            self.worst.peak >> 10,
            100.0 * self.share,
            self.worst.time,
        );
        for ((taken, kind), count) in &self.tally {
            let verdict = if *taken { "taken" } else { "error" };
            println!("  {verdict} {kind}: {count} ({:.3} %)", part(*count));
        }
    }
}

fn replay(targets: &[&Target], file: &str) -> Result<(), String> {
    let message = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    for target in targets {
        let (verdict, cost) =
            judged(target, &message).map_err(|why| format!("{}: {why}", target.name))?;
        println!("{}: {verdict:?}, {cost:?}", target.name);
    }
    Ok(())
}

fn write_corpus(targets: &[&Target]) -> Result<(), String> {
    for target in targets {
        let folder = corpus(target);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        for (name, message) in (target.seeds)() {
            let path = folder.join(format!("ok-{name}.bin"));
            fs::write(path, message).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn run() -> Result<(), String> {
    let mut options =
        Options { frames: 1_000_000, seconds: None, seed: 1, first: 0, careful: false };
    let (mut name, mut file, mut write) = ("all".to_owned(), None, false);
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let mut word = || words.next().ok_or(format!("`{flag}` needs a value"));
        let number = |word: String| word.parse().map_err(|_| format!("{word:?} is no number"));
        match flag.as_str() {
            "--decoder" => name = word()?,
            "--frames" => options.frames = number(word()?)?,
            "--seconds" => options.seconds = Some(number(word()?)?),
            "--seed" => options.seed = number(word()?)?,
            "--first" => options.first = number(word()?)?,
            "--careful" => options.careful = true,
            "--replay" => file = Some(word()?),
            "--write-corpus" => write = true,
            _ => return Err(format!("unknown flag `{flag}`: see the head of this file")),
        }
    }
    let wanted = |target: &&Target| name == "all" || name == target.name;
    let targets: Vec<&Target> = TARGETS.iter().filter(wanted).collect();
    if targets.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        return Err(format!("no decoder `{name}`, expected all or one of {}", names.join(", ")));
    }
    if write {
        return write_corpus(&targets);
    }
    if let Some(file) = file {
        return replay(&targets, &file);
    }
    println!("seed {}", options.seed);
    for target in targets {
        fuzz(target, &options)?.print(target.name);
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fuzz: {why}");
            ExitCode::FAILURE
        }
    }
}

/// One test, so that no other one's memory is counted.
#[cfg(test)]
#[test]
fn no_decoder_panics_or_fills_memory() {
    let options = Options { frames: ENOUGH, seconds: None, seed: 1, first: 0, careful: false };
    for target in TARGETS {
        fuzz(target, &options).unwrap_or_else(|why| panic!("{why}")).print(target.name);
    }
}
