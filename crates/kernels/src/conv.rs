//! Convolutions without a column matrix.
//!
//! Channels lie last, so a line of the kernel covers one run of memory: an output pixel is the sum
//! of `kernel height` products of a run with packed weights. What the padding needs is a copy of a
//! few lines with zeros around them, which stays in the cache; the ReLU in front of a convolution
//! is done in that copy.

use crate::Activation;
use crate::lanes::{Lanes, for_each_isa};
use crate::panels::Panels;
use crate::picture::Pictures;
use crate::threads::{Shared, even_shares, for_each, parts, with_scratch, written};
use crate::tile::{Finish, Outer, Rows, outer_sums, rows_by_panel};
use crate::winograd;

/// Bytes of the copied lines: they and a panel of weights fit a level-2 cache.
const BAND_BYTES: usize = 256 * 1024;

/// Sizes of a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Input line and column under the kernel's first place at the first output pixel.
    pub(crate) origin: [isize; 2],
    pub(crate) output: [usize; 2],
}

/// Where an output pixel is, in values.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) first: usize,
    pub(crate) image: usize,
    pub(crate) line: usize,
    pub(crate) pixel: usize,
}

impl Place {
    /// Pictures `[n, h, w, c]` without gaps.
    pub(crate) fn dense([height, width]: [usize; 2], channels: usize) -> Self {
        let line = width * channels;
        Self { first: 0, image: height * line, line, pixel: channels }
    }
}

/// What is added to and done with the sums; `gate` and `add` are laid out as the output.
#[derive(Clone, Copy)]
pub(crate) struct Ending<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) gate: Option<&'a [f32]>,
    pub(crate) add: Option<&'a [f32]>,
    pub(crate) activation: Activation,
}

impl Ending<'_> {
    pub(crate) const NOTHING: Self =
        Self { bias: None, gate: None, add: None, activation: Activation::None };

    /// The same for tiles, which read it through pointers.
    pub(crate) fn finish(&self) -> Finish {
        let start = |values: Option<&[f32]>| values.map_or(std::ptr::null(), <[f32]>::as_ptr);
        Finish {
            bias: start(self.bias),
            gate: start(self.gate),
            add: start(self.add),
            activation: self.activation,
        }
    }
}

impl Window {
    /// Input lines under `lines` output lines, and input columns under all.
    fn span(&self, lines: usize) -> [usize; 2] {
        let span = |outputs: usize, axis: usize| {
            outputs.saturating_sub(1) * self.stride[axis] + self.kernel[axis]
        };
        [span(lines, 0), span(self.output[1], 1)]
    }

    /// Whether every place of the kernel is inside the pictures at every output pixel.
    fn is_inside(&self, pictures: &Pictures) -> bool {
        let [lines, columns] = self.span(self.output[0]);
        let fits =
            |origin: isize, span: usize, size: usize| origin >= 0 && origin as usize + span <= size;
        fits(self.origin[0], lines, pictures.height)
            && fits(self.origin[1], columns, pictures.width)
    }

    /// Whether tiles can read the pictures where they are.
    fn reads_in_place(&self, pictures: &Pictures, relu: bool) -> bool {
        let runs = self.kernel[1] == 1 || pictures.pixel == pictures.channels;
        !relu && pictures.is_channels_last() && runs && self.is_inside(pictures)
    }

    /// Output lines per task, so that their input fits the cache and that all `threads` have as
    /// many of them.
    pub(crate) fn band(&self, pictures: &Pictures, threads: usize) -> usize {
        let [_, columns] = self.span(1);
        let line = columns * pictures.channels * size_of::<f32>();
        let fitting =
            (BAND_BYTES / line.max(1)).saturating_sub(self.kernel[0]) / self.stride[0] + 1;
        let mut bands = self.output[0].div_ceil(fitting).max(1);
        if pictures.n < 4 * threads {
            let together = even_shares(pictures.n, threads);
            bands = bands.next_multiple_of(threads / together);
        }
        self.output[0].div_ceil(bands).max(1)
    }

