//! What Burn's optimizers lack: clipping by the joint norm, and an average of the weights.

use std::collections::HashSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use engraft_kernels::{is_one_pass, moving_average, scaled, sum_of_squares};

/// Added to a norm that is divided by, as PyTorch does.
const NORM_EPSILON: f32 = 1e-6;

/// Scales the gradients of `chosen` (all of them if `None`) so that their joint norm is at most
/// `max_norm`; returns the norm before.
///
/// The same as PyTorch's `clip_grad_norm_`; Burn's own clipping is per tensor.
#[allow(clippy::implicit_hasher)] // The ids come from a policy, which has the usual one.
pub fn clip<M: Module>(
    module: &M,
    grads: &mut GradientsParams,
    max_norm: f32,
    chosen: Option<&HashSet<ParamId>>,
) -> f32 {
    let norm = global_norm(module, grads, chosen);
    let factor = max_norm / (norm + NORM_EPSILON);
    if factor < 1.0 {
        module.visit(&mut Scale { grads, chosen, factor });
    }
    norm
}

/// The L2 norm of the gradients of `chosen`, taken together.
pub(crate) fn global_norm<M: Module>(
    module: &M,
    grads: &GradientsParams,
    chosen: Option<&HashSet<ParamId>>,
) -> f32 {
    let mut squares = Squares { grads, chosen, sums: Vec::new() };
    module.visit(&mut squares);
    if squares.sums.is_empty() {
        return 0.0;
    }
    // One read for all of them: on a GPU each read waits for the device.
    let sums = Tensor::cat(squares.sums, 0).into_data();
    let total: f64 = sums.iter::<f64>().sum();
    total.sqrt() as f32
}

struct Squares<'a> {
    grads: &'a GradientsParams,
    chosen: Option<&'a HashSet<ParamId>>,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.chosen.is_none_or(|chosen| chosen.contains(&param.id))
            && let Some(grad) = self.grads.get::<D>(param.id)
        {
            let sum = if is_one_pass(&grad) { sum_of_squares(grad) } else { grad.square().sum() };
            self.sums.push(sum);
        }
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    chosen: Option<&'a HashSet<ParamId>>,
    factor: f32,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.chosen.is_none_or(|chosen| chosen.contains(&param.id))
            && let Some(grad) = self.grads.remove::<D>(param.id)
        {
            let grad = if is_one_pass(&grad) {
                scaled(grad, self.factor)
            } else {
                grad.mul_scalar(self.factor)
            };
            self.grads.register(param.id, grad);
        }
    }
}

/// The decay of step `step` (counted from 0): small at first, so that the random start is soon
/// forgotten, then `decay`.
pub(crate) fn ema_decay(decay: f32, step: u64) -> f32 {
    let step = step as f32;
    decay.min((1.0 + step) / (10.0 + step))
}

/// Moves `average` towards `module`; both have the same parameters, `average` without gradients.
///
/// What is not learned (a frozen network, running statistics) is copied.
pub fn ema_update<M: Module>(average: M, module: &M, decay: f32) -> M {
    let mut collect = Collect::default();
    module.visit(&mut collect);
    average.map(&mut Towards { values: collect.values, learned: collect.learned, decay })
}

#[derive(Default)]
struct Collect {
    /// A container of tensors of every rank, which is all that gradients are.
    values: GradientsParams,
    learned: HashSet<ParamId>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        if value.is_require_grad() {
            self.learned.insert(param.id);
        }
        self.values.register(param.id, value.without_autodiff());
    }
}

struct Towards {
    values: GradientsParams,
    learned: HashSet<ParamId>,
    decay: f32,
}

