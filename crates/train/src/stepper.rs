//! Training steps outside of a run, on batches that the caller made: what a benchmark times.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::train::Learner;
use engraft_policies::{Policy, PolicyInput};

use crate::batch::Batch;
use crate::learner::Imitation;
use crate::schedule::{Scheduler, Total};
use crate::{Recipe, TrainError};

/// Takes the steps that a run of a recipe takes: forward, loss, backward, clipping, optimizer,
/// average of the weights. The recipe's data, augmentation and accumulation play no part.
pub struct Stepper {
    learner: Learner<Imitation>,
}

impl Stepper {
    /// A learner of `policy`, which lies on an autodiff device.
    ///
    /// # Errors
    ///
    /// When a value of the recipe makes no sense.
    pub fn new(policy: Policy, recipe: &Recipe) -> Result<Self, TrainError> {
        recipe.check()?;
        let recipe = Recipe { accumulate: 1, ..recipe.clone() };
        let total = Total::new(recipe.steps as f64);
        let scheduler =
            Scheduler::new(recipe.schedule.clone(), recipe.optimizer.learning_rate, &total);
        let optimizer = recipe.optimizer.init();
        let devices = policy.devices();
        let model = Imitation::new(policy, &recipe, &devices[..1]);
        let learner = Learner::new(model, optimizer, scheduler);
        Ok(Self { learner })
    }

    /// One step; returns the loss before it.
    ///
    /// # Shapes
    ///
    /// - `targets`: normalized chunks, `[batch, horizon, action_dim]`
    pub fn step(&mut self, input: PolicyInput, targets: Tensor<3>) -> f64 {
        let (num_samples, num_images) = (input.dims()[0], input.rgb.count());
        let num_counted = targets.dims().iter().product();
        let (clean, mask) = (None, None);
        let batch = Batch { input, clean, targets, mask, num_counted, num_samples, num_images };
        let output = self.learner.train_step(vec![batch]);
        self.learner.lr_step();
        self.learner.optimizer_step(output.grads);
        output.item.loss
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use engraft_core::Dimension;
    use engraft_policies::Contract;

    use super::*;
    use crate::testing;

    #[test]
    fn steps_on_one_batch_learn_it() {
        let device = Device::flex().autodiff();
        let recipe = Recipe { steps: 1000, ..testing::recipe() };
        let toy = testing::Toy::new(&[4]);
        let contract = Contract { use_depth: false, ..crate::contract(&recipe, &toy) };
        assert_eq!(contract.spec.proprio, [Dimension::new("slider", "m")]);
        let policy = recipe.policy.init(&contract, 1, &device).unwrap();
        let mut stepper = Stepper::new(policy, &recipe).unwrap();
        let input = || PolicyInput {
            rgb: Tensor::<4>::full([6, 3, 32, 32], 90.0, &device).into(),
            depth: None,
            proprio: Tensor::full([3, 2, 1], 0.5, &device),
            features: None,
        };
        let targets = || Tensor::full([3, 2, 2], 0.75, &device);
        let losses: Vec<f64> = (0..60).map(|_| stepper.step(input(), targets())).collect();
        assert!(losses[59] < 0.1 * losses[0], "{losses:?}");
    }
}
