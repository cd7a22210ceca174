//! Where decoded pictures are kept while training.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engraft_datasets::{Dataset, Shard, decoded_bytes};

use crate::TrainError;
use crate::features::megabytes;

/// Where decoded pictures are kept; nothing in here changes what a run comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PictureCache {
    /// In memory, up to a budget; what lies above it is decoded each time.
    Memory {
        /// Bytes of pictures.
        budget_bytes: u64,
    },
    /// All of them in a file, which is made first and read from then on.
    Disk {
        /// The folder; files of different data lie beside each other.
        dir: PathBuf,
    },
    /// Nowhere: they are decoded each time.
    None,
}

impl Default for PictureCache {
    fn default() -> Self {
        Self::Memory { budget_bytes: 2 << 30 }
    }
}

impl PictureCache {
    /// The dataset to read from, and the bytes of pictures to keep in memory.
    ///
    /// `note` hears what it takes before anything is done. Where `interrupt` is raised meanwhile,
    /// the dataset stays as it is.
    pub(crate) fn prepare(
        &self,
        dataset: Arc<dyn Dataset>,
        interrupt: &AtomicBool,
        note: &mut dyn FnMut(&str),
    ) -> Result<(Arc<dyn Dataset>, u64), TrainError> {
        let needed = decoded_bytes(&*dataset);
        let size = format!("decoded pictures: {}", megabytes(needed));
        match self {
            Self::None => {
                note(&format!("{size}, decoded at every step"));
                Ok((dataset, 0))
            }
            Self::Memory { budget_bytes } if needed <= *budget_bytes => {
                note(&format!("{size}, kept in memory"));
                Ok((dataset, *budget_bytes))
            }
            Self::Memory { budget_bytes } => {
                let share = 100.0 * *budget_bytes as f64 / needed as f64;
                note(&format!(
                    "{size}, {share:.0} % kept in memory ({}); `--cache disk` keeps all of them",
                    megabytes(*budget_bytes)
                ));
                Ok((dataset, *budget_bytes))
            }
            Self::Disk { dir } => {
                note(&format!("{size}, kept in {}", dir.display()));
                let mut told = 0;
                let mut progress = |done: u64, total: u64| {
                    let tenth = done * 10 / total.max(1);
                    if tenth > told {
                        told = tenth;
                        note(&format!("decoded {done} of {total} steps"));
                    }
                    !interrupt.load(Ordering::Relaxed)
                };
                let shard = Shard::prepare(Arc::clone(&dataset), dir, &mut progress)?;
                match shard {
                    Some(shard) => Ok((Arc::new(shard), 0)),
                    None => Ok((dataset, 0)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Toy;

    fn prepare(cache: &PictureCache, interrupted: bool) -> (Arc<dyn Dataset>, u64, Vec<String>) {
        let mut notes = Vec::new();
        let toy: Arc<dyn Dataset> = Arc::new(Toy::new(&[3, 2]));
        let interrupt = AtomicBool::new(interrupted);
        let prepared = cache.prepare(toy, &interrupt, &mut |text| notes.push(text.to_owned()));
        let (dataset, budget) = prepared.unwrap();
        (dataset, budget, notes)
    }

    #[test]
    fn every_cache_gives_the_same_samples_and_says_what_it_takes() {
        let folder = tempfile::tempdir().unwrap();
        let disk = PictureCache::Disk { dir: folder.path().into() };
        let memory = PictureCache::Memory { budget_bytes: 1000 };
        let toy = Toy::new(&[3, 2]).episode(1).unwrap().observation(1).unwrap();
        for (cache, budget, said) in [
            (PictureCache::None, 0, "decoded at every step"),
            (memory, 1000, "`--cache disk` keeps all of them"),
            (PictureCache::default(), 2 << 30, "kept in memory"),
            (disk, 0, "kept in"),
        ] {
            let (dataset, found, notes) = prepare(&cache, false);
            assert_eq!(found, budget);
            assert!(notes[0].starts_with("decoded pictures: ") && notes[0].contains(said));
            assert_eq!(dataset.episode(1).unwrap().observation(1).unwrap(), toy);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_interrupted_shard_leaves_the_dataset_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, ..) = prepare(&PictureCache::Disk { dir: folder.path().into() }, true);
        assert_eq!(dataset.num_steps(), 5);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
