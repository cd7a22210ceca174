//! The devices that share a step with the first one.
//!
//! The first device has the optimizer and the weights that count. Each of the others has a thread
//! and a copy of the policy. For a step it takes the learned weights over, runs its part of the
//! batch forward and backward while the others run theirs, and hands its gradients back. What is
//! frozen was copied once. A batch norm that is learned normalizes each part by itself, and the
//! running statistics that are saved are the first device's.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use burn::train::TrainOutput;
use engraft_policies::Policy;

use crate::batch::Batch;
use crate::learner::{Objective, StepOutput};

type Output = TrainOutput<StepOutput>;

/// A thread for each device but the first.
#[derive(Debug)]
pub(crate) struct Helpers {
    /// The first device.
    home: Device,
    helpers: Vec<Helper>,
}

#[derive(Debug)]
struct Helper {
    /// `None` once it is asked to end.
    tasks: Option<Sender<Task>>,
    answers: Mutex<Receiver<Output>>,
    thread: Option<JoinHandle<()>>,
}

/// A part of a step.
struct Task {
    /// On the first device.
    policy: Policy,
    batch: Batch,
}

impl Helpers {
    /// Starts a thread for each of `devices` but the first.
    ///
    /// # Panics
    ///
    /// When there is no device.
    pub(crate) fn new(devices: &[Device], objective: Objective) -> Self {
        let (home, more) = devices.split_first().expect("at least one device");
        let start = |(i, device): (usize, &Device)| Helper::start(i + 1, device, objective);
        let helpers = more.iter().enumerate().map(start).collect();
        Self { home: home.clone().inner(), helpers }
    }

    /// What a step comes to: the first of `parts` here, the others meanwhile on the other devices.
    ///
    /// Gradients and losses are added in the order of the parts, so that a step is repeatable.
    ///
    /// # Panics
    ///
    /// When there is no part, there are more parts than devices, or a device fails.
    pub(crate) fn step(&self, policy: &Policy, parts: Vec<Batch>, objective: Objective) -> Output {
        let mut parts = parts.into_iter();
        let first = parts.next().expect("a batch has at least one part");
        let mut busy = self.helpers.iter();
        let busy: Vec<&Helper> = parts
            .map(|batch| {
                let helper = busy.next().expect("a device for each part");
                helper.begin(Task { policy: policy.clone(), batch });
                helper
            })
            .collect();
        let mut output = objective.pass(policy, first);
        if busy.is_empty() {
            return output;
        }
        let mut sum = GradientsAccumulator::new();
        sum.accumulate(policy, output.grads);
        for helper in busy {
            let part = helper.finish();
            output.item = output.item.with(&part.item);
            sum.accumulate(policy, part.grads.to_device(&self.home, policy));
        }
        TrainOutput { grads: sum.grads(), item: output.item }
    }
}

impl Helper {
    fn start(index: usize, device: &Device, objective: Objective) -> Self {
        let ((tasks, todo), (done, answers)) = (channel(), channel());
        let device = device.clone();
        let work = move || work(&device, objective, &todo, &done);
        let name = format!("train-device-{index}");
        let thread = std::thread::Builder::new().name(name).spawn(work);
        let thread = Some(thread.expect("the system can start a thread"));
        Self { tasks: Some(tasks), answers: Mutex::new(answers), thread }
    }

    fn begin(&self, task: Task) {
        // A thread that has ended says so where its answer is missing.
        if let Some(tasks) = &self.tasks {
            let _ = tasks.send(task);
        }
    }

    fn finish(&self) -> Output {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.recv().expect("the thread of a device ended, for the reason printed above")
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Without tasks to wait for, the thread ends.
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(device: &Device, objective: Objective, tasks: &Receiver<Task>, answers: &Sender<Output>) {
    let mut copy = None::<Policy>;
    for Task { policy, batch } in tasks {
        let own = match copy.take() {
            None => policy.fork(device),
            Some(own) => take_over(own, &policy, device),
        };
        let output = objective.pass(&own, batch);
        copy = Some(own);
        if answers.send(output).is_err() {
            return;
        }
    }
}

/// `own`, which lies on `device`, with the learned weights of `policy`.
fn take_over(own: Policy, policy: &Policy, device: &Device) -> Policy {
    let mut learned = Learned::default();
    policy.visit(&mut learned);
    own.map(&mut Replace { values: learned.0, device: device.clone().inner() })
}

/// A container of tensors of every rank, which is all that gradients are.
#[derive(Default)]
struct Learned(GradientsParams);

impl ModuleVisitor for Learned {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        if value.is_require_grad() {
            self.0.register(param.id, value.without_autodiff());
        }
    }
}

struct Replace {
    values: GradientsParams,
    device: Device,
}

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.values.remove::<D>(param.id) {
            None => param,
            Some(value) => {
                let value = value.to_device(&self.device);
                param.map(|_| Tensor::from_inner(value).require_grad())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use engraft_policies::Checkpoint;

    use super::*;
    use crate::testing::{Toy, clean_recipe, frozen_recipe, recipe, until};
    use crate::{Loss, Options, PastEndTarget, Progress, Recipe};

    fn run(recipe: &Recipe, out: &Path, num_devices: usize, options: Options) {
        let options = Options { more_devices: vec![Device::flex(); num_devices - 1], ..options };
        let toy = Arc::new(Toy::new(&[6, 7, 8, 5]));
        crate::train(recipe, toy, out, &Device::flex(), options).unwrap();
    }

    #[derive(Default)]
    struct Weights(Vec<Vec<f32>>);

    impl ModuleVisitor for Weights {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().into_data().iter::<f32>().collect());
        }
    }