impl ModuleMapper for Towards {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        let Some(value) = self.values.remove::<D>(id) else { return param };
        let (learned, decay) = (self.learned.contains(&id), self.decay);
        param.map(|average| {
            let one_pass = is_one_pass(&average) && is_one_pass(&value);
            if learned && one_pass {
                moving_average(average, value, decay)
            } else if learned {
                average.mul_scalar(decay) + value.mul_scalar(1.0 - decay)
            } else {
                value
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Initializer, Linear, LinearConfig};
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Weight [[3, 0], [0, 0]] and bias [0, 4] as gradients: a joint norm of 5. Nothing is drawn:
    /// Burn's generator belongs to the runs of other tests.
    fn linear() -> (Linear, GradientsParams) {
        let device = Device::flex().autodiff();
        let linear = LinearConfig::new(2, 2).with_initializer(Initializer::Zeros).init(&device);
        let mut grads = GradientsParams::new();
        let inner = Device::flex();
        let weight = Tensor::<2>::from_data([[3.0, 0.0], [0.0, 0.0]], &inner);
        grads.register(linear.weight.id, weight);
        let bias = Tensor::<1>::from_data([0.0, 4.0], &inner);
        grads.register(linear.bias.as_ref().unwrap().id, bias);
        (linear, grads)
    }

    fn values(grads: &GradientsParams, linear: &Linear) -> (Vec<f32>, Vec<f32>) {
        let weight = grads.get::<2>(linear.weight.id).unwrap().into_data();
        let bias = grads.get::<1>(linear.bias.as_ref().unwrap().id).unwrap().into_data();
        (weight.iter::<f32>().collect(), bias.iter::<f32>().collect())
    }

    #[test]
    fn clipping_scales_all_gradients_by_one_factor() {
        let (linear, mut grads) = linear();
        assert_eq!(clip(&linear, &mut grads, 2.5, None), 5.0);
        let (weight, bias) = values(&grads, &linear);
        assert!((weight[0] - 1.5).abs() < 1e-6 && (bias[1] - 2.0).abs() < 1e-6);
        assert!((global_norm(&linear, &grads, None) - 2.5).abs() < 1e-5);
    }

    #[test]
    fn a_norm_below_the_limit_changes_nothing() {
        let (linear, mut grads) = linear();
        clip(&linear, &mut grads, 5.1, None);
        assert_eq!(values(&grads, &linear), (vec![3.0, 0.0, 0.0, 0.0], vec![0.0, 4.0]));
    }

    #[test]
    fn clipping_some_parameters_measures_and_scales_these_alone() {
        let (linear, mut grads) = linear();
        let bias = HashSet::from([linear.bias.as_ref().unwrap().id]);
        assert_eq!(clip(&linear, &mut grads, 2.0, Some(&bias)), 4.0);
        let (weight, bias) = values(&grads, &linear);
        assert_eq!(weight[0], 3.0);
        assert!((bias[1] - 2.0).abs() < 1e-5);
    }

    #[test]
    fn the_average_follows_its_definition() {
        let device = Device::flex().autodiff();
        let set = |linear: Linear, value: f32| {
            let weight = TensorData::from([[value]]);
            Linear {
                weight: linear.weight.map(|w| Tensor::from_data(weight, &w.device())),
                ..linear
            }
        };
        let config = LinearConfig::new(1, 1).with_bias(false);
        let linear = config.with_initializer(Initializer::Zeros).init(&device);
        let average = set(linear.clone(), 1.0).valid();
        let module = set(linear, 3.0);
        let module = Linear { weight: module.weight.set_require_grad(true), ..module };
        let average = ema_update(average, &module, 0.75);
        assert_eq!(average.weight.val().into_scalar::<f32>(), 1.5);
        let average = ema_update(average, &module, 0.5);
        assert_eq!(average.weight.val().into_scalar::<f32>(), 2.25);
        let frozen = module.freeze();
        assert_eq!(ema_update(average, &frozen, 0.5).weight.val().into_scalar::<f32>(), 3.0);
    }

    #[test]
    fn the_decay_starts_small_and_reaches_its_limit() {
        assert_eq!(ema_decay(0.999, 0), 0.1);
        assert_eq!(ema_decay(0.999, 8), 0.5);
        assert_eq!(ema_decay(0.9, 1000), 0.9);
    }
}
