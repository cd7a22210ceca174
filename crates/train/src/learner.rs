//! A policy as Burn's learner sees it: one step, its loss, and what is done beside Burn's optimizer.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, ExecutionError, Tensor, TensorReadError};
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use engraft_policies::Policy;

use crate::batch::Batch;
use crate::helpers::Helpers;
use crate::optimize::{clip, ema_decay, ema_update, global_norm};
use crate::recipe::Clipped;
use crate::{Loss, Recipe};

/// A policy that imitates, and the average of its weights if one is kept.
#[derive(Module, Debug)]
pub(crate) struct Imitation {
    pub(crate) policy: Policy,
    /// Without gradients.
    pub(crate) average: Option<Policy>,
    #[module(skip)]
    hooks: Arc<Hooks>,
}

/// What a step does besides forward, backward and Burn's optimizer.
#[derive(Debug)]
struct Hooks {
    objective: Objective,
    helpers: Helpers,
    clip: Option<(f32, Clipped)>,
    ema: Option<f32>,
    /// Optimizer steps done.
    step: AtomicU64,
    /// Bits of the last norm of the gradients.
    norm: AtomicU32,
}

impl Imitation {
    /// `policy` lies on the first of `devices`, which share its steps; all have autodiff.
    pub(crate) fn new(policy: Policy, recipe: &Recipe, devices: &[Device]) -> Self {
        let average = recipe.ema.map(|_| policy.valid());
        let objective = Objective { loss: recipe.loss, accumulate: recipe.accumulate };
        let hooks = Hooks {
            objective,
            helpers: Helpers::new(devices, objective),
            clip: recipe.clip.map(|clip| (clip.norm, clip.of)),
            ema: recipe.ema.map(|ema| ema.decay),
            step: AtomicU64::new(0),
            norm: AtomicU32::new(0),
        };
        Self { policy, average, hooks: Arc::new(hooks) }
    }

    /// Says how many optimizer steps were done before.
    pub(crate) fn set_step(&self, step: u64) {
        self.hooks.step.store(step, Ordering::Relaxed);
    }

    /// The joint norm of the last step's gradients, before clipping: of those that are clipped,
    /// or of all.
    pub(crate) fn gradient_norm(&self) -> f32 {
        f32::from_bits(self.hooks.norm.load(Ordering::Relaxed))
    }

    /// What is validated and saved: the average if there is one. Without gradients.
    pub(crate) fn product(&self) -> Policy {
        self.average.clone().unwrap_or_else(|| self.policy.valid())
    }
}

/// What is made small, and by how many passes in turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Objective {
    loss: Loss,
    accumulate: usize,
}

impl Objective {
    /// The loss of a part of a batch: its share of the mean over the whole batch.
    fn loss(self, policy: &Policy, mut batch: Batch) -> Tensor<1> {
        if let Some(clean) = batch.clean.take()
            && batch.input.features.is_none()
        {
            batch.input.features = policy.frozen_features(&clean);
        }
        let error = policy.forward(batch.input) - batch.targets;
        let error = match self.loss {
            Loss::Mse => error.square(),
            Loss::L1 => error.abs(),
        };
        let error = match batch.mask {
            Some(mask) => error * mask,
            None => error,
        };
        error.sum() / batch.num_counted as f32
    }

    /// Forward and backward. The gradients of all parts of a step add up to those of its mean.
    pub(crate) fn pass(self, policy: &Policy, batch: Batch) -> TrainOutput<StepOutput> {
        let (samples, images) = (batch.num_samples, batch.num_images);
        let loss = self.loss(policy, batch);
        let value = loss.clone().inner();
        let grads = (loss / self.accumulate as f32).backward();
        let grads = GradientsParams::from_grads(grads, policy);
        TrainOutput { grads, item: StepOutput::new(value, samples, images) }
    }
}

/// What a step comes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepOutput {
    pub(crate) loss: f64,
    pub(crate) num_samples: usize,
    pub(crate) num_images: usize,
    /// Pictures per second, lately.
    pub(crate) images_per_sec: f64,
    /// Share of the time spent waiting for data, lately.
    pub(crate) waiting: f64,
}

