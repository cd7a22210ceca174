//! The kernels on tensors of the CPU backend.
//!
//! Pictures come in any layout; what comes out has the shape `[n, c, h, w]` and lies channels
//! last, which the next kernel takes as it is and everything else reads by its strides.

use burn_flex::FlexTensor;

use crate::conv::{self, Ending, Place, Window};
use crate::fixed::Scaling;
use crate::panels::{self, Form, panels};
use crate::picture::{self, Pictures, channels_last, dense, with_pictures};
use crate::planes::{self, append_planes};
use crate::product::{Matrix, product};
use crate::threads::written;
use crate::{Activation, attention, depthwise, few, norm, pool, winograd};

/// Pixels added at the top, left, bottom and right.
pub(crate) type Padding = [usize; 4];

/// How a kernel moves over pictures, and what goes before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: Padding,
    /// A ReLU in front.
    pub(crate) relu: bool,
    pub(crate) activation: Activation,
    /// Whether packed weights are kept for the next call: not while they are learned.
    pub(crate) keep: bool,
}

impl Spec {
    /// One pixel at a time, of weights that are learned.
    pub(crate) const ONE_PIXEL: Self = Self {
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0; 4],
        relu: false,
        activation: Activation::None,
        keep: false,
    };

    /// Whether every pixel is for itself, and none is left out.
    pub(crate) fn is_one_pixel(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0; 4]
    }

    fn window(&self, [height, width]: [usize; 2]) -> Window {
        let [top, left, bottom, right] = self.padding;
        let out = |size: usize, pads: usize, axis: usize| {
            let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
            assert!(size + pads >= kernel, "a kernel of {kernel} over {size} + {pads} pixels");
            (size + pads - kernel) / stride + 1
        };
        Window {
            kernel: self.kernel,
            stride: self.stride,
            origin: [-(top as isize), -(left as isize)],
            output: [out(height, top + bottom, 0), out(width, left + right, 1)],
        }
    }
}

fn dims(tensor: &FlexTensor) -> [usize; 4] {
    tensor.layout().shape().dims()
}

/// The same tensor, copied where the channels of a pixel lie apart.
fn channels_side_by_side(x: &FlexTensor) -> FlexTensor {
    let lie_so = Pictures::of(x).is_some_and(|pictures| pictures.is_channels_last());
    if lie_so { x.clone() } else { dense(x.clone()) }
}

/// The values of a tensor of pictures without gaps, in the order of memory.
pub(crate) fn rows(tensor: &FlexTensor) -> &[f32] {
    let (start, len) = (tensor.layout().start_offset(), tensor.layout().num_elements());
    &tensor.storage::<f32>()[start..start + len]
}

/// The values of a contiguous tensor.
pub(crate) fn values(tensor: &FlexTensor) -> &[f32] {
    let (start, end) = tensor.layout().contiguous_offsets().expect("a contiguous tensor");
    &tensor.storage::<f32>()[start..end]
}

/// A convolution; `add` has the output's shape and is added in front of the activation.
pub(crate) fn conv(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    add: Option<FlexTensor>,
    spec: Spec,
) -> FlexTensor {
    let (bias, add) = (bias.to_contiguous(), add.map(dense));
    let ([n, channels, height, width], [outputs, expected, ..]) = (dims(x), dims(weight));
    assert_eq!(channels, expected, "channels of a convolution's input");
    let window = spec.window([height, width]);
    let [lines, columns] = window.output;
    let suits = winograd::suits(&window, channels, outputs, (!spec.keep).then_some(n));
    let form = if suits { Form::Winograd } else { Form::Convolution };
    let panels = panels(weight, form, spec.keep);
    // Panels that were packed away stay as they were first asked for.
    let is_transformed = spec.kernel == [3, 3] && panels.k() == winograd::PLACES * channels;
    let x = &if is_transformed { channels_side_by_side(x) } else { x.clone() };
    let ending = Ending {
        bias: Some(values(&bias)),
        gate: None,
        add: add.as_ref().map(rows),
        activation: spec.activation,
    };
    let one_pixel = spec.is_one_pixel();
    let y = with_pictures(x, |pictures| {
        let len = n * lines * columns * outputs;
        // SAFETY: both kernels write `outputs` channels of every output pixel, and what is added
        // has the output's shape.
        unsafe {
            written(len, |y| {
                if one_pixel && !spec.relu && pictures.is_dense() {
                    let m = n * lines * columns;
                    let matrix = Matrix { values: pictures.image(0), m, row: channels };
                    return product(matrix, &panels, ending, y, outputs);
                }
                let convolve = if is_transformed { winograd::convolve } else { conv::convolve };
                let place = Place::dense(window.output, outputs);
                convolve(&window, &pictures, spec.relu, &panels, ending, y, place);
            })
        }
    });
    channels_last(y, [n, outputs, lines, columns])
}

