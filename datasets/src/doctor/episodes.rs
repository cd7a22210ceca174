//! Episodes as a whole: doubled, too short, too long, without movement or without a task.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::survey::Survey;
use super::{DUPLICATE_EPISODE, Finding};
use crate::Dataset;

/// Steps below which an episode teaches nothing.
const SHORT_STEPS: usize = 3;
/// How many times the median an episode is long.
const LONG: usize = 5;
/// Episodes that it takes to know which length is usual.
const LEAST_EPISODES: usize = 4;
/// Seconds without movement that are worth a note.
const STILL_SECS: f32 = 1.0;
/// Different tasks up to which each is compared with each.
const MAX_TASKS: usize = 400;
/// Characters from which on two tasks with a letter or two between them are nearly the same.
const TASK_CHARACTERS: usize = 10;

/// Looks at episodes as wholes.
pub(super) fn examine(dataset: &dyn Dataset, surveys: &[Survey]) -> Vec<Finding> {
    let mut findings = duplicates(surveys);
    findings.extend(lengths(surveys));
    findings.extend(echoes(surveys));
    findings.extend(stillness(dataset.spec().control_hz, surveys));
    findings.extend(tasks(dataset));
    findings
}

fn duplicates(surveys: &[Survey]) -> Vec<Finding> {
    let (mut wholes, mut actions) = (HashMap::new(), HashMap::new());
    let mut findings = Vec::new();
    for survey in surveys.iter().filter(|survey| survey.num_steps > 0) {
        let episode = survey.episode;
        let whole = *wholes.entry(survey.hash).or_insert(episode);
        let action = *actions.entry(survey.actions_hash).or_insert(episode);
        if whole != episode {
            let message =
                format!("expected a demonstration of its own, found episode {whole} again");
            let found = Finding::warning(DUPLICATE_EPISODE, message).in_episode(episode);
            findings.push(found.remedy("leave it out").repairable());
        } else if action != episode && survey.num_steps >= SHORT_STEPS {
            let message = format!("the actions are those of episode {action}, the rest is not");
            findings.push(Finding::note("same-actions", message).in_episode(episode));
        }
    }
    findings
}

fn lengths(surveys: &[Survey]) -> Vec<Finding> {
    let mut sorted: Vec<usize> = surveys.iter().map(|survey| survey.num_steps).collect();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    let mut findings = Vec::new();
    for survey in surveys {
        let count = survey.num_steps;
        if (1..SHORT_STEPS).contains(&count) {
            let message = format!("expected a demonstration, found {count} step(s)");
            let found = Finding::warning("short-episode", message).in_episode(survey.episode);
            findings.push(found.remedy("leave it out"));
        } else if surveys.len() >= LEAST_EPISODES && count > LONG * median {
            let message =
                format!("the episode has {count} steps, half of all have {median} or fewer");
            findings.push(Finding::note("long-episode", message).in_episode(survey.episode));
        }
    }
    findings
}

/// Actions that are nothing but what was sensed in the same step.
fn echoes(surveys: &[Survey]) -> Vec<Finding> {
    let is_echo = |survey: &&Survey| {
        let moves = survey.proprio.iter().any(|series| series.range() > 0.0);
        moves && survey.num_steps >= SHORT_STEPS && survey.echoes * 100 >= survey.num_steps * 99
    };
    let echoes: Vec<usize> = surveys.iter().filter(is_echo).map(|survey| survey.episode).collect();
    let warn = |place: &str| {
        let message = format!(
            "expected actions that lead to the next step, found them equal to proprio of the same \
             step{place}"
        );
        let remedy = "no action was recorded: take proprio of the next step as action";
        Finding::warning("action-is-proprio", message).remedy(remedy)
    };
    if echoes.len() == surveys.len() && !surveys.is_empty() {
        return vec![warn(" in every episode")];
    }
    echoes.into_iter().map(|episode| warn("").in_episode(episode)).collect()
}

fn stillness(control_hz: f32, surveys: &[Survey]) -> Vec<Finding> {
    let least = (STILL_SECS * control_hz).ceil() as usize;
    let side = |place: &str, of: fn(&Survey) -> usize| {
        let long =
            surveys.iter().filter(|survey| of(survey) > least && of(survey) < survey.num_steps);
        let longest = long.clone().max_by_key(|survey| of(survey))?;
        let message = format!(
            "the arm stands still for more than {STILL_SECS} s at the {place} of {} episode(s), \
             longest in this one ({} steps)",
            long.count(),
            of(longest)
        );
        Some(Finding::note("stationary", message).in_episode(longest.episode))
    };
    let sides = [side("start", |survey| survey.still.0), side("end", |survey| survey.still.1)];
    sides.into_iter().flatten().collect()
}

fn tasks(dataset: &dyn Dataset) -> Vec<Finding> {
    let mut by_task: BTreeMap<&str, usize> = BTreeMap::new();
    let mut empty = Vec::new();
    for episode in 0..dataset.num_episodes() {
        let task = dataset.task(episode);
        if task.trim().is_empty() {
            empty.push(episode);
        } else {
            *by_task.entry(task).or_default() += 1;
        }
    }
    let mut findings = Vec::new();
    match empty.first() {
        Some(_) if by_task.is_empty() => {
            findings.push(Finding::note("empty-task", "no episode says what its task is"));
        }
        Some(&first) => {
            let (count, all) = (empty.len(), dataset.num_episodes());
            let message =
                format!("expected a task, found none in {count} of {all} episodes, first in this");
            findings.push(Finding::warning("empty-task", message).in_episode(first));
        }
        None => {}
    }
    let names: Vec<&str> = by_task.keys().copied().take(MAX_TASKS).collect();
    for (at, a) in names.iter().enumerate() {
        for b in names[at + 1..].iter().filter(|b| nearly_same(a, b)) {
            let message = format!("tasks {a:?} and {b:?} are nearly the same");
            findings.push(Finding::note("similar-tasks", message).remedy("spell them alike"));
        }
    }
    findings
}

/// Whether two tasks differ in case, spaces and punctuation alone, or in a letter or two.
fn nearly_same(a: &str, b: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let text = text.to_lowercase();
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let (a, b) = (words(a), words(b));
    if a == b {
        return true;
    }
    let numbers = |words: &[String]| -> BTreeSet<String> {
        words.iter().filter(|word| word.contains(char::is_numeric)).cloned().collect()
    };
    let (a_text, b_text) = (a.join(" "), b.join(" "));
    let long = a_text.chars().count().min(b_text.chars().count()) >= TASK_CHARACTERS;
    long && a.len() == b.len() && numbers(&a) == numbers(&b) && edits(&a_text, &b_text) <= 2
}

/// Letters to add, drop or change on the way from one text to another.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, c) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = at + 1;
        for (j, d) in b.iter().enumerate() {
            let change = corner + usize::from(c != *d);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_compared_as_a_reader_would() {
        assert!(nearly_same("Open the drawer.", "open the  drawer"));
        assert!(nearly_same("open the drawer", "open the drawwer"));
        assert!(!nearly_same("open drawer number 1", "open drawer number 2"));
        assert!(!nearly_same("open the drawer", "close the drawer"));
        assert!(!nearly_same("push", "pull"));
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
