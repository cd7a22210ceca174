//! Chunks that overlap, played one action at a time.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use crate::ActionChunk;

/// What becomes of actions for which an older chunk had others.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Merge {
    /// The newer ones are played.
    #[default]
    Latest,
    /// A mean: the newer ones count `new`, the older ones what is left to 1. LeRobot's has 0.7.
    Weighted {
        /// From above 0 to 1.
        new: f32,
    },
    /// A mean over all chunks: one counts `exp(-decay * i)`, where `i` is 0 for the oldest.
    /// Smooth, and slow to react. ACT's has 0.01.
    Ensemble {
        /// At least 0; 0 is a plain mean.
        decay: f32,
    },
    /// The next `frozen` older ones are played, since they were under way when the newer were
    /// asked for; then the older give way to the newer, evenly over `ramp` actions. As GR00T's
    /// options for real-time chunking.
    Hold {
        /// Actions that stay.
        frozen: usize,
        /// Actions over which the newer take over.
        ramp: usize,
    },
}

/// Why a text is no way to merge.
#[derive(Debug, thiserror::Error)]
#[error("expected latest, weighted:NEW, ensemble:DECAY or hold:FROZEN:RAMP, found `{0}`")]
pub struct MergeError(String);

impl FromStr for Merge {
    type Err = MergeError;

    fn from_str(text: &str) -> Result<Self, MergeError> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let numbers: Vec<&str> = parts.collect();
        let number = |text: &str| text.parse::<f32>().ok().filter(|number| number.is_finite());
        let merge = match (name, &numbers[..]) {
            ("latest", []) => Some(Self::Latest),
            ("weighted", []) => Some(Self::Weighted { new: 0.7 }),
            ("weighted", [new]) => {
                number(new).filter(|&new| new > 0.0 && new <= 1.0).map(|new| Self::Weighted { new })
            }
            ("ensemble", []) => Some(Self::Ensemble { decay: 0.01 }),
            ("ensemble", [decay]) => {
                number(decay).filter(|&decay| decay >= 0.0).map(|decay| Self::Ensemble { decay })
            }
            ("hold", [frozen, ramp]) => match (frozen.parse(), ramp.parse()) {
                (Ok(frozen), Ok(ramp)) => Some(Self::Hold { frozen, ramp }),
                _ => None,
            },
            _ => None,
        };
        merge.ok_or_else(|| MergeError(text.into()))
    }
}

impl fmt::Display for Merge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Weighted { new } => write!(f, "weighted:{new}"),
            Self::Ensemble { decay } => write!(f, "ensemble:{decay}"),
            Self::Hold { frozen, ramp } => write!(f, "hold:{frozen}:{ramp}"),
        }
    }
}

/// The action of one tick, out of one chunk or several.
#[derive(Debug, Clone)]
struct Slot {
    values: Vec<f32>,
    /// What the chunks in it count together, and how many they are; of [`Merge::Ensemble`].
    weight: f32,
    chunks: u16,
}

/// Plays chunks one action at a time, by absolute tick.
///
/// A chunk says for which tick its first action was meant. Late, repeated and overlapping
/// chunks then need no special care: what lies in the past is never played, and where chunks
/// overlap, [`Merge`] says what is.
///
/// ```
/// use engraft_core::{ActionChunk, ChunkQueue};
///
/// let mut queue = ChunkQueue::default();
/// queue.push(10, 10, &ActionChunk::new(2, 1, vec![0.5, 0.6]).unwrap());
/// assert_eq!(queue.action(11), Some(&[0.6][..]));
/// assert_eq!(queue.action(12), None); // the chunk is played out
/// ```
#[derive(Debug, Clone, Default)]
pub struct ChunkQueue {
    merge: Merge,
    /// The first tick of the newest chunk.
    newest: Option<u64>,
    /// The tick of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
}

impl ChunkQueue {
    /// An empty queue.
    pub fn new(merge: Merge) -> Self {
        Self { merge, ..Self::default() }
    }

