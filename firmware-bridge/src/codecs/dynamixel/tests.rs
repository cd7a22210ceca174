//! Packets of the manual, stuffing at every corner, and what comes damaged.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// One packet.
fn packet(encode: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out).unwrap();
    out
}

fn hex(text: &str) -> Vec<u8> {
    let body = text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap());
    [0xFF, 0xFF, 0xFD, 0x00].into_iter().chain(body).collect()
}

/// Id, instruction and body of every packet in `bytes`.
fn decoded(bytes: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let mut found = Vec::new();
    while let Some(packet) = decoder.next() {
        found.push((packet.id, packet.instruction, packet.body.to_vec()));
    }
    found
}

#[test] // the vendor's manual gives these bytes
fn packets_are_those_of_the_manual() {
    for (found, expected) in [
        (packet(|out| ping(out, 1)), "01 03 00 01 19 4E"),
        (packet(|out| read(out, 1, 132, 4)), "01 07 00 02 84 00 04 00 1D 15"),
        (packet(|out| write(out, 1, 116, &[0, 2, 0, 0])), "01 09 00 03 74 00 00 02 00 00 CA 89"),
        (
            packet(|out| reg_write(out, 1, 104, &[200, 0, 0, 0])),
            "01 09 00 04 68 00 C8 00 00 00 AE 8E",
        ),
        (packet(|out| action(out, 1)), "01 03 00 05 02 CE"),
        (packet(|out| reboot(out, 1)), "01 03 00 08 2F 4E"),
        (packet(|out| sync_read(out, 132, 4, [1, 2])), "FE 09 00 82 84 00 04 00 01 02 CE FA"),
        (packet(|out| fast_sync_read(out, 132, 4, [3, 7])), "FE 09 00 8A 84 00 04 00 03 07 50 FE"),
        (
            packet(|out| {
                let data: [(u8, &[u8]); 2] = [(1, &[150, 0, 0, 0]), (2, &[170, 0, 0, 0])];
                sync_write(out, 116, 4, data)
            }),
            "FE 11 00 83 74 00 04 00 01 96 00 00 00 02 AA 00 00 00 82 87",
        ),
        (
            packet(|out| bulk_read(out, [(1, 144, 2), (2, 146, 1)])),
            "FE 0D 00 92 01 90 00 02 00 02 92 00 01 00 1A 05",
        ),
        (
            packet(|out| {
                let data: [(u8, u16, &[u8]); 2] = [(1, 32, &[160, 0]), (2, 31, &[80])];
                bulk_write(out, data)
            }),
            "FE 10 00 93 01 20 00 02 00 A0 00 02 1F 00 01 00 50 B7 68",
        ),
        (packet(|out| status(out, 1, 0, &[6, 4, 0x26])), "01 07 00 55 00 06 04 26 65 5D"),
        (packet(|out| status(out, 1, 0, &[0xA6, 0, 0, 0])), "01 08 00 55 00 A6 00 00 00 8C C0"),
        (
            packet(|out| {
                let parts: [(u8, u8, &[u8]); 2] =
                    [(0, 3, &[0xA6, 0, 0, 0]), (0, 7, &[31, 8, 0, 0])];
                fast_status(out, parts)
            }),
            "FE 11 00 55 00 03 A6 00 00 00 87 BB 00 07 1F 08 00 00 8C 72",
        ),
    ] {
        assert_eq!(found, hex(expected), "{expected}");
        assert_eq!(decoded(&found).len(), 1, "{expected}");
    }
}

