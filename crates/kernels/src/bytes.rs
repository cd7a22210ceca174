//! Vectors of sums of products of bytes, as wide as the processor has them.
//!
//! [`Sums`] is written once for each way to multiply bytes, and all come to the same whole numbers:
//! nothing saturates. Weights have a sign and lie in groups of four rows, a word for each column;
//! what they are multiplied by has none.

use crate::lanes::{Isa, Lanes, Portable, isa};

/// Sums of products, one column a lane.
///
/// # Safety
///
/// Its methods may only run where the processor has the instructions; pointers must be valid for
/// the lanes that a method names.
pub(crate) trait Sums: Copy {
    /// As many lanes of `f32`.
    type Floats: Lanes;
    /// Four weights of each column.
    type Weights: Copy;
    /// Four bytes of a row, for every column.
    type Four: Copy;
    /// Rows of a tile of two vectors that fit the registers.
    const MAX_ROWS: usize;

    unsafe fn zero() -> Self;
    /// The words of as many columns as there are lanes.
    unsafe fn weights(from: *const i32) -> Self::Weights;
    unsafe fn four(from: *const u8) -> Self::Four;
    /// Adds four products to each sum.
    unsafe fn add_products(self, four: Self::Four, weights: Self::Weights) -> Self;
    /// `self - factor * of`, as floats.
    unsafe fn floats_less(self, factor: i32, of: *const i32) -> Self::Floats;
}

/// Ways to multiply bytes, best first.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Sixteen columns, `vpdpbusd`.
    Avx512Vnni,
    /// Eight columns, `vpdpbusd`.
    AvxVnni,
    /// Eight columns, `vpmaddwd` of bytes made wider.
    Avx2,
    /// Four columns in plain Rust.
    Portable,
}

impl Way {
    const ALL: [Self; 4] = [Self::Avx512Vnni, Self::AvxVnni, Self::Avx2, Self::Portable];

    /// The best that the processor has within the instruction set in use.
    pub(crate) fn best() -> Self {
        let first = match isa() {
            Isa::Avx512 => 0,
            Isa::Avx2 => 1,
            Isa::Portable => 3,
        };
        Self::ALL[first..].iter().copied().find(|way| way.is_there()).unwrap_or(Self::Portable)
    }

