//! Functions of a vector: exponential, error function, activations.

use crate::lanes::Lanes;

/// What happens to a sum before it is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x * (1 + erf(x / sqrt(2))) / 2`
    Gelu,
}

/// `e^x`, within 2 units in the last place; zero below -87.3 and `e^88` above 88.
///
/// `e^x = 2^n e^r` with `r` within half of ln 2, and a polynomial for `e^r` (Cephes' `expf`).
#[inline(always)]
pub(crate) unsafe fn exp<S: Lanes>(x: S) -> S {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_2e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // SAFETY: the caller runs where `S` is, and there are no pointers.
    unsafe {
        let clamped = S::splat(88.0).min(S::splat(-87.0).max(x));
        let n = clamped.mul(S::splat(std::f32::consts::LOG2_E)).round();
        let r = n.mul_add(S::splat(-LN2_HIGH), clamped);
        let r = n.mul_add(S::splat(-LN2_LOW), r);
        let mut sum = S::splat(POLYNOMIAL[0]);
        for &coefficient in &POLYNOMIAL[1..] {
            sum = sum.mul_add(r, S::splat(coefficient));
        }
        let value = sum.mul_add(r.mul(r), r).add(S::splat(1.0)).mul(n.exp2_whole());
        value.gated(x.sub(S::splat(-87.3)))
    }
}

/// The error function, within 4e-7.
///
/// A quotient of polynomials in `x^2`, with the coefficients that Eigen uses on `[-4, 4]`; beyond
/// it is 1 in single precision.
#[inline(always)]
pub(crate) unsafe fn erf<S: Lanes>(x: S) -> S {
    const NUMERATOR: [f32; 7] = [
        -2.726_142_4e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_5e-5,
        -7.349_906_5e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const DENOMINATOR: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_5e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];
    // SAFETY: the caller runs where `S` is, and there are no pointers.
    unsafe {
        let x = S::splat(4.0).min(S::splat(-4.0).max(x));
        let square = x.mul(x);
        let mut above = S::splat(NUMERATOR[0]);
        for &coefficient in &NUMERATOR[1..] {
            above = above.mul_add(square, S::splat(coefficient));
        }
        let mut below = S::splat(DENOMINATOR[0]);
        for &coefficient in &DENOMINATOR[1..] {
            below = below.mul_add(square, S::splat(coefficient));
        }
        above.mul(x).div(below)
    }
}

#[inline(always)]
pub(crate) unsafe fn activate<S: Lanes>(x: S, activation: Activation) -> S {
    // SAFETY: the caller runs where `S` is, and there are no pointers.
    unsafe {
        match activation {
            Activation::None => x,
            Activation::Relu => S::splat(0.0).max(x),
            Activation::Relu6 => S::splat(6.0).min(S::splat(0.0).max(x)),
            Activation::Gelu => {
                let half = x.mul(S::splat(0.5));
                erf(x.mul(S::splat(std::f32::consts::FRAC_1_SQRT_2))).mul_add(half, half)
            }
        }
    }
}
