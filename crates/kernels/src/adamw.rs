//! What an optimizer does to every number, in one pass over them.
//!
//! Burn runs a step of Adam as a dozen operations, each of which reads and writes every number; on
//! the CPU that is all it costs. Here a number is read once, and each result of the chain is
//! rounded as it is there, so that the two agree to the last bit. Only `flex` without autodiff, in
//! single precision, is served: [`is_one_pass`] says so, and elsewhere the caller does it Burn's
//! way.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};
use burn_flex::FlexTensor;

use crate::flex::values;
use crate::is_plain_flex;
use crate::threads::{Shared, for_each};

/// Numbers that a thread takes at once; a tensor of fewer is not worth a second thread.
const CHUNK: usize = 1 << 15;

/// What a number costs, in multiplications: enough that every chunk but a single one is shared.
const COST: usize = 32;

/// Squares that are added up in single precision, by as many sums as a vector has lanes.
const RUN: usize = 1024;

/// Sums of a run.
const LANES: usize = 16;

/// One step of [`adam`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// `AdamW`: weight decay scales the parameter. Otherwise it is added to the gradient.
    pub decoupled: bool,
    /// Weight decay.
    pub weight_decay: f32,
    /// The learning rate.
    pub rate: f64,
    /// Decay of both moments.
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The step, counted from one.
    pub time: usize,
}

/// What an [`adam`] step changes.
#[derive(Debug, Clone)]
pub struct AdamTensors<const D: usize> {
    /// The parameter.
    pub param: Tensor<D>,
    /// The mean of the gradients.
    pub moment_1: Tensor<D>,
    /// The mean of their squares.
    pub moment_2: Tensor<D>,
}

/// Whether the functions of this module take `tensor`.
pub fn is_one_pass<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_plain_flex(tensor)
}

/// Steps one parameter. Without `moments` it is its first step.
///
/// What comes back lies in the memory of the gradient and of the moments where nobody else holds
/// them; the parameter's own is usually held by the model that the step began with.
///
/// # Panics
///
/// Unless [`is_one_pass`] of each tensor, and all have one shape.
pub fn adam<const D: usize>(
    step: AdamStep,
    param: Tensor<D>,
    grad: Tensor<D>,
    moments: Option<[Tensor<D>; 2]>,
) -> AdamTensors<D> {
    let [moment_1, moment_2] = moments.unwrap_or_else(|| [param.zeros_like(), param.zeros_like()]);
    let [param, grad, moment_1, moment_2] =
        [param, grad, moment_1, moment_2].map(Tensor::into_dispatch);
    let (param, moment_1, moment_2) = Dispatch::adam(param, grad, moment_1, moment_2, step);
    let [param, moment_1, moment_2] = [param, moment_1, moment_2].map(Tensor::from_dispatch);
    AdamTensors { param, moment_1, moment_2 }
}

/// `average * decay + value * (1 - decay)`.
///
/// # Panics
///
/// Unless [`is_one_pass`] of both, and they have one shape.
pub fn moving_average<const D: usize>(
    average: Tensor<D>,
    value: Tensor<D>,
    decay: f32,
) -> Tensor<D> {
    let (average, value) = (average.into_dispatch(), value.into_dispatch());
    Tensor::from_dispatch(Dispatch::moving_average(average, value, decay))
}

/// `tensor * factor`.
///
/// # Panics
///
/// Unless [`is_one_pass`] of it.
pub fn scaled<const D: usize>(tensor: Tensor<D>, factor: f32) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::scaled(tensor.into_dispatch(), factor))
}

/// The sum of the squares, added up in one order whatever the number of threads.
///
/// # Shapes
///
/// - output: `[1]`
///
/// # Panics
///
/// Unless [`is_one_pass`] of it.
pub fn sum_of_squares<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::sum_of_squares(tensor.into_dispatch()))
}

