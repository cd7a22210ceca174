//! Convolutions by 3 x 3 with fewer products: Winograd's F(2 x 2, 3 x 3).
//!
//! Source: Lavin and Gray 2016, arXiv:1509.09308. A tile of 4 x 4 input pixels becomes 16 values a
//! channel, which are sums and differences of pixels; so do the weights. Each of the 16 places is a
//! product of its own, of tiles with weights, and the results, put together again, are the 2 x 2
//! output pixels of the tile: 16 multiplications where 36 are needed one by one. The sums come in
//! another order and differ by rounding alone.
//!
//! The gradient of the input is a convolution too. That of the weights is what the same algorithm
//! comes to when it is read backwards.

mod gradient;
mod transforms;

use std::ops::Range;

pub(crate) use gradient::weight_gradient;
use transforms::{across, input_places, output_pixels, weight_places};

use crate::conv::{Ending, Place, Window};
use crate::lanes::{Lanes, for_each_isa};
use crate::math::activate;
use crate::panels::Panels;
use crate::picture::Pictures;
use crate::threads::{Shared, for_each, parts, with_scratch};
use crate::tile::{Finish, Rows, rows_by_panel};

/// Values of a tile, a channel.
pub(crate) const PLACES: usize = 16;

/// What it costs to transform a channel of a tile there or back, in multiplications. Most of it is
/// memory: 16 values go through the cache where 4 pixels did.
const TILE_COST: usize = 200;

/// What it costs to transform a weight, in multiplications.
const WEIGHT_COST: usize = 400;

/// Bytes of transformed pixels at a time: they and the weights fit a level-2 cache.
const BLOCK_BYTES: usize = 256 * 1024;

/// Tiles of a block, whatever the cache: weights are read once for each block.
const LEAST_TILES: usize = 28;

/// Whether a convolution is done this way: if it can be and is faster for it, all told.
///
/// `pictures` is for how many the weights are transformed, if not for good.
pub(crate) fn suits(
    window: &Window,
    channels: usize,
    outputs: usize,
    pictures: Option<usize>,
) -> bool {
    if window.kernel != [3, 3] || window.stride != [1, 1] {
        return false;
    }
    let weights = channels * outputs;
    let tile = PLACES * weights + TILE_COST * (channels + outputs);
    let once = pictures.map_or(0, |pictures| WEIGHT_COST * weights / pictures.max(1));
    let pixels: usize = window.output.iter().product();
    Tiles::of(window).per_picture() * tile + once < pixels * 9 * weights
}

/// Whether a convolution of large pictures is faster this way, its weights transformed for good.
pub(crate) fn suits_large(channels: usize, outputs: usize) -> bool {
    let (kernel, stride, origin) = ([3, 3], [1, 1], [-1, -1]);
    let window = Window { kernel, stride, origin, output: [224, 224] };
    suits(&window, channels, outputs, None)
}

/// Output pixels in tiles of 2 x 2, line by line, picture after picture.
#[derive(Clone, Copy)]
struct Tiles {
    output: [usize; 2],
    grid: [usize; 2],
}

impl Tiles {
    fn of(window: &Window) -> Self {
        Self { output: window.output, grid: window.output.map(|size| size.div_ceil(2)) }
    }

    fn per_picture(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// The picture of a tile, and its first output line and column.
    fn place(&self, tile: usize) -> (usize, [usize; 2]) {
        let (picture, tile) = (tile / self.per_picture(), tile % self.per_picture());
        (picture, [tile / self.grid[1] * 2, tile % self.grid[1] * 2])
    }
}

/// Transformed tiles `[16, tiles, row]`, with a gap behind each of the 16 planes.
#[derive(Clone, Copy)]
struct Planes {
    values: *mut f32,
    row: usize,
    plane: usize,
}

impl Planes {
    /// Values of a line of the cache.
    const LINE: usize = 16;

    /// Rows a power of two apart fall on the same few lines of the cache, and so do planes.
    fn new(tiles: usize, channels: usize) -> Self {
        let row = if channels.is_multiple_of(1024) { channels + Self::LINE } else { channels };
        let lines = (tiles * row).div_ceil(Self::LINE) | 1;
        Self { values: std::ptr::null_mut(), row, plane: lines * Self::LINE }
    }