    /// Calls `run` with the first value that the kernel covers at output line `first` of a picture,
    /// and how far the next pixel and the next line are: where the pictures are, or in a copy of
    /// what `lines` output lines cover.
    pub(crate) fn with_lines(
        &self,
        pictures: &Pictures,
        relu: bool,
        image: usize,
        [first, lines]: [usize; 2],
        run: impl FnOnce(*const f32, usize, usize),
    ) {
        let top = self.origin[0] + (first * self.stride[0]) as isize;
        if self.reads_in_place(pictures, relu) {
            let at = top as usize * pictures.line + self.origin[1] as usize * pictures.pixel;
            return run(pictures.image(image)[at..].as_ptr(), pictures.pixel, pictures.line);
        }
        let (span, channels) = (self.span(lines), pictures.channels);
        with_scratch(span[0] * span[1] * channels, |scratch| {
            pictures.copy(image, [top, self.origin[1]], span, relu, scratch);
            run(scratch.as_ptr(), channels, span[1] * channels);
        });
    }

    fn multiplications(&self, pictures: &Pictures, outputs: usize) -> usize {
        let [[kh, kw], [oh, ow]] = [self.kernel, self.output];
        pictures.n * oh * ow * kh * kw * pictures.channels * outputs
    }
}

/// Convolves `pictures` with packed weights and writes to `place`.
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
    let [lines, columns] = window.output;
    let [kernel_lines, kernel_columns] = window.kernel;
    assert_eq!(weights.k(), kernel_lines * kernel_columns * pictures.channels);
    assert!(ending.bias.is_none_or(|bias| bias.len() == weights.n()));
    let finish = ending.finish();
    let work = window.multiplications(pictures, weights.n());
    let threads = parts(work);
    // Few lines that cannot be dealt out evenly: the channels are, where they can.
    let uneven = !(pictures.n * lines).is_multiple_of(threads) && lines < 8 * threads;
    let shares = if uneven { even_shares(weights.len(), threads) } else { 1 };
    let band = window.band(pictures, threads / shares);
    let bands = lines.div_ceil(band);
    // Few and small pictures: the channels are shared out too.
    let shares = shares.max(threads.div_ceil(pictures.n * bands).min(weights.len()));
    let task = |index: usize| {
        let (index, share) = (index % (pictures.n * bands), index / (pictures.n * bands));
        let (image, first) = (index / bands, index % bands * band);
        let lines = band.min(lines - first);
        let panels = weights.share(share, shares);
        let run = |a: *const f32, a_pixel: usize, a_line: usize| {
            for panel in panels.clone() {
                let to =
                    place.first + image * place.image + first * place.line + Panels::first(panel);
                let rows = Rows {
                    a,
                    a_pixel: window.stride[1] * a_pixel,
                    a_line: window.stride[0] * a_line,
                    segments: kernel_lines,
                    segment: a_line,
                    segment_len: kernel_columns * pictures.channels,
                    b: weights.panel(panel).as_ptr(),
                    b_row: weights.width(panel),
                    next: weights.next(panel, &panels),
                    c: y.at(to),
                    c_pixel: place.pixel,
                    c_line: place.line,
                    lines,
                    pixels: columns,
                    columns: weights.columns(panel),
                    finish: finish.at(to, Panels::first(panel)),
                };
                // SAFETY: `a` spans the band with all that the kernel covers, panels are whole,
                // the caller vouches for the output, and each task has lines or panels of its own.
                unsafe { rows_by_panel(&rows) };
            }
        };
        window.with_lines(pictures, relu, image, [first, lines], run);
    };
    for_each(pictures.n * bands * shares, work, task);
}

