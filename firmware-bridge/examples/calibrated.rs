//! What our reading of LeRobot's calibration makes of numbers, for judges that know better.
//!
//! `calibrated` answers lines `decode UNIT MIN MAX DRIVE_MODE TICKS` and `encode UNIT MIN MAX
//! DRIVE_MODE VALUE`, the unit as in an arm's description, with a number or `none`; `calibrated
//! FROM TO` reads one file and writes another.

use std::io::{self, BufRead, Write};
use std::path::Path;

use anyhow::{Context, bail};
use firmware_bridge::calibration::{Calibration, JointCalibration};
use firmware_bridge::units::Unit;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error;

fn main() -> anyhow::Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if let [from, to] = files.as_slice() {
        return Ok(Calibration::read(Path::new(from))?.write(Path::new(to))?);
    }
    let mut output = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let line = line?;
        let answer = answer(&line).with_context(|| format!("cannot answer `{line}`"))?;
        writeln!(output, "{answer}")?;
    }
    Ok(output.flush()?)
}

fn answer(line: &str) -> anyhow::Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [verb, unit, min, max, drive_mode, number] = words[..] else { bail!("expected six words") };
    let unit: Result<Unit, Error> = Unit::deserialize(unit.into_deserializer());
    let (unit, range_min, range_max) = (unit?, min.parse()?, max.parse()?);
    let drive_mode = drive_mode.parse()?;
    let joint = JointCalibration { id: 1, drive_mode, homing_offset: 0, range_min, range_max };
    let answer = match verb {
        "decode" => joint.decode(unit, number.parse()?).map(|value| value.to_string()),
        "encode" => joint.encode(unit, number.parse()?).map(|ticks| ticks.to_string()),
        _ => bail!("expected decode or encode"),
    };
    Ok(answer.unwrap_or_else(|| "none".into()))
}
