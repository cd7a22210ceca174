//! What a network learns through, as operations of Burn's with backward passes of their own.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata, backend_extension};
use burn_flex::FlexTensor;

use crate::Activation;
use crate::flex::{self, Spec};

/// Operations with gradients.
#[backend_extension(Autodiff, Flex)]
pub(crate) trait Learned: burn::backend::Backend {
    /// `[n, ci, h, w]`, `[co, ci, kh, kw]` and `[co]` to `[n, co, oh, ow]`.
    fn tiled_conv(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: Spec,
    ) -> FloatTensor<Self>;

    /// `x + conv(relu(conv(relu(x))))`, both convolutions moved by `spec`, which keeps the size.
    fn residual_block(
        x: FloatTensor<Self>,
        first_weight: FloatTensor<Self>,
        first_bias: FloatTensor<Self>,
        second_weight: FloatTensor<Self>,
        second_bias: FloatTensor<Self>,
        spec: Spec,
    ) -> FloatTensor<Self>;

    /// The largest value under a window.
    fn largest(x: FloatTensor<Self>, spec: Spec) -> FloatTensor<Self>;

    /// Bilinear resizing to `size`.
    fn bilinear(x: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self>;

    /// The channels of `a`, then those of `b`.
    fn join(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// What the backward passes are made of.
pub(crate) trait Pieces: Learned {
    fn conv(
        x: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        bias: &FloatTensor<Self>,
        add: Option<FloatTensor<Self>>,
        spec: Spec,
    ) -> FloatTensor<Self>;
    fn conv_input(
        grad: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        x: FloatTensor<Self>,
        add: Option<FloatTensor<Self>>,
        spec: Spec,
    ) -> FloatTensor<Self>;
    fn conv_weight(x: &FloatTensor<Self>, grad: FloatTensor<Self>, spec: Spec)
    -> FloatTensor<Self>;
    fn gated(grad: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self>;
    fn channel_sums(grad: FloatTensor<Self>) -> FloatTensor<Self>;
    fn max_pool(x: FloatTensor<Self>, spec: Spec) -> (FloatTensor<Self>, Vec<u8>);
    fn max_pool_input(
        grad: FloatTensor<Self>,
        places: &[u8],
        size: [usize; 2],
        spec: Spec,
    ) -> FloatTensor<Self>;
    fn bilinear_input(grad: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self>;
    fn part(x: FloatTensor<Self>, first: usize, channels: usize) -> FloatTensor<Self>;
}

impl Learned for Flex {
    fn tiled_conv(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, spec: Spec) -> FlexTensor {
        flex::conv(&x, &weight, &bias, None, spec)
    }

    fn residual_block(
        x: FlexTensor,
        first_weight: FlexTensor,
        first_bias: FlexTensor,
        second_weight: FlexTensor,
        second_bias: FlexTensor,
        spec: Spec,
    ) -> FlexTensor {
        let middle = flex::conv(&x, &first_weight, &first_bias, None, spec);
        flex::conv(&middle, &second_weight, &second_bias, Some(x), spec)
    }

    fn largest(x: FlexTensor, spec: Spec) -> FlexTensor {
        flex::max_pool(x, spec, false).0
    }

    fn bilinear(x: FlexTensor, size: [usize; 2]) -> FlexTensor {
        flex::resize(x, size)
    }

    fn join(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        flex::join(a, b)
    }
}

impl Pieces for Flex {
    fn conv(
        x: &FlexTensor,
        weight: &FlexTensor,
        bias: &FlexTensor,
        add: Option<FlexTensor>,
        spec: Spec,
    ) -> FlexTensor {
        flex::conv(x, weight, bias, add, spec)
    }

    fn conv_input(
        grad: &FlexTensor,
        weight: &FlexTensor,
        x: FlexTensor,
        add: Option<FlexTensor>,
        spec: Spec,
    ) -> FlexTensor {
        flex::conv_input_gradient(grad, weight, x, add, spec)
    }

    fn conv_weight(x: &FlexTensor, grad: FlexTensor, spec: Spec) -> FlexTensor {
        flex::conv_weight_gradient(x, grad, spec)
    }

    fn gated(grad: FlexTensor, y: FlexTensor) -> FlexTensor {
        flex::gated(grad, y)
    }

    fn channel_sums(grad: FlexTensor) -> FlexTensor {
        flex::channel_sums(grad)
    }

    fn max_pool(x: FlexTensor, spec: Spec) -> (FlexTensor, Vec<u8>) {
        flex::max_pool(x, spec, true)
    }

    fn max_pool_input(grad: FlexTensor, places: &[u8], size: [usize; 2], spec: Spec) -> FlexTensor {
        flex::max_pool_gradient(grad, places, size, spec)
    }

    fn bilinear_input(grad: FlexTensor, size: [usize; 2]) -> FlexTensor {
        flex::resize_gradient(grad, size)
    }

    fn part(x: FlexTensor, first: usize, channels: usize) -> FlexTensor {
        flex::part(x, first, channels)
    }
}

impl<B: Pieces, C: CheckpointStrategy> Learned for Autodiff<B, C> {
    fn tiled_conv(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: Spec,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Gradient;

        impl<B: Pieces> Backward<B, 3> for Gradient {
            // The output is there where a ReLU ends the operation.
            type State = (NodeId, NodeId, Option<FloatTensor<B>>, Spec);

            fn backward(
                self,
                ops: Ops<Self::State, 3>,
                grads: &mut Gradients,
                checkpointer: &mut Checkpointer,
            ) {
                let [x_node, weight_node, bias_node] = ops.parents;
                let grad = grads.consume::<B>(&ops.node);
                let (x, weight, y, spec) = ops.state;
                let grad = match y {
                    Some(y) => B::gated(grad, y),
                    None => grad,
                };
                let x: FloatTensor<B> = checkpointer.retrieve_node_output(x);
                let weight: FloatTensor<B> = checkpointer.retrieve_node_output(weight);
                if let Some(node) = bias_node {
                    grads.register::<B>(node.id, B::channel_sums(grad.clone()));
                }
                if let Some(node) = weight_node {
                    grads.register::<B>(node.id, B::conv_weight(&x, grad.clone(), spec));
                }
                if let Some(node) = x_node {
                    grads.register::<B>(node.id, B::conv_input(&grad, &weight, x, None, spec));
                }
            }
        }

        let spec = Spec { keep: false, ..spec };
        let nodes = [x.node(), weight.node(), bias.node()];
        let run = || B::conv(x.primitive(), weight.primitive(), bias.primitive(), None, spec);
        match Gradient.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let y = run();
                let kept = (spec.activation == Activation::Relu).then(|| y.clone());
                let state = (prep.checkpoint(&x), prep.checkpoint(&weight), kept, spec);
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(run()),
        }
    }

    fn residual_block(
        x: FloatTensor<Self>,
        first_weight: FloatTensor<Self>,
        first_bias: FloatTensor<Self>,
        second_weight: FloatTensor<Self>,
        second_bias: FloatTensor<Self>,
        spec: Spec,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Gradient;

        #[derive(Debug, Clone)]
        struct State<T> {
            x: NodeId,
            weights: [NodeId; 2],
            middle: T,
            spec: Spec,
        }

        impl<B: Pieces> Backward<B, 5> for Gradient {
            type State = State<FloatTensor<B>>;

            fn backward(
                self,
                ops: Ops<Self::State, 5>,
                grads: &mut Gradients,
                checkpointer: &mut Checkpointer,
            ) {
                let [x_node, first_weight, first_bias, second_weight, second_bias] = ops.parents;
                let grad = grads.consume::<B>(&ops.node);
                let State { x, weights, middle, spec } = ops.state;
                let x: FloatTensor<B> = checkpointer.retrieve_node_output(x);
                let [first, second]: [FloatTensor<B>; 2] =
                    weights.map(|weight| checkpointer.retrieve_node_output(weight));
                if let Some(node) = second_bias {
                    grads.register::<B>(node.id, B::channel_sums(grad.clone()));
                }
                if let Some(node) = second_weight {
                    grads.register::<B>(node.id, B::conv_weight(&middle, grad.clone(), spec));
                }
                let inner = B::conv_input(&grad, &second, middle, None, spec);
                if let Some(node) = first_bias {
                    grads.register::<B>(node.id, B::channel_sums(inner.clone()));
                }
                if let Some(node) = first_weight {
                    grads.register::<B>(node.id, B::conv_weight(&x, inner.clone(), spec));
                }
                if let Some(node) = x_node {
                    let dx = B::conv_input(&inner, &first, x, Some(grad), spec);
                    grads.register::<B>(node.id, dx);
                }
            }
        }

        let spec = Spec { keep: false, ..spec };
        let conv =
            |x: &FloatTensor<B>, weight: &FloatTensor<Self>, bias: &FloatTensor<Self>, add| {
                B::conv(x, weight.primitive(), bias.primitive(), add, spec)
            };
        let middle = conv(x.primitive(), &first_weight, &first_bias, None);
        let y = conv(&middle, &second_weight, &second_bias, Some(x.primitive().clone()));
        let nodes = [
            x.node(),
            first_weight.node(),
            first_bias.node(),
            second_weight.node(),
            second_bias.node(),
        ];
        match Gradient.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let weights = [prep.checkpoint(&first_weight), prep.checkpoint(&second_weight)];
                let state = State { x: prep.checkpoint(&x), weights, middle, spec };
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn largest(x: FloatTensor<Self>, spec: Spec) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Gradient;

        impl<B: Pieces> Backward<B, 1> for Gradient {
            type State = (std::sync::Arc<Vec<u8>>, [usize; 2], Spec);

            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let [node] = ops.parents;
                let grad = grads.consume::<B>(&ops.node);
                let (places, size, spec) = ops.state;
                if let Some(node) = node {
                    let dx = B::max_pool_input(grad, &places, size, spec);
                    grads.register::<B>(node.id, dx);
                }
            }
        }

        let [_, _, height, width] = x.primitive().shape().dims();
        let (y, places) = B::max_pool(x.primitive().clone(), spec);
        match Gradient.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((places.into(), [height, width], spec), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn bilinear(x: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Gradient;

        impl<B: Pieces> Backward<B, 1> for Gradient {
            type State = [usize; 2];

            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let [node] = ops.parents;
                let grad = grads.consume::<B>(&ops.node);
                if let Some(node) = node {
                    grads.register::<B>(node.id, B::bilinear_input(grad, ops.state));
                }
            }
        }

        let [_, _, height, width] = x.primitive().shape().dims();
        let y = B::bilinear(x.primitive().clone(), size);
        match Gradient.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish([height, width], y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn join(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Gradient;

        impl<B: Pieces> Backward<B, 2> for Gradient {
            type State = [usize; 2];

            fn backward(
                self,
                ops: Ops<Self::State, 2>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let grad = grads.consume::<B>(&ops.node);
                let [first, second] = ops.state;
                for (node, (from, channels)) in
                    ops.parents.into_iter().zip([(0, first), (first, second)])
                {
                    if let Some(node) = node {
                        grads.register::<B>(node.id, B::part(grad.clone(), from, channels));
                    }
                }
            }
        }

        let [first, second] = [&a, &b].map(|x| {
            let [_, channels, ..] = x.primitive().shape().dims::<4>();
            channels
        });
        let y = B::join(a.primitive().clone(), b.primitive().clone());
        match Gradient.prepare::<C>([a.node(), b.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish([first, second], y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