/// The gradient of weights, `[co, ci, kh, kw]`.
///
/// `grads` are channels last without gaps. Pictures are dealt out in as many parts as there are
/// threads and the parts are added in order, so that the sum is the same every time on the same
/// number of threads.
pub(crate) fn weight_gradient(
    window: &Window,
    pictures: &Pictures,
    relu: bool,
    grads: &[f32],
    outputs: usize,
) -> Vec<f32> {
    let [lines, columns] = window.output;
    let [kernel_lines, kernel_columns] = window.kernel;
    let channels = pictures.channels;
    let run_len = kernel_columns * channels;
    let k = kernel_lines * run_len;
    let work = window.multiplications(pictures, outputs);
    let threads = parts(work);
    let band = window.band(pictures, threads);
    let bands = lines.div_ceil(band);
    let tasks = pictures.n * bands;
    let parts = threads.min(tasks).max(1);
    // Enough pixels that reading and writing the sums costs little beside them.
    let step = 192_usize.div_ceil(columns.max(1));
    let len = outputs * k;
    let mut sums = vec![0.0_f32; parts * len];
    let all = Shared(sums.as_mut_ptr());
    for_each(parts, work, |part| {
        let sum = all.at(part * len);
        let add_up = |x: *const f32, x_pixel: usize, x_line: usize, dy: &[f32], lines: usize| {
            for first in (0..lines).step_by(step) {
                for kernel_line in 0..kernel_lines {
                    let outer = Outer {
                        a: dy[first * columns * outputs..].as_ptr(),
                        a_pixel: outputs,
                        a_line: columns * outputs,
                        b: x.wrapping_add((first * window.stride[0] + kernel_line) * x_line),
                        b_pixel: window.stride[1] * x_pixel,
                        b_line: window.stride[0] * x_line,
                        lines: step.min(lines - first),
                        pixels: columns,
                        c: sum.wrapping_add(kernel_line * run_len),
                        c_row: k,
                        rows: outputs,
                        columns: run_len,
                    };
                    // SAFETY: `x` spans what the kernel covers, `dy` the band's lines, and each
                    // part has sums of its own.
                    unsafe { outer_sums(&outer) };
                }
            }
        };
        for index in tasks * part / parts..tasks * (part + 1) / parts {
            let (image, first) = (index / bands, index % bands * band);
            let lines = band.min(lines - first);
            let dy = &grads[(image * window.output[0] + first) * columns * outputs..];
            window.with_lines(pictures, relu, image, [first, lines], |x, x_pixel, x_line| {
                add_up(x, x_pixel, x_line, dy, lines);
            });
        }
    });
    let (total, others) = sums.split_at_mut(len);
    add_rows(total, others);
    let plane = kernel_lines * kernel_columns;
    let mut weight = vec![0.0; outputs * k];
    for (to, from) in weight.chunks_exact_mut(k.max(1)).zip(total.chunks_exact(k.max(1))) {
        for (place, from) in from.chunks_exact(channels).enumerate() {
            for (channel, value) in from.iter().enumerate() {
                to[channel * plane + place] = *value;
            }
        }
    }
    weight
}

/// The sum of every channel over all pixels, a block at a time: the blocks are added in order, so
/// that the sum is the same every time.
pub(crate) fn channel_sums(pixels: &[f32], channels: usize) -> Vec<f32> {
    /// Pixels of a block.
    const BLOCK: usize = 256;
    let channels = channels.max(1);
    let blocks = pixels.len().div_ceil(BLOCK * channels);
    let mut sums = vec![0.0; blocks * channels];
    let all = Shared(sums.as_mut_ptr());
    for_each(blocks, pixels.len() * 2, |block| {
        // SAFETY: each task has the sums of a block for its own.
        let sums = unsafe { all.part(block * channels, channels) };
        let end = pixels.len().min((block + 1) * BLOCK * channels);
        add_rows(sums, &pixels[block * BLOCK * channels..end]);
    });
    let mut total = vec![0.0; channels];
    add_rows(&mut total, &sums);
    total
}

/// Adds rows as wide as `total` to it, in order.
pub(crate) fn add_rows(total: &mut [f32], rows: &[f32]) {
    // SAFETY: none beyond the instruction set, which is looked up.
    unsafe { add_up(total, rows) };
}

for_each_isa! {
    /// # Safety
    ///
    /// None beyond the instruction set, which is looked up.
    unsafe fn add_up(total: &mut [f32], rows: &[f32]) = add_up_with
}

#[inline(always)]
unsafe fn add_up_with<S: Lanes>(total: &mut [f32], rows: &[f32]) {
    /// Vectors of a row at a time.
    const VECTORS: usize = 4;
    let width = total.len();
    for column in (0..width).step_by(VECTORS * S::WIDTH) {
        let left = |v: usize| (width - column).saturating_sub(v * S::WIDTH).min(S::WIDTH);
        let to = total.as_mut_ptr().wrapping_add(column);
        // SAFETY: no more lanes of a row are touched than it has.
        unsafe {
            let mut sums = [S::splat(0.0); VECTORS];
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = S::load_part(to.wrapping_add(v * S::WIDTH), left(v));
            }
            for row in rows.chunks_exact(width) {
                let from = row.as_ptr().wrapping_add(column);
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(S::load_part(from.wrapping_add(v * S::WIDTH), left(v)));
                }
            }
            for (v, sum) in sums.into_iter().enumerate() {
                sum.store_part(to.wrapping_add(v * S::WIDTH), left(v));
            }
        }
    }
}

