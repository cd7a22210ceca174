//! What only ever runs forward, with its activation and its shortcut in one pass.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, backend_extension};
use burn_flex::FlexTensor;

use crate::Activation;
use crate::fixed::Scaling;
use crate::flex::{self, Spec};

/// Operations without gradients.
#[backend_extension(Flex)]
pub(crate) trait Fused: burn::backend::Backend {
    fn conv_then(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: Spec,
    ) -> FloatTensor<Self>;

    fn conv_add_then(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        add: FloatTensor<Self>,
        spec: Spec,
    ) -> FloatTensor<Self>;

    fn depthwise_then(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: Spec,
    ) -> FloatTensor<Self>;

    fn linear_then(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    fn pack_away(
        weight: FloatTensor<Self>,
        stand_in: FloatTensor<Self>,
        transformed: bool,
    ) -> FloatTensor<Self>;

    fn few_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn linear_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        add: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn norm_rows(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;

    fn unit_channels(x: FloatTensor<Self>, offset: f32) -> FloatTensor<Self>;

    fn mix_heads(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self>;

    fn scale_colour(rgb: FloatTensor<Self>, scaling: Scaling) -> FloatTensor<Self>;

    fn scale_pictures(
        rgb: FloatTensor<Self>,
        depth: FloatTensor<Self>,
        scaling: Scaling,
    ) -> FloatTensor<Self>;

    fn planes(bytes: IntTensor<Self>) -> FloatTensor<Self>;

    fn scale_colour_of_bytes(bytes: IntTensor<Self>, scaling: Scaling) -> FloatTensor<Self>;

    fn scale_bytes(
        bytes: IntTensor<Self>,
        depth: FloatTensor<Self>,
        scaling: Scaling,
    ) -> FloatTensor<Self>;
}

impl Fused for Flex {
    fn conv_then(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, spec: Spec) -> FlexTensor {
        flex::conv(&x, &weight, &bias, None, spec)
    }

    fn conv_add_then(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        add: FlexTensor,
        spec: Spec,
    ) -> FlexTensor {
        flex::conv(&x, &weight, &bias, Some(add), spec)
    }

    fn depthwise_then(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        spec: Spec,
    ) -> FlexTensor {
        flex::depthwise(&x, &weight, &bias, spec)
    }

    fn linear_then(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        activation: Activation,
    ) -> FlexTensor {
        flex::linear(&x, &weight, &bias, None, activation)
    }

    fn pack_away(weight: FlexTensor, stand_in: FlexTensor, transformed: bool) -> FlexTensor {
        flex::pack_away(&weight, stand_in, transformed)
    }

    fn few_rows(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        flex::few_rows(&x, &weight, &bias)
    }

    fn linear_add(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        add: FlexTensor,
    ) -> FlexTensor {
        flex::linear(&x, &weight, &bias, Some(add), Activation::None)
    }

    fn norm_rows(x: FlexTensor, scale: FlexTensor, shift: FlexTensor, epsilon: f32) -> FlexTensor {
        flex::layer_norm(&x, &scale, &shift, epsilon)
    }

    fn unit_channels(x: FlexTensor, offset: f32) -> FlexTensor {
        flex::unit_norm(x, offset)
    }

    fn mix_heads(qkv: FlexTensor, heads: usize) -> FlexTensor {
        flex::attention(&qkv, heads)
    }

    fn scale_colour(rgb: FlexTensor, scaling: Scaling) -> FlexTensor {
        flex::scale_pictures(&rgb, None, scaling)
    }

    fn scale_pictures(rgb: FlexTensor, depth: FlexTensor, scaling: Scaling) -> FlexTensor {
        flex::scale_pictures(&rgb, Some(&depth), scaling)
    }

    fn planes(bytes: FlexTensor) -> FlexTensor {
        flex::planes(&bytes)
    }

    fn scale_colour_of_bytes(bytes: FlexTensor, scaling: Scaling) -> FlexTensor {
        flex::scale_bytes(&bytes, None, scaling)
    }

    fn scale_bytes(bytes: FlexTensor, depth: FlexTensor, scaling: Scaling) -> FlexTensor {
        flex::scale_bytes(&bytes, Some(&depth), scaling)
    }
}