impl StepOutput {
    /// This and another part of one step; the loss is their sum.
    pub(crate) fn with(mut self, other: &Self) -> Self {
        self.loss += other.loss;
        self.num_samples += other.num_samples;
        self.num_images += other.num_images;
        self
    }

    fn new(loss: Tensor<1>, num_samples: usize, num_images: usize) -> Self {
        let loss = f64::from(loss.into_scalar::<f32>());
        Self { loss, num_samples, num_images, images_per_sec: 0.0, waiting: 0.0 }
    }
}

impl TrainStep for Imitation {
    /// The parts of a batch, one for each device, this model's first.
    type Input = Vec<Batch>;
    type Output = StepOutput;

    fn step(&self, parts: Vec<Batch>) -> TrainOutput<StepOutput> {
        self.hooks.helpers.step(&self.policy, parts, self.hooks.objective)
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        mut grads: GradientsParams,
    ) -> Self {
        let Self { policy, average, hooks } = self;
        let norm = match hooks.clip {
            None => global_norm(&policy, &grads, None),
            Some((norm, Clipped::All)) => clip(&policy, &mut grads, norm, None),
            Some((norm, Clipped::Head)) => {
                let head: HashSet<_> = policy.head_param_ids().into_iter().collect();
                clip(&policy, &mut grads, norm, Some(&head))
            }
        };
        hooks.norm.store(norm.to_bits(), Ordering::Relaxed);
        let step = hooks.step.fetch_add(1, Ordering::Relaxed);
        // A step that is not a number would spoil the moments; the run is about to stop.
        if !norm.is_finite() {
            return Self { policy, average, hooks };
        }
        let policy = optimizer.step(rate, policy, grads);
        let average = average
            .zip(hooks.ema)
            .map(|(average, decay)| ema_update(average, &policy, ema_decay(decay, step)));
        Self { policy, average, hooks }
    }
}

impl InferenceStep for Imitation {
    type Input = Vec<Batch>;
    type Output = StepOutput;

    fn step(&self, parts: Vec<Batch>) -> StepOutput {
        let policy = self.average.as_ref().unwrap_or(&self.policy);
        let output = |batch: Batch| {
            let (samples, images) = (batch.num_samples, batch.num_images);
            StepOutput::new(self.hooks.objective.loss(policy, batch), samples, images)
        };
        let sum = parts.into_iter().map(output).reduce(|sum, part| sum.with(&part));
        sum.expect("a batch has at least one part")
    }
}

impl ItemLazy for StepOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<Self> for StepOutput {
    fn adapt(&self) -> Self {
        *self
    }
}

/// One number of a [`StepOutput`] on Burn's dashboard.
#[derive(Clone)]
pub(crate) struct Gauge {
    name: MetricName,
    unit: Option<&'static str>,
    higher_is_better: bool,
    value: fn(&StepOutput) -> f64,
    state: NumericMetricState,
}

impl Gauge {
    /// The loss.
    pub(crate) fn loss() -> Self {
        Self::new("Loss", None, false, |output| output.loss)
    }

    /// Throughput.
    pub(crate) fn images_per_sec() -> Self {
        Self::new("Images per second", None, true, |output| output.images_per_sec)
    }

    /// Starvation.
    pub(crate) fn waiting() -> Self {
        Self::new("Waiting for data", Some("%"), false, |output| 100.0 * output.waiting)
    }

    fn new(
        name: &str,
        unit: Option<&'static str>,
        higher_is_better: bool,
        value: fn(&StepOutput) -> f64,
    ) -> Self {
        let (name, state) = (Arc::new(name.to_owned()), NumericMetricState::new());
        Self { name, unit, higher_is_better, value, state }
    }

    fn format(&self) -> FormatOptions {
        let format = FormatOptions::new(self.name.clone()).precision(4);
        match self.unit {
            Some(unit) => format.unit(unit),
            None => format,
        }
    }
}

impl Metric for Gauge {
    type Input = StepOutput;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        let (unit, higher_is_better) = (self.unit.map(str::to_owned), self.higher_is_better);
        NumericAttributes { unit, higher_is_better }.into()
    }

    fn update(
        &mut self,
        item: &StepOutput,
        _: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.state.update((self.value)(item), item.num_samples);
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for Gauge {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}
