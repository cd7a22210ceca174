//! Adam and `AdamW`, in one pass over the numbers where the device allows it.
//!
//! Elsewhere they are Burn's own. Both come to the same numbers and leave the same state at rest,
//! so that a run may be continued on another device.

use burn::optim::{AdamState, AdamWState, AdaptiveMomentumState, LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};
use engraft_kernels::{AdamStep, adam, is_one_pass};

/// Adam; see the [module](self).
#[derive(Clone)]
pub(crate) struct Adam {
    pub(crate) burns: burn::optim::Adam,
    /// Its rate and its time are those of each step.
    pub(crate) step: AdamStep,
}

/// `AdamW`; see the [module](self).
#[derive(Clone)]
pub(crate) struct AdamW {
    pub(crate) burns: burn::optim::AdamW,
    /// Its rate and its time are those of each step.
    pub(crate) step: AdamStep,
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        param: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        if !(is_one_pass(&param) && is_one_pass(&grad)) {
            return self.burns.step(rate, param, grad, state);
        }
        let momentum = state.map(|state| state.momentum);
        let (param, momentum) = one_pass(AdamStep { rate, ..self.step }, param, grad, momentum);
        (param, Some(AdamState::new(momentum)))
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        burn::optim::Adam::to_device(state, device)
    }
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        param: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        if !(is_one_pass(&param) && is_one_pass(&grad)) {
            return self.burns.step(rate, param, grad, state);
        }
        let momentum = state.map(|state| state.momentum);
        let (param, momentum) = one_pass(AdamStep { rate, ..self.step }, param, grad, momentum);
        (param, Some(AdamWState::new(momentum)))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        burn::optim::AdamW::to_device(state, device)
    }
}

fn one_pass<const D: usize>(
    step: AdamStep,
    param: Tensor<D>,
    grad: Tensor<D>,
    momentum: Option<AdaptiveMomentumState<D>>,
) -> (Tensor<D>, AdaptiveMomentumState<D>) {
    let time = momentum.as_ref().map_or(0, |momentum| momentum.time) + 1;
    let moments = momentum.map(|momentum| [momentum.moment_1, momentum.moment_2]);
    let stepped = adam(AdamStep { time, ..step }, param, grad, moments);
    (stepped.param, AdaptiveMomentumState::new(time, stepped.moment_1, stepped.moment_2))
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::nn::Linear;
    use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer};
    use burn::tensor::Int;

    use super::*;
    use crate::{OptimizerConfig, OptimizerKind};

    #[test]
    fn a_module_learns_what_burns_optimizer_teaches_it_and_goes_on_from_its_state() {
        let device = Device::flex().autodiff();
        // Nothing is drawn: Burn's generator belongs to the runs of other tests.
        let wave = |step: f32, [rows, columns]: [usize; 2]| {
            let places = Tensor::<1, Int>::arange(0..(rows * columns) as i64, &device);
            places.float().mul_scalar(step).sin().reshape([rows, columns])
        };
        let weight = wave(0.37, [300, 200]).mul_scalar(0.1);
        let bias = wave(0.11, [1, 200]).mul_scalar(0.1).reshape([200]);
        let linear =
            Linear { weight: Param::from_tensor(weight), bias: Some(Param::from_tensor(bias)) };
        let input = wave(0.73, [8, 300]);
        for kind in [OptimizerKind::Adam, OptimizerKind::AdamW] {
            let config = OptimizerConfig {
                kind,
                learning_rate: 1e-2,
                weight_decay: 0.0,
                betas: [0.9, 0.99],
                epsilon: 1e-7,
            };
            let burns: ModuleOptimizer = match kind {
                OptimizerKind::Adam => {
                    AdamConfig::new().with_beta_2(0.99).with_epsilon(1e-7).init()
                }
                OptimizerKind::AdamW => AdamWConfig::new()
                    .with_beta_2(0.99)
                    .with_epsilon(1e-7)
                    .with_weight_decay(0.0)
                    .init(),
            };
            let step = |optimizer: &mut ModuleOptimizer, linear: burn::nn::Linear| {
                let grads = linear.forward(input.clone()).square().mean().backward();
                let grads = GradientsParams::from_grads(grads, &linear);
                optimizer.step(1e-2, linear, grads)
            };
            let (mut burns, mut ours) = (burns, config.init());
            let (mut one, mut other) = (linear.clone(), linear.clone());
            for turn in 0..6 {
                if turn == 3 {
                    // Each goes on from what the other leaves at rest.
                    let bytes = (burns.into_bytes().unwrap(), ours.into_bytes().unwrap());
                    burns = burns.from_bytes(bytes.1).unwrap();
                    ours = ours.from_bytes(bytes.0).unwrap();
                }
                one = step(&mut burns, one);
                other = step(&mut ours, other);
                let [one, other] = [&one, &other].map(|linear| linear.weight.val().into_data());
                one.assert_eq(&other, true);
            }
            assert_eq!(one.num_params(), 300 * 200 + 200);
        }
    }
}
