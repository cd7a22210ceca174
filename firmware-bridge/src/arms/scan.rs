//! Who answers on a serial bus: every id, at one baud rate.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serial2::SerialPort;

use crate::codecs::{dynamixel, feetech};
use crate::description::Protocol;
use crate::motors::MotorsError;

/// Rates that servos are sold with or commonly set to, in bits per second.
pub const BAUDS: &[u32] = &[1_000_000, 57_600, 115_200, 500_000, 2_000_000, 3_000_000, 4_000_000];

/// How long a servo may take to answer.
const PATIENCE: Duration = Duration::from_millis(8);
/// Largest id of a servo.
const MAX_ID: u8 = 252;

/// The ids that answer a ping at `baud`.
///
/// # Errors
///
/// When the port cannot be used.
pub fn scan(protocol: Protocol, path: &Path, baud: u32) -> Result<Vec<u8>, MotorsError> {
    let name = path.display().to_string();
    let failed = |source: io::Error| MotorsError::Port {
        port: name.clone(),
        detail: format!("cannot be scanned at {baud} baud"),
        source,
    };
    let mut port = SerialPort::open(path, baud).map_err(failed)?;
    port.set_read_timeout(Duration::from_millis(2)).map_err(failed)?;
    let mut found = Vec::new();
    let (mut out, mut bytes) = (Vec::new(), [0; 256]);
    for id in 0..=MAX_ID {
        out.clear();
        let encoded = match protocol {
            Protocol::Feetech => feetech::ping(&mut out, id).is_ok(),
            Protocol::Dynamixel => dynamixel::ping(&mut out, id).is_ok(),
            Protocol::Xarm | Protocol::Simulator | Protocol::Franka => false,
        };
        if !encoded {
            continue;
        }
        let _ = port.discard_input_buffer(); // what is left is told apart by its id
        port.write_all(&out).map_err(failed)?;
        let began = Instant::now();
        let mut heard = Vec::new();
        while began.elapsed() < PATIENCE {
            match port.read(&mut bytes) {
                Ok(count) => heard.extend_from_slice(bytes.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => return Err(failed(error)),
            }
            // An adapter may hand our own bytes back first, and a ping reads like an answer.
            let answer = heard.strip_prefix(out.as_slice()).unwrap_or(&heard);
            if answers(protocol, answer, id) {
                found.push(id);
                break;
            }
        }
    }
    Ok(found)
}

/// Whether the bytes hold a status packet of `id`.
fn answers(protocol: Protocol, heard: &[u8], id: u8) -> bool {
    match protocol {
        Protocol::Feetech => {
            let mut decoder = feetech::Decoder::new();
            decoder.push(heard);
            let mut seen = false;
            while let Some(packet) = decoder.next_of_all() {
                seen |= packet.id == id;
            }
            seen
        }
        Protocol::Dynamixel => {
            let mut decoder = dynamixel::Decoder::new(64);
            decoder.feed(heard);
            let mut seen = false;
            while let Some(packet) = decoder.next() {
                seen |= packet.id == id && packet.status().is_some();
            }
            seen
        }
        Protocol::Xarm | Protocol::Simulator | Protocol::Franka => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::ArmDescription;
    use crate::emulate::{self, Emulator, Options};

    #[test]
    fn every_servo_is_found_and_none_that_is_silent() {
        let arm = ArmDescription::find("so101").unwrap();
        let emulator =
            Emulator::start(emulate::feetech::Bus::new(&arm), Options::default()).unwrap();
        emulator.faults(|faults| faults.silent = vec![4]);
        let found = scan(Protocol::Feetech, emulator.path(), 1_000_000).unwrap();
        assert_eq!(found, [1, 2, 3, 5, 6]);

        let arm = ArmDescription::find("koch").unwrap();
        let bus = emulate::dynamixel::Bus::new(&arm).unwrap();
        let emulator = Emulator::start(bus, Options::default()).unwrap();
        let found = scan(Protocol::Dynamixel, emulator.path(), 1_000_000).unwrap();
        assert_eq!(found, [1, 2, 3, 4, 5, 6]);
    }
}
