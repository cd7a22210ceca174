//! Plays a journal again: what went in must lead to what came out, bit for bit.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use engraft_wire::journal::JournalReader;

use super::arm::chain;
use crate::control::{Heading, Record};
use crate::pilot::Pilot;

/// Play a journal again.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// What `firmware-bridge run --journal` kept.
    #[arg(value_name = "JOURNAL")]
    journal: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verified {
    /// Inputs that were played.
    pub(super) inputs: usize,
    /// Set-points that came out.
    pub(super) set_points: usize,
    /// The first record whose output was another.
    pub(super) differs: Option<usize>,
}

/// Plays it.
pub(super) fn play(journal: &std::path::Path) -> anyhow::Result<Verified> {
    let mut reader = JournalReader::open(journal)?;
    let heading = reader.next_record::<Heading>()?.context("the journal is empty")?;
    let Heading { arm, scales, config } = heading;
    let mut pilot = Pilot::new(&arm, &scales, chain(&arm)?, config)?;
    let mut verified = Verified { inputs: 0, set_points: 0, differs: None };
    while let Some(record) = reader.next_record::<Record>()? {
        let output = pilot.step(&record.input, record.now);
        if output != record.output {
            verified.differs = Some(verified.inputs);
            break;
        }
        verified.inputs += 1;
        verified.set_points += usize::from(output.is_some_and(|output| output.goals.is_some()));
    }
    Ok(verified)
}

/// Says whether set-points are the same. 0 is yes, 1 is no.
pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let Verified { inputs, set_points, differs } = play(&args.journal)?;
    let mut out = io::stdout();
    if let Some(record) = differs {
        writeln!(
            out,
            "record {record} leads to another set-point than it did: was the journal kept by \
             another version, or were records lost to a slow disk?"
        )?;
        return Ok(ExitCode::from(1));
    }
    writeln!(out, "{inputs} inputs lead to the same {set_points} set-points, bit for bit")?;
    Ok(ExitCode::SUCCESS)
}
