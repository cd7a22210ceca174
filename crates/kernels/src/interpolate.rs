//! Bilinear resizing as two matrix products.
//!
//! Burn's operation has no gradient on GPUs; a product has one everywhere.

use burn::tensor::{Device, Tensor, TensorData};

/// Bilinear, corners not aligned, nothing averaged when it shrinks.
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: `[batch, channels, size[0], size[1]]`
pub(crate) fn by_products(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [n, channels, height, width] = x.dims();
    let [lines, columns] = size;
    let device = x.device();
    let along = weights(width, columns, &device).transpose(); // [width, columns]
    let x = x.reshape([n * channels * height, width]).matmul(along);
    let x = x.reshape([n * channels, height, columns]);
    let down = weights(height, lines, &device).reshape([1, lines, height]);
    down.matmul(x).reshape([n, channels, lines, columns])
}

/// What each of `to` pixels takes from each of `from`: `[to, from]`, two of a row above zero.
fn weights(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let mut weights = vec![0.0; to * from];
    let step = from as f32 / to as f32;
    for (i, row) in weights.chunks_exact_mut(from).enumerate() {
        let place = ((i as f32 + 0.5) * step - 0.5).max(0.0);
        let before = (place as usize).min(from - 1);
        let share = place - before as f32;
        row[before] += 1.0 - share;
        row[(before + 1).min(from - 1)] += share;
    }
    Tensor::from_data(TensorData::new(weights, [to, from]), device)
}
