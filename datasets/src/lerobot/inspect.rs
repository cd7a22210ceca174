//! What a dataset says about itself, held against its data.

use std::collections::BTreeMap;
use std::path::Path;

use super::features::{ACTION, DEPTH, Feature, INDICES, STATE, view_name};
use super::meta::parquet_files;
use super::{LerobotDataset, Version, file_len, tables};
use crate::info::guess_unit;
use crate::{Dataset, DatasetInfo, EpisodeSteps, FeatureInfo, Role, chain};

impl LerobotDataset {
    /// See [`Dataset::info`]: reads every footer, no row.
    pub(super) fn inspect(&self) -> DatasetInfo {
        let lengths = self.episodes.iter().map(|entry| entry.num_steps);
        let num_steps = self.num_steps();
        let fps = self.info.fps;
        let mut warnings = self.wrong_totals();
        warnings.extend(self.wrong_files());
        warnings.extend(self.open_questions());
        let data_files = self.data_files().into_iter();
        DatasetInfo {
            format: format!("LeRobot {}", self.info.version),
            path: self.root.clone(),
            robot: self.spec().name.clone(),
            fps,
            num_episodes: self.episodes.len(),
            num_steps,
            duration_secs: num_steps as f64 / f64::from(fps),
            episode_steps: EpisodeSteps::of(lengths),
            num_bytes: data_files.map(|file| file_len(&self.root.join(file))).sum(),
            tasks: self.tasks.iter().map(|(_, task)| task.clone()).collect(),
            features: self.info.features.0.iter().map(|(key, f)| self.feature(key, f)).collect(),
            warnings,
        }
    }

    fn feature(&self, key: &str, feature: &Feature) -> FeatureInfo {
        let spec = self.spec();
        let (role, dimensions) = if key == STATE {
            (Role::Proprio, &*spec.proprio)
        } else if key == ACTION {
            (Role::Action, &*spec.actions)
        } else if self.columns.views.iter().any(|(rgb, _)| rgb == key) {
            (Role::View, &[][..])
        } else if self.columns.views.iter().any(|(_, depth)| depth.as_deref() == Some(key)) {
            (Role::Depth, &[][..])
        } else if INDICES.iter().any(|(name, _)| *name == key) {
            (Role::Index, &[][..])
        } else {
            (Role::Other, &[][..])
        };
        let mut dimensions = dimensions.to_vec();
        for dimension in dimensions.iter_mut().filter(|dimension| dimension.unit.is_empty()) {
            dimension.unit = guess_unit(&dimension.name).into();
        }
        let (name, dtype, shape) = (key.into(), feature.dtype.clone(), feature.shape.clone());
        FeatureInfo { name, role, dtype, shape, dimensions }
    }

    /// Totals of `info.json` that are not what was counted.
    fn wrong_totals(&self) -> Vec<String> {
        let counted = [self.episodes.len(), self.num_steps(), self.tasks.len()];
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
        for entry in &self.episodes {
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
        if !self.columns.has_units {
            warnings.push("no meta/engraft.json: units and bounds are not known".into());
        }
        for key in [STATE, ACTION] {
            let Some(feature) = self.info.features.get(key) else {
                warnings.push(format!("no feature {key}"));
                continue;
            };
            let (names, width) = (feature.names.flatten().len(), feature.shape.first());
            if names > 0 && Some(&names) != width {
                warnings.push(format!("{key} has {names} names and shape {:?}", feature.shape));
            }
        }
        if self.columns.views.is_empty() {
            warnings.push("no pictures".into());
        }
        let depths = self.info.features.0.iter().filter_map(|(key, _)| key.strip_prefix(DEPTH));
        let without = depths.filter(|name| {
            !self.info.features.0.iter().any(|(key, _)| view_name(key) == Some(name))
        });
        warnings.extend(without.map(|name| format!("depth of {name} has no picture beside it")));
        if self.episodes.is_empty() {
            warnings.push("no episodes".into());
        }
        let gap = self.episodes.iter().enumerate().find(|(at, entry)| entry.index != *at as u64);
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