    /// What the processor has.
    #[cfg(test)]
    pub(crate) fn there() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|way| way.is_there())
    }

    #[cfg(target_arch = "x86_64")]
    fn is_there(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        match self {
            Self::Avx512Vnni => {
                let wide =
                    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
                avx2 && wide && is_x86_feature_detected!("avx512vnni")
            }
            Self::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
            Self::Avx2 => avx2,
            Self::Portable => true,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_there(self) -> bool {
        self == Self::Portable
    }
}

/// Declares a function that runs a generic one with the [`Sums`] of a [`Way`], its first argument.
///
/// The generic function is `#[inline(always)]`, so that its copies are compiled with the features
/// of the function around it.
macro_rules! for_each_way {
    ($(#[$meta:meta])* unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        unsafe fn $name(way: $crate::bytes::Way, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::bytes::{Way, x86};
                #[target_feature(enable = "avx512f,avx512dq,avx512vnni,avx2,fma")]
                unsafe fn avx512_vnni($($arg: $ty),*) {
                    // SAFETY: as for the function around; the features are enabled here.
                    unsafe { $body::<x86::Avx512Vnni>($($arg),*) }
                }
                #[target_feature(enable = "avxvnni,avx2,fma")]
                unsafe fn avx_vnni($($arg: $ty),*) {
                    // SAFETY: as for the function around; the features are enabled here.
                    unsafe { $body::<x86::AvxVnni>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2($($arg: $ty),*) {
                    // SAFETY: as for the function around; the features are enabled here.
                    unsafe { $body::<x86::Avx2>($($arg),*) }
                }
                // SAFETY: whoever chose the way found the features; the rest is as for the function
                // around.
                match way {
                    Way::Avx512Vnni => return unsafe { avx512_vnni($($arg),*) },
                    Way::AvxVnni => return unsafe { avx_vnni($($arg),*) },
                    Way::Avx2 => return unsafe { avx2($($arg),*) },
                    Way::Portable => {}
                }
            }
            let _ = way;
            // SAFETY: as for the function around.
            unsafe { $body::<$crate::bytes::PortableSums>($($arg),*) }
        }
    };
}
pub(crate) use for_each_way;

/// Four columns in plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct PortableSums([i32; 4]);

// SAFETY of the methods: pointers are valid for the lanes named, by the trait's contract.
impl Sums for PortableSums {
    type Floats = Portable;
    type Weights = [[i8; 4]; 4];
    type Four = [u8; 4];
    const MAX_ROWS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; 4])
    }
    #[inline(always)]
    unsafe fn weights(from: *const i32) -> Self::Weights {
        unsafe { from.cast::<[[i8; 4]; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn four(from: *const u8) -> Self::Four {
        unsafe { from.cast::<[u8; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn add_products(mut self, four: Self::Four, weights: Self::Weights) -> Self {
        for (sum, weights) in self.0.iter_mut().zip(weights) {
            for (byte, weight) in four.into_iter().zip(weights) {
                *sum += i32::from(byte) * i32::from(weight);
            }
        }
        self
    }
    #[inline(always)]
    unsafe fn floats_less(self, factor: i32, of: *const i32) -> Portable {
        let of = unsafe { of.cast::<[i32; 4]>().read_unaligned() };
        let mut floats = [0.0; 4];
        for (float, (sum, of)) in floats.iter_mut().zip(self.0.into_iter().zip(of)) {
            *float = (sum - factor * of) as f32;
        }
        Portable(floats)
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    //! Eight and sixteen columns.

    use std::arch::x86_64::*;

    use super::Sums;
    use crate::lanes::x86 as lanes;

    /// Sixteen columns.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512Vnni(__m512i);

    /// Eight columns.
    #[derive(Clone, Copy)]
    pub(crate) struct AvxVnni(__m256i);

    /// Eight columns without an instruction for it.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256i);

    // SAFETY of the methods: the processor has the instructions and pointers are valid for the
    // lanes named, by the trait's contract.
    impl Sums for Avx512Vnni {
        type Floats = lanes::Avx512;
        type Weights = __m512i;
        type Four = __m512i;
        const MAX_ROWS: usize = 14;

        #[inline(always)]
        unsafe fn zero() -> Self {
            Self(unsafe { _mm512_setzero_si512() })
        }
        #[inline(always)]
        unsafe fn weights(from: *const i32) -> __m512i {
            unsafe { _mm512_loadu_si512(from.cast()) }
        }
        #[inline(always)]
        unsafe fn four(from: *const u8) -> __m512i {
            unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn add_products(self, four: __m512i, weights: __m512i) -> Self {
            Self(unsafe { _mm512_dpbusd_epi32(self.0, four, weights) })
        }
        #[inline(always)]
        unsafe fn floats_less(self, factor: i32, of: *const i32) -> lanes::Avx512 {
            unsafe {
                let less = _mm512_mullo_epi32(_mm512_set1_epi32(factor), Self::weights(of));
                lanes::Avx512(_mm512_cvtepi32_ps(_mm512_sub_epi32(self.0, less)))
            }
        }
    }

    // SAFETY of the methods: as above.
    impl Sums for AvxVnni {
        type Floats = lanes::Avx2;
        type Weights = __m256i;
        type Four = __m256i;
        const MAX_ROWS: usize = 6;

        #[inline(always)]
        unsafe fn zero() -> Self {
            Self(unsafe { _mm256_setzero_si256() })
        }
        #[inline(always)]
        unsafe fn weights(from: *const i32) -> __m256i {
            unsafe { _mm256_loadu_si256(from.cast()) }
        }
        #[inline(always)]
        unsafe fn four(from: *const u8) -> __m256i {
            unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn add_products(self, four: __m256i, weights: __m256i) -> Self {
            Self(unsafe { _mm256_dpbusd_avx_epi32(self.0, four, weights) })
        }
        #[inline(always)]
        unsafe fn floats_less(self, factor: i32, of: *const i32) -> lanes::Avx2 {
            unsafe { Avx2(self.0).floats_less(factor, of) }
        }
    }

    // SAFETY of the methods: as above.
    impl Sums for Avx2 {
        type Floats = lanes::Avx2;
        /// The first and third, then the second and fourth of each word, 16 bits wide.
        type Weights = [__m256i; 2];
        type Four = [__m256i; 2];
        const MAX_ROWS: usize = 4;

        #[inline(always)]
        unsafe fn zero() -> Self {
            Self(unsafe { _mm256_setzero_si256() })
        }
        #[inline(always)]
        unsafe fn weights(from: *const i32) -> [__m256i; 2] {
            unsafe {
                let words = _mm256_loadu_si256(from.cast());
                let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(words));
                [even, _mm256_srai_epi16::<8>(words)]
            }
        }
        #[inline(always)]
        unsafe fn four(from: *const u8) -> [__m256i; 2] {
            unsafe {
                let words = _mm256_set1_epi32(from.cast::<i32>().read_unaligned());
                let even = _mm256_and_si256(words, _mm256_set1_epi16(0xff));
                [even, _mm256_srli_epi16::<8>(words)]
            }
        }
        #[inline(always)]
        unsafe fn add_products(self, four: [__m256i; 2], weights: [__m256i; 2]) -> Self {
            unsafe {
                let even = _mm256_madd_epi16(four[0], weights[0]);
                let odd = _mm256_madd_epi16(four[1], weights[1]);
                Self(_mm256_add_epi32(self.0, _mm256_add_epi32(even, odd)))
            }
        }
        #[inline(always)]
        unsafe fn floats_less(self, factor: i32, of: *const i32) -> lanes::Avx2 {
            unsafe {
                let of = _mm256_loadu_si256(of.cast());
                let less = _mm256_mullo_epi32(_mm256_set1_epi32(factor), of);
                lanes::Avx2(_mm256_cvtepi32_ps(_mm256_sub_epi32(self.0, less)))
            }
        }
    }
}
