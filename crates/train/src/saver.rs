//! The checkpoints of a run, and where they come from.

use std::path::PathBuf;

use engraft_policies::{Checkpoint, Policy, PolicyConfig, Provenance, Transform};

use crate::TrainError;
use crate::progress::Metrics;
use crate::state::Standing;

/// Writes what a run leaves behind.
pub(crate) struct Saver {
    pub(crate) out: PathBuf,
    pub(crate) policy_config: PolicyConfig,
    pub(crate) transform: Transform,
    pub(crate) provenance: Provenance,
    pub(crate) metrics: Metrics,
}

impl Saver {
    /// Writes the checkpoint `name`.
    pub(crate) fn checkpoint(
        &self,
        name: &str,
        policy: Policy,
        standing: &Standing,
    ) -> Result<(), TrainError> {
        let mut provenance = self.provenance.clone();
        provenance.step = Some(standing.step as usize);
        let losses = [("train_loss", Some(standing.mean_loss())), ("val_loss", standing.val_loss)];
        for (name, loss) in losses {
            if let Some(loss) = loss {
                provenance.notes.insert(name.into(), format!("{loss:.6}"));
            }
        }
        let (config, transform) = (self.policy_config.clone(), self.transform.clone());
        Checkpoint::new(config, transform, policy, provenance).save(&self.out.join(name))?;
        Ok(())
    }
}
