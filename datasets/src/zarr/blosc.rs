//! Blosc chunks: blocks, each in one or several streams, their bytes or bits shuffled.
//!
//! Source: `c-blosc` 1.21, format version 2. Differs in: nothing that it writes; a chunk of
//! Blosc 2 is an error.

use flate2::bufread::ZlibDecoder;

use super::codec::{check_ratio, inflate, lz4_block, wrong_size, zstd};

const HEADER: usize = 16;
const BYTE_SHUFFLE: u8 = 0x1;
const STORED: u8 = 0x2;
const BIT_SHUFFLE: u8 = 0x4;
const RESERVED: u8 = 0x8;
const WHOLE_BLOCKS: u8 = 0x10;

/// A block is split in one stream for each byte of an element up to this many.
const MAX_SPLITS: usize = 16;

/// And only where each stream has this many bytes.
const MIN_STREAM: usize = 128;

/// What the first bytes of a chunk say.
struct Header {
    flags: u8,
    typesize: usize,
    len: usize,
    block: usize,
}

/// Decompresses a chunk of `len` bytes.
pub(super) fn decode(bytes: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let header = Header::read(bytes)?;
    if header.len != len {
        return Err(wrong_size(header.len, len));
    }
    if len == 0 {
        return Ok(Vec::new());
    }
    let body = &bytes[HEADER..];
    if header.flags & STORED != 0 {
        let stored = body.get(..len).ok_or_else(|| wrong_size(body.len(), len))?;
        return Ok(stored.to_vec());
    }
    if !(1..=len).contains(&header.block) {
        let found = header.block;
        return Err(format!("expected Blosc blocks of 1 to {len} bytes, found {found}"));
    }
    let mut decoded = Vec::new(); // grows block by block, as far as there are blocks
    for at in 0..len.div_ceil(header.block) {
        let start = number(bytes, HEADER + 4 * at)?;
        let size = header.block.min(len - decoded.len());
        header.block(bytes, start, size, &mut decoded)?;
    }
    Ok(decoded)
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let Some(&[version, _, flags, typesize]) = bytes.first_chunk() else {
            return Err("expected 16 bytes of Blosc header".into());
        };
        if version != 2 || flags & RESERVED != 0 {
            return Err(format!("expected Blosc format 2, found {version}, flags {flags:#04x}"));
        }
        let (len, block, packed) = (number(bytes, 4)?, number(bytes, 8)?, number(bytes, 12)?);
        if packed != bytes.len() {
            let found = bytes.len();
            return Err(format!("expected {packed} bytes of Blosc, found {found}"));
        }
        Ok(Self { flags, typesize: usize::from(typesize).max(1), len, block })
    }

    /// Decompresses the block of `size` bytes that begins at `at`.
    fn block(
        &self,
        bytes: &[u8],
        mut at: usize,
        size: usize,
        decoded: &mut Vec<u8>,
    ) -> Result<(), String> {
        let split = self.flags & WHOLE_BLOCKS == 0
            && self.typesize <= MAX_SPLITS
            && self.block / self.typesize >= MIN_STREAM
            && size == self.block;
        let streams = if split { self.typesize } else { 1 };
        let each = size / streams;
        let mut shuffled = Vec::new();
        for _ in 0..streams {
            let packed = number(bytes, at)?;
            at += 4;
            let stream = at.checked_add(packed).and_then(|end| bytes.get(at..end));
            let stream =
                stream.ok_or_else(|| format!("a Blosc stream of {packed} bytes ends early"))?;
            if packed == each {
                shuffled.extend_from_slice(stream);
            } else {
                shuffled.extend_from_slice(&self.stream(stream, each)?);
            }
            at += packed;
        }
        if shuffled.len() != size {
            return Err(wrong_size(shuffled.len(), size));
        }
        let before = decoded.len();
        if self.flags & BYTE_SHUFFLE != 0 && self.typesize > 1 {
            decoded.resize(before + size, 0);
            unshuffle_bytes(&shuffled, &mut decoded[before..], self.typesize);
        } else if self.flags & BIT_SHUFFLE != 0 && self.block >= self.typesize {
            decoded.resize(before + size, 0);
            unshuffle_bits(&shuffled, &mut decoded[before..], self.typesize);
        } else {
            decoded.append(&mut shuffled);
        }
        Ok(())
    }

    /// Decompresses one stream of `len` bytes.
    fn stream(&self, stream: &[u8], len: usize) -> Result<Vec<u8>, String> {
        match self.flags >> 5 {
            0 => blosclz(stream, len),
            1 => lz4_block(stream, len),
            2 => snappy(stream, len),
            3 => inflate(ZlibDecoder::new(stream), len),
            4 => zstd(stream, len),
            other => Err(format!("expected a codec of Blosc's, found number {other}")),
        }
    }
}