    /// Offers, at tick `now`, a chunk whose first action belongs to `first_tick`.
    ///
    /// Returns whether it was taken: a chunk made from an older observation than the newest one is
    /// not, nor is one that lies in the past as a whole.
    pub fn push(&mut self, now: u64, first_tick: u64, chunk: &ActionChunk) -> bool {
        let end = first_tick.saturating_add(chunk.horizon() as u64);
        if self.newest.is_some_and(|newest| first_tick <= newest) || end <= now {
            return false;
        }
        self.newest = Some(first_tick);
        let old_end = self.first + self.slots.len() as u64;
        // From where on the new chunk counts; what the old ones have before that stays.
        let from = first_tick.max(now);
        if self.slots.is_empty() || old_end < from || from < self.first {
            self.slots.clear();
            self.first = from;
        }
        let passed = now.saturating_sub(self.first).min(self.slots.len() as u64);
        self.slots.drain(..passed as usize);
        self.first += passed;
        self.slots.truncate((end - self.first) as usize);
        for tick in from..end {
            let new = chunk.action((tick - first_tick) as usize);
            match self.slots.get_mut((tick - self.first) as usize) {
                Some(slot) => merge_into(slot, self.merge, tick - now, new),
                None => self.slots.push_back(Slot { values: new.to_vec(), weight: 1.0, chunks: 1 }),
            }
        }
        true
    }

    /// The action meant for `tick`, if there is one.
    pub fn action(&self, tick: u64) -> Option<&[f32]> {
        let step = usize::try_from(tick.checked_sub(self.first)?).ok()?;
        self.slots.get(step).map(|slot| &slot.values[..])
    }

    /// Actions left to play, the one of `tick` included.
    pub fn remaining(&self, tick: u64) -> usize {
        let end = self.first + self.slots.len() as u64;
        end.saturating_sub(tick.max(self.first)) as usize
    }

    /// Forgets everything, for a new episode or a stop.
    pub fn clear(&mut self) {
        *self = Self::new(self.merge);
    }
}

