//! The arm's side: sense, ask, limit, move.
//!
//! The bridge owns one arm. It asks a policy server for action chunks, plays them at the robot's
//! control rate, and keeps the arm safe with the server dead, slow, lying or hostile: what moves
//! the arm has passed [`accept`], the [`machine`] and the [`limits`], all of which are pure.
//! It is no certified safety function; a hardware emergency stop remains yours.
//!
//! ```text
//! arm.sense ──► controller.sense ──► link.ask ══ policy-link thread ══► policy server
//!                                    link.poll ◄═══════════════════════ chunk
//!               controller.hear ◄──┘
//!               controller.act  ──► limits ──► arm.apply
//!                                └─► recorder ══ recorder thread ══► rollout log
//! ```

pub mod accept;
pub mod arms;
pub mod calibration;
pub mod cli;
pub mod codecs;
pub mod control;
pub mod controller;
pub mod description;
pub mod driver;
pub mod emulate;
pub mod eyes;
pub mod hand;
pub mod hub;
pub mod kinematics;
pub mod limits;
pub mod link;
pub mod machine;
pub mod motion;
pub mod motors;
pub mod operator;
pub mod pace;
pub mod pilot;
pub mod plan;
pub mod recorder;
pub mod session;
#[cfg(test)]
mod testing;
pub mod units;

/// What went wrong, in brackets, to stand behind an error's own words.
fn because(trouble: Option<&String>) -> String {
    trouble.map_or(String::new(), |trouble| format!(" ({trouble})"))
}
