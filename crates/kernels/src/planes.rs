//! Pictures, from bytes as they lie in memory to planes of numbers.

use std::mem::MaybeUninit;

use crate::lanes::{Isa, isa};

/// Appends a picture to `planes`: a plane of numbers from 0 to 255 for each channel, red first.
///
/// # Shapes
///
/// - `pixels`: `[height, width, 3]`
/// - what is appended: `[3, height, width]`
///
/// # Panics
///
/// When a pixel has not three bytes.
pub fn append_planes(pixels: &[u8], planes: &mut Vec<f32>) {
    let (pixels, rest) = pixels.as_chunks::<3>();
    assert!(rest.is_empty(), "three bytes a pixel, {} are left", rest.len());
    let (start, len) = (planes.len(), 3 * pixels.len());
    planes.reserve(len);
    // What is not cleared beforehand takes half the time.
    let to = &mut planes.spare_capacity_mut()[..len];
    let (red, others) = to.split_at_mut(pixels.len());
    let (green, blue) = others.split_at_mut(pixels.len());
    let mut channels = [red, green, blue];
    let done = match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX2, which AVX-512 comes with.
        Isa::Avx512 | Isa::Avx2 => unsafe { x86::write_most(pixels, &mut channels) },
        _ => 0,
    };
    for (i, pixel) in pixels.iter().enumerate().skip(done) {
        for (channel, value) in channels.iter_mut().zip(pixel) {
            channel[i].write(f32::from(*value));
        }
    }
    // SAFETY: there is room for `len` more, and each was written: those before `done` above, the
    // others in the loop.
    unsafe { planes.set_len(start + len) };
}

type Plane<'a> = &'a mut [MaybeUninit<f32>];

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_loadu_si128, _mm_or_si128, _mm_shuffle_epi8, _mm_srli_si128,
        _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_storeu_ps,
    };

    use super::Plane;

    /// Pixels of a turn: three vectors of bytes.
    const TURN: usize = 16;

    /// Which byte of a vector goes to each place of a channel; 128 and above: none does.
    const fn places(channel: usize, vector: usize) -> [u8; TURN] {
        let mut places = [128; TURN];
        let mut pixel = 0;
        while pixel < TURN {
            let byte = 3 * pixel + channel;
            if byte / TURN == vector {
                places[pixel] = (byte % TURN) as u8;
            }
            pixel += 1;
        }
        places
    }

    /// By channel and vector.
    const PLACES: [[[u8; TURN]; 3]; 3] = [
        [places(0, 0), places(0, 1), places(0, 2)],
        [places(1, 0), places(1, 1), places(1, 2)],
        [places(2, 0), places(2, 1), places(2, 2)],
    ];

    /// Writes the channels of as many pixels as make whole turns, and says how many those are.
    ///
    /// # Safety
    ///
    /// The processor must have AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn write_most(pixels: &[[u8; 3]], channels: &mut [Plane<'_>; 3]) -> usize {
        // SAFETY: unaligned loads of 16 bytes each, from arrays of as many.
        let load = |bytes: &[u8; TURN]| unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
        let places = PLACES.map(|channel| channel.each_ref().map(load));
        let (turns, _) = pixels.as_flattened().as_chunks::<{ 3 * TURN }>();
        for (turn, bytes) in turns.iter().enumerate() {
            let (vectors, _) = bytes.as_chunks::<TURN>();
            let vectors = [load(&vectors[0]), load(&vectors[1]), load(&vectors[2])];
            for (channel, places) in channels.iter_mut().zip(&places) {
                let part = |i: usize| _mm_shuffle_epi8(vectors[i], places[i]);
                let bytes: __m128i = _mm_or_si128(_mm_or_si128(part(0), part(1)), part(2));
                let low = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
                let high = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes)));
                let to: *mut f32 = channel[turn * TURN..][..TURN].as_mut_ptr().cast();
                // SAFETY: two unaligned stores of 8 numbers each, within the 16 of the slice.
                unsafe {
                    _mm256_storeu_ps(to, low);
                    _mm256_storeu_ps(to.add(8), high);
                }
            }
        }
        turns.len() * TURN
    }
}
