//! The weights of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use engraft_core::hex;
use sha2::{Digest, Sha256};

use crate::manifest::{Manifest, Source, Weights};
use crate::weights::{cache_dir, file_hash};
use crate::{Architecture, Backbone, NamedTensors, Normalization, WeightsError, pull};

/// A file to import.
#[derive(Debug, Clone)]
pub struct Import {
    /// The file.
    pub file: PathBuf,
    /// The network that it fills.
    pub architecture: Architecture,
    /// What to call it; `None` takes the file's name without its ending.
    pub name: Option<String>,
    /// Under which names the network stands in the file; everything else is left out.
    pub prefix: Option<String>,
    /// How it was trained to see pixels; `None` takes what is usual for the architecture.
    pub normalization: Option<Normalization>,
}

/// What `verify` found out about one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The file is not on this machine.
    NotPulled,
    /// The bytes are the right ones and fill the network.
    Good {
        /// SHA-256 of the file, in hex.
        sha256: String,
        /// How many tensors the file holds.
        num_tensors: usize,
    },
}

/// The folder of weights of this machine.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The cache of this user; see [`cache_dir`].
    ///
    /// # Errors
    ///
    /// When there is no folder for it.
    pub fn open() -> Result<Self, WeightsError> {
        Ok(Self::at(cache_dir()?))
    }

    /// A cache in a folder of choice, which need not exist.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into().join("weights") }
    }

    /// Every entry, built-in ones first.
    ///
    /// # Errors
    ///
    /// When the manifest of imported weights is damaged.
    pub fn list(&self) -> Result<Vec<Weights>, WeightsError> {
        let mut all = Manifest::built_in().weights;
        all.extend(self.imported()?.weights);
        Ok(all)
    }

    /// The entry of that name.
    ///
    /// # Errors
    ///
    /// When there is none; the message lists those there are.
    pub fn named(&self, name: &str) -> Result<Weights, WeightsError> {
        let all = self.list()?;
        let known: Vec<_> = all.iter().map(|weights| weights.name.as_str()).collect();
        let known = known.join(", ");
        all.into_iter()
            .find(|weights| weights.name == name)
            .ok_or_else(|| WeightsError::Unknown { name: name.to_owned(), known })
    }

    /// Where the file of an entry is, or would be.
    pub fn path(&self, weights: &Weights) -> PathBuf {
        self.dir.join(&weights.file)
    }

    /// Whether the file of an entry is on this machine.
    pub fn has(&self, weights: &Weights) -> bool {
        self.path(weights).is_file()
    }

    /// Gets the file of an entry, unless it is here and intact.
    ///
    /// # Errors
    ///
    /// When the name is unknown, there is no network, or what arrives is not what was expected.
    pub fn pull(
        &self,
        name: &str,
        progress: &mut dyn FnMut(pull::Progress),
    ) -> Result<PathBuf, WeightsError> {
        let weights = self.named(name)?;
        let path = self.path(&weights);
        if path.is_file() && self.check(&weights).is_ok() {
            return Ok(path);
        }
        fs::create_dir_all(&self.dir).map_err(|source| WeightsError::Io {
            action: "create the cache folder",
            path: self.dir.clone(),
            source,
        })?;
        let arrived = pull::fetch(&weights, &self.dir, progress)?;
        let sha256 = file_hash(arrived.path())?;
        if let Some(expected) = &weights.sha256
            && !sha256.starts_with(expected.as_str())
        {
            let (expected, path) = (expected.clone(), arrived.path().to_owned());
            return Err(WeightsError::Checksum { expected, found: sha256, path });
        }
        self.write(&format!("{}.sha256", weights.file), format!("{sha256}\n").as_bytes())?;
        arrived.persist(&path).map_err(|error| WeightsError::Io {
            action: "write weight file",
            path: path.clone(),
            source: error.error,
        })?;
        Ok(path)
    }

    /// Copies a file of one's own into the cache, after checking that it fills the network.
    ///
    /// # Errors
    ///
    /// When the file is not exactly that architecture, or the name is taken by other weights.
    pub fn import(&self, import: &Import, device: &Device) -> Result<Weights, WeightsError> {
        let stem = import.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = import.name.clone().unwrap_or(stem);
        let fault = |reason: &str| WeightsError::Name { name: name.clone(), reason: reason.into() };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
            return Err(fault(
                "a name has letters, digits, `-`, `_` and `.`, name one with --name",
            ));
        }
        if Manifest::built_in().weights.iter().any(|weights| weights.name == name) {
            return Err(fault(
                "engraft knows other weights by that name, name another with --name",
            ));
        }
        let ending = import.file.extension().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(&import.file).map_err(|source| WeightsError::Io {
            action: "read weight file",
            path: import.file.clone(),
            source,
        })?;
        let normalization = import.normalization;
        let weights = Weights {
            architecture: import.architecture,
            about: format!("imported from {}", import.file.display()),
            licence: "unknown".to_owned(),
            file: format!("imported-{name}.{ending}"),
            sha256: Some(hex(&Sha256::digest(&bytes))),
            normalization: normalization
                .unwrap_or(import.architecture.preprocessing().normalization),
            prefix: import.prefix.clone(),
            source: Source::Imported { imported: import.file.clone() },
            name,
        };
        let tensors = NamedTensors::read(&import.file)?;
        fill(&weights, tensors, &import.file, device)?;
        let mut manifest = self.imported()?;
        manifest.weights.retain(|other| other.name != weights.name);
        manifest.weights.push(weights.clone());
        let text = toml::to_string(&manifest).map_err(|error| WeightsError::Manifest {
            reason: error.to_string(),
            path: self.imported_path(),
        })?;
        self.write(&weights.file, &bytes)?;
        self.write("imported.toml", text.as_bytes())?;
        Ok(weights)
    }

    /// Checks the bytes of an entry and that they fill its network.
    ///
    /// # Errors
    ///
    /// When the name is unknown, the checksum is wrong or the file is damaged.
    pub fn verify(&self, name: &str, device: &Device) -> Result<Verdict, WeightsError> {
        let weights = self.named(name)?;
        if !self.has(&weights) {
            return Ok(Verdict::NotPulled);
        }
        let sha256 = self.check(&weights)?;
        let path = self.path(&weights);
        let tensors = NamedTensors::read(&path)?;
        let num_tensors = tensors.len();
        fill(&weights, tensors, &path, device)?;
        Ok(Verdict::Good { sha256, num_tensors })
    }

    /// SHA-256 of the file of an entry, in hex, once it was compared with what is known of it.
    ///
    /// # Errors
    ///
    /// When the name is unknown, the file is not here, or its bytes are not the right ones.
    pub fn hash(&self, name: &str) -> Result<String, WeightsError> {
        self.check(&self.named(name)?)
    }

    /// The network with the weights of an entry.
    ///
    /// # Errors
    ///
    /// See [`load_named`](crate::load_named).
    pub fn load(&self, name: &str, device: &Device) -> Result<Backbone, WeightsError> {
        let weights = self.named(name)?;
        self.check(&weights)?;
        let path = self.path(&weights);
        fill(&weights, NamedTensors::read(&path)?, &path, device)
    }

    fn check(&self, weights: &Weights) -> Result<String, WeightsError> {
        let path = self.path(weights);
        if !path.is_file() {
            let name = weights.name.clone();
            return Err(match weights.source {
                Source::Imported { .. } => WeightsError::NoSource { name },
                _ => WeightsError::NotPulled { name, path },
            });
        }
        let found = file_hash(&path)?;
        let arrived = fs::read_to_string(self.dir.join(format!("{}.sha256", weights.file)));
        let arrived = arrived.ok().map(|text| text.trim().to_owned());
        for expected in weights.sha256.iter().chain(&arrived) {
            if !found.starts_with(expected.as_str()) {
                return Err(WeightsError::Checksum { expected: expected.clone(), found, path });
            }
        }
        Ok(found)
    }

    fn imported_path(&self) -> PathBuf {
        self.dir.join("imported.toml")
    }

    fn imported(&self) -> Result<Manifest, WeightsError> {
        let path = self.imported_path();
        if !path.exists() {
            return Ok(Manifest::default());
        }
        let text = fs::read_to_string(&path).map_err(|source| WeightsError::Io {
            action: "read manifest",
            path: path.clone(),
            source,
        })?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| WeightsError::Manifest {
            reason: error.message().to_owned(),
            path: path.clone(),
        })?;
        let names: BTreeSet<_> = manifest.weights.iter().map(|weights| &weights.name).collect();
        if names.len() < manifest.weights.len() {
            let reason = "a name stands in it twice".to_owned();
            return Err(WeightsError::Manifest { reason, path });
        }
        Ok(manifest)
    }

    /// Writes a file of the cache so that it is there whole or not at all.
    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), WeightsError> {
        let path = self.dir.join(file);
        let written = || -> std::io::Result<()> {
            fs::create_dir_all(&self.dir)?;
            let mut part = tempfile::NamedTempFile::new_in(&self.dir)?;
            part.write_all(bytes)?;
            part.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        written().map_err(|source| WeightsError::Io {
            action: "write to the cache",
            path: path.clone(),
            source,
        })
    }
}