/// The gradient of the input `x` of [`conv`]. With a ReLU in front it passes where `x` is above
/// zero. `add` has the shape of `x`.
pub(crate) fn conv_input_gradient(
    grad: &FlexTensor,
    weight: &FlexTensor,
    x: FlexTensor,
    add: Option<FlexTensor>,
    spec: Spec,
) -> FlexTensor {
    let weight = weight.to_contiguous();
    let shape @ [_, channels, height, width] = dims(&x);
    let window = spec.window([height, width]);
    let gate = spec.relu.then(|| dense(x));
    let add = add.map(dense);
    let dx = with_pictures(grad, |grads| {
        let (gate, add) = (gate.as_ref().map(rows), add.as_ref().map(rows));
        conv::input_gradient(&window, &grads, values(&weight), channels, [height, width], gate, add)
    });
    channels_last(dx, shape)
}

/// The gradient of the weight of [`conv`].
pub(crate) fn conv_weight_gradient(x: &FlexTensor, grad: FlexTensor, spec: Spec) -> FlexTensor {
    let ([n, channels, height, width], [_, outputs, ..]) = (dims(x), dims(&grad));
    let window = spec.window([height, width]);
    let grad = dense(grad);
    let weight = if winograd::suits(&window, channels, outputs, Some(n)) {
        with_pictures(&channels_side_by_side(x), |pictures| {
            with_pictures(&grad, |grads| {
                winograd::weight_gradient(&window, &pictures, spec.relu, &grads)
            })
        })
    } else {
        with_pictures(x, |pictures| {
            conv::weight_gradient(&window, &pictures, spec.relu, rows(&grad), outputs)
        })
    };
    tensor(weight, &[outputs, channels, spec.kernel[0], spec.kernel[1]])
}

/// `grad` where `y`, of the same shape, is above zero.
pub(crate) fn gated(grad: FlexTensor, y: FlexTensor) -> FlexTensor {
    let shape = dims(&y);
    let (grad, y) = (dense(grad), dense(y));
    channels_last(picture::gated(rows(&grad), rows(&y)), shape)
}

/// The sum of every channel over all pixels of all pictures.
pub(crate) fn channel_sums(x: FlexTensor) -> FlexTensor {
    let [_, channels, ..] = dims(&x);
    tensor(conv::channel_sums(rows(&dense(x)), channels), &[channels])
}

/// A convolution of each channel with a kernel of its own.
pub(crate) fn depthwise(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    spec: Spec,
) -> FlexTensor {
    let (weight, bias) = (weight.to_contiguous(), bias.to_contiguous());
    let [n, channels, height, width] = dims(x);
    let window = spec.window([height, width]);
    let panels = panels(&weight, Form::Depthwise, spec.keep);
    let y = with_pictures(x, |pictures| {
        depthwise::depthwise(&window, &pictures, &panels, values(&bias), spec.activation)
    });
    channels_last(y, [n, channels, window.output[0], window.output[1]])
}