/// Merges a newer action into a slot that is played `ahead` ticks from now.
fn merge_into(slot: &mut Slot, merge: Merge, ahead: u64, new: &[f32]) {
    let share = match merge {
        Merge::Latest => 1.0,
        Merge::Weighted { new } => new,
        Merge::Ensemble { decay } => {
            let weight = (-decay * f32::from(slot.chunks)).exp();
            slot.chunks = slot.chunks.saturating_add(1);
            slot.weight += weight;
            weight / slot.weight
        }
        Merge::Hold { frozen, ramp } => match ahead.checked_sub(frozen as u64) {
            None => 0.0,
            Some(ramped) if ramped < ramp as u64 => (ramped + 1) as f32 / (ramp as f32 + 1.0),
            Some(_) => 1.0,
        },
    };
    for (value, new) in slot.values.iter_mut().zip(new) {
        *value = if share >= 1.0 { *new } else { *value + share * (new - *value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(values: &[f32]) -> ActionChunk {
        ActionChunk::new(values.len(), 1, values.to_vec()).unwrap()
    }

    /// What is played from tick `from` on, until there is nothing.
    fn played(queue: &ChunkQueue, from: u64) -> Vec<f32> {
        (from..).map_while(|tick| queue.action(tick)).map(|action| action[0]).collect()
    }

    fn close(found: &[f32], expected: &[f32]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}");
    }

    #[test]
    fn the_latest_chunk_replaces_the_rest_of_the_older() {
        let mut queue = ChunkQueue::default();
        assert!(queue.push(0, 0, &chunk(&[0.0, 1.0, 2.0, 3.0])));
        assert!(queue.push(2, 2, &chunk(&[20.0, 30.0])));
        assert_eq!(played(&queue, 2), [20.0, 30.0]);
        assert_eq!(queue.remaining(3), 1);
        // One that is shorter ends where it ends: the rest of the older is out of date.
        assert!(queue.push(2, 3, &chunk(&[7.0])));
        assert_eq!(played(&queue, 2), [20.0, 7.0]);
    }

    #[test]
    fn an_older_or_repeated_chunk_or_one_of_the_past_is_not_taken() {
        let mut queue = ChunkQueue::default();
        queue.push(5, 5, &chunk(&[1.0, 1.5]));
        assert!(!queue.push(5, 5, &chunk(&[2.0])));
        assert!(!queue.push(5, 4, &chunk(&[3.0, 4.0])));
        assert!(!queue.push(8, 6, &chunk(&[5.0, 6.0])), "it ends at tick 8");
        assert_eq!(played(&queue, 5), [1.0, 1.5]);
    }

    #[test]
    fn what_lies_before_the_chunk_is_not_played() {
        let mut queue = ChunkQueue::default();
        queue.push(4, 5, &chunk(&[1.0]));
        assert_eq!(queue.action(4), None);
        assert_eq!(queue.remaining(4), 1);
        queue.clear();
        assert_eq!(queue.remaining(5), 0);
        assert!(queue.push(0, 1, &chunk(&[2.0])), "a new episode begins at any tick");
        // A chunk far ahead leaves no gap to fill.
        assert!(queue.push(1, 1 << 60, &chunk(&[3.0])));
        assert_eq!((queue.action(1), queue.slots.len()), (None, 1));
        assert!(queue.push(1, u64::MAX, &chunk(&[4.0, 5.0])));
        assert!(queue.slots.len() <= 2);
    }

    #[test]
    fn a_late_chunk_is_played_from_now_on() {
        let mut queue = ChunkQueue::default();
        queue.push(0, 0, &chunk(&[0.0, 1.0, 2.0, 3.0]));
        // Seen at tick 1, here at tick 3.
        assert!(queue.push(3, 1, &chunk(&[10.0, 20.0, 30.0, 40.0])));
        assert_eq!(played(&queue, 3), [30.0, 40.0]);
    }

    #[test]
    fn a_weighted_mean_is_that_of_old_and_new() {
        let mut queue = ChunkQueue::new(Merge::Weighted { new: 0.7 });
        queue.push(0, 0, &chunk(&[0.0, 10.0, 20.0]));
        queue.push(1, 1, &chunk(&[20.0, 30.0, 40.0]));
        // 0.3 * 10 + 0.7 * 20, 0.3 * 20 + 0.7 * 30, and what only the new one has.
        close(&played(&queue, 1), &[17.0, 27.0, 40.0]);
        queue.push(2, 2, &chunk(&[0.0, 0.0, 0.0]));
        close(&played(&queue, 2), &[0.3 * 27.0, 0.3 * 40.0, 0.0]);
    }

    #[test]
    fn an_ensemble_counts_the_oldest_most() {
        let decay = 0.5;
        let mut queue = ChunkQueue::new(Merge::Ensemble { decay });
        queue.push(0, 0, &chunk(&[0.0, 1.0, 2.0]));
        queue.push(1, 1, &chunk(&[4.0, 5.0, 6.0]));
        queue.push(2, 2, &chunk(&[7.0, 8.0, 9.0]));
        let weights = [1.0, (-decay).exp(), (-2.0 * decay).exp()];
        let mean = |values: &[f32]| {
            let sum: f32 = values.iter().zip(weights).map(|(value, weight)| value * weight).sum();
            sum / weights[..values.len()].iter().sum::<f32>()
        };
        close(&played(&queue, 2), &[mean(&[2.0, 5.0, 7.0]), mean(&[6.0, 8.0]), 9.0]);
        let mut plain = ChunkQueue::new(Merge::Ensemble { decay: 0.0 });
        plain.push(0, 0, &chunk(&[0.0, 0.0, 0.0]));
        plain.push(1, 1, &chunk(&[3.0, 3.0]));
        plain.push(2, 2, &chunk(&[6.0]));
        close(&played(&plain, 2), &[3.0]);
    }

    #[test]
    fn a_hold_keeps_what_is_under_way_and_then_gives_way() {
        let mut queue = ChunkQueue::new(Merge::Hold { frozen: 2, ramp: 3 });
        queue.push(0, 0, &chunk(&[0.0; 8]));
        // Seen at tick 0 again (1 past it), here at tick 1: ticks 1 and 2 stay, 3 to 5 give way.
        assert!(queue.push(1, 1, &chunk(&[8.0; 8])));
        close(&played(&queue, 1), &[0.0, 0.0, 2.0, 4.0, 6.0, 8.0, 8.0, 8.0]);
        // Where the old one has nothing to hold, the new one is played.
        let mut short = ChunkQueue::new(Merge::Hold { frozen: 4, ramp: 0 });
        short.push(0, 0, &chunk(&[1.0, 1.0]));
        short.push(1, 1, &chunk(&[5.0, 6.0, 7.0]));
        close(&played(&short, 1), &[1.0, 6.0, 7.0]);
    }

    #[test]
    fn a_way_to_merge_is_read_from_its_name() {
        for text in ["latest", "weighted:0.25", "ensemble:0.5", "hold:4:8"] {
            assert_eq!(text.parse::<Merge>().unwrap().to_string(), text);
        }
        assert_eq!("weighted".parse::<Merge>().unwrap(), Merge::Weighted { new: 0.7 });
        assert_eq!("ensemble".parse::<Merge>().unwrap(), Merge::Ensemble { decay: 0.01 });
        for wrong in ["", "newest", "weighted:0", "weighted:2", "ensemble:-1", "hold:4", "hold:a:b"]
        {
            let error = wrong.parse::<Merge>().unwrap_err().to_string();
            assert!(error.contains("hold:FROZEN:RAMP") && error.ends_with(&format!("`{wrong}`")));
        }
    }
}