    fn len(&self) -> usize {
        PLACES * self.plane
    }

    fn at(&self, place: usize) -> *mut f32 {
        self.values.wrapping_add(place * self.plane)
    }
}

/// Calls `run` with two sets of planes, and as many zeros, in this thread's own memory.
fn with_planes(
    [mut first, mut second]: [Planes; 2],
    zeros: usize,
    run: impl FnOnce([Planes; 2], *const f32),
) {
    let len = Planes::LINE + first.len() + second.len() + zeros;
    with_scratch(len, |scratch| {
        let skip = scratch.as_ptr().align_offset(Planes::LINE * size_of::<f32>());
        let (planes, nothing) =
            scratch[skip.min(Planes::LINE)..].split_at_mut(len - Planes::LINE - zeros);
        nothing[..zeros].fill(0.0);
        first.values = planes.as_mut_ptr();
        second.values = first.values.wrapping_add(first.len());
        run([first, second], nothing.as_ptr());
    });
}

/// Convolves `pictures`, whose channels lie last, with [transformed](Panels::transformed) weights
/// and writes to `place`.
///
/// # Safety
///
/// `place` lies inside the allocation of `y` for every pixel and `weights.n()` channels, `gate`
/// and `add` are as long as that, and nobody else touches `y` meanwhile.
pub(crate) unsafe fn convolve(
    window: &Window,
    pictures: &Pictures,
    relu: bool,
    weights: &Panels,
    ending: Ending,
    y: Shared,
    place: Place,
) {
    let (channels, tiles) = (pictures.channels, Tiles::of(window));
    assert!(pictures.is_channels_last(), "channels of a tile lie side by side");
    assert_eq!(weights.k(), PLACES * channels);
    assert!(ending.bias.is_none_or(|bias| bias.len() == weights.n()));
    let finish = ending.finish();
    let all = pictures.n * tiles.per_picture();
    let work = all * PLACES * channels * weights.n();
    let threads = parts(work);
    // Few tiles: the channels are shared out, and each task transforms them all.
    let shares = if all < threads * LEAST_TILES { threads.min(weights.len()).max(1) } else { 1 };
    let (blocks, most) = blocks(all, channels, threads.div_ceil(shares));
    for_each(blocks * shares, work, |index| {
        let (block, share) = (index % blocks, index / blocks);
        let block = all * block / blocks..all * (block + 1) / blocks;
        let panels = weights.share(share, shares);
        let planes = [Planes::new(most, channels), Planes::new(most, Panels::WIDEST)];
        with_planes(planes, channels, |[pixels, sums], zeros| {
            let source = Source { pictures, origin: window.origin, relu, zeros };
            // SAFETY: there is room for as many tiles as a block has at most, and `zeros` has a
            // zero for each channel.
            unsafe { split_tiles(&source, &tiles, block.clone(), pixels) };
            for panel in panels.clone() {
                // SAFETY: the planes are whole, as panels are.
                unsafe { multiply(&pixels, block.len(), weights, panel, &panels, &sums) };
                let (columns, first) = (weights.columns(panel), Panels::first(panel));
                let target = Target { y, place, first, columns, finish };
                // SAFETY: the caller vouches for the output, and each task has tiles or panels of
                // its own.
                unsafe { join_tiles(&sums, &tiles, block.clone(), &target) };
            }
        });
    });
}

/// Into how many blocks to cut `tiles` so that all `threads` have as much to do, and the most
/// tiles of one.
fn blocks(tiles: usize, channels: usize, threads: usize) -> (usize, usize) {
    let bytes = PLACES * channels * size_of::<f32>();
    let fitting = (BLOCK_BYTES / bytes.max(1)).max(LEAST_TILES);
    let blocks = tiles.div_ceil(fitting).next_multiple_of(threads).min(tiles).max(1);
    (blocks, tiles.div_ceil(blocks))
}

/// The product of each plane of `tiles` tiles with its weights.
///
/// # Safety
///
/// Both sets of planes have room for `tiles`, and nobody else touches `sums` meanwhile.
unsafe fn multiply(
    pixels: &Planes,
    tiles: usize,
    weights: &Panels,
    panel: usize,
    panels: &Range<usize>,
    sums: &Planes,
) {
    let (k, width) = (weights.k() / PLACES, weights.width(panel));
    let values = weights.panel(panel);
    for place in 0..PLACES {
        let next = match values.get((place + 1) * k * width..) {
            Some(next) if !next.is_empty() => next.as_ptr(),
            _ => weights.next(panel, panels),
        };
        let task = Rows {
            a: pixels.at(place),
            a_pixel: pixels.row,
            a_line: 0,
            segments: 1,
            segment: 0,
            segment_len: k,
            b: values[place * k * width..].as_ptr(),
            b_row: width,
            next,
            c: sums.at(place),
            c_pixel: sums.row,
            c_line: 0,
            lines: 1,
            pixels: tiles,
            columns: width,
            finish: Finish::NOTHING,
        };
        // SAFETY: `k` values of each tile, the panel's rows of this place, and `width` sums.
        unsafe { rows_by_panel(&task) };
    }
}

/// Where the pixels of tiles come from.
struct Source<'a> {
    pictures: &'a Pictures<'a>,
    /// Input line and column of the first output pixel's first.
    origin: [isize; 2],
    relu: bool,
    /// A pixel that is zero.
    zeros: *const f32,
}