/// The operations as Burn sees them.
#[backend_extension(Flex)]
pub(crate) trait OnePass: burn::backend::Backend {
    fn adam(
        param: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn moving_average(
        average: FloatTensor<Self>,
        value: FloatTensor<Self>,
        decay: f32,
    ) -> FloatTensor<Self>;

    fn scaled(tensor: FloatTensor<Self>, factor: f32) -> FloatTensor<Self>;

    fn sum_of_squares(tensor: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl OnePass for Flex {
    fn adam(
        param: FlexTensor,
        grad: FlexTensor,
        moment_1: FlexTensor,
        moment_2: FlexTensor,
        step: AdamStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let param = row_major(param);
        let [mut grad, mut moment_1, mut moment_2] = [grad, moment_1, moment_2].map(row_major);
        let slices = (values(&param), values_mut(&mut grad));
        let moments = (values_mut(&mut moment_1), values_mut(&mut moment_2));
        step.run(slices, moments);
        (grad, moment_1, moment_2)
    }

    fn moving_average(average: FlexTensor, value: FlexTensor, decay: f32) -> FlexTensor {
        let (average, value) = (row_major(average), row_major(value));
        let mix = move |(&average, &value): (&f32, &f32)| average * decay + value * (1.0 - decay);
        // The model that the step began with holds the average: so this is memory of its own.
        let pairs = (values(&average), values(&value));
        let mut mixed = vec![0.0; pairs.0.len()];
        chunks_mut(&mut mixed, |at, mixed| {
            let end = at + mixed.len();
            let pairs = pairs.0[at..end].iter().zip(&pairs.1[at..end]);
            mixed.iter_mut().zip(pairs.map(mix)).for_each(|(to, from)| *to = from);
        });
        FlexTensor::from_data(TensorData::new(mixed, average.layout().shape().clone()))
    }

    fn scaled(tensor: FlexTensor, factor: f32) -> FlexTensor {
        let mut tensor = row_major(tensor);
        chunks_mut(values_mut(&mut tensor), |_, values| {
            for value in values {
                *value *= factor;
            }
        });
        tensor
    }

    fn sum_of_squares(tensor: FlexTensor) -> FlexTensor {
        let tensor = row_major(tensor);
        let values = values(&tensor);
        let sum: f64 = if values.len() <= CHUNK {
            squares(values)
        } else {
            // Kept apart before they are added, which keeps the order.
            let mut sums = vec![0.0; values.len().div_ceil(CHUNK)];
            let shared = Shared(sums.as_mut_ptr());
            for_each(sums.len(), values.len() * COST, |i| {
                let chunk = &values[i * CHUNK..values.len().min((i + 1) * CHUNK)];
                // SAFETY: each task has a sum of its own.
                unsafe { *shared.at(i) = squares(chunk) };
            });
            sums.into_iter().sum()
        };
        FlexTensor::from_data(TensorData::new(vec![sum as f32], [1]))
    }
}

impl AdamStep {
    fn run(
        &self,
        (params, grads): (&[f32], &mut [f32]),
        (moments_1, moments_2): (&mut [f32], &mut [f32]),
    ) {
        let shares = |beta: f32| (beta, 1.0 - beta);
        let ((keep_1, take_1), (keep_2, take_2)) = (shares(self.betas[0]), shares(self.betas[1]));
        let [missing_1, missing_2] = self.betas.map(|beta| 1.0 - beta.powi(self.time as i32));
        let (rate, epsilon) = (self.rate as f32, self.epsilon);
        let moments = move |grad: f32, moment_1: f32, moment_2: f32| {
            (moment_1 * keep_1 + grad * take_1, moment_2 * keep_2 + grad * grad * take_2)
        };
        if self.decoupled {
            let kept = (1.0 - self.rate * f64::from(self.weight_decay)) as f32;
            pass(params, grads, moments_1, moments_2, move |param, grad, moment_1, moment_2| {
                let (moment_1, moment_2) = moments(grad, moment_1, moment_2);
                let change = moment_1 / missing_1 / ((moment_2 / missing_2).sqrt() + epsilon);
                (param * kept - change * rate, moment_1, moment_2)
            });
        } else {
            let root = missing_2.sqrt();
            let (scale, epsilon) = (root / missing_1, epsilon * root);
            let weight_decay = self.weight_decay;
            pass(params, grads, moments_1, moments_2, move |param, grad, moment_1, moment_2| {
                let grad = param * weight_decay + grad;
                let (moment_1, moment_2) = moments(grad, moment_1, moment_2);
                let change = moment_1 * scale / (moment_2.sqrt() + epsilon);
                (param - change * rate, moment_1, moment_2)
            });
        }
    }
}

/// Puts what `change` makes of parameter, gradient and moments in place of the last three.
fn pass(
    params: &[f32],
    grads: &mut [f32],
    moments_1: &mut [f32],
    moments_2: &mut [f32],
    change: impl Fn(f32, f32, f32, f32) -> (f32, f32, f32) + Copy + Send + Sync,
) {
    let lengths = [grads.len(), moments_1.len(), moments_2.len()];
    assert_eq!(lengths, [params.len(); 3], "a parameter, its gradient and its moments");
    if params.len() <= CHUNK {
        return pass_alone(params, grads, moments_1, moments_2, change);
    }
    let [grads, moments_1, moments_2] =
        [grads, moments_1, moments_2].map(|values| Shared(values.as_mut_ptr()));
    for_each(params.len().div_ceil(CHUNK), params.len() * COST, |i| {
        let first = i * CHUNK;
        let params = &params[first..params.len().min(first + CHUNK)];
        let part = |values: Shared| {
            // SAFETY: all are as long as each other, and each task has a chunk of its own.
            unsafe { values.part(first, params.len()) }
        };
        pass_alone(params, part(grads), part(moments_1), part(moments_2), change);
    });
}

/// [`pass`] on one thread. Everything comes by itself and by value, so that the compiler sees that
/// nothing written is anything else read, and uses vectors.
fn pass_alone(
    params: &[f32],
    grads: &mut [f32],
    moments_1: &mut [f32],
    moments_2: &mut [f32],
    change: impl Fn(f32, f32, f32, f32) -> (f32, f32, f32),
) {
    let moments = moments_1.iter_mut().zip(moments_2);
    for ((&param, grad), (moment_1, moment_2)) in params.iter().zip(grads).zip(moments) {
        (*grad, *moment_1, *moment_2) = change(param, *grad, *moment_1, *moment_2);
    }
}

/// Runs `work` on each chunk of `values`, told where the chunk begins.
fn chunks_mut(values: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
    if values.len() <= CHUNK {
        return work(0, values);
    }
    let (len, values) = (values.len(), Shared(values.as_mut_ptr()));
    for_each(len.div_ceil(CHUNK), len * COST, |i| {
        let first = i * CHUNK;
        // SAFETY: each task has a chunk of its own.
        work(first, unsafe { values.part(first, CHUNK.min(len - first)) });
    });
}

fn squares(values: &[f32]) -> f64 {
    let run = |run: &[f32]| {
        let mut sums = [0.0_f32; LANES];
        let (whole, rest) = run.as_chunks::<LANES>();
        for values in whole {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value * value;
            }
        }
        let lanes: f64 = sums.into_iter().map(f64::from).sum();
        lanes + rest.iter().map(|&value| f64::from(value * value)).sum::<f64>()
    };
    values.chunks(RUN).map(run).sum()
}

fn row_major(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// In place, or in a copy where somebody else holds the tensor.
fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let offsets = tensor.layout().contiguous_offsets();
    let (start, end) = offsets.expect("a row-major tensor");
    &mut tensor.storage_mut()[start..end]
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer};
    use burn::tensor::{Device, Distribution};

    use super::*;
    use crate::tests::alone;

    #[derive(Module, Debug)]
    struct One {
        param: Param<Tensor<2>>,
    }

    fn random(shape: [usize; 2]) -> Tensor<2> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    /// Steps the same parameter with Burn's optimizer and here, and holds them equal bit for bit.
    fn assert_equal_to(mut burns: ModuleOptimizer, step: AdamStep, shape: [usize; 2]) {
        let start = random(shape);
        let mut one = One { param: Param::from_tensor(start.clone().autodiff()) };
        let (mut param, mut moments) = (start, None);
        for time in 1..=5 {
            let grad = random([shape[1], shape[0]]).transpose(); // not row-major
            let mut grads = GradientsParams::new();
            grads.register(one.param.id, grad.clone());
            one = burns.step(step.rate, one, grads);
            let stepped = adam(AdamStep { time, ..step }, param, grad, moments);
            (param, moments) = (stepped.param, Some([stepped.moment_1, stepped.moment_2]));
            one.param.val().into_data().assert_eq(&param.to_data(), true);
        }
    }

    #[test]
    fn a_step_is_burns_to_the_last_bit() {
        let _alone = alone(&Device::flex());
        let step = AdamStep {
            decoupled: true,
            weight_decay: 0.01,
            rate: 3e-3,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            time: 1,
        };
        for shape in [[3, 5], [300, 500]] {
            for weight_decay in [0.0, 0.01] {
                let step = AdamStep { weight_decay, ..step };
                let adamw = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(weight_decay);
                assert_equal_to(adamw.init(), step, shape);
                let decay = (weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay));
                let adam = AdamConfig::new().with_epsilon(1e-8).with_weight_decay(decay);
                assert_equal_to(adam.init(), AdamStep { decoupled: false, ..step }, shape);
            }
        }
    }