#[test]
fn a_header_in_the_data_is_stuffed_and_comes_back_as_it_was() {
    for (data, bytes) in [
        (&[0xFF, 0xFF, 0xFD][..], "FF FF FD FD"), // at the end, right ahead of the CRC
        (&[0xFF, 0xFF, 0xFD, 0xFD], "FF FF FD FD FD"),
        (&[0xFF, 0xFF, 0xFD, 0x00], "FF FF FD FD 00"),
        (&[0xFF, 0xFF, 0xFD, 0xFF, 0xFF, 0xFD], "FF FF FD FD FF FF FD FD"),
        (&[0xFF, 0xFF, 0xFF, 0xFD], "FF FF FF FD FD"),
        (&[0xFD, 0xFF, 0xFF], "FD FF FF"),
    ] {
        let found = packet(|out| write(out, 1, 0xFF00, data));
        let stuffed: Vec<u8> = hex(bytes)[4..].to_vec();
        assert_eq!(&found[10..found.len() - 2], stuffed, "{data:02X?}");
        assert_eq!(usize::from(found[5]), found.len() - 7, "the length is of the stuffed form");
        let body = [&[0x00, 0xFF], data].concat();
        assert_eq!(decoded(&found), [(1, instruction::WRITE, body)]);
    }
    // The address takes part: its FF FF and the data's FD.
    let found = packet(|out| write(out, 1, 0xFFFF, &[0xFD, 7]));
    assert_eq!(found[8..13], [0xFF, 0xFF, 0xFD, 0xFD, 7]);
}

