//! What a hostile run is made of: pseudo-random numbers, moods of the policy and of the encoders.

/// A small generator of pseudo-random numbers: a counter, well mixed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A whole number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// What the policy, or whoever took its place, sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mood {
    Steps,
    Nyquist,
    Wave { hz: f64 },
    Stuck,
    BeyondLimits,
    Tiny,
    Huge,
    NoNumbers,
    Hold,
}

/// What the measurements do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Encoder {
    Honest,
    Frozen,
    Offset { leashes: f64 },
    Noise { leashes: f64 },
    NoNumbers,
}

impl Mood {
    pub(super) fn any(dice: &mut Dice) -> Self {
        match dice.below(9) {
            0 => Self::Steps,
            1 => Self::Nyquist,
            2 => Self::Wave { hz: 10_f64.powf(dice.between(-1.0, 1.5)) },
            3 => Self::Stuck,
            4 => Self::BeyondLimits,
            5 => Self::Tiny,
            6 => Self::Huge,
            7 => Self::NoNumbers,
            _ => Self::Hold,
        }
    }
}

impl Encoder {
    pub(super) fn any(dice: &mut Dice) -> Self {
        match dice.below(8) {
            0 => Self::Frozen,
            1 => Self::Offset { leashes: dice.between(-4.0, 4.0) },
            2 => Self::Noise { leashes: dice.between(0.0, 3.0) },
            3 => Self::NoNumbers,
            _ => Self::Honest,
        }
    }
}

pub(super) fn no_number(dice: &mut Dice) -> f64 {
    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0][dice.below(4) as usize]
}
