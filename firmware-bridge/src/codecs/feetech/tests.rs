//! Packets as the vendor writes them, and every way to break them.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn built(build: impl FnOnce(&mut Vec<u8>) -> Result<(), PacketError>) -> Vec<u8> {
    let mut out = Vec::new();
    build(&mut out).unwrap();
    out
}

/// All packets in `bytes`, which arrive in pieces of `piece`.
fn decoded(bytes: &[u8], piece: usize) -> Vec<(u8, u8, Vec<u8>)> {
    let (mut decoder, mut packets) = (Decoder::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        while let Some(Packet { id, code, data }) = decoder.next() {
            packets.push((id, code, data.to_vec()));
        }
    }
    packets
}

#[test]
fn packets_are_those_of_the_vendor() {
    assert_eq!(built(|out| ping(out, 1)), [0xFF, 0xFF, 1, 2, 1, 0xFB]);
    assert_eq!(built(|out| read(out, 1, 0x2B, 1)), [0xFF, 0xFF, 1, 4, 2, 0x2B, 1, 0xCC]);
    assert_eq!(built(|out| action(out, BROADCAST)), [0xFF, 0xFF, 0xFE, 2, 5, 0xFA]);
    assert_eq!(
        built(|out| write(out, 1, 42, &[0, 8])),
        [0xFF, 0xFF, 1, 5, 3, 42, 0, 8, !(1 + 5 + 3 + 42 + 8)]
    );
    assert_eq!(
        built(|out| sync_read(out, 56, 6, [1, 2])),
        [0xFF, 0xFF, 0xFE, 6, 0x82, 56, 6, 1, 2, 0x38]
    );
    assert_eq!(built(|out| sync_read(out, 56, 6, 1..=6)).len(), 14);
    let rows = (1..=6).map(|id| (id, [0, 8]));
    assert_eq!(built(|out| sync_write(out, 42, 2, rows)).len(), 26);
    assert_eq!(built(|out| status(out, 1, 0, &[0, 8])).len(), 8);
}

#[test]
fn what_is_no_packet_is_refused_and_leaves_no_bytes() {
    let mut out = vec![7];
    assert_eq!(ping(&mut out, 255), Err(PacketError::Id { found: 255 }));
    assert_eq!(write(&mut out, 1, 0, &[0; 244]), Err(PacketError::TooLong { found: 251 }));
    let rows = [(1, vec![0, 8]), (2, vec![8])];
    let row = PacketError::Row { id: 2, expected: 2, found: 1 };
    assert_eq!(sync_write(&mut out, 42, 2, rows), Err(row));
    assert_eq!(out, [7]);
    write(&mut out, 1, 0, &[0; 243]).unwrap();
    assert_eq!(out.len(), 1 + MAX_PACKET);
}

#[test]
fn packets_are_found_whatever_the_pieces() {
    let mut bytes = Vec::new();
    ping(&mut bytes, 1).unwrap();
    bytes.extend([0xFF, 0xFF, 0xFF]); // noise, and one 0xFF more than a header has
    status(&mut bytes, 3, 0x20, &[0xFF, 0xFF, 1, 2, 1, 0xFB]).unwrap(); // a ping inside the data
    bytes.extend([0xFF, 0xFF, 9, 1]); // a length that cannot be
    read(&mut bytes, 2, 56, 6).unwrap();
    let expected =
        [(1, 1, vec![]), (3, 0x20, vec![0xFF, 0xFF, 1, 2, 1, 0xFB]), (2, 2, vec![56, 6])];
    for piece in 1..=bytes.len() {
        assert_eq!(decoded(&bytes, piece), expected, "in pieces of {piece}");
    }
}

#[test]
fn every_truncation_is_no_packet_and_the_next_one_is_found() {
    let whole = built(|out| status(out, 1, 0, &[0xFF, 0xFF, 1, 2, 0, 8]));
    let next = built(|out| status(out, 2, 0, &[1, 2, 3, 4, 5, 6]));
    for length in 0..whole.len() {
        let cut = &whole[..length];
        assert_eq!(decoded(cut, 1), [], "{length} bytes");
        // The cut one takes bytes of what follows for its own; when all has come, it is told.
        let mut decoder = Decoder::new();
        decoder.expect(6..=6);
        decoder.push(cut);
        decoder.push(&next);
        let packet = decoder.next_of_all().unwrap();
        assert_eq!((packet.id, packet.data), (2, &[1, 2, 3, 4, 5, 6][..]), "after {length} bytes");
        assert!(decoder.next_of_all().is_none());
    }
}

#[test]
fn one_flipped_bit_is_always_noticed() {
    let whole = built(|out| status(out, 1, 0, &[0, 8, 0x10, 0x80, 20, 4]));
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decoded(&bytes, 100), [], "bit {bit}");
    }
}

#[test]
fn a_stream_nobody_reads_does_not_grow() {
    let mut decoder = Decoder::new();
    let capacity = decoder.bytes.capacity();
    for _ in 0..1000 {
        decoder.push(&[0xFF; 300]);
    }
    decoder.push(&[0; 10_000]);
    decoder.push(&built(|out| ping(out, 5)));
    assert_eq!(decoder.bytes.capacity(), capacity);
    assert_eq!(decoder.next().unwrap().id, 5);
}

#[test]
fn a_hundred_thousand_damaged_packets_do_no_harm() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut decoder, mut packet, mut found) = (Decoder::new(), Vec::new(), 0);
    for _ in 0..100_000 {
        packet.clear();
        let data: [u8; 12] = rng.random();
        let length = rng.random_range(0..=data.len());
        status(&mut packet, rng.random_range(0..=MAX_ID), 0, &data[..length]).unwrap();
        if rng.random_bool(0.9) {
            let at = rng.random_range(0..packet.len());
            packet[at] = rng.random();
        }
        decoder.push(&packet);
        while let Some(packet) = decoder.next() {
            assert!(packet.data.len() <= MAX_PACKET - STATUS_BYTES);
            found += 1;
        }
    }
    assert!(found > 5_000, "{found} of some 10,000 undamaged ones found");
}

#[test]
fn signs_have_a_bit_of_their_own_and_nothing_saturates() {
    assert_eq!(encode_signed(-1, 15), Some(0x8001));
    assert_eq!(encode_signed(-2047, 11), Some(0xFFF));
    assert_eq!(encode_signed(1023, 10), Some(1023));
    for (value, bit) in [(2048, 11), (-2048, 11), (32768, 15), (-32768, 15), (i32::MIN, 15)] {
        assert_eq!(encode_signed(value, bit), None, "{value} in {bit} bits");
    }
    assert_eq!(encode_signed(1, 16), None);
    for bit in [10, 11, 15] {
        let most = (1 << bit) - 1;
        for value in -most..=most {
            assert_eq!(decode_signed(encode_signed(value, bit).unwrap(), bit), value);
        }
    }
    assert_eq!(decode_signed(0xFF17, 15), -32535, "what two's complement of -233 would mean");
    assert_eq!(decode_signed(0xF400, 10), 0, "bits above the sign mean nothing, and -0 is 0");
}

#[test]
fn alarms_are_told_in_words_and_bit_four_is_none() {
    assert_eq!(alarms(0), None);
    assert_eq!(alarms(1 << 4), None);
    assert_eq!(ALARMS & 1 << 4, 0);
    let said = alarms(0b10_0100).unwrap();
    assert_eq!(
        said,
        "too high a temperature: let it cool down; an overload: free the joint, then switch its \
         power off and on"
    );
}
