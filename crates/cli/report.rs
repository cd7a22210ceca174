//! The quick start's report: one HTML file, and the same in short as Markdown.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context;
use engraft_core::{Outcome, Rate};
use engraft_viz::{
    Bar, Block, Command, Report, Section, SheetOptions, Table, contact_sheet, success_bars,
    training_curves,
};

use crate::quickstart::{Candidate, Story};

/// Writes `report.html` and `report.md`.
pub(crate) fn write_report(story: &Story) -> anyhow::Result<()> {
    let files = [("report.html", report(story).to_html()), ("report.md", markdown(story))];
    for (name, text) in files {
        let path = story.out.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn report(story: &Story) -> Report {
    let best = &story.candidates[story.served];
    let mut facts = Vec::new();
    for candidate in &story.candidates {
        for (split, success) in splits(candidate) {
            let percent = format!("{:.0} %", 100.0 * success.rate);
            facts.push((format!("{} on {split} instances", candidate.name), percent));
        }
    }
    let mut sections = vec![
        Section::new("Success in closed loop", success(story)),
        Section::new("Training", training(story)),
        Section::new("The arm, driven through the bridge", rollouts(story)),
    ];
    if let Some(rollout) = &story.attention {
        let caption = "Where SpawnNet's adapters respond, tap by tap, over the pictures of one \
                       held-out episode.";
        let image = contact_sheet(rollout, &SheetOptions::default());
        let picture = Block::Picture { image, caption: caption.into() };
        sections.push(Section::new("Where SpawnNet looks", vec![picture]));
    }
    sections.push(Section::new("What to try next", vec![Block::Commands(next(story))]));
    Report {
        title: format!("engraft: a {} policy, from nothing", story.task),
        lead: lead(story, best),
        facts,
        sections,
        footer: format!(
            "engraft {}; everything lies in {}",
            env!("CARGO_PKG_VERSION"),
            story.out.display()
        ),
    }
}

fn lead(story: &Story, best: &Candidate) -> String {
    let minutes = story.elapsed.as_secs_f64() / 60.0;
    let mut lead = format!(
        "{} demonstrations ({} steps) were recorded, {} trained and evaluated, and {} was served \
         to the simulated arm, in {minutes:.1} minutes.",
        story.episodes,
        story.recorded.steps,
        if story.candidates.len() == 1 { "one policy" } else { "two policies" },
        best.name,
    );
    if let Some(reason) = &story.without_backbone {
        // A string takes everything.
        let _ = write!(lead, " There is no SpawnNet: {reason}.");
    }
    lead
}

fn splits(candidate: &Candidate) -> [(&'static str, &Rate); 2] {
    [("training", &candidate.train.success), ("held-out", &candidate.heldout.success)]
}

fn success(story: &Story) -> Vec<Block> {
    let mut bars = Vec::new();
    let mut rows = Vec::new();
    for candidate in &story.candidates {
        for (split, success) in splits(candidate) {
            bars.push(Bar {
                group: format!("{split} instances"),
                label: candidate.name.into(),
                successes: success.successes as u64,
                trials: success.episodes as u64,
            });
            rows.push(vec![candidate.name.into(), split.into(), success.to_string()]);
        }
    }
    let columns = ["policy", "instances", "success"].map(str::to_owned).to_vec();
    let caption = "Share of episodes in which the task was achieved, with 95 % Wilson intervals. \
                   Held-out instances have handles and looks that training never shows.";
    vec![
        Block::Figure { svg: success_bars("Success", &bars), caption: caption.into() },
        Block::Table(Table { columns, rows }),
    ]
}

fn training(story: &Story) -> Vec<Block> {
    let curves: Vec<_> = story.candidates.iter().flat_map(|c| c.curves.clone()).collect();
    let columns = ["policy", "steps", "images/s", "waiting for data", "learned parameters"];
    let rows = story.candidates.iter().map(|candidate| {
        let summary = &candidate.summary;
        vec![
            candidate.name.to_owned(),
            summary.step.to_string(),
            format!("{:.0}", summary.images_per_sec),
            format!("{:.1} %", 100.0 * summary.waiting),
            summary.num_learned_params.to_string(),
        ]
    });
    let table = Table { columns: columns.map(str::to_owned).to_vec(), rows: rows.collect() };
    let caption = "Loss of the normalized actions. Validation is on whole episodes held back.";
    vec![
        Block::Figure { svg: training_curves("Losses", &curves), caption: caption.into() },
        Block::Table(table),
    ]
}

fn rollouts(story: &Story) -> Vec<Block> {
    let mut blocks = vec![Block::Text(format!(
        "The bridge ran in a process of its own, asked the server over ZeroMQ and moved the arm at \
         10 Hz within its limits. {} of {} held-out episodes succeeded.",
        story.rollouts.iter().filter(|rollout| rollout.outcome == Outcome::Success).count(),
        story.rollouts.len()
    ))];
    for rollout in &story.rollouts {
        let caption = format!("{}, seed {}", rollout.instance, rollout.seed);
        blocks.push(Block::Picture {
            image: contact_sheet(rollout, &SheetOptions::default()),
            caption,
        });
    }
    blocks
}

fn next(story: &Story) -> Vec<Command> {
    let out = story.out.display();
    let run = story.candidates[story.served].dir.display().to_string();
    let task = story.task;
    vec![
        Command::new("Scrub through the rollout", format!("rerun {out}/rollout.rrd")),
        Command::new(
            "Serve the policy, and drive the arm from a second terminal",
            format!("engraft serve {run}"),
        ),
        Command::new("The second terminal", format!("engraft bridge --task {task} --episodes 5")),
        Command::new(
            "Count more episodes",
            format!("engraft eval {run} --sim {task} --split heldout --episodes 240"),
        ),
        Command::new(
            "Look at the demonstrations",
            format!("engraft data inspect {out}/demonstrations"),
        ),
        Command::new(
            "Train longer, with a recipe to change",
            format!(
                "engraft train policies/recipes/lfs-drawer.toml --data {out}/demonstrations --out {out}/longer"
            ),
        ),
    ]
}

fn markdown(story: &Story) -> String {
    let mut text = format!("# engraft quick start: {}\n\n", story.task);
    let best = &story.candidates[story.served];
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!("{}\n", lead(story, best)));
    line("| policy | training instances | held-out instances |".into());
    line("| --- | --- | --- |".into());
    for candidate in &story.candidates {
        let [(_, train), (_, heldout)] = splits(candidate);
        line(format!("| {} | {} | {} |", candidate.name, train, heldout));
    }
    line("\n![The first rollout](contact-sheet.png)\n".into());
    for command in next(story) {
        line(format!("- {}: `{}`", command.why, command.line));
    }
    text
}
