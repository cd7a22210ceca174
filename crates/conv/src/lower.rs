//! Convolution as matrix products, tile by tile, on plain slices.
//!
//! A tile is a run of output pixels of one picture. Its column matrix `[ci * kh * kw, pixels]`
//! holds, for each place of the kernel, the input under it, row by row of the picture, so that
//! lowering is mostly copying. Pictures are shared out over the threads; a product runs on one.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};
use rayon::prelude::*;

/// Pixels added at the top, left, bottom and right.
pub(crate) type Padding = [usize; 4];

/// Bytes of a tile's column matrix: half of a usual level-2 cache.
const TILE_BYTES: usize = 384 * 1024;

/// Sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    channels_in: usize,
    channels_out: usize,
    input: [usize; 2],
    pub(crate) output: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    /// At the top and at the left.
    pad: [usize; 2],
}

impl Geometry {
    /// `x` is `[n, ci, h, w]`, `weight` is `[co, ci, kh, kw]`.
    pub(crate) fn new(
        x: [usize; 4],
        weight: [usize; 4],
        stride: [usize; 2],
        padding: Padding,
    ) -> Self {
        let [_, channels_in, height, width] = x;
        let [channels_out, expected, kernel_height, kernel_width] = weight;
        assert_eq!(channels_in, expected, "channels of a convolution's input");
        let [top, left, bottom, right] = padding;
        let out = |size: usize, pads: usize, kernel: usize, stride: usize| {
            assert!(size + pads >= kernel, "a kernel of {kernel} over {size} + {pads} pixels");
            (size + pads - kernel) / stride + 1
        };
        Self {
            channels_in,
            channels_out,
            input: [height, width],
            output: [
                out(height, top + bottom, kernel_height, stride[0]),
                out(width, left + right, kernel_width, stride[1]),
            ],
            kernel: [kernel_height, kernel_width],
            stride,
            pad: [top, left],
        }
    }

    /// Rows of a column matrix.
    fn rows(&self) -> usize {
        self.channels_in * self.kernel[0] * self.kernel[1]
    }

    fn input_len(&self) -> usize {
        self.channels_in * self.input[0] * self.input[1]
    }

    fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Output pixels of a tile.
    fn tile(&self) -> usize {
        let pixels = TILE_BYTES / size_of::<f32>() / self.rows();
        (pixels.max(64) / 16 * 16).min(self.pixels())
    }

    /// Whether a picture is its own column matrix.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.input == self.output
    }

    /// First pixel and length of every tile.
    fn tiles(&self) -> impl Iterator<Item = (usize, usize)> {
        let (pixels, tile) = (self.pixels(), self.tile());
        (0..pixels).step_by(tile).map(move |start| (start, tile.min(pixels - start)))
    }

    /// Calls `run` for every run of pixels of the tile that lies in one row of the output and
    /// under one place of the kernel: row of the column matrix, range in it, channel, input row
    /// and first input column, either of which may lie outside the picture.
    fn for_each_run(&self, start: usize, len: usize, mut run: impl FnMut(Run)) {
        let [kernel_height, kernel_width] = self.kernel;
        let width = self.output[1];
        for channel in 0..self.channels_in {
            for (ky, kx) in
                (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx)))
            {
                let row = (channel * kernel_height + ky) * kernel_width + kx;
                let mut at = 0;
                while at < len {
                    let (oy, ox) = ((start + at) / width, (start + at) % width);
                    let count = (width - ox).min(len - at);
                    run(Run {
                        offset: row * len + at,
                        count,
                        channel,
                        y: (oy * self.stride[0] + ky) as isize - self.pad[0] as isize,
                        x: (ox * self.stride[1] + kx) as isize - self.pad[1] as isize,
                    });
                    at += count;
                }
            }
        }
    }

    /// The input row under a run, if it lies inside the picture.
    fn input_row(&self, run: &Run) -> Option<usize> {
        let [height, width] = self.input;
        let y = usize::try_from(run.y).ok().filter(|&y| y < height)?;
        Some((run.channel * height + y) * width)
    }

    /// Which pixels of a run lie inside the picture.
    fn inside(&self, run: &Run) -> (usize, usize) {
        let stride = self.stride[1];
        let left = usize::try_from(-run.x).unwrap_or(0); // columns left of the picture
        let right = usize::try_from(self.input[1] as isize - run.x).unwrap_or(0);
        let first = left.div_ceil(stride).min(run.count);
        (first, right.div_ceil(stride).min(run.count).max(first))
    }

    /// Fills the column matrix of a tile from one picture.
    fn lower(&self, x: &[f32], start: usize, len: usize, column: &mut [f32]) {
        let stride = self.stride[1];
        self.for_each_run(start, len, |run| {
            let target = &mut column[run.offset..run.offset + run.count];
            let Some(row) = self.input_row(&run) else { return target.fill(0.0) };
            let (first, last) = self.inside(&run);
            target[..first].fill(0.0);
            target[last..].fill(0.0);
            if first == last {
                return;
            }
            let from = row + (run.x + (first * stride) as isize) as usize;
            let target = &mut target[first..last];
            if stride == 1 {
                target.copy_from_slice(&x[from..from + target.len()]);
            } else {
                for (value, &source) in target.iter_mut().zip(x[from..].iter().step_by(stride)) {
                    *value = source;
                }
            }
        });
    }

    /// Adds the column matrix of a tile to one picture: the reverse of [`lower`](Self::lower).
    fn raise(&self, column: &[f32], start: usize, len: usize, x: &mut [f32]) {
        let stride = self.stride[1];
        self.for_each_run(start, len, |run| {
            let Some(row) = self.input_row(&run) else { return };
            let (first, last) = self.inside(&run);
            if first == last {
                return;
            }
            let source = &column[run.offset + first..run.offset + last];
            let to = row + (run.x + (first * stride) as isize) as usize;
            if stride == 1 {
                for (value, &add) in x[to..to + source.len()].iter_mut().zip(source) {
                    *value += add;
                }
            } else {
                for (value, &add) in x[to..].iter_mut().step_by(stride).zip(source) {
                    *value += add;
                }
            }
        });
    }
}

