//! Pictures, from bytes as a camera gives them to numbers.

use std::mem::MaybeUninit;

use crate::fixed::Scaling;
use crate::lanes::{Isa, isa};
use crate::threads::{Shared, for_each, written};

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
pub(crate) fn append_planes(pixels: &[u8], planes: &mut Vec<f32>) {
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

/// Pixels of any number of pictures, and their depth where there is some, scaled and laid channels
/// last, as they came.
pub(crate) fn scale(bytes: &[u8], depth: Option<&[f32]>, scaling: Scaling) -> Vec<f32> {
    /// Pixels of a task.
    const PIXELS: usize = 4096;
    let (pixels, _) = bytes.as_chunks::<3>();
    let channels = 3 + usize::from(depth.is_some());
    let len = pixels.len() * channels;
    let fill = |y: Shared| {
        for_each(pixels.len().div_ceil(PIXELS), len * 4, |block| {
            let first = block * PIXELS;
            let count = PIXELS.min(pixels.len() - first);
            // SAFETY: each task has some pixels for its own.
            let to = unsafe { y.part(first * channels, count * channels) };
            let depth = depth.map(|depth| &depth[first..][..count]);
            scale_pixels(&pixels[first..][..count], depth, to, scaling);
        });
    };
    // SAFETY: the tasks cover every pixel and write all its channels.
    unsafe { written(len, fill) }
}

fn scale_pixels(pixels: &[[u8; 3]], depth: Option<&[f32]>, to: &mut [f32], scaling: Scaling) {
    let Scaling { shift, scale, depth: [low, high] } = scaling;
    let done = match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX2, which AVX-512 comes with.
        Isa::Avx512 | Isa::Avx2 => unsafe {
            match depth {
                Some(depth) => x86::scale_most_with_depth(pixels, depth, to, scaling),
                None => x86::scale_most(pixels, to, scaling),
            }
        },
        _ => 0,
    };
    let channels = 3 + usize::from(depth.is_some());
    let rest = pixels.iter().zip(to.chunks_exact_mut(channels)).enumerate().skip(done);
    for (i, (pixel, to)) in rest {
        for channel in 0..3 {
            to[channel] = (f32::from(pixel[channel]) - shift[channel]) * scale[channel];
        }
        if let Some(depth) = depth {
            to[3] = depth[i].clamp(low, high);
        }
    }
}

type Plane<'a> = &'a mut [MaybeUninit<f32>];

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256, _mm_loadl_epi64, _mm_loadu_ps, _mm_loadu_si128, _mm_max_ps, _mm_min_ps,
        _mm_or_si128, _mm_set1_ps, _mm_shuffle_epi8, _mm_srli_si128, _mm256_blend_ps,
        _mm256_castps128_ps256, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_loadu_ps,
        _mm256_mul_ps, _mm256_permutevar8x32_ps, _mm256_setr_epi32, _mm256_storeu_ps,
        _mm256_sub_ps,
    };
    use std::array::from_fn;

    use super::Plane;
    use crate::fixed::Scaling;

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
    /// Eight numbers.
    #[target_feature(enable = "avx2")]
    fn load(values: [f32; 8]) -> __m256 {
        // SAFETY: an unaligned load of as many numbers as there are.
        unsafe { _mm256_loadu_ps(values.as_ptr()) }
    }

    /// Writes the colours of as many pixels as make whole turns of eight, and says how many.
    ///
    /// # Safety
    ///
    /// The processor must have AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn scale_most(
        pixels: &[[u8; 3]],
        to: &mut [f32],
        Scaling { shift, scale, .. }: Scaling,
    ) -> usize {
        // The channels of three vectors in a row.
        let each = |of: [f32; 3]| from_fn::<_, 3, _>(|k| load(from_fn(|i| of[(8 * k + i) % 3])));
        let (shift, scale) = (each(shift), each(scale));
        let (turns, _) = pixels.as_flattened().as_chunks::<24>();
        let (places, _) = to.as_chunks_mut::<24>();
        for (bytes, to) in turns.iter().zip(places) {
            for part in 0..3 {
                // SAFETY: eight bytes of 24, and eight numbers of 24.
                unsafe {
                    let bytes = _mm_loadl_epi64(bytes.as_ptr().add(8 * part).cast());
                    let values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
                    let values = _mm256_mul_ps(_mm256_sub_ps(values, shift[part]), scale[part]);
                    _mm256_storeu_ps(to.as_mut_ptr().add(8 * part), values);
                }
            }
        }
        turns.len() * 8
    }

    /// The same of turns of four, with depth behind the colours.
    ///
    /// # Safety
    ///
    /// The processor must have AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn scale_most_with_depth(
        pixels: &[[u8; 3]],
        depth: &[f32],
        to: &mut [f32],
        Scaling { shift, scale, depth: [low, high] }: Scaling,
    ) -> usize {
        let each = |of: [f32; 3]| load(from_fn(|i| if i % 4 == 3 { 0.0 } else { of[i % 4] }));
        let (shift, scale) = (each(shift), each(scale));
        let (low, high) = (_mm_set1_ps(low), _mm_set1_ps(high));
        const APART: [u8; 16] = [0, 1, 2, 128, 3, 4, 5, 128, 6, 7, 8, 128, 9, 10, 11, 128];
        // SAFETY: an unaligned load of 16 bytes, of as many.
        let apart = unsafe { _mm_loadu_si128(APART.as_ptr().cast()) };
        let first = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
        let second = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
        let bytes = pixels.as_flattened();
        // Sixteen bytes are read where twelve are used.
        let turns = bytes.len().saturating_sub(4) / 12;
        let (depths, _) = depth.as_chunks::<4>();
        let (places, _) = to.as_chunks_mut::<16>();
        for (turn, (depth, to)) in depths.iter().zip(places).take(turns).enumerate() {
            let bytes = &bytes[12 * turn..][..16];
            // SAFETY: loads of the slice's 16 bytes and of four numbers, and two stores of eight
            // numbers of 16.
            unsafe {
                let depth = _mm_loadu_ps(depth.as_ptr());
                // What is not a number is the second, which stays.
                let depth = _mm_min_ps(high, _mm_max_ps(low, depth));
                let depth = _mm256_castps128_ps256(depth);
                let pixels = _mm_shuffle_epi8(_mm_loadu_si128(bytes.as_ptr().cast()), apart);
                for (half, pixels, whose) in
                    [(0, pixels, first), (8, _mm_srli_si128::<8>(pixels), second)]
                {
                    let values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(pixels));
                    let values = _mm256_mul_ps(_mm256_sub_ps(values, shift), scale);
                    let depth = _mm256_permutevar8x32_ps(depth, whose);
                    let values = _mm256_blend_ps::<0b1000_1000>(values, depth);
                    _mm256_storeu_ps(to.as_mut_ptr().add(half), values);
                }
            }
        }
        turns * 4
    }
}