impl Source<'_> {
    /// The `SIDE * SIDE` pixels from the first one of a tile on, line by line; zeros where there
    /// is no picture.
    #[inline(always)]
    fn pixels<const SIDE: usize>(&self, tiles: &Tiles, tile: usize) -> [[*const f32; SIDE]; SIDE] {
        let (picture, [line, column]) = tiles.place(tile);
        let first = self.pictures.image(picture).as_ptr();
        let [top, left] = [line as isize + self.origin[0], column as isize + self.origin[1]];
        let (height, width) = (self.pictures.height as isize, self.pictures.width as isize);
        std::array::from_fn(|y| {
            std::array::from_fn(|x| {
                let (line, column) = (top + y as isize, left + x as isize);
                if (0..height).contains(&line) && (0..width).contains(&column) {
                    let line = line as usize * self.pictures.line;
                    first.wrapping_add(line + column as usize * self.pictures.pixel)
                } else {
                    self.zeros
                }
            })
        })
    }
}

for_each_isa! {
    /// Writes the transformed input of `block` to `to`.
    ///
    /// # Safety
    ///
    /// `to` has room for the block, and nobody else touches it meanwhile; `source.zeros` has as
    /// many zeros as a pixel has channels.
    unsafe fn split_tiles(
        source: &Source<'_>, tiles: &Tiles, block: Range<usize>, to: Planes,
    ) = split_tiles_with
}

#[inline(always)]
unsafe fn split_tiles_with<S: Lanes>(
    source: &Source<'_>,
    tiles: &Tiles,
    block: Range<usize>,
    to: Planes,
) {
    let channels = source.pictures.channels;
    for (row, tile) in block.enumerate() {
        let pixels = source.pixels::<4>(tiles, tile);
        for channel in (0..channels).step_by(S::WIDTH) {
            let left = (channels - channel).min(S::WIDTH);
            // SAFETY: each pointer is to all channels of a pixel, and `to` has room for them.
            unsafe {
                let zero = S::splat(0.0);
                let mut values = [[zero; 4]; 4];
                for (values, pixels) in values.iter_mut().zip(&pixels) {
                    for (value, pixel) in values.iter_mut().zip(pixels) {
                        let from = pixel.add(channel);
                        *value =
                            if left == S::WIDTH { S::load(from) } else { S::load_part(from, left) };
                    }
                }
                if source.relu {
                    for value in values.iter_mut().flatten() {
                        *value = zero.max(*value);
                    }
                }
                for line in &mut values {
                    *line = input_places(*line);
                }
                for x in 0..4 {
                    let column = input_places(across(&values, x));
                    for (y, value) in column.into_iter().enumerate() {
                        let to = to.at(4 * y + x).add(row * to.row + channel);
                        if left == S::WIDTH { value.store(to) } else { value.store_part(to, left) }
                    }
                }
            }
        }
    }
}