/// Neighbouring pixels under one place of the kernel.
struct Run {
    offset: usize,
    count: usize,
    channel: usize,
    y: isize,
    x: isize,
}

/// A row-major matrix of `rows` x `columns` whose rows are `stride` apart.
fn matrix(values: &[f32], rows: usize, columns: usize, stride: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((rows, columns).strides((stride, 1)), values)
        .expect("the slice holds the matrix")
}

fn matrix_mut(
    values: &mut [f32],
    rows: usize,
    columns: usize,
    stride: usize,
) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((rows, columns).strides((stride, 1)), values)
        .expect("the slice holds the matrix")
}

/// `[n, ci, h, w]` to `[n, co, oh, ow]`.
pub(crate) fn forward(g: &Geometry, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let (pixels, rows) = (g.pixels(), g.rows());
    let images = x.len() / g.input_len().max(1);
    let mut y = vec![0.0; images * g.channels_out * pixels];
    let weight = matrix(weight, g.channels_out, rows, rows);
    let column = || if g.is_pointwise() { Vec::new() } else { vec![0.0; rows * g.tile()] };
    y.par_chunks_mut(g.channels_out * pixels).zip(x.par_chunks(g.input_len())).for_each_init(
        column,
        |column, (y, x)| {
            for (plane, &bias) in y.chunks_exact_mut(pixels).zip(bias) {
                plane.fill(bias);
            }
            if g.is_pointwise() {
                let mut y = matrix_mut(y, g.channels_out, pixels, pixels);
                return general_mat_mul(
                    1.0,
                    &weight,
                    &matrix(x, rows, pixels, pixels),
                    1.0,
                    &mut y,
                );
            }
            for (start, len) in g.tiles() {
                g.lower(x, start, len, column);
                let lowered = matrix(&column[..rows * len], rows, len, len);
                let mut y = matrix_mut(&mut y[start..], g.channels_out, len, pixels);
                general_mat_mul(1.0, &weight, &lowered, 1.0, &mut y);
            }
        },
    );
    y
}

/// The gradient of the input: `[n, co, oh, ow]` to `[n, ci, h, w]`.
pub(crate) fn input_gradient(g: &Geometry, grad: &[f32], weight: &[f32]) -> Vec<f32> {
    let (pixels, rows) = (g.pixels(), g.rows());
    let images = grad.len() / (g.channels_out * pixels).max(1);
    let mut dx = vec![0.0; images * g.input_len()];
    let weight = matrix(weight, g.channels_out, rows, rows);
    let column = || if g.is_pointwise() { Vec::new() } else { vec![0.0; rows * g.tile()] };
    dx.par_chunks_mut(g.input_len()).zip(grad.par_chunks(g.channels_out * pixels)).for_each_init(
        column,
        |column, (dx, grad)| {
            if g.is_pointwise() {
                let grad = matrix(grad, g.channels_out, pixels, pixels);
                let mut dx = matrix_mut(dx, rows, pixels, pixels);
                return general_mat_mul(1.0, &weight.t(), &grad, 0.0, &mut dx);
            }
            for (start, len) in g.tiles() {
                let grad = matrix(&grad[start..], g.channels_out, len, pixels);
                let mut lowered = matrix_mut(&mut column[..rows * len], rows, len, len);
                general_mat_mul(1.0, &weight.t(), &grad, 0.0, &mut lowered);
                g.raise(column, start, len, dx);
            }
        },
    );
    dx
}

/// The gradient of the weight: `[co, ci, kh, kw]`.
///
/// Pictures are dealt out in as many parts as there are threads and the parts are added in order,
/// so the sum is the same every time on the same number of threads.
pub(crate) fn weight_gradient(g: &Geometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let (pixels, rows) = (g.pixels(), g.rows());
    let images = x.len() / g.input_len().max(1);
    let part = images.div_ceil(rayon::current_num_threads()).max(1);
    let sums: Vec<Vec<f32>> = x
        .par_chunks(part * g.input_len())
        .zip(grad.par_chunks(part * g.channels_out * pixels))
        .map(|(x, grad)| {
            let mut sum = vec![0.0; g.channels_out * rows];
            let mut column = if g.is_pointwise() { Vec::new() } else { vec![0.0; rows * g.tile()] };
            let images = x.chunks_exact(g.input_len());
            for (x, grad) in images.zip(grad.chunks_exact(g.channels_out * pixels)) {
                let mut sum = matrix_mut(&mut sum, g.channels_out, rows, rows);
                if g.is_pointwise() {
                    let grad = matrix(grad, g.channels_out, pixels, pixels);
                    let x = matrix(x, rows, pixels, pixels);
                    general_mat_mul(1.0, &grad, &x.t(), 1.0, &mut sum);
                    continue;
                }
                for (start, len) in g.tiles() {
                    g.lower(x, start, len, &mut column);
                    let grad = matrix(&grad[start..], g.channels_out, len, pixels);
                    let lowered = matrix(&column[..rows * len], rows, len, len);
                    general_mat_mul(1.0, &grad, &lowered.t(), 1.0, &mut sum);
                }
            }
            sum
        })
        .collect();
    let mut sums = sums.into_iter();
    let mut total = sums.next().unwrap_or_else(|| vec![0.0; g.channels_out * rows]);
    for sum in sums {
        for (total, value) in total.iter_mut().zip(sum) {
            *total += value;
        }
    }
    total
}
