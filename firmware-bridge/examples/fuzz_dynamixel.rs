//! Feeds damaged packets to the decoder, as a host and as a servo would, and encodes for judges.
//!
//! ```text
//! cargo run --release -p firmware-bridge --example fuzz_dynamixel -- [--frames 10000000] [--seed 1]
//! cargo run --release -p firmware-bridge --example fuzz_dynamixel -- --encode
//! ```
//!
//! With `--encode` every line of standard input is a command, as `write 1 116 00020000`, and the
//! answer is its packet in hexadecimal.

use std::error::Error;
use std::io::{self, BufRead, BufWriter, Write};
use std::time::{Duration, Instant};

use clap::Parser;
use firmware_bridge::codecs::dynamixel::{self as codec, Decoder};
use firmware_bridge::description::ArmDescription;
use firmware_bridge::emulate::dynamixel::Bus;
use firmware_bridge::emulate::{Device, Faults};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[derive(Parser)]
struct Args {
    /// How many packets to damage.
    #[arg(long, default_value_t = 10_000_000)]
    frames: u64,
    /// Seed of what goes wrong.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Encode what standard input says.
    #[arg(long)]
    encode: bool,
}

type Random = ChaCha8Rng;

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    if args.encode { encode() } else { fuzz(&args) }
}

/// A packet of any kind, with data that likes headers.
fn packet(out: &mut Vec<u8>, rng: &mut Random) -> Result<(), codec::CodecError> {
    let mut data = [0; 12];
    for byte in &mut data {
        *byte = [0xFF, 0xFF, 0xFD, 0x00, rng.random()][rng.random_range(0..5_usize)];
    }
    let data = &data[..rng.random_range(0..=12)];
    let (id, address) = (rng.random_range(0..=codec::MAX_ID), rng.random_range(0..160));
    match rng.random_range(0..9) {
        0 => codec::ping(out, id),
        1 => codec::read(out, id, address, rng.random_range(0..20)),
        2 => codec::write(out, rng.random_range(0..8), address, data),
        3 => codec::sync_read(out, address, rng.random_range(0..20), 1..=6),
        4 => codec::fast_sync_read(out, address, rng.random_range(0..20), 1..=6),
        5 => codec::sync_write(out, address, data.len() as u16, (1..=6).map(|id| (id, data))),
        6 => codec::bulk_write(out, (1..=6).map(|id| (id, address, data))),
        7 => codec::status(out, id, rng.random(), data),
        _ => codec::fast_status(out, (1..=6).map(|id| (0, id, data))),
    }
}

fn damage(bytes: &mut Vec<u8>, rng: &mut Random) {
    for _ in 0..rng.random_range(0..4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..5) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8_u32),
            1 => bytes[at] = rng.random(),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, [0xFF, 0xFD, rng.random()][rng.random_range(0..3_usize)]),
            _ => bytes.truncate(at + 1),
        }
    }
}

fn fuzz(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut rng = Random::seed_from_u64(args.seed);
    let mut host = Decoder::new(256);
    let arm = ArmDescription::find("koch")?;
    let mut bus = Bus::new(&arm)?;
    let (mut bytes, mut replies) = (Vec::new(), Vec::new());
    let (mut intact, mut answers, mut fed) = (0_u64, 0_u64, 0_u64);
    let began = Instant::now();
    for frame in 0..args.frames {
        bytes.clear();
        packet(&mut bytes, &mut rng)?;
        damage(&mut bytes, &mut rng);
        fed += bytes.len() as u64;
        let cut = rng.random_range(0..=bytes.len());
        for part in [&bytes[..cut], &bytes[cut..]] {
            host.feed(part);
            while let Some(packet) = host.next() {
                let parts = packet.fast(4).into_iter().flatten().count();
                assert!(
                    parts <= 256 / 8 && packet.body.len() < 256,
                    "more than there was room for"
                );
                intact += 1;
            }
            bus.receive(part, &Faults::default(), &mut replies);
        }
        answers += replies.len() as u64;
        replies.clear();
        if frame % 64 == 0 {
            host.give_up();
            bus.advance(Duration::from_micros(frame));
            bus.forget_written();
        }
        if frame % 1024 == 0 {
            bus = Bus::new(&arm)?; // by now some have been told another id, or to say nothing
        }
    }
    let (count, secs) = (args.frames, began.elapsed().as_secs_f64());
    writeln!(
        io::stdout(),
        "{count} damaged packets, {fed} bytes, seed {}: {intact} intact at the host, {answers} answered \
         by servos, no panic, {secs:.1} s",
        args.seed
    )?;
    Ok(())
}

fn hex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits = text
        .as_bytes()
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    digits.collect()
}

fn encode() -> Result<(), Box<dyn Error>> {
    let mut to = BufWriter::new(io::stdout().lock());
    let mut out = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        out.clear();
        let [kind, words @ ..] = words.as_slice() else { continue };
        let number = |at: usize| -> Result<u16, Box<dyn Error>> {
            Ok(words.get(at).ok_or("a number is missing")?.parse()?)
        };
        let id = || -> Result<u8, Box<dyn Error>> { Ok(u8::try_from(number(0)?)?) };
        let data = |at: usize| hex(words.get(at).copied().unwrap_or(""));
        match *kind {
            "ping" => codec::ping(&mut out, id()?)?,
            "action" => codec::action(&mut out, id()?)?,
            "reboot" => codec::reboot(&mut out, id()?)?,
            "read" => codec::read(&mut out, id()?, number(1)?, number(2)?)?,
            "write" => codec::write(&mut out, id()?, number(1)?, &data(2)?)?,
            "reg_write" => codec::reg_write(&mut out, id()?, number(1)?, &data(2)?)?,
            "sync_read" => codec::sync_read(&mut out, number(0)?, number(1)?, data(2)?)?,
            "fast_sync_read" => codec::fast_sync_read(&mut out, number(0)?, number(1)?, data(2)?)?,
            "sync_write" => {
                // One servo after another: id, then its data.
                let (length, all) = (number(1)?, data(2)?);
                let each = all.chunks_exact(usize::from(length) + 1);
                let each = each.filter_map(|one| one.split_first().map(|(id, data)| (*id, data)));
                codec::sync_write(&mut out, number(0)?, length, each)?;
            }
            "bulk_read" => {
                let all: Vec<_> = words
                    .chunks_exact(3)
                    .map(|one| Ok((one[0].parse()?, one[1].parse()?, one[2].parse()?)))
                    .collect::<Result<_, std::num::ParseIntError>>()?;
                codec::bulk_read(&mut out, all)?;
            }
            "bulk_write" => {
                let mut all = Vec::new();
                for one in words.chunks_exact(3) {
                    all.push((one[0].parse::<u8>()?, one[1].parse::<u16>()?, hex(one[2])?));
                }
                codec::bulk_write(
                    &mut out,
                    all.iter().map(|(id, at, data)| (*id, *at, data.as_slice())),
                )?;
            }
            _ => return Err(format!("expected a command, found {line:?}").into()),
        }
        for byte in &out {
            write!(to, "{byte:02x}")?;
        }
        writeln!(to)?;
    }
    Ok(())
}
