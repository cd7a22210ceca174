//! What the algorithm does to the lines and the columns of a tile: each of its matrices, and what
//! they are read backwards.

use crate::lanes::Lanes;

/// Column `x` of some lines.
#[inline(always)]
pub(super) fn across<S: Copy, const WIDTH: usize, const LINES: usize>(
    lines: &[[S; WIDTH]; LINES],
    x: usize,
) -> [S; LINES] {
    let mut column = [lines[0][x]; LINES];
    for (value, line) in column.iter_mut().zip(lines) {
        *value = line[x];
    }
    column
}

/// Four pixels of a line or a column as the algorithm multiplies them.
#[inline(always)]
pub(super) unsafe fn input_places<S: Lanes>([a, b, c, d]: [S; 4]) -> [S; 4] {
    // SAFETY: as for the caller.
    unsafe { [a.sub(c), b.add(c), c.sub(b), b.sub(d)] }
}

/// Two output pixels of a line or a column from its products.
#[inline(always)]
pub(super) unsafe fn output_pixels<S: Lanes>([a, b, c, d]: [S; 4]) -> [S; 2] {
    // SAFETY: as for the caller.
    unsafe { [a.add(b).add(c), b.sub(c).sub(d)] }
}

/// The gradients of the products of a line or a column, of those of its two output pixels.
#[inline(always)]
pub(super) unsafe fn output_places<S: Lanes>([a, b]: [S; 2]) -> [S; 4] {
    // SAFETY: as for the caller.
    unsafe { [a, a.add(b), a.sub(b), S::splat(0.0).sub(b)] }
}

/// Three weights of a line or a column as the algorithm multiplies them.
#[inline(always)]
pub(super) unsafe fn weight_places<S: Lanes>([a, b, c]: [S; 3]) -> [S; 4] {
    // SAFETY: as for the caller.
    unsafe {
        let half = S::splat(0.5);
        let (outer, middle) = (a.add(c).mul(half), b.mul(half));
        [a, outer.add(middle), outer.sub(middle), c]
    }
}

/// The gradients of three weights of a line or a column, of those of what they became.
#[inline(always)]
pub(super) unsafe fn weight_gradients<S: Lanes>([a, b, c, d]: [S; 4]) -> [S; 3] {
    // SAFETY: as for the caller.
    unsafe {
        let half = S::splat(0.5);
        let outer = b.add(c).mul(half);
        [a.add(outer), b.sub(c).mul(half), outer.add(d)]
    }
}