    #[test]
    fn a_tensor_that_somebody_else_holds_stays_as_it_is() {
        let _alone = alone(&Device::flex());
        let (param, grad) = (random([4, 4]), random([4, 4]));
        let moments = [random([4, 4]), random([4, 4]).abs()];
        let all = [&param, &grad, &moments[0], &moments[1]];
        let before = all.map(Tensor::to_data);
        let held = all.map(Tensor::clone);
        let step = AdamStep {
            decoupled: true,
            weight_decay: 0.0,
            rate: 1.0,
            betas: [0.5, 0.5],
            epsilon: 1e-3,
            time: 1,
        };
        adam(step, param, grad.clone(), Some(moments));
        scaled(grad, 2.0);
        for (held, before) in held.iter().zip(&before) {
            held.to_data().assert_eq(before, true);
        }
    }

    #[test]
    fn averages_and_scales_are_burns_to_the_last_bit() {
        let _alone = alone(&Device::flex());
        for shape in [[3, 5], [300, 500]] {
            let (average, value) = (random(shape), random(shape));
            let burns = average.clone().mul_scalar(0.75) + value.clone().mul_scalar(1.0 - 0.75);
            moving_average(average, value.clone(), 0.75)
                .into_data()
                .assert_eq(&burns.into_data(), true);
            let burns = value.clone().mul_scalar(0.3);
            scaled(value, 0.3).into_data().assert_eq(&burns.into_data(), true);
        }
    }

    #[test]
    fn squares_add_up_to_their_sum_the_same_way_every_time() {
        let _alone = alone(&Device::flex());
        let ones = Tensor::<2>::ones([333, 777], &Device::flex());
        assert_eq!(sum_of_squares(ones).into_scalar::<f32>(), 333.0 * 777.0);
        let values = random([333, 777]);
        let exact: f64 = values.to_data().iter::<f64>().map(|value| value * value).sum();
        let sum = sum_of_squares(values.clone()).into_scalar::<f32>();
        assert!((f64::from(sum) / exact - 1.0).abs() < 1e-6, "{sum} {exact}");
        for _ in 0..5 {
            assert_eq!(sum_of_squares(values.clone()).into_scalar::<f32>(), sum);
        }
    }
}
