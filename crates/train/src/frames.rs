//! Pictures decoded once and kept, as long as they fit a budget of bytes.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use engraft_core::{ActionChunk, Observation};
use engraft_datasets::{Dataset, DatasetError, Episode};

/// A dataset whose observations stay in memory once they were decoded.
pub(crate) struct Frames {
    dataset: Arc<dyn Dataset>,
    slots: Vec<Box<[OnceLock<Observation>]>>,
    used: AtomicU64,
    budget: u64,
}

/// One episode of [`Frames`].
pub(crate) struct KeptEpisode<'a> {
    episode: Arc<dyn Episode>,
    slots: &'a [OnceLock<Observation>],
    frames: &'a Frames,
}

impl Frames {
    pub(crate) fn new(dataset: Arc<dyn Dataset>, budget: u64) -> Self {
        let slots = (0..dataset.num_episodes())
            .map(|episode| (0..dataset.episode_len(episode)).map(|_| OnceLock::new()).collect())
            .collect();
        Self { dataset, slots, used: AtomicU64::new(0), budget }
    }

    pub(crate) fn dataset(&self) -> &dyn Dataset {
        &*self.dataset
    }

    pub(crate) fn episode(&self, index: usize) -> Result<KeptEpisode<'_>, DatasetError> {
        let episode = self.dataset.episode(index)?;
        Ok(KeptEpisode { episode, slots: &self.slots[index], frames: self })
    }

    /// Whether `bytes` more fit; if so they count as used.
    fn reserve(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|&used| used <= self.budget);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

impl Episode for KeptEpisode<'_> {
    fn num_steps(&self) -> usize {
        self.episode.num_steps()
    }

    fn task(&self) -> &str {
        self.episode.task()
    }

    fn observation(&self, step: usize) -> Result<Observation, DatasetError> {
        let Some(slot) = self.slots.get(step) else { return self.episode.observation(step) };
        if let Some(kept) = slot.get() {
            return Ok(kept.clone());
        }
        let observation = self.episode.observation(step)?;
        if self.frames.reserve(num_bytes(&observation)) {
            // Two threads may have decoded the same picture: the first one's stays.
            let _ = slot.set(observation.clone());
        }
        Ok(observation)
    }

    fn proprio(&self, step: usize) -> Result<&[f32], DatasetError> {
        self.episode.proprio(step)
    }

    fn actions(&self, steps: Range<usize>) -> Result<ActionChunk, DatasetError> {
        self.episode.actions(steps)
    }
}

fn num_bytes(observation: &Observation) -> u64 {
    let views = observation.views.iter().map(|view| {
        view.rgb.pixels().len() + view.depth.as_ref().map_or(0, |depth| depth.metres().len() * 4)
    });
    (views.sum::<usize>() + observation.proprio.len() * 4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Toy;

    #[test]
    fn a_kept_picture_is_the_decoded_one_and_the_budget_is_kept() {
        let toy = Arc::new(Toy::new(&[4, 4]));
        let one = num_bytes(&toy.episode(0).unwrap().observation(0).unwrap());
        let frames = Frames::new(Arc::clone(&toy) as Arc<dyn Dataset>, 3 * one);
        for episode in [0, 1, 0] {
            for step in 0..4 {
                let found = frames.episode(episode).unwrap().observation(step).unwrap();
                assert_eq!(found, toy.episode(episode).unwrap().observation(step).unwrap());
            }
        }
        assert_eq!(frames.used.load(Ordering::Relaxed), 3 * one);
        assert_eq!(frames.slots.iter().flatten().filter(|slot| slot.get().is_some()).count(), 3);
        assert!(frames.episode(0).unwrap().observation(9).is_err());
    }
}
