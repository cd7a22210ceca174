//! What a dataset says about itself, held against its data.

use std::collections::BTreeMap;
use std::path::Path;

use super::features::{ACTION, DEPTH, STATE, view_name};
use super::meta::parquet_files;
use super::{LerobotSource, Version, tables};
use crate::chain;

impl LerobotSource {
    /// See [`Source::warnings`](crate::source::Source::warnings): reads every footer, no row.
    pub(super) fn inspect(&self) -> Vec<String> {
        let mut warnings = self.wrong_totals();
        warnings.extend(self.wrong_files());
        warnings.extend(self.open_questions());
        warnings
    }

    /// Totals of `info.json` that are not what was counted.
    fn wrong_totals(&self) -> Vec<String> {
        let num_steps = self.metas.iter().map(|entry| entry.num_steps).sum();
        let counted = [self.metas.len(), num_steps, self.tasks.len()];
        let names = ["total_episodes", "total_frames", "total_tasks"];
        let each = names.iter().zip(self.info.totals).zip(counted);
        each.filter_map(|((name, claimed), counted)| {
            let claimed = claimed?;
            (claimed != counted as u64)
                .then(|| format!("info.json says {name} = {claimed}, the data has {counted}"))
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
            let stored = |key: &str| builder.schema().field_with_name(key).is_ok();
            let features = self.info.features.0.iter();
            let missing = features.filter(|(key, f)| f.dtype != "video" && !stored(key));
            let extra = builder.schema().fields().iter();
            let extra = extra.filter(|field| self.info.features.get(field.name()).is_none());
            let mut different: Vec<String> =
                missing.map(|(key, _)| format!("no column for feature {key}")).collect();
            different.extend(extra.map(|field| format!("column {} of no feature", field.name())));
            if !columns_told && !different.is_empty() {
                columns_told = true; // one file speaks for all
                warnings.push(format!("{} has {}", file.display(), different.join(", ")));
            }
        }
        let present = parquet_files(&self.root.join("data")).unwrap_or_default();
        let stray = present.iter().filter_map(|path| path.strip_prefix(&self.root).ok());
        let stray = stray.filter(|path| !expected.contains_key(path));
        warnings.extend(stray.map(|path| format!("{} belongs to no episode", path.display())));
        warnings
    }

    /// What a policy needs and the dataset leaves open.
    fn open_questions(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for key in [STATE, ACTION] {
            let Some(feature) = self.info.features.get(key) else { continue };
            let (names, width) = (feature.names.flatten().len(), feature.shape.first());
            if names > 0 && Some(&names) != width {
                warnings.push(format!("{key} has {names} names and shape {:?}", feature.shape));
            }
        }
        let depths = self.info.features.0.iter().filter_map(|(key, _)| key.strip_prefix(DEPTH));
        let without = depths.filter(|name| {
            !self.info.features.0.iter().any(|(key, _)| view_name(key) == Some(name))
        });
        warnings.extend(without.map(|name| format!("depth of {name} has no picture beside it")));
        let gap = self.metas.iter().enumerate().find(|(at, entry)| entry.index != *at as u64);
        if let Some((at, entry)) = gap {
            warnings.push(format!("episode {at} is missing, the next one is {}", entry.index));
        }
        let stats = match self.info.version {
            Version::V20 | Version::V30 => "meta/stats.json",
            Version::V21 => "meta/episodes_stats.jsonl",
        };
        if !self.root.join(stats).is_file() {
            warnings.push(format!("no {stats}: the lerobot package may not open this"));
        }
        warnings
    }
}