/// The largest value under a window, and where in it each was found if that is asked.
pub(crate) fn max_pool(x: FlexTensor, spec: Spec, with_places: bool) -> (FlexTensor, Vec<u8>) {
    let [n, channels, height, width] = dims(&x);
    let window = spec.window([height, width]);
    let x = dense(x);
    let (y, places) = with_pictures(&x, |pictures| pool::max_pool(&window, &pictures, with_places));
    (channels_last(y, [n, channels, window.output[0], window.output[1]]), places)
}

/// The gradient of the input of [`max_pool`], of `size`.
pub(crate) fn max_pool_gradient(
    grad: FlexTensor,
    places: &[u8],
    size: [usize; 2],
    spec: Spec,
) -> FlexTensor {
    let [n, channels, ..] = dims(&grad);
    let grad = dense(grad);
    let window = spec.window(size);
    let dx = pool::max_pool_gradient(&window, rows(&grad), places, n, channels, size);
    channels_last(dx, [n, channels, size[0], size[1]])
}

/// Bilinear resizing.
pub(crate) fn resize(x: FlexTensor, size: [usize; 2]) -> FlexTensor {
    let [n, channels, ..] = dims(&x);
    let x = dense(x);
    let y = with_pictures(&x, |pictures| pool::resize(&pictures, size));
    channels_last(y, [n, channels, size[0], size[1]])
}

/// The gradient of the input of [`resize`], of `size`.
pub(crate) fn resize_gradient(grad: FlexTensor, size: [usize; 2]) -> FlexTensor {
    let [n, channels, height, width] = dims(&grad);
    let grad = dense(grad);
    let dx = pool::resize_gradient(rows(&grad), n, channels, size, [height, width]);
    channels_last(dx, [n, channels, size[0], size[1]])
}

/// The channels of `a`, then those of `b`.
pub(crate) fn join(a: FlexTensor, b: FlexTensor) -> FlexTensor {
    let ([n, first, height, width], [_, second, ..]) = (dims(&a), dims(&b));
    let (a, b) = (dense(a), dense(b));
    let y = picture::join(rows(&a), rows(&b), [first, second], n * height * width);
    channels_last(y, [n, first + second, height, width])
}

/// `channels` of a tensor from `first` on.
pub(crate) fn part(x: FlexTensor, first: usize, channels: usize) -> FlexTensor {
    let [n, all, height, width] = dims(&x);
    let x = dense(x);
    let y = picture::part(rows(&x), all, first..first + channels, n * height * width);
    channels_last(y, [n, channels, height, width])
}

/// The channels of every pixel, `offset` added, divided by their Euclidean length.
pub(crate) fn unit_norm(x: FlexTensor, offset: f32) -> FlexTensor {
    let shape @ [_, channels, ..] = dims(&x);
    channels_last(norm::unit_norm(rows(&dense(x)), channels, offset), shape)
}

/// `[m, k]` times `[k, n]`; `add` has the output's shape and is added in front of the activation.
pub(crate) fn linear(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    add: Option<FlexTensor>,
    activation: Activation,
) -> FlexTensor {
    let (x, bias) = (x.to_contiguous(), bias.to_contiguous());
    let add = add.map(|add| add.to_contiguous());
    let [m, k]: [usize; 2] = x.layout().shape().dims();
    let panels = panels(weight, Form::Product, true);
    assert_eq!(k, panels.k(), "width of a linear layer's input");
    let n = panels.n();
    let ending =
        Ending { bias: Some(values(&bias)), gate: None, add: add.as_ref().map(values), activation };
    let matrix = Matrix { values: values(&x), m, row: k };
    // SAFETY: the kernel writes `n` values of every row, and what is added has as many.
    let y = unsafe { written(m * n, |y| product(matrix, &panels, ending, y, n)) };
    tensor(y, &[m, n])
}