#[test]
fn what_only_looks_like_a_header_across_the_crc_is_not_stuffed() {
    // Data of which the CRC begins with FD after FF FF.
    let found = (0..=u16::MAX).find_map(|word| {
        let [a, b] = word.to_le_bytes();
        let found = packet(|out| write(out, 1, 100, &[a, b, 0xFF, 0xFF]));
        (found[found.len() - 2] == 0xFD).then_some((found, vec![100, 0, a, b, 0xFF, 0xFF]))
    });
    let (found, body) = found.unwrap();
    assert_eq!(found.len(), 16, "nothing was put in");
    assert_eq!(decoded(&found), [(1, instruction::WRITE, body)]);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing_behind() {
    let mut out = vec![9];
    let long = [0xFF; 2000];
    assert_eq!(write(&mut out, 1, 0, &long), Err(CodecError::TooLong { found: 2012 }));
    assert_eq!(ping(&mut out, 0xFD), Err(CodecError::Id { found: 0xFD }));
    assert_eq!(sync_read(&mut out, 0, 1, [1, BROADCAST]), Err(CodecError::Id { found: 0xFE }));
    let short: [(u8, &[u8]); 2] = [(1, &[0; 4]), (2, &[0; 3])];
    let wrong = Err(CodecError::Length { id: 2, expected: 4, found: 3 });
    assert_eq!(sync_write(&mut out, 116, 4, short), wrong);
    let parts: Vec<(u8, u8, &[u8])> = vec![(0, 1, &long[..500]); 3];
    assert!(fast_status(&mut out, parts).is_err());
    assert_eq!(out, [9]);
}

#[test]
fn values_are_twos_complement_and_never_wrap() {
    let goal = register::GOAL_POSITION;
    assert_eq!(goal.bytes(-1), Ok([0xFF; 4]));
    assert_eq!(goal.within(&[0xFE, 0xFF, 0xFF, 0xFF], 116), Some(-2));
    assert!(goal.bytes(1 << 31).is_err() && goal.bytes(-(1 << 31)).is_ok());
    assert_eq!(register::BUS_WATCHDOG.within(&[0xFF], 98), Some(-1));
    assert_eq!(register::PRESENT_VOLTAGE.within(&[0xFF, 0xFF], 144), Some(65_535));
    let error = register::GOAL_CURRENT.bytes(40_000).unwrap_err().to_string();
    assert_eq!(error, "goal current takes -32768 to 32767, found 40000");
    assert_eq!(goal.within(&[0; 3], 116), None);
    assert_eq!(goal.within(&[0; 300], 117), None);
    for pair in register::ALL.windows(2) {
        assert!(pair[0].address + pair[0].width <= pair[1].address, "{}", pair[1].name);
    }
}

#[test]
fn a_fast_answer_is_read_as_far_as_its_crcs_are_right() {
    let parts: [(u8, u8, &[u8]); 3] =
        [(0, 3, &[1, 0xFF, 0xFF, 0xFD]), (0x80, 7, &[2; 4]), (0, 9, &[3; 4])];
    let found = packet(|out| fast_status(out, parts));
    let mut decoder = Decoder::default();
    decoder.feed(&found);
    let answer = decoder.next().unwrap();
    let entries: Vec<_> = answer.fast(4).unwrap().collect();
    assert_eq!(entries.len(), 3);
    assert_eq!(entries[0], Status { id: 3, error: 0, data: &[1, 0xFF, 0xFF, 0xFD] });
    assert_eq!(entries[1], Status { id: 7, error: 0x80, data: &[2; 4] });
    assert!(answer.fast(5).is_none() && answer.status().is_none());

    // A wrong CRC within, under a right one at the end.
    let mut lied = found.clone();
    lied[14] ^= 1;
    let end = lied.len() - 2;
    let right = crc(0, &lied[..end]).to_le_bytes();
    lied[end..].copy_from_slice(&right);
    decoder.feed(&lied);
    assert_eq!(decoder.next().unwrap().fast(4).unwrap().count(), 0);
}

#[test]
fn every_truncation_is_no_packet_and_the_next_one_is_found() {
    let first = packet(|out| status(out, 5, 0, &[0xFF, 0xFF, 0xFD, 0, 7, 8]));
    let next = packet(|out| status(out, 6, 0, &[1, 2, 3]));
    for length in 0..first.len() {
        let mut decoder = Decoder::default();
        decoder.feed(&first[..length]);
        assert!(decoder.next().is_none(), "{length} bytes decoded");
        decoder.feed(&next);
        let found = decoder.next().map(|packet| packet.id);
        if found.is_none() {
            decoder.give_up();
        }
        let found = found.or_else(|| decoder.next().map(|packet| packet.id));
        assert_eq!(found, Some(6), "after {length} bytes");
    }
}

#[test]
fn bytes_may_come_one_by_one_and_behind_noise() {
    let noise = [0xFF, 0xFF, 0xFF, 0xFD, 0xFF, 0xFF, 0xFD, 0x00, 0xFF, 0x00, 0x12];
    let found = packet(|out| status(out, 5, 0, &[9]));
    let mut decoder = Decoder::default();
    let mut packets = 0;
    for byte in noise.iter().chain(&found).chain(&noise).chain(&found) {
        decoder.feed(&[*byte]);
        packets += usize::from(decoder.next().is_some());
    }
    assert_eq!((packets, decoder.skipped()), (2, 22));
}

#[test]
fn errors_are_said_in_words() {
    assert_eq!(
        StatusError(0x87).to_string(),
        "the register is not accessible now (7), and a hardware error is latched"
    );
    assert_eq!(HardwareError(0x21).to_string(), "input voltage outside its limits and overload");
    assert_eq!(HardwareError(0x44).to_string(), "overheating and hardware error 0x40");
}

#[test] // ten million are tried by examples/fuzz_dynamixel.rs
fn mutated_packets_neither_panic_nor_hide_what_follows() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let good = packet(|out| status(out, 6, 0, &[1, 2, 3, 4]));
    let mut decoder = Decoder::new(64);
    let mut hidden = 0;
    for _ in 0..100_000 {
        let mut bytes = packet(|out| status(out, 5, 0, &[0xFF, 0xFF, 0xFD, 4, 5, 6, 7]));
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..3) {
                0 => bytes[at] ^= 1 << rng.random_range(0..8_u32),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, rng.random()),
            }
        }
        decoder.clear();
        decoder.feed(&bytes);
        decoder.feed(&good);
        let mut last = None;
        for _ in 0..100 {
            while let Some(packet) = decoder.next() {
                last = Some(packet.id);
            }
            decoder.give_up();
        }
        hidden += u32::from(last != Some(6));
    }
    // A CRC of 16 bits is right by chance once in 65536 times, and then takes bytes with it.
    assert!(hidden <= 5, "{hidden} packets were not found");
}
