//! What a dataset says about itself, held against its data.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_schema::Schema;

use super::features::{ACTION, DEPTH, STATE, view_name};
use super::meta::parquet_files;
use super::{LerobotSource, Version, tables};
use crate::{Finding, chain};

impl LerobotSource {
    /// See [`Source::warnings`](crate::source::Source::warnings): reads every footer, no row.
    pub(super) fn inspect(&self) -> Vec<String> {
        let say = |findings: Vec<Finding>| findings.into_iter().map(|found| found.message);
        let mut warnings: Vec<String> = say(self.wrong_totals()).collect();
        warnings.extend(self.wrong_files());
        warnings.extend(say(self.stray_files()));
        warnings.extend(say(self.open_questions()));
        warnings
    }

    /// Totals of `info.json` that are not what was counted.
    pub(super) fn wrong_totals(&self) -> Vec<Finding> {
        let num_steps = self.metas.iter().map(|entry| entry.num_steps).sum();
        let counted = [self.metas.len(), num_steps, self.tasks.len()];
        let names = ["total_episodes", "total_frames", "total_tasks"];
        let each = names.iter().zip(self.info.totals).zip(counted);
        each.filter_map(|((name, claimed), counted)| {
            let claimed = claimed?;
            let message = format!("info.json says {name} = {claimed}, the data has {counted}");
            let found =
                Finding::warning("wrong-totals", message).remedy("count again").repairable();
            (claimed != counted as u64).then_some(found)
        })
        .collect()
    }

    /// Data files that cannot be read, or hold other rows or columns than is said of them.
    fn wrong_files(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut expected: BTreeMap<&Path, usize> = BTreeMap::new();
        for entry in &self.metas {
            *expected.entry(&entry.file).or_default() += entry.num_steps;
        }
        let mut columns_told = false;
        for (file, num_steps) in &expected {
            let builder = match tables::open(&self.root.join(file)) {
                Ok(builder) => builder,
                Err(error) => {
                    warnings.push(chain(&error));
                    continue;
                }
            };
            let found = builder.metadata().file_metadata().num_rows();
            if found != *num_steps as i64 {
                let file = file.display();
                warnings.push(format!("{file} has {found} rows, its episodes {num_steps} steps"));
            }
            let different = self.different_columns(builder.schema());
            if !columns_told && !different.is_empty() {
                columns_told = true; // one file speaks for all
                warnings.push(format!("{} has {}", file.display(), different.join(", ")));
            }
        }
        warnings
    }

    /// Columns that a data file lacks, and those that it has and no feature announces.
    pub(super) fn different_columns(&self, schema: &Schema) -> Vec<String> {
        let stored = |key: &str| schema.field_with_name(key).is_ok();
        let features = self.info.features.0.iter();
        let missing = features.filter(|(key, f)| f.dtype != "video" && !stored(key));
        let extra = schema.fields().iter();
        let extra = extra.filter(|field| self.info.features.get(field.name()).is_none());
        let mut different: Vec<String> =
            missing.map(|(key, _)| format!("no column for feature {key}")).collect();
        different.extend(extra.map(|field| format!("column {} of no feature", field.name())));
        different
    }

    /// Data files that no episode points to.
    pub(super) fn stray_files(&self) -> Vec<Finding> {
        let known = self.data_files();
        let present = parquet_files(&self.root.join("data")).unwrap_or_default();
        let stray = present.iter().filter_map(|path| path.strip_prefix(&self.root).ok());
        let stray = stray.filter(|path| known.binary_search(path).is_err());
        stray
            .map(|path| {
                let message = format!("{} belongs to no episode", path.display());
                let found = Finding::warning("stray-file", message);
                found.remedy("a recording was cut off here: delete the file").repairable()
            })
            .collect()
    }

    /// What a policy needs and the dataset leaves open.
    pub(super) fn open_questions(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let warn = Finding::warning;
        for key in [STATE, ACTION] {
            let Some(feature) = self.info.features.get(key) else { continue };
            let (names, width) = (feature.names.flatten().len(), feature.shape.first());
            if names > 0 && Some(&names) != width {
                let message = format!("{key} has {names} names and shape {:?}", feature.shape);
                found.push(warn("wrong-names", message));
            }
        }
        let depths = self.info.features.0.iter().filter_map(|(key, _)| key.strip_prefix(DEPTH));
        let without = depths.filter(|name| {
            !self.info.features.0.iter().any(|(key, _)| view_name(key) == Some(name))
        });
        found.extend(
            without.map(|name| {
                warn("lone-depth", format!("depth of {name} has no picture beside it"))
            }),
        );
        let gap = self.metas.iter().enumerate().find(|(at, entry)| entry.index != *at as u64);
        if let Some((at, entry)) = gap {
            let message = format!("episode {at} is missing, the next one is {}", entry.index);
            found.push(warn("missing-episode", message).remedy("number them again").repairable());
        }
        let stats = match self.info.version {
            Version::V20 | Version::V30 => "meta/stats.json",
            Version::V21 => "meta/episodes_stats.jsonl",
        };
        if !self.root.join(stats).is_file() {
            let message = format!("no {stats}: the lerobot package may not open this");
            found.push(warn("missing-stats", message).remedy("count them again").repairable());
        }
        found
    }
}
