//! The colours and words that sheets, figures and recordings share.

use engraft_core::Outcome;

/// A colour, red first.
pub(crate) type Rgb = [u8; 3];

/// What was sent to the arm.
pub(crate) const EXECUTED: Rgb = [0x2f, 0x6f, 0xb5];
/// What a policy predicted.
pub(crate) const PREDICTED: Rgb = [0xe8, 0x85, 0x2b];
/// What a limit changed.
pub(crate) const LIMITED: Rgb = [0xd6, 0x33, 0x55];

/// Colours of runs and policies: apart from each other, and legible on light and on dark paper.
pub(crate) const SERIES: [Rgb; 8] = [
    [0x3d, 0x7d, 0xc4],
    [0xe8, 0x85, 0x2b],
    [0x2f, 0x9e, 0x6e],
    [0xa0, 0x63, 0xc4],
    [0xd6, 0x4a, 0x5c],
    [0x23, 0xa0, 0xb0],
    [0xb5, 0x8a, 0x1d],
    [0x8a, 0x8f, 0x98],
];

/// The colour of the `i`-th run or policy.
pub(crate) fn series(i: usize) -> Rgb {
    SERIES[i % SERIES.len()]
}

/// An outcome in a word, and its colour.
pub(crate) fn outcome(outcome: Outcome) -> (&'static str, Rgb) {
    match outcome {
        Outcome::Success => ("success", [0x25, 0x8a, 0x4e]),
        Outcome::Failure => ("failure", [0xc9, 0x36, 0x4a]),
        Outcome::Stopped => ("stopped", [0xb4, 0x6d, 0x0f]),
        Outcome::Unknown => ("not judged", [0x77, 0x7e, 0x8a]),
    }
}
