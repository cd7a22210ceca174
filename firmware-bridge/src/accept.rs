//! Whether a chunk may be played. Pure, and before anything else looks at its values.

use std::time::Duration;

use engraft_wire::{Reply, Welcome};

/// Why a chunk is not played.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Rejection {
    /// It belongs to another conversation.
    #[error("the chunk is of another session")]
    Session,
    /// It was asked for in another episode.
    #[error("the chunk is of episode {found}, expected {expected}")]
    Episode {
        /// The running one.
        expected: u32,
        /// The chunk's.
        found: u32,
    },
    /// The model is not the one that the conversation began with.
    #[error("the chunk is of model {found}, expected {expected}")]
    Model {
        /// At the handshake.
        expected: String,
        /// The chunk's.
        found: String,
    },
    /// It has another shape than agreed.
    #[error("the chunk is {found:?}, expected {expected:?} (horizon, action dimensions)")]
    Shape {
        /// Agreed.
        expected: (usize, usize),
        /// Its own.
        found: (usize, usize),
    },
    /// A value is not finite.
    #[error("action {action} of the chunk is not finite in dimension {dimension}")]
    NotFinite {
        /// The first such action.
        action: usize,
        /// The first such dimension of it.
        dimension: usize,
    },
    /// It was made from an observation that is too old, or from the future.
    #[error("the chunk's observation is {age:?} old, at most {limit:?} is taken")]
    Age {
        /// Its age; zero when it claims to be from the future.
        age: Duration,
        /// The limit.
        limit: Duration,
    },
    /// It is no newer than the one that is playing.
    #[error("the chunk is for tick {found}, one for tick {newest} came before")]
    Old {
        /// What is playing.
        newest: u64,
        /// The chunk's.
        found: u64,
    },
    /// All of it lies in the past.
    #[error("the chunk ended before tick {end}, but it is tick {now}")]
    Past {
        /// The current tick.
        now: u64,
        /// The first tick after the chunk.
        end: u64,
    },
    /// It claims to be for a tick that was not yet sensed.
    #[error("the chunk is for tick {found}, but it is tick {now}")]
    Future {
        /// The current tick.
        now: u64,
        /// The chunk's.
        found: u64,
    },
}

/// What a chunk is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// What was agreed.
    pub welcome: &'a Welcome,
    /// The running episode.
    pub episode: u32,
    /// The current tick.
    pub tick: u64,
    /// The tick of the newest chunk that was accepted in this episode.
    pub newest: Option<u64>,
    /// Now, on the clock that the request's time was taken from.
    pub now: Duration,
    /// From observation to now.
    pub max_age: Duration,
}

impl Expected<'_> {
    /// Whether `reply` may be played.
    ///
    /// # Errors
    ///
    /// The first reason why not.
    pub fn check(&self, reply: &Reply) -> Result<(), Rejection> {
        let Welcome { session, model, contract, .. } = self.welcome;
        if reply.session != *session {
            return Err(Rejection::Session);
        }
        if reply.episode != self.episode {
            return Err(Rejection::Episode { expected: self.episode, found: reply.episode });
        }
        if reply.model_hash != model.hash {
            let (expected, found) = (model.hash.clone(), reply.model_hash.clone());
            return Err(Rejection::Model { expected, found });
        }
        let expected = (contract.horizon, contract.spec.action_dim());
        let found = (reply.chunk.horizon(), reply.chunk.action_dim());
        if expected != found {
            return Err(Rejection::Shape { expected, found });
        }
        if let Some(at) = reply.chunk.values().iter().position(|value| !value.is_finite()) {
            let (action, dimension) = (at / found.1.max(1), at % found.1.max(1));
            return Err(Rejection::NotFinite { action, dimension });
        }
        if reply.first_tick > self.tick {
            return Err(Rejection::Future { now: self.tick, found: reply.first_tick });
        }
        if let Some(newest) = self.newest
            && reply.first_tick <= newest
        {
            return Err(Rejection::Old { newest, found: reply.first_tick });
        }
        let end = reply.first_tick.saturating_add(found.0 as u64);
        if end <= self.tick {
            return Err(Rejection::Past { now: self.tick, end });
        }
        let age = self.now.checked_sub(Duration::from_nanos(reply.t_obs_nanos));
        match age {
            Some(age) if age <= self.max_age => Ok(()),
            _ => Err(Rejection::Age { age: age.unwrap_or_default(), limit: self.max_age }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use engraft_core::ActionChunk;

    #[test]
    fn only_a_chunk_that_is_right_in_everything_is_taken() {
        let welcome = testing::welcome();
        let good = testing::reply(&welcome, 4, &[0.5, 0.6, 0.7, 0.8]);
        let expected = Expected {
            welcome: &welcome,
            episode: 0,
            tick: 6,
            newest: Some(3),
            now: Duration::from_nanos(good.t_obs_nanos + 5),
            max_age: Duration::from_nanos(5),
        };
        assert_eq!(expected.check(&good), Ok(()));
        let mut bad: Vec<Reply> = vec![good.clone(); 10];
        bad[0].session.0[0] ^= 1;
        bad[1].episode = 1;
        bad[2].model_hash = "other".into();
        bad[3].chunk = ActionChunk::new(3, 1, vec![0.0; 3]).unwrap();
        bad[4].chunk = ActionChunk::new(4, 1, vec![0.0, 0.0, f32::NAN, 0.0]).unwrap();
        bad[5].first_tick = 3;
        bad[6].first_tick = 7;
        bad[7].t_obs_nanos -= 1;
        bad[8].t_obs_nanos += 1_000;
        bad[9].first_tick = 0;
        for (i, reply) in bad.iter().enumerate() {
            assert!(expected.check(reply).is_err(), "{i} was taken");
        }
        let error = expected.check(&bad[4]).unwrap_err().to_string();
        assert_eq!(error, "action 2 of the chunk is not finite in dimension 0");
    }
}
