//! The statistics that a dataset keeps, held against its rows.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::examine::FileRows;
use super::{LerobotSource, Version};
use crate::Finding;
use crate::files::read_text;

/// Running statistics of a column of vectors.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
    min: Vec<f64>,
    max: Vec<f64>,
}

impl Sums {
    /// Of vectors of `width` numbers, none so far.
    pub(super) fn new(width: usize) -> Self {
        let all = |value: f64| vec![value; width];
        Self {
            count: 0.0,
            mean: all(0.0),
            squares: all(0.0),
            min: all(f64::INFINITY),
            max: all(f64::NEG_INFINITY),
        }
    }

    /// Takes rows of numbers.
    pub(super) fn take(&mut self, values: &[f32]) {
        for row in values.chunks_exact(self.mean.len()) {
            self.count += 1.0;
            for (at, &value) in row.iter().enumerate() {
                let value = f64::from(value);
                let off = value - self.mean[at];
                self.mean[at] += off / self.count;
                self.squares[at] += off * (value - self.mean[at]);
                self.min[at] = self.min[at].min(value);
                self.max[at] = self.max[at].max(value);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        let total = self.count + other.count;
        if other.count == 0.0 {
            return;
        }
        for at in 0..self.mean.len() {
            let off = other.mean[at] - self.mean[at];
            self.mean[at] += off * other.count / total;
            self.squares[at] += other.squares[at] + off * off * self.count * other.count / total;
            self.min[at] = self.min[at].min(other.min[at]);
            self.max[at] = self.max[at].max(other.max[at]);
        }
        self.count = total;
    }

    /// The statistic of `claimed` that is farthest from the rows: what, claimed, counted.
    fn difference(&self, claimed: &Value) -> Option<(String, f64, f64)> {
        if let Some(count) = claimed.get("count").and_then(|count| count.get(0)?.as_f64())
            && (count - self.count).abs() > 0.5
        {
            return Some(("count".into(), count, self.count));
        }
        if self.mean.iter().any(|mean| !mean.is_finite()) {
            return None; // rows that are not finite are told as such
        }
        let std: Vec<f64> =
            self.squares.iter().map(|all| (all / self.count).max(0.0).sqrt()).collect();
        let named = [("mean", &self.mean), ("std", &std), ("min", &self.min), ("max", &self.max)];
        let mut worst: Option<(f64, (String, f64, f64))> = None;
        for (name, counted) in named {
            let mut values = Vec::new();
            flatten(claimed.get(name)?, &mut values);
            if values.len() != counted.len() {
                let (found, expected) = (values.len() as f64, counted.len() as f64);
                return Some((format!("the number of values of {name}"), found, expected));
            }
            for (at, (&claimed, &counted)) in values.iter().zip(counted).enumerate() {
                // The lerobot package counts in single precision.
                let allowed = 1e-3 * std[at] + 1e-4 * counted.abs() + 1e-6;
                let off = (claimed - counted).abs() / allowed;
                let is_worse = worst.as_ref().is_none_or(|(most, _)| off > *most);
                if (off.is_nan() || off > 1.0) && is_worse {
                    worst = Some((off, (format!("{name}, dimension {at},"), claimed, counted)));
                }
            }
        }
        worst.map(|(_, found)| found)
    }
}

/// Every number in nested lists; what is no number is NaN.
fn flatten(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| flatten(one, into)),
        one => into.push(one.as_f64().unwrap_or(f64::NAN)),
    }
}

