//! The arm without hardware: any environment, one control period per set-point.

use std::sync::Arc;

use engraft_core::{Environment, Observation, RobotSpec};

use super::{Arm, ArmError};
use crate::limits::{DimensionLimits, from_spec};

/// A simulated arm.
///
/// Its world moves by one period with each set-point and stands still without one, so a
/// simulated episode is the same at any speed.
#[derive(Debug)]
pub struct SimArm<E> {
    environment: E,
    limits: Vec<DimensionLimits>,
    observation: Option<Arc<Observation>>,
    success: bool,
}

impl<E: Environment> SimArm<E> {
    /// An arm in `environment`, with the bounds that its spec gives as its only limits.
    pub fn new(environment: E) -> Self {
        let limits = from_spec(environment.spec());
        Self { environment, limits, observation: None, success: false }
    }

    /// The same with other limits, one for each dimension of an action.
    pub fn with_limits(mut self, limits: Vec<DimensionLimits>) -> Self {
        self.limits = limits;
        self
    }

    /// What it stands in.
    pub fn environment(&self) -> &E {
        &self.environment
    }
}

impl<E: Environment> Arm for SimArm<E> {
    fn spec(&self) -> &RobotSpec {
        self.environment.spec()
    }

    fn task(&self) -> &str {
        self.environment.task()
    }

    fn limits(&self) -> Vec<DimensionLimits> {
        self.limits.clone()
    }

    fn num_instances(&self) -> usize {
        self.environment.num_instances()
    }

    fn instance_name(&self, instance: usize) -> String {
        self.environment.instance_name(instance)
    }

    fn max_steps(&self) -> usize {
        self.environment.max_steps()
    }

    fn begin(&mut self, instance: usize, seed: u64) -> Result<(), ArmError> {
        let num_instances = self.num_instances();
        if instance >= num_instances {
            return Err(ArmError::Instance { num_instances, found: instance });
        }
        self.observation = Some(Arc::new(self.environment.reset(instance, seed)));
        self.success = false;
        Ok(())
    }

    fn sense(&mut self) -> Result<Arc<Observation>, ArmError> {
        self.observation.clone().ok_or(ArmError::NotBegun)
    }

    fn apply(&mut self, action: &[f32]) -> Result<(), ArmError> {
        let (expected, found) = (self.spec().action_dim(), action.len());
        if expected != found {
            return Err(ArmError::Action { expected, found });
        }
        let transition = self.environment.step(action);
        self.success |= transition.success;
        self.observation = Some(Arc::new(transition.observation));
        Ok(())
    }

    fn success(&self) -> Option<bool> {
        Some(self.success)
    }
}
