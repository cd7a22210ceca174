//! Feetech packets: flipped, cut, doubled, torn apart, between noise.

use firmware_bridge::codecs::feetech::{self, Decoder};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Report;

/// Sends `frames` packets, nine of ten damaged, and counts what is found.
pub(super) fn fuzz(frames: u64, seed: u64) -> Report {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut host, mut device) = (Decoder::new(), Decoder::new());
    host.expect(6..=6);
    let (mut packet, mut report) = (Vec::new(), Report { whole: 0, found: 0 });
    for _ in 0..frames {
        packet.clear();
        build(&mut rng, &mut packet);
        if rng.random_bool(0.9) {
            damage(&mut rng, &mut packet);
        } else {
            report.whole += 1;
        }
        let cut = rng.random_range(0..=packet.len());
        let (first, second) = packet.split_at(cut);
        for piece in [first, second] {
            device.push(piece);
            host.push(piece);
            while let Some(packet) = device.next() {
                assert!(packet.id <= feetech::BROADCAST && packet.data.len() <= 244);
                report.found += 1;
            }
            while let Some(packet) = host.next() {
                assert_eq!(packet.data.len(), 6);
                let _ = feetech::alarms(packet.code);
                let _ = feetech::word(packet.data, packet.code.into());
            }
        }
        if rng.random_bool(0.01) {
            while device.next_of_all().is_some() {
                report.found += 1;
            }
        }
    }
    report
}

fn build(rng: &mut ChaCha8Rng, packet: &mut Vec<u8>) {
    let (id, address) = (rng.random_range(0..=feetech::MAX_ID), rng.random());
    let data: [u8; 12] = rng.random();
    let some = &data[..rng.random_range(0..=12)];
    let built = match rng.random_range(0..6) {
        0 => feetech::ping(packet, id),
        1 => feetech::read(packet, id, address, data[0]),
        2 => feetech::write(packet, id, address, some),
        3 => feetech::sync_read(packet, address, data[0], some.iter().copied()),
        4 => feetech::sync_write(packet, address, 2, [(1, &data[..2]), (2, &data[2..4])]),
        _ => feetech::status(packet, id, data[0], &data[..6]),
    };
    built.expect("all of these are packets");
}

fn damage(rng: &mut ChaCha8Rng, packet: &mut Vec<u8>) {
    let at = rng.random_range(0..packet.len());
    match rng.random_range(0..5) {
        0 => packet[at] ^= 1 << rng.random_range(0..8_u32),
        1 => packet.truncate(at),
        2 => packet.insert(at, 0xFF),
        3 => packet[at] = rng.random(),
        _ => {
            let noise: [u8; 7] = rng.random();
            packet.splice(at..at, noise);
        }
    }
}