    /// The losses and norms of all steps, and every tensor of the last checkpoint.
    fn outcome(out: &Path) -> Vec<Vec<f32>> {
        let rows = crate::read_metrics(out).unwrap();
        let column = |value: fn(&crate::MetricsRow) -> Option<f64>| -> Vec<f32> {
            rows.iter().filter_map(value).map(|value| value as f32).collect()
        };
        let curves =
            [column(|row| row.loss), column(|row| row.gradient_norm), column(|row| row.val_loss)];
        let mut weights = Weights::default();
        Checkpoint::open(&out.join("last"), &Device::flex()).unwrap().policy.visit(&mut weights);
        curves.into_iter().chain(weights.0).collect()
    }

    /// Each value within 1e-4 of the largest beside it.
    fn assert_close(one: &[Vec<f32>], other: &[Vec<f32>]) {
        assert_eq!(one.len(), other.len());
        for (i, (one, other)) in one.iter().zip(other).enumerate() {
            assert_eq!(one.len(), other.len(), "values of {i}");
            let largest = one.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
            let far = one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
            assert!(far <= 1e-4 * largest, "{i}: {far} of {largest}");
        }
    }

    fn longer(recipe: Recipe) -> Recipe {
        Recipe { steps: 24, epoch_steps: 8, ..recipe }
    }

    fn several_devices_learn_as_one(recipe: &Recipe, num_devices: &[usize]) {
        let folder = tempfile::tempdir().unwrap();
        let out = |name: usize| folder.path().join(name.to_string());
        run(recipe, &out(1), 1, Options::default());
        let one = outcome(&out(1));
        assert_eq!(one[0].len(), 24);
        for &devices in num_devices {
            run(recipe, &out(devices), devices, Options::default());
            assert_close(&one, &outcome(&out(devices)));
        }
    }

    #[test]
    fn parts_of_unequal_size_and_unequal_masks_add_up_to_the_batch() {
        let masked = Recipe { batch_size: 5, horizon: 6, ..longer(recipe()) };
        several_devices_learn_as_one(&masked, &[2, 3]);
        let whole = Recipe { past_end: PastEndTarget::Repeat, loss: Loss::L1, ..masked };
        several_devices_learn_as_one(&whole, &[2]);
    }

    #[test]
    fn parts_add_up_also_where_batches_are_accumulated() {
        let recipe = Recipe { batch_size: 3, horizon: 4, accumulate: 2, ..longer(recipe()) };
        several_devices_learn_as_one(&recipe, &[2]);
    }

    #[test]
    fn devices_without_a_sample_stay_idle() {
        let recipe = Recipe { batch_size: 2, horizon: 4, ..longer(recipe()) };
        several_devices_learn_as_one(&recipe, &[3]);
        let (notes, heard) = channel();
        let progress = move |line: &Progress| notes.send(line.to_string()).unwrap();
        let options = Options { progress: Box::new(progress), ..Options::default() };
        run(&recipe, tempfile::tempdir().unwrap().path(), 3, options);
        let note = "batches of 2 samples leave 1 of 3 devices idle";
        assert!(heard.iter().any(|line| line.contains(note)));
    }

    #[test]
    fn what_is_frozen_is_on_every_device() {
        let frozen = Recipe { batch_size: 3, ..longer(frozen_recipe()) };
        several_devices_learn_as_one(&frozen, &[2]);
        let clean = Recipe { batch_size: 3, ..longer(clean_recipe()) };
        several_devices_learn_as_one(&clean, &[2]);
    }

    #[test]
    fn a_run_goes_on_with_another_number_of_devices() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let recipe = Recipe { batch_size: 5, horizon: 4, ..longer(recipe()) };
        run(&recipe, &whole, 2, Options::default());
        for (devices, step) in [(1, 7), (3, 16), (2, 24)] {
            run(&recipe, &parts, devices, until(step, step > 7));
        }
        assert_close(&outcome(&whole), &outcome(&parts));
    }
}
