//! The action head that every policy ends in: a small MLP, and bounds as an affine map.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData};
use engraft_kernels::linear;
use serde::{Deserialize, Serialize};

use crate::layers::Init;
use crate::{Contract, PolicyError};

/// Sizes of a [`Head`]. The default is SpawnNet's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// Widths of the hidden layers.
    #[serde(default = "hidden")]
    pub hidden: Vec<usize>,
    /// Lowest and highest value of each action dimension, as SpawnNet has them: the output is
    /// scaled by half their distance and moved to their middle, and nothing is clamped. Without
    /// them the output is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Vec<[f32; 2]>>,
}

fn hidden() -> Vec<usize> {
    vec![256, 128]
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self { hidden: hidden(), bounds: None }
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Head {
    trunk: Vec<Linear>,
    scale: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    horizon: usize,
    action_dim: usize,
}

impl HeadConfig {
    pub(crate) fn init(
        &self,
        init: &mut Init,
        inputs: usize,
        contract: &Contract,
    ) -> Result<Head, PolicyError> {
        let (horizon, action_dim) = (contract.horizon, contract.spec.action_dim());
        let bounds = self.bounds.clone().unwrap_or_else(|| vec![[-1.0, 1.0]; action_dim]);
        if bounds.len() != action_dim {
            return Err(PolicyError::Bounds { expected: action_dim, found: bounds.len() });
        }
        let mut width = inputs;
        let mut trunk = Vec::with_capacity(self.hidden.len() + 1);
        for &next in &self.hidden {
            trunk.push(init.linear(width, next));
            width = next;
        }
        // So that training starts from actions close to the middle of the bounds.
        trunk.push(init.scaled_linear(width, horizon * action_dim, 0.01, 0.0));
        let constant = |values: Vec<f32>| {
            let data = TensorData::new(values, [action_dim]);
            Param::from_data(data, init.device()).set_require_grad(false)
        };
        let scale = constant(bounds.iter().map(|[low, high]| (high - low) / 2.0).collect());
        let bias = constant(bounds.iter().map(|[low, high]| f32::midpoint(*low, *high)).collect());
        Ok(Head { trunk, scale, bias, horizon, action_dim })
    }
}

impl Head {
    /// Predicts a chunk.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, inputs]`
    /// - output: `[batch, horizon, action_dim]`
    pub fn forward(&self, mut x: Tensor<2>) -> Tensor<3> {
        let [batch, _] = x.dims();
        for (i, layer) in self.trunk.iter().enumerate() {
            x = linear(layer, if i == 0 { x } else { relu(x) });
        }
        let y = x.reshape([batch, self.horizon, self.action_dim]);
        let [scale, bias] = [&self.scale, &self.bias]
            .map(|constant| constant.val().reshape([1, 1, self.action_dim]));
        y * scale + bias
    }

    /// The layers, which are all that a head learns.
    pub fn trunk(&self) -> &[Linear] {
        &self.trunk
    }

    /// Values of the bounds, which are kept with the weights and not learned.
    pub(crate) fn num_constants(&self) -> usize {
        2 * self.action_dim
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::testing::{contract, values};

    #[test]
    fn a_fresh_head_predicts_the_middle_of_its_bounds() {
        let bounds = Some(vec![[0.0, 1.0], [-1.0, 1.0]]);
        let config = HeadConfig { bounds, ..HeadConfig::default() };
        let mut init = Init::new(1, &Device::flex());
        let head = config.init(&mut init, 5, &contract(2, 8, 8)).unwrap();
        let y = head.forward(Tensor::ones([1, 5], &Device::flex()));
        assert_eq!(y.dims(), [1, 4, 2]);
        let y = values(y);
        assert!((y[0] - 0.5).abs() < 0.01 && y[1].abs() < 0.01, "{y:?}");
    }

    #[test]
    fn bounds_of_another_width_are_refused() {
        let config = HeadConfig { bounds: Some(vec![[0.0, 1.0]]), ..HeadConfig::default() };
        let error = config.init(&mut Init::new(1, &Device::flex()), 5, &contract(1, 8, 8));
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "the head has bounds for 1 action dimension(s), the robot has 2");
    }
}