/// The 32-bit number at `at`.
fn number(bytes: &[u8], at: usize) -> Result<usize, String> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    let found = found.ok_or_else(|| format!("Blosc ends before byte {at}"))?;
    let value = i32::from_le_bytes(*found);
    usize::try_from(value).map_err(|_| format!("expected a size in Blosc, found {value}"))
}

fn snappy(stream: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let failed = |error| format!("cannot decompress: {error}");
    let claimed = snap::raw::decompress_len(stream).map_err(failed)?;
    if claimed != len {
        return Err(wrong_size(claimed, len));
    }
    check_ratio(stream.len(), len)?;
    snap::raw::Decoder::new().decompress_vec(stream).map_err(failed)
}

/// Decompresses Blosc's own LZ77: runs of bytes as they are, and copies of what came before.
fn blosclz(stream: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let damaged = || String::from("cannot decompress: damaged BloscLZ");
    let mut input = stream.iter().copied();
    let mut next = || input.next().map(usize::from);
    let mut decoded: Vec<u8> = Vec::new();
    let mut control = next().ok_or_else(damaged)? & 31;
    loop {
        if control >= 32 {
            let (mut count, mut back) = ((control >> 5) + 2, (control & 31) << 8);
            if control >> 5 == 7 {
                loop {
                    let more = next().ok_or_else(damaged)?;
                    count += more;
                    if more != 255 {
                        break;
                    }
                }
            }
            let low = next().ok_or_else(damaged)?;
            if low == 255 && back == 31 << 8 {
                let (high, low) = (next().ok_or_else(damaged)?, next().ok_or_else(damaged)?);
                back = (high << 8) + low + 8191;
            } else {
                back += low;
            }
            let from = decoded.len().checked_sub(back + 1).ok_or_else(damaged)?;
            if count > len - decoded.len() {
                return Err(damaged());
            }
            for at in from..from + count {
                decoded.push(decoded[at]);
            }
        } else {
            if control + 1 > len - decoded.len() {
                return Err(damaged());
            }
            for _ in 0..=control {
                decoded.push(next().ok_or_else(damaged)? as u8);
            }
        }
        match next() {
            Some(found) => control = found,
            None => return Ok(decoded),
        }
    }
}

/// Undoes a shuffle of bytes: first bytes of all elements, second bytes of all elements, ...
fn unshuffle_bytes(from: &[u8], to: &mut [u8], typesize: usize) {
    let count = from.len() / typesize;
    for (byte, plane) in from.chunks_exact(count.max(1)).take(typesize).enumerate() {
        for (at, &value) in plane.iter().enumerate() {
            to[at * typesize + byte] = value;
        }
    }
    to[count * typesize..].copy_from_slice(&from[count * typesize..]);
}

/// Undoes a shuffle of bits: first bits of all elements, second bits of all elements, ...
fn unshuffle_bits(from: &[u8], to: &mut [u8], typesize: usize) {
    let count = from.len() / typesize;
    if count == 0 || !count.is_multiple_of(8) {
        to.copy_from_slice(from); // Blosc leaves such blocks alone
        return;
    }
    let (row, whole) = (count / 8, count * typesize);
    for byte in 0..typesize {
        for eight in 0..row {
            let mut bits = 0;
            for bit in 0..8 {
                let plane = u64::from(from[(byte * 8 + bit) * row + eight]);
                bits |= plane << (8 * bit);
            }
            for (element, value) in transpose(bits).to_le_bytes().into_iter().enumerate() {
                to[(eight * 8 + element) * typesize + byte] = value;
            }
        }
    }
    to[whole..].copy_from_slice(&from[whole..]);
}

/// Transposes 8 x 8 bits, row by row from the lowest byte.
fn transpose(mut bits: u64) -> u64 {
    for (shift, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let swapped = (bits ^ (bits >> shift)) & mask;
        bits ^= swapped ^ (swapped << shift);
    }
    bits
}
