//! Episodes whose proprio and action are their step, and damage, for tests.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engraft_core::{
    ActionChunk, DepthImage, Dimension, Observation, RgbImage, RobotSpec, View, ViewSpec,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::{Dataset, DatasetError, DatasetInfo, Episode};

pub(crate) struct Counting {
    pub(crate) num_steps: usize,
}

impl Episode for Counting {
    fn num_steps(&self) -> usize {
        self.num_steps
    }

    fn task(&self) -> &'static str {
        "count"
    }

    fn observation(&self, step: usize) -> Result<Observation, DatasetError> {
        Ok(Observation { views: vec![], proprio: vec![step as f32] })
    }

    fn proprio(&self, step: usize) -> Result<&[f32], DatasetError> {
        const STEPS: [f32; 8] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        Ok(&STEPS[step..=step])
    }

    fn actions(&self, steps: Range<usize>) -> Result<ActionChunk, DatasetError> {
        Ok(ActionChunk::new(steps.len(), 1, steps.map(|step| step as f32).collect()).unwrap())
    }
}

pub(crate) struct CountingSet {
    spec: RobotSpec,
    lengths: Vec<usize>,
}

impl CountingSet {
    pub(crate) fn new(lengths: &[usize]) -> Self {
        let spec = RobotSpec {
            name: "counter".into(),
            control_hz: 10.0,
            views: vec![],
            proprio: vec![Dimension::new("step", "rad")],
            actions: vec![Dimension::new("step", "rad")],
        };
        Self { spec, lengths: lengths.to_vec() }
    }
}

impl Dataset for CountingSet {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn num_episodes(&self) -> usize {
        self.lengths.len()
    }

    fn episode_len(&self, episode: usize) -> usize {
        self.lengths[episode]
    }

    fn task(&self, _: usize) -> &'static str {
        "count"
    }

    fn episode(&self, episode: usize) -> Result<Arc<dyn Episode>, DatasetError> {
        Ok(Arc::new(Counting { num_steps: self.lengths[episode] }))
    }

    fn info(&self) -> Result<DatasetInfo, DatasetError> {
        unreachable!("no test inspects a counter")
    }

    fn fingerprint(&self) -> Result<String, DatasetError> {
        Ok(self.spec.fingerprint())
    }
}

/// The same with a camera that measures depth; counts how often it was decoded.
pub(crate) struct Pictures {
    counting: CountingSet,
    decoded: Arc<AtomicUsize>,
}

struct PictureEpisode {
    index: usize,
    counting: Counting,
    decoded: Arc<AtomicUsize>,
}

impl Pictures {
    pub(crate) fn new(lengths: &[usize]) -> Self {
        let mut counting = CountingSet::new(lengths);
        counting.spec.views =
            vec![ViewSpec { name: "front".into(), width: 8, height: 6, depth: true }];
        Self { counting, decoded: Arc::default() }
    }

    /// How many observations were decoded.
    pub(crate) fn decoded(&self) -> usize {
        self.decoded.load(Ordering::Relaxed)
    }
}

impl Dataset for Pictures {
    fn spec(&self) -> &RobotSpec {
        self.counting.spec()
    }

    fn num_episodes(&self) -> usize {
        self.counting.num_episodes()
    }

    fn episode_len(&self, episode: usize) -> usize {
        self.counting.episode_len(episode)
    }

    fn task(&self, episode: usize) -> &str {
        self.counting.task(episode)
    }

    fn episode(&self, index: usize) -> Result<Arc<dyn Episode>, DatasetError> {
        let counting = Counting { num_steps: self.counting.lengths[index] };
        Ok(Arc::new(PictureEpisode { index, counting, decoded: Arc::clone(&self.decoded) }))
    }

    fn info(&self) -> Result<DatasetInfo, DatasetError> {
        self.counting.info()
    }

    fn fingerprint(&self) -> Result<String, DatasetError> {
        self.counting.fingerprint()
    }
}

impl Episode for PictureEpisode {
    fn num_steps(&self) -> usize {
        self.counting.num_steps
    }

    fn task(&self) -> &str {
        self.counting.task()
    }

    fn observation(&self, step: usize) -> Result<Observation, DatasetError> {
        let num_steps = self.num_steps();
        if step >= num_steps {
            return Err(DatasetError::NoStep { step, num_steps });
        }
        self.decoded.fetch_add(1, Ordering::Relaxed);
        let value = (self.index * 16 + step) as u8;
        let rgb = RgbImage::filled(8, 6, [value, value ^ 255, 7]);
        let depth = DepthImage::new(8, 6, vec![f32::from(value) / 8.0; 48]).unwrap();
        let proprio = self.proprio(step)?.to_vec();
        Ok(Observation { views: vec![View { rgb, depth: Some(depth) }], proprio })
    }

    fn proprio(&self, step: usize) -> Result<&[f32], DatasetError> {
        self.counting.proprio(step)
    }

    fn actions(&self, steps: Range<usize>) -> Result<ActionChunk, DatasetError> {
        self.counting.actions(steps)
    }
}

/// `bytes` with some damage: bits flipped, numbers replaced by extremes, parts cut out or doubled.
pub(crate) fn damaged(bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut below = |limit: usize| (rng.next_u64() % limit.max(1) as u64) as usize;
    for _ in 0..=below(3) {
        let at = below(bytes.len());
        match below(6) {
            _ if bytes.is_empty() => {}
            0 => bytes[at] ^= 1 << below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
            2 => bytes.truncate(at),
            3 => {
                let extreme = [0_u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 3 << 30][below(6)];
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&extreme.to_le_bytes()[..end - at]);
            }
            4 => {
                let end = bytes.len().min(at + 1 + below(16));
                bytes.drain(at..end);
            }
            _ => {
                let end = bytes.len().min(at + 1 + below(16));
                let doubled = bytes[at..end].to_vec();
                bytes.splice(at..at, doubled);
            }
        }
    }
    bytes
}
