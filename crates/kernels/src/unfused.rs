//! Vectors that round after a product and again after a sum, whatever the processor could do: what
//! is computed with them has the same bits everywhere.

use crate::lanes::Lanes;

/// `S`, but for [`mul_add`](Lanes::mul_add).
#[derive(Clone, Copy)]
pub(crate) struct Unfused<S>(S);

/// Methods that are those of `S`.
macro_rules! as_they_are {
    ($(fn $name:ident($($other:ident),*);)*) => {
        $(#[inline(always)]
        unsafe fn $name(self $(, $other: Self)*) -> Self {
            Self(unsafe { self.0.$name($($other.0),*) })
        })*
    };
}

// SAFETY of the methods: that of `S`, by the trait's contract.
impl<S: Lanes> Lanes for Unfused<S> {
    const WIDTH: usize = S::WIDTH;
    const MAX_ROWS: usize = S::MAX_ROWS;

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(unsafe { self.0.mul(factor.0).add(term.0) })
    }

    as_they_are! {
        fn add(other);
        fn sub(other);
        fn mul(other);
        fn div(other);
        fn max(other);
        fn min(other);
        fn gated(gate);
        fn round();
        fn exp2_whole();
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self(unsafe { S::splat(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { S::load(from) })
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> Self {
        Self(unsafe { S::load_part(from, n) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { self.0.store(to) };
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, n: usize) {
        unsafe { self.0.store_part(to, n) };
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe { self.0.sum() }
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        unsafe { self.0.largest() }
    }
    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        unsafe { S::prefetch(from) };
    }
}