/// The gradient of the input of a convolution, `[n, h, w, ci]`: with a stride, one convolution of
/// the gradients for each phase of the input pixels.
///
/// `gate` and `add` are laid out as the result.
pub(crate) fn input_gradient(
    window: &Window,
    grads: &Pictures,
    weight: &[f32],
    channels: usize,
    [height, width]: [usize; 2],
    gate: Option<&[f32]>,
    add: Option<&[f32]>,
) -> Vec<f32> {
    let [kernel_lines, kernel_columns] = window.kernel;
    let outputs = grads.channels;
    let plane = kernel_lines * kernel_columns;
    let phases = |axis: usize| (0..window.stride[axis]).map(move |r| Phase::new(window, axis, r));
    let sizes = [height, width];
    let len = grads.n * height * width * channels;
    // A kernel smaller than its stride leaves pixels out.
    let covers = (0..2).all(|axis| window.kernel[axis] >= window.stride[axis]);
    let fill = |dx: Shared| {
        if !covers {
            assert!(add.is_none(), "a gradient beside a kernel smaller than its stride");
            // SAFETY: the room that `written` made.
            unsafe { std::ptr::write_bytes(dx.0, 0, len) };
        }
        for (down, right) in phases(0).flat_map(|down| phases(1).map(move |right| (down, right))) {
            let output = [down.outputs(sizes[0]), right.outputs(sizes[1])];
            if down.taps == 0 || right.taps == 0 || output.contains(&0) {
                continue;
            }
            let rows: Vec<usize> = (0..down.taps)
                .flat_map(|ty| (0..right.taps).map(move |tx| (ty, tx)))
                .map(|(ty, tx)| down.kernel_place(ty) * kernel_columns + right.kernel_place(tx))
                .flat_map(|place| (0..outputs).map(move |out| out * channels * plane + place))
                .collect();
            let panels = Panels::pack(weight, &rows, channels, plane);
            let phase = Window {
                kernel: [down.taps, right.taps],
                stride: [1, 1],
                origin: [down.origin(), right.origin()],
                output,
            };
            let dense = Place::dense([height, width], channels);
            let place = Place {
                first: down.first_input() * dense.line + right.first_input() * dense.pixel,
                image: dense.image,
                line: dense.line * down.stride,
                pixel: dense.pixel * right.stride,
            };
            let ending = Ending { gate, add, ..Ending::NOTHING };
            let fewer_products = grads.is_channels_last()
                && winograd::suits(&phase, outputs, channels, Some(grads.n));
            // SAFETY: every phase's pixels are inside the room, and no two phases share one.
            unsafe {
                if fewer_products {
                    let panels = panels.transformed();
                    winograd::convolve(&phase, grads, false, &panels, ending, dx, place);
                } else {
                    convolve(&phase, grads, false, &panels, ending, dx, place);
                }
            }
        }
    };
    // SAFETY: either every pixel is in a phase, or zeros came first.
    unsafe { written(len, fill) }
}

/// The input pixels along one axis that lie `r` beyond a multiple of the stride, counted from the
/// padding: they meet every `stride`-th place of the kernel, from place `r` on.
#[derive(Clone, Copy)]
struct Phase {
    stride: usize,
    r: usize,
    /// Places of the kernel that these pixels meet.
    taps: usize,
    /// Padding in front.
    pad: isize,
    /// Number of the first such pixel that is inside the picture.
    first: isize,
}

impl Phase {
    fn new(window: &Window, axis: usize, r: usize) -> Self {
        let (stride, pad) = (window.stride[axis], -window.origin[axis]);
        let taps = window.kernel[axis].saturating_sub(r).div_ceil(stride);
        let first = (pad - r as isize + stride as isize - 1).div_euclid(stride as isize).max(0);
        Self { stride, r, taps, pad, first }
    }

    /// The input pixel that `first` is.
    fn first_input(&self) -> usize {
        (self.first * self.stride as isize + self.r as isize - self.pad) as usize
    }

    /// How many of them are inside a picture of `size`.
    fn outputs(&self, size: usize) -> usize {
        size.saturating_sub(self.first_input()).div_ceil(self.stride)
    }

    /// The kernel's place under tap `t`, the taps turned round.
    fn kernel_place(&self, t: usize) -> usize {
        self.r + self.stride * (self.taps - 1 - t)
    }

    /// The gradient under the first tap of the first pixel.
    fn origin(&self) -> isize {
        self.first - (self.taps as isize - 1)
    }
}
