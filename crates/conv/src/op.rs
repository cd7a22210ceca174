//! The operation as Burn sees it: on tensors, with a backward of its own.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor, TensorData};
use burn_flex::FlexTensor;

use crate::lower::{Geometry, Padding, forward, input_gradient, weight_gradient};

/// Runs the operation; `x` lies on `flex`, with or without autodiff.
pub(crate) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: [usize; 2],
    padding: Padding,
) -> Tensor<4> {
    let [x, weight] = [x.into_dispatch(), weight.into_dispatch()];
    let output = Dispatch::tiled_conv(x, weight, bias.into_dispatch(), stride, padding);
    Tensor::from_dispatch(output)
}

/// A convolution by tiles, and its two gradients.
#[backend_extension(Autodiff, Flex)]
pub(crate) trait TiledConv: burn::backend::Backend {
    /// `[n, ci, h, w]`, `[co, ci, kh, kw]` and `[co]` to `[n, co, oh, ow]`.
    fn tiled_conv(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: [usize; 2],
        padding: Padding,
    ) -> FloatTensor<Self>;

    /// The gradient of an `x` of `size`.
    fn tiled_conv_input(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        size: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
    ) -> FloatTensor<Self>;

    /// The gradient of a weight with kernels of `kernel`.
    fn tiled_conv_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
    ) -> FloatTensor<Self>;
}

fn dims(tensor: &FlexTensor) -> [usize; 4] {
    tensor.layout().shape().dims()
}

fn tensor(values: Vec<f32>, shape: [usize; 4]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

impl TiledConv for Flex {
    fn tiled_conv(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        stride: [usize; 2],
        padding: Padding,
    ) -> FlexTensor {
        let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
        let ([images, ..], [channels_out, ..]) = (dims(&x), dims(&weight));
        let geometry = Geometry::new(dims(&x), dims(&weight), stride, padding);
        let [height, width] = geometry.output;
        let y = forward(&geometry, x.storage(), weight.storage(), bias.storage());
        tensor(y, [images, channels_out, height, width])
    }

    fn tiled_conv_input(
        grad: FlexTensor,
        weight: FlexTensor,
        size: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
    ) -> FlexTensor {
        let (grad, weight) = (grad.to_contiguous(), weight.to_contiguous());
        let ([images, ..], [_, channels, ..]) = (dims(&grad), dims(&weight));
        let shape = [images, channels, size[0], size[1]];
        let geometry = Geometry::new(shape, dims(&weight), stride, padding);
        tensor(input_gradient(&geometry, grad.storage(), weight.storage()), shape)
    }

    fn tiled_conv_weight(
        x: FlexTensor,
        grad: FlexTensor,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
    ) -> FlexTensor {
        let (x, grad) = (x.to_contiguous(), grad.to_contiguous());
        let shape = [dims(&grad)[1], dims(&x)[1], kernel[0], kernel[1]];
        let geometry = Geometry::new(dims(&x), shape, stride, padding);
        tensor(weight_gradient(&geometry, x.storage(), grad.storage()), shape)
    }
}

impl<B: TiledConv, C: CheckpointStrategy> TiledConv for Autodiff<B, C> {
    fn tiled_conv(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: [usize; 2],
        padding: Padding,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Gradient;

        impl<B: TiledConv> Backward<B, 3> for Gradient {
            type State = (NodeId, NodeId, [usize; 2], Padding);

            fn backward(
                self,
                ops: Ops<Self::State, 3>,
                grads: &mut Gradients,
                checkpointer: &mut Checkpointer,
            ) {
                let [x_node, weight_node, bias_node] = ops.parents;
                let grad = grads.consume::<B>(&ops.node);
                let (x, weight, stride, padding) = ops.state;
                let x: FloatTensor<B> = checkpointer.retrieve_node_output(x);
                let weight: FloatTensor<B> = checkpointer.retrieve_node_output(weight);
                let [images, channels, height, width] = grad.shape().dims();
                let [[_, _, x_height, x_width], [_, _, kernel_height, kernel_width]] =
                    [x.shape().dims::<4>(), weight.shape().dims::<4>()];
                if let Some(node) = bias_node {
                    let flat = Shape::new([images, channels, height * width]);
                    let sum = B::float_reshape(grad.clone(), flat);
                    let sum = B::float_sum_dim(B::float_sum_dim(sum, 2), 0);
                    grads.register::<B>(node.id, B::float_reshape(sum, Shape::new([channels])));
                }
                if let Some(node) = x_node {
                    let size = [x_height, x_width];
                    let dx = B::tiled_conv_input(grad.clone(), weight, size, stride, padding);
                    grads.register::<B>(node.id, dx);
                }
                if let Some(node) = weight_node {
                    let kernel = [kernel_height, kernel_width];
                    let dw = B::tiled_conv_weight(x, grad, kernel, stride, padding);
                    grads.register::<B>(node.id, dw);
                }
            }
        }

        let nodes = [x.node(), weight.node(), bias.node()];
        match Gradient.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&x), prep.checkpoint(&weight), stride, padding);
                let (x, weight) = (x.primitive().clone(), weight.primitive().clone());
                let y = B::tiled_conv(x, weight, bias.primitive().clone(), stride, padding);
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => {
                let (x, weight) = (x.primitive().clone(), weight.primitive().clone());
                prep.finish(B::tiled_conv(x, weight, bias.primitive().clone(), stride, padding))
            }
        }
    }

    fn tiled_conv_input(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        size: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
    ) -> FloatTensor<Self> {
        // Constant: a gradient's own gradient is not asked for.
        let (grad, weight) = (grad.primitive().clone(), weight.primitive().clone());
        <Self as burn::backend::AutodiffBackend>::from_inner(B::tiled_conv_input(
            grad, weight, size, stride, padding,
        ))
    }

    fn tiled_conv_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
    ) -> FloatTensor<Self> {
        let (x, grad) = (x.primitive().clone(), grad.primitive().clone());
        <Self as burn::backend::AutodiffBackend>::from_inner(B::tiled_conv_weight(
            x, grad, kernel, stride, padding,
        ))
    }
}