/// Where output pixels go.
struct Target {
    y: Shared,
    place: Place,
    /// The first of the channels that are written, and how many are.
    first: usize,
    columns: usize,
    finish: Finish,
}

for_each_isa! {
    /// Writes the output pixels of `block` from its products.
    ///
    /// # Safety
    ///
    /// `sums` has the block's products, `target` is inside its allocation for every pixel, and
    /// nobody else touches it meanwhile.
    unsafe fn join_tiles(
        sums: &Planes, tiles: &Tiles, block: Range<usize>, target: &Target,
    ) = join_tiles_with
}

#[inline(always)]
unsafe fn join_tiles_with<S: Lanes>(
    sums: &Planes,
    tiles: &Tiles,
    block: Range<usize>,
    target: &Target,
) {
    let Target { y, place, first, columns, finish } = target;
    for (row, tile) in block.enumerate() {
        let (picture, [line, column]) = tiles.place(tile);
        let at = place.first + picture * place.image + line * place.line + column * place.pixel;
        let [lines, pixels] = [tiles.output[0] - line, tiles.output[1] - column];
        for channel in (0..*columns).step_by(S::WIDTH) {
            let left = (columns - channel).min(S::WIDTH);
            let to = at + first + channel;
            // SAFETY: the products are there up to whole vectors; of the output no more channels
            // and pixels are touched than there are.
            unsafe {
                let zero = S::splat(0.0);
                let mut halves = [[zero; 2]; 4];
                for (i, half) in halves.iter_mut().enumerate() {
                    let mut products = [zero; 4];
                    for (j, product) in products.iter_mut().enumerate() {
                        *product = S::load(sums.at(4 * i + j).add(row * sums.row + channel));
                    }
                    *half = output_pixels(products);
                }
                let bias = if finish.bias.is_null() {
                    zero
                } else {
                    S::load_part(finish.bias.add(first + channel), left)
                };
                for x in 0..pixels.min(2) {
                    let column = output_pixels(across(&halves, x));
                    for (line, sum) in column.into_iter().enumerate().take(lines) {
                        let to = to + line * place.line + x * place.pixel;
                        let mut sum = sum.add(bias);
                        if !finish.gate.is_null() {
                            sum = sum.gated(S::load_part(finish.gate.add(to), left));
                        }
                        if !finish.add.is_null() {
                            sum = sum.add(S::load_part(finish.add.add(to), left));
                        }
                        activate(sum, finish.activation).store_part(y.at(to), left);
                    }
                }
            }
        }
    }
}

/// A panel of a convolution's weights, `[9 * ci, width]`, as the algorithm multiplies them,
/// `[16 * ci, width]`.
pub(crate) fn transform_panel(from: &[f32], width: usize, to: &mut [f32]) {
    let channels = from.len() / 9 / width;
    assert_eq!([from.len(), to.len()], [9, PLACES].map(|places| places * channels * width));
    // SAFETY: both are as long as that, and `width` is a multiple of 16.
    unsafe { split_weights(from.as_ptr(), channels * width, to.as_mut_ptr()) };
}

for_each_isa! {
    /// Transforms `len` weights of each of 9 places to 16.
    ///
    /// # Safety
    ///
    /// Both are as long as that, and `len` is a multiple of 16.
    unsafe fn split_weights(from: *const f32, len: usize, to: *mut f32) = split_weights_with
}

#[inline(always)]
unsafe fn split_weights_with<S: Lanes>(from: *const f32, len: usize, to: *mut f32) {
    for at in (0..len).step_by(S::WIDTH) {
        // SAFETY: as for the caller.
        unsafe {
            let mut lines = [[S::splat(0.0); 4]; 3];
            for (y, line) in lines.iter_mut().enumerate() {
                let weight = |x: usize| from.add((3 * y + x) * len + at);
                *line = weight_places([S::load(weight(0)), S::load(weight(1)), S::load(weight(2))]);
            }
            for x in 0..4 {
                let column = weight_places(across(&lines, x));
                for (y, value) in column.into_iter().enumerate() {
                    value.store(to.add((4 * y + x) * len + at));
                }
            }
        }
    }
}
