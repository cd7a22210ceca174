//! The list of weights that have a name.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Architecture, Normalization, Preprocessing, WeightsError};

/// One entry of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// What configs and commands call it.
    pub name: String,
    /// The network that it fills.
    pub architecture: Architecture,
    /// One line for people.
    pub about: String,
    /// The licence of the weights, as SPDX writes it where it can.
    pub licence: String,
    /// The file's name in the cache.
    pub file: String,
    /// SHA-256 of the file in hex, or its first digits, or nothing where none is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How it was trained to see pixels.
    pub normalization: Normalization,
    /// Under which names the network stands in the file; everything else is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Where the file comes from.
    pub source: Source,
}

/// Where a weight file comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Source {
    /// A file inside a Python package.
    Wheel {
        /// The package and its version, as pip writes it.
        wheel: String,
        /// The path inside the package.
        inside: String,
    },
    /// An address.
    Url {
        /// The address.
        url: String,
    },
    /// A file that somebody imported.
    Imported {
        /// Where it was.
        imported: PathBuf,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) weights: Vec<Weights>,
}

const BUILT_IN: &str = include_str!("manifest.toml");

impl Manifest {
    pub(crate) fn built_in() -> Self {
        toml::from_str(BUILT_IN).expect("the manifest that engraft is built with is read by a test")
    }
}

impl Weights {
    /// The entry of that name, built in or imported on this machine.
    ///
    /// # Errors
    ///
    /// When there is none; the message lists those there are.
    pub fn named(name: &str) -> Result<Self, WeightsError> {
        crate::weights::Cache::open()?.named(name)
    }

    /// How pixels are prepared for these weights.
    pub fn preprocessing(&self) -> Preprocessing {
        Preprocessing { normalization: self.normalization, ..self.architecture.preprocessing() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_entry_is_complete_and_has_a_name_of_its_own() {
        let all = Manifest::built_in().weights;
        for (index, weights) in all.iter().enumerate() {
            assert!(!weights.licence.is_empty() && !weights.about.is_empty(), "{}", weights.name);
            assert!(
                all[..index]
                    .iter()
                    .all(|other| other.name != weights.name && other.file != weights.file)
            );
            if let Some(sha256) = &weights.sha256 {
                assert!(sha256.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)));
                assert!([8, 64].contains(&sha256.len()), "{}", weights.name);
            }
        }
        let trained_with =
            |name: &str| all.iter().find(|weights| weights.name == name).unwrap().normalization;
        assert_eq!(trained_with("mae-vitb16"), Normalization::Imagenet); // MVP alone takes 0.5
        assert_eq!(trained_with("efficientnet-lite0"), Normalization::EfficientnetLite);
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let text = BUILT_IN.replacen("licence", "license", 1);
        let error = toml::from_str::<Manifest>(&text).unwrap_err();
        assert!(error.message().contains("license"), "{}", error.message());
    }
}