fn fill(
    weights: &Weights,
    mut tensors: NamedTensors,
    path: &Path,
    device: &Device,
) -> Result<Backbone, WeightsError> {
    if let Some(prefix) = &weights.prefix {
        tensors = tensors.split_off(prefix);
        if tensors.is_empty() {
            let reason = format!("no tensor in it starts with `{prefix}`");
            return Err(WeightsError::Format { reason, path: path.to_owned() });
        }
    }
    let backbone = Backbone::from_tensors(weights.architecture, tensors, device)?;
    Ok(backbone.with_preprocessing(weights.preprocessing()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::made_up;

    fn resnet18_file(dir: &Path, prefix: &str) -> PathBuf {
        let tensors = made_up(Architecture::Resnet18, 0).into_iter();
        let owned: Vec<_> = tensors.map(|(name, data)| (format!("{prefix}{name}"), data)).collect();
        let views = owned.iter().map(|(name, data)| {
            let shape = data.shape().to_vec();
            let view = safetensors::tensor::TensorView::new(
                safetensors::Dtype::F32,
                shape,
                data.as_bytes(),
            );
            (name, view.unwrap())
        });
        let path = dir.join("mine.safetensors");
        safetensors::serialize_to_file(views, None, &path).unwrap();
        path
    }

    fn import(file: PathBuf) -> Import {
        let architecture = Architecture::Resnet18;
        Import { file, architecture, name: None, prefix: None, normalization: None }
    }

    #[test]
    fn weights_that_were_not_pulled_say_how_to_get_them() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let error = cache.load("mobilenet-v2", &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("get them with `engraft weights pull mobilenet-v2`"), "{error}");
        assert_eq!(cache.verify("mobilenet-v2", &Device::flex()).unwrap(), Verdict::NotPulled);
        let error = cache.load("mobilenet-v3", &Device::flex()).unwrap_err().to_string();
        assert!(error.starts_with("unknown weights `mobilenet-v3`, known are eff"), "{error}");
    }

    #[test]
    fn an_import_is_kept_with_its_checksum_and_loads_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        let file = resnet18_file(dir.path(), "net.");
        let named = Import { name: Some("r18".to_owned()), ..import(file.clone()) };
        let half = Import { normalization: Some(Normalization::Half), ..named };
        cache.import(&half, &Device::flex()).unwrap();
        cache.import(&half, &Device::flex()).unwrap(); // again replaces, it adds nothing
        cache.import(&import(file.clone()), &Device::flex()).unwrap();
        let imported = cache.imported().unwrap().weights;
        assert_eq!(imported.iter().map(|w| w.name.as_str()).collect::<Vec<_>>(), ["r18", "mine"]);
        fs::remove_file(file).unwrap();
        let backbone = cache.load("r18", &Device::flex()).unwrap();
        assert_eq!(backbone.preprocessing().normalization, Normalization::Half);
        let Verdict::Good { sha256, num_tensors } = cache.verify("r18", &Device::flex()).unwrap()
        else {
            panic!("it is there")
        };
        assert_eq!((sha256, num_tensors), (cache.hash("r18").unwrap(), 100));
    }

    #[test]
    fn a_changed_byte_is_a_wrong_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        let weights =
            cache.import(&import(resnet18_file(dir.path(), "")), &Device::flex()).unwrap();
        let path = cache.path(&weights);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = cache.load("mine", &Device::flex()).unwrap_err().to_string();
        assert!(error.starts_with("wrong checksum, expected sha256 "), "{error}");
        assert!(cache.verify("mine", &Device::flex()).is_err());
    }

    #[test]
    fn a_file_of_another_network_is_not_imported() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        let file = resnet18_file(dir.path(), "");
        let wrong = Import { architecture: Architecture::Resnet34, ..import(file.clone()) };
        assert!(cache.import(&wrong, &Device::flex()).is_err());
        for name in ["resnet18", "../up", "", ".hidden"] {
            let bad = Import { name: Some(name.to_owned()), ..import(file.clone()) };
            let error = cache.import(&bad, &Device::flex()).unwrap_err().to_string();
            assert!(error.contains("--name"), "{name}: {error}");
        }
        assert!(!dir.path().join("cache").exists(), "something was written");
    }
}