impl LerobotSource {
    /// Statistics that are missing, or not those of the rows.
    pub(super) fn wrong_stats(&self, files: &BTreeMap<&Path, FileRows>) -> Vec<Finding> {
        if self.info.version == Version::V21 {
            return self.wrong_stats_of_episodes(files);
        }
        let Some(claimed) = self.read_json("meta/stats.json") else { return Vec::new() };
        let mut findings = Vec::new();
        // Where a file cannot be read, nobody knows what the statistics should be.
        let is_whole = self.data_files().len() == files.len() && !self.metas.is_empty();
        for (at, column) in self.counted().enumerate() {
            let name = &column.name;
            let Some(claimed) = claimed.get(name) else {
                let message = format!("meta/stats.json says nothing of `{name}`");
                findings.push(Finding::warning("missing-stats", message).repairable());
                continue;
            };
            if self.info.version == Version::V30 && claimed.get("q01").is_none() {
                let message = format!("meta/stats.json has no quantiles of `{name}`");
                let found = Finding::note("missing-quantiles", message);
                findings.push(found.remedy("some policies scale by q01 and q99").repairable());
            }
            let mut sums = Sums::new(column.width());
            for file in files.values() {
                sums.merge(&file.sums[at]);
            }
            if let Some(difference) = sums.difference(claimed).filter(|_| is_whole) {
                findings.push(wrong("meta/stats.json", name, difference));
            }
        }
        findings
    }

    /// In v2.1, whose files hold one episode each.
    fn wrong_stats_of_episodes(&self, files: &BTreeMap<&Path, FileRows>) -> Vec<Finding> {
        let file = "meta/episodes_stats.jsonl";
        let Ok(text) = read_text(&self.root.join(file)) else { return Vec::new() };
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let claimed: BTreeMap<u64, Value> =
            lines.filter_map(|line| Some((line.get("episode_index")?.as_u64()?, line))).collect();
        let mut findings = Vec::new();
        for (at, meta) in self.metas.iter().enumerate() {
            let Some(rows) = files.get(&*meta.file) else { continue };
            let Some(claimed) = claimed.get(&meta.index).and_then(|line| line.get("stats")) else {
                let message = format!("{file} says nothing of it");
                findings
                    .push(Finding::warning("missing-stats", message).in_episode(at).repairable());
                continue;
            };
            for (column, sums) in self.counted().zip(&rows.sums) {
                let difference = claimed.get(&column.name).and_then(|all| sums.difference(all));
                findings.extend(
                    difference.map(|found| wrong(file, &column.name, found).in_episode(at)),
                );
            }
        }
        findings
    }

    fn read_json(&self, file: &str) -> Option<Value> {
        serde_json::from_str(&read_text(&self.root.join(file)).ok()?).ok()
    }
}

fn wrong(file: &str, feature: &str, (what, claimed, counted): (String, f64, f64)) -> Finding {
    let message = format!("{file} says {what} of `{feature}` is {claimed}, the data has {counted}");
    Finding::warning("wrong-stats", message).remedy("count them again").repairable()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sums_equal_those_of_all_rows_at_once() {
        let values: Vec<f32> = (0..20).map(|i| (i * i % 13) as f32).collect();
        let (mut whole, mut parts) = (Sums::new(2), Sums::new(2));
        whole.take(&values);
        for part in values.chunks(6) {
            let mut one = Sums::new(2);
            one.take(part);
            parts.merge(&one);
        }
        assert_eq!((whole.count, &whole.min, &whole.max), (parts.count, &parts.min, &parts.max));
        for at in 0..2 {
            assert!((whole.mean[at] - parts.mean[at]).abs() < 1e-12);
            assert!((whole.squares[at] - parts.squares[at]).abs() < 1e-9);
        }
    }

    #[test]
    fn the_worst_statistic_is_named() {
        let mut sums = Sums::new(1);
        sums.take(&[1.0, 3.0]);
        let right = json!({ "mean": [2.0], "std": [1.0], "min": [1], "max": [3.0], "count": [2] });
        assert_eq!(sums.difference(&right), None);
        let mut wrong = right.clone();
        wrong["mean"] = json!([2.5]);
        wrong["max"] = json!([3.1]);
        let expected = ("mean, dimension 0,".to_owned(), 2.5, 2.0);
        assert_eq!(sums.difference(&wrong), Some(expected));
        wrong["count"] = json!([3]);
        assert_eq!(sums.difference(&wrong).unwrap().0, "count");
    }
}