/// Packs `weight`, of a product or a convolution, for as long as `stand_in` lives.
pub(crate) fn pack_away(
    weight: &FlexTensor,
    stand_in: FlexTensor,
    transformed: bool,
) -> FlexTensor {
    let form = match weight.layout().shape().num_dims() {
        2 => Form::Product,
        _ if transformed => Form::Winograd,
        _ => Form::Convolution,
    };
    panels::pack_away(weight, &stand_in, form);
    stand_in
}

/// A few rows `[m, k]` times `[k, n]`.
pub(crate) fn few_rows(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
    let [m, k]: [usize; 2] = x.layout().shape().dims();
    let y = few::few_rows(values(&x), values(&weight), values(&bias), k);
    let n = values(&bias).len();
    tensor(y, &[m, n])
}

/// Each row of `[m, width]` moved to mean 0 and scaled to variance 1, scaled and shifted.
pub(crate) fn layer_norm(
    x: &FlexTensor,
    scale: &FlexTensor,
    shift: &FlexTensor,
    epsilon: f32,
) -> FlexTensor {
    let (x, scale, shift) = (x.to_contiguous(), scale.to_contiguous(), shift.to_contiguous());
    let y = norm::layer_norm(values(&x), values(&scale), values(&shift), epsilon);
    tensor(y, &x.layout().shape().to_vec())
}

/// `[n, tokens, 3 * width]` of queries, keys and values to `[n, tokens, width]`.
pub(crate) fn attention(qkv: &FlexTensor, heads: usize) -> FlexTensor {
    let qkv = qkv.to_contiguous();
    let [n, tokens, width]: [usize; 3] = qkv.layout().shape().dims();
    let y = attention::attention(values(&qkv), n, tokens, width / 3, heads);
    tensor(y, &[n, tokens, width / 3])
}

/// `[n, 3, h, w]`, and `[n, 1, h, w]` where there is depth, scaled into one tensor.
pub(crate) fn scale_pictures(
    rgb: &FlexTensor,
    depth: Option<&FlexTensor>,
    scaling: Scaling,
) -> FlexTensor {
    let (rgb, depth) = (rgb.to_contiguous(), depth.map(FlexTensor::to_contiguous));
    let [n, _, height, width] = dims(&rgb);
    let plane = height * width;
    let channels = 3 + usize::from(depth.is_some());
    let y = picture::scale(values(&rgb), depth.as_ref().map(values), n, plane, scaling);
    channels_last(y, [n, channels, height, width])
}

/// `[n, h, w, 3]` bytes to `[n, 3, h, w]`.
pub(crate) fn planes(bytes: &FlexTensor) -> FlexTensor {
    let bytes = bytes.to_contiguous();
    let [n, height, width, _] = dims(&bytes);
    let mut planes = Vec::with_capacity(3 * n * height * width);
    for picture in pixels(&bytes).chunks_exact((3 * height * width).max(1)) {
        append_planes(picture, &mut planes);
    }
    tensor(planes, &[n, 3, height, width])
}

/// `[n, h, w, 3]` bytes, and `[n, 1, h, w]` where there is depth, scaled into one tensor.
pub(crate) fn scale_bytes(
    bytes: &FlexTensor,
    depth: Option<&FlexTensor>,
    scaling: Scaling,
) -> FlexTensor {
    let (bytes, depth) = (bytes.to_contiguous(), depth.map(FlexTensor::to_contiguous));
    let [n, height, width, _] = dims(&bytes);
    let channels = 3 + usize::from(depth.is_some());
    let y = planes::scale(pixels(&bytes), depth.as_ref().map(values), scaling);
    channels_last(y, [n, channels, height, width])
}

/// The bytes of a contiguous tensor.
fn pixels(tensor: &FlexTensor) -> &[u8] {
    let (start, end) = tensor.layout().contiguous_offsets().expect("a contiguous tensor");
    &tensor.storage::<u8>()[start..end]
}

pub(crate) fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(burn::tensor::TensorData::new(values, shape.to_vec()))
}
