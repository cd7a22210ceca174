//! How precisely layers that are not learned compute.

use std::fmt;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, Flex, backend_extension};
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, s};
use burn_flex::FlexTensor;
use serde::{Deserialize, Serialize};

use crate::bytes::Way;
use crate::conv::Ending;
use crate::fixed;
use crate::flex::{tensor, values};
use crate::fused::Fused;
use crate::int8::{MOST_INPUTS, product};
use crate::panels::{Form, pack_away, panels};
use crate::picture::{channels_last, dense};
use crate::threads::written;
use crate::{Activation, bias, is_plain_flex, spec};

/// How precisely layers that are not learned compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision throughout.
    #[default]
    Single,
    /// Products in bytes, all else in single precision.
    ///
    /// Linear layers and convolutions of one pixel multiply whole numbers: weights scaled column by
    /// column, what they are multiplied by row by row or pixel by pixel as it comes. So a result
    /// depends on nothing else in its batch, and has the same bits on every processor. A row with
    /// something in it that is not a finite number gives no numbers. Only the `flex` backend without
    /// automatic differentiation has these; every other computes in single precision.
    Int8,
}

impl Precision {
    /// Every precision, the finest first.
    pub const ALL: [Self; 2] = [Self::Single, Self::Int8];

    /// The name in configs and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Int8 => "int8",
        }
    }

    /// [`fixed::linear`].
    pub fn linear(self, linear: &Linear, x: Tensor<3>, activation: Activation) -> Tensor<3> {
        let [n, rows, from] = x.dims();
        match &linear.bias {
            Some(bias) if self == Self::Int8 && is_plain_flex(&x) && from <= MOST_INPUTS => {
                let x = x.reshape([n * rows, from]).into_dispatch();
                let weight = linear.weight.val().into_dispatch();
                let bias = bias.val().into_dispatch();
                let y = Dispatch::linear_in_bytes(x, weight, bias, activation);
                let y = Tensor::<2>::from_dispatch(y);
                let [_, to] = y.dims();
                y.reshape([n, rows, to])
            }
            _ => fixed::linear(linear, x, activation),
        }
    }

    /// [`fixed::linear_add`].
    pub fn linear_add(self, linear: &Linear, x: Tensor<3>, add: Tensor<3>) -> Tensor<3> {
        let ([n, rows, from], [_, _, to]) = (x.dims(), add.dims());
        match &linear.bias {
            Some(bias) if self == Self::Int8 && is_plain_flex(&x) && from <= MOST_INPUTS => {
                let x = x.reshape([n * rows, from]).into_dispatch();
                let weight = linear.weight.val().into_dispatch();
                let bias = bias.val().into_dispatch();
                let add = add.reshape([n * rows, to]).into_dispatch();
                let y = Dispatch::linear_add_in_bytes(x, weight, bias, add);
                Tensor::<2>::from_dispatch(y).reshape([n, rows, to])
            }
            _ => fixed::linear_add(linear, x, add),
        }
    }

    /// [`fixed::conv2d`].
    pub fn conv2d(self, conv: &Conv2d, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        if !self.has_bytes(conv, &x) {
            return fixed::conv2d(conv, x, activation);
        }
        let bias = bias(conv, &x.device()).into_dispatch();
        let (x, weight) = (strided(x, conv.stride), conv.weight.val().into_dispatch());
        Tensor::from_dispatch(Dispatch::pixels_in_bytes(
            x.into_dispatch(),
            weight,
            bias,
            activation,
        ))
    }

    /// [`fixed::conv2d_add`].
    pub fn conv2d_add(
        self,
        conv: &Conv2d,
        x: Tensor<4>,
        add: Tensor<4>,
        activation: Activation,
    ) -> Tensor<4> {
        if !self.has_bytes(conv, &x) {
            return fixed::conv2d_add(conv, x, add, activation);
        }
        let bias = bias(conv, &x.device()).into_dispatch();
        let (x, weight) = (strided(x, conv.stride), conv.weight.val().into_dispatch());
        let (x, add) = (x.into_dispatch(), add.into_dispatch());
        Tensor::from_dispatch(Dispatch::pixels_add_in_bytes(x, weight, bias, add, activation))
    }

    /// Whether a convolution of `x` multiplies bytes.
    fn has_bytes(self, conv: &Conv2d, x: &Tensor<4>) -> bool {
        let plain = spec(conv, x).is_some_and(|spec| spec.padding == [0; 4]);
        let plain = plain && conv.groups == 1 && is_plain_flex(x);
        self == Self::Int8 && plain && is_worth_it(&conv.weight.dims())
    }

    /// [`fixed::packed`], for a module whose layers are run by the functions here: their weights are
    /// held in bytes alone.
    pub fn packed<M: Module>(self, module: M) -> M {
        match self {
            Self::Single => fixed::packed(module),
            Self::Int8 => module.map(&mut BytePacker),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a weight is multiplied in bytes: that of a linear layer `[k, n]`, or of a convolution of
/// one pixel `[n, k, 1, 1]` with enough channels. Making bytes of `k` of them and floats of `n` sums
/// costs as much as some products save.
fn is_worth_it(dims: &[usize]) -> bool {
    match *dims {
        [k, _] => k <= MOST_INPUTS,
        [n, k, 1, 1] => k <= MOST_INPUTS && k * n >= 32 * (k + n),
        _ => false,
    }
}

/// The pixels that a convolution with a stride looks at.
fn strided(x: Tensor<4>, [down, right]: [usize; 2]) -> Tensor<4> {
    if [down, right] == [1, 1] {
        return x;
    }
    x.slice([s![..], s![..], s![..;down as isize], s![..;right as isize]])
}

struct BytePacker;

impl ModuleMapper for BytePacker {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let weight = param.val();
        let dims = weight.dims();
        // One input channel is a kernel for each channel, which is small and read otherwise.
        let moves = D == 2 || D == 4 && dims[1] > 1;
        if !moves || !is_plain_flex(&weight) {
            return param;
        }
        let one = Tensor::<D>::full([1; D], f32::NAN, &weight.device());
        let stand_in = one.expand(dims).into_dispatch();
        let weight = weight.into_dispatch();
        let packed = if is_worth_it(&dims) {
            Dispatch::pack_away_in_bytes(weight, stand_in)
        } else {
            Dispatch::pack_away(weight, stand_in, false)
        };
        Param::initialized(param.id, Tensor::from_dispatch(packed).set_require_grad(false))
    }
}

/// Operations without gradients.
#[backend_extension(Flex)]
trait InBytes: burn::backend::Backend {
    fn linear_in_bytes(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    fn linear_add_in_bytes(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        add: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn pixels_in_bytes(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    fn pixels_add_in_bytes(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        add: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    fn pack_away_in_bytes(
        weight: FloatTensor<Self>,
        stand_in: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl InBytes for Flex {
    fn linear_in_bytes(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        activation: Activation,
    ) -> FlexTensor {
        rows(&x, &weight, &bias, None, activation)
    }

    fn linear_add_in_bytes(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        add: FlexTensor,
    ) -> FlexTensor {
        rows(&x, &weight, &bias, Some(add), Activation::None)
    }

    fn pixels_in_bytes(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        activation: Activation,
    ) -> FlexTensor {
        pixels(x, &weight, &bias, None, activation)
    }

    fn pixels_add_in_bytes(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        add: FlexTensor,
        activation: Activation,
    ) -> FlexTensor {
        pixels(x, &weight, &bias, Some(add), activation)
    }

    fn pack_away_in_bytes(weight: FlexTensor, stand_in: FlexTensor) -> FlexTensor {
        let dims = weight.layout().shape().num_dims();
        let form = if dims == 2 { Form::ProductInBytes } else { Form::PixelInBytes };
        pack_away(&weight, &stand_in, form);
        stand_in
    }
}

/// `[m, k]` times `[k, n]`; `add` has the output's shape and is added in front of the activation.
fn rows(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    add: Option<FlexTensor>,
    activation: Activation,
) -> FlexTensor {
    let (x, add) = (x.to_contiguous(), add.map(|add| add.to_contiguous()));
    let [m, k]: [usize; 2] = x.layout().shape().dims();
    let add = add.as_ref().map(values);
    let (y, n) = multiply(values(&x), k, weight, Form::ProductInBytes, bias, add, activation);
    tensor(y, &[m, n])
}

/// The same for the channels of every pixel.
fn pixels(
    x: FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    add: Option<FlexTensor>,
    activation: Activation,
) -> FlexTensor {
    let [n, channels, height, width]: [usize; 4] = x.layout().shape().dims();
    let (x, add) = (dense(x), add.map(dense));
    let add = add.as_ref().map(crate::flex::rows);
    let x = crate::flex::rows(&x);
    let (y, outputs) = multiply(x, channels, weight, Form::PixelInBytes, bias, add, activation);
    channels_last(y, [n, outputs, height, width])
}

/// Rows of `k` values times a weight, and how many columns that has.
fn multiply(
    x: &[f32],
    k: usize,
    weight: &FlexTensor,
    form: Form,
    bias: &FlexTensor,
    add: Option<&[f32]>,
    activation: Activation,
) -> (Vec<f32>, usize) {
    let bias = bias.to_contiguous();
    let weights = panels(weight, form, true);
    let n = weights.n();
    let len = x.len().checked_div(k).unwrap_or(0) * n;
    assert!(add.is_none_or(|add| add.len() == len), "what is added has the output's shape");
    let ending = Ending { bias: Some(values(&bias)), gate: None, add, activation };
    // SAFETY: the kernel writes `n` values of every row, and what is added has as many; the best
    // way is one that the processor has.
    let y = unsafe { written(len, |y| product(Way::best(), x, k, &weights, ending, y, n)) };
    (y, n)
}
