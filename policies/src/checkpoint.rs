//! A policy at rest: one folder that holds all it takes to act.
//!
//! | file | holds |
//! | --- | --- |
//! | `config.json` | the policy's config, the robot's contract, the backbone's preprocessing |
//! | `stats.json` | normalization statistics, and where they came from |
//! | `model.safetensors` | every weight, the backbone's included, in PyTorch's layout |
//! | `hashes.json` | SHA-256 of the three others |
//!
//! A folder is written beside its place and renamed, so an interrupted write never opens; one
//! whose files do not have their hashes does not open either.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use burn::module::Module;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, SafetensorsStore};
use burn::tensor::Device;
use engraft_backbones::{NamedTensors, Preprocessing};
use engraft_core::{Stats, hex};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

mod error;

pub use error::CheckpointError;

use crate::{Contract, Policy, PolicyConfig, Precision, Transform};

/// The version of the folder's layout.
const FORMAT: u32 = 1;

const CONFIG: &str = "config.json";
const STATS: &str = "stats.json";
const MODEL: &str = "model.safetensors";
const HASHES: &str = "hashes.json";

/// Where a run came from. What is not known is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provenance {
    /// Version of engraft that wrote the run.
    pub engraft: String,
    /// What the statistics were gathered over and the policy trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// SHA-256 of the dataset's description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_hash: Option<String>,
    /// Episodes of the training split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_episodes: Option<usize>,
    /// Samples of the training split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_samples: Option<usize>,
    /// Seed of weights and of the order of data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Optimizer steps taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// Name and value of anything else worth keeping, such as losses, or a file imported.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
}

/// A policy with all it takes to act.
#[derive(Debug)]
pub struct Checkpoint {
    /// Which policy.
    pub policy_config: PolicyConfig,
    /// For which robot.
    pub contract: Contract,
    /// What scales its inputs and outputs.
    pub transform: Transform,
    /// The policy.
    pub policy: Policy,
    /// Where it came from.
    pub provenance: Provenance,
    hash: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    format: u32,
    policy: PolicyConfig,
    contract: Contract,
    /// The backbone's, which its weights may have brought along.
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocessing: Option<Preprocessing>,
}

/// What is read before the rest, which another format may have changed.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatsFile {
    proprio: Stats,
    actions: Stats,
    provenance: Provenance,
}

/// SHA-256 of each file.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Hashes(BTreeMap<String, String>);

impl Checkpoint {
    /// Puts a run together; the contract is the transform's.
    pub fn new(
        policy_config: PolicyConfig,
        transform: Transform,
        policy: Policy,
        provenance: Provenance,
    ) -> Self {
        let contract = transform.contract().clone();
        Self { policy_config, contract, transform, policy, provenance, hash: None }
    }

    /// SHA-256 of the whole run in hex, for one that was opened.
    pub fn hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    /// Writes the run to `dir`, replacing an older one there, and returns its hash.
    ///
    /// # Errors
    ///
    /// When something cannot be written, or `dir` holds anything but a run. What was there is
    /// then still there.
    pub fn save(&self, dir: &Path) -> Result<String, CheckpointError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| CheckpointError::Io { action, path, source }
        };
        refuse_strangers(dir)?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(parent).map_err(io("create the folder above the run", parent))?;
        let fresh = tempfile::Builder::new()
            .prefix(".unfinished-run-")
            .tempdir_in(parent)
            .map_err(io("create a folder beside the run", parent))?;
        let hash = self.write_into(fresh.path())?;

        // A rename cannot replace a folder that has files, so the older run steps aside first.
        let aside = tempfile::Builder::new()
            .prefix(".replaced-run-")
            .tempdir_in(parent)
            .map_err(io("create a folder beside the run", parent))?;
        let older = aside.path().join("run");
        if dir.exists() {
            fs::rename(dir, &older).map_err(io("move the older run aside", dir))?;
        }
        if let Err(source) = fs::rename(fresh.path(), dir) {
            if older.exists() {
                fs::rename(&older, dir).map_err(io("move the older run back", dir))?;
            }
            return Err(io("move the run to its place", dir)(source));
        }
        let _ = fresh.keep(); // It has another name now, and is not to be removed.
        sync(parent).map_err(io("write to disk", parent))?;
        Ok(hash)
    }

    /// Every file, the hashes last.
    fn write_into(&self, dir: &Path) -> Result<String, CheckpointError> {
        let backbone = self.policy.backbone();
        let config = ConfigFile {
            format: FORMAT,
            policy: self.policy_config.clone(),
            contract: self.contract.clone(),
            preprocessing: backbone.map(|stream| stream.network().preprocessing()),
        };
        let mut provenance = self.provenance.clone();
        if provenance.engraft.is_empty() {
            env!("CARGO_PKG_VERSION").clone_into(&mut provenance.engraft);
        }
        let stats = StatsFile {
            proprio: self.transform.proprio_stats().clone(),
            actions: self.transform.action_stats().clone(),
            provenance,
        };
        write_json(dir, CONFIG, &config)?;
        write_json(dir, STATS, &stats)?;
        let path = dir.join(MODEL);
        // One entry: several would be written in an order of their own each time.
        let mut store = SafetensorsStore::from_file(&path)
            .clear_metadata()
            .metadata("format", "pt")
            .with_to_adapter(BurnToPyTorchAdapter)
            .skip_enum_variants(true);
        self.policy.valid().save_into(&mut store).map_err(|source| {
            CheckpointError::WriteWeights { message: source.to_string(), path: path.clone() }
        })?;
        sync(&path).map_err(|source| CheckpointError::Io {
            action: "write to disk",
            path,
            source,
        })?;
        let hashes = [CONFIG, STATS, MODEL]
            .map(|file| Ok((file.to_owned(), hash_file(dir, file)?)))
            .into_iter()
            .collect::<Result<_, CheckpointError>>()?;
        let bytes = write_json(dir, HASHES, &Hashes(hashes))?;
        sync(dir).map_err(|source| CheckpointError::Io {
            action: "write to disk",
            path: dir.to_owned(),
            source,
        })?;
        Ok(hex(&Sha256::digest(bytes)))
    }

    /// Reads a run, with its policy on `device`.
    ///
    /// # Errors
    ///
    /// When a file is missing, damaged, of another format, or does not fit the others.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, CheckpointError> {
        Self::open_in(dir, device, None)
    }

    /// [`open`](Self::open), with the backbone computing in `precision` whatever the policy was
    /// trained on, which [`policy_config`](Self::policy_config) still says.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open), and when the policy has no backbone that can.
    pub fn open_in(
        dir: &Path,
        device: &Device,
        precision: Option<Precision>,
    ) -> Result<Self, CheckpointError> {
        let path = || dir.to_owned();
        let bytes = read(dir, HASHES)?;
        let Hashes(hashes) = from_json(dir, HASHES, &bytes)?;
        let hash = hex(&Sha256::digest(&bytes));
        for file in [CONFIG, STATS, MODEL] {
            let found = hash_file(dir, file)?;
            let expected = hashes.get(file).cloned().unwrap_or_default();
            if expected != found {
                return Err(CheckpointError::Hash { file, expected, found, path: path() });
            }
        }
        let bytes = read(dir, CONFIG)?;
        let FormatOnly { format: found } = from_json(dir, CONFIG, &bytes)?;
        if found != FORMAT {
            return Err(CheckpointError::Format { found, path: path() });
        }
        let config: ConfigFile = from_json(dir, CONFIG, &bytes)?;
        let stats: StatsFile = from_json(dir, STATS, &read(dir, STATS)?)?;
        let transform = Transform::new(config.contract.clone(), stats.proprio, stats.actions)?;
        let built = match precision {
            Some(precision) => config.policy.clone().with_precision(precision)?,
            None => config.policy.clone(),
        };
        let mut policy = built.build(&config.contract, 0, device, false)?;
        let weights = NamedTensors::read(&dir.join(MODEL))
            .and_then(|tensors| tensors.load_into(&mut policy, config.policy.kind()));
        weights.map_err(|source| CheckpointError::Weights { source, path: path() })?;
        let policy = policy.map_network(|network| match config.preprocessing {
            Some(preprocessing) => network.with_preprocessing(preprocessing),
            None => network,
        });
        Ok(Self {
            policy_config: config.policy,
            contract: config.contract,
            transform,
            policy,
            provenance: stats.provenance,
            hash: Some(hash),
        })
    }
}

/// A folder with something in it that is not a run is somebody's.
fn refuse_strangers(dir: &Path) -> Result<(), CheckpointError> {
    let path = || dir.to_owned();
    let io = |source| CheckpointError::Io { action: "look into the folder", path: path(), source };
    if !dir.try_exists().map_err(io)? || dir.join(HASHES).exists() {
        return Ok(());
    }
    let empty = dir.is_dir() && fs::read_dir(dir).map_err(io)?.next().is_none();
    if empty { Ok(()) } else { Err(CheckpointError::Occupied { path: path() }) }
}

fn write_json(
    dir: &Path,
    file: &'static str,
    value: &impl Serialize,
) -> Result<Vec<u8>, CheckpointError> {
    let path = dir.join(file);
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| CheckpointError::Json {
        file,
        message: error.to_string(),
        path: dir.to_owned(),
    })?;
    bytes.push(b'\n');
    let write = || {
        let mut handle = fs::File::create(&path)?;
        handle.write_all(&bytes)?;
        handle.sync_all()
    };
    match write() {
        Ok(()) => Ok(bytes),
        Err(source) => Err(CheckpointError::Io { action: "write", path, source }),
    }
}

fn read(dir: &Path, file: &'static str) -> Result<Vec<u8>, CheckpointError> {
    fs::read(dir.join(file)).map_err(not_read(dir, file))
}

fn not_read(dir: &Path, file: &'static str) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = dir.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::NotFound => CheckpointError::NotARun { missing: file, path },
        _ => CheckpointError::Io { action: "read", path: path.join(file), source },
    }
}

fn from_json<T: DeserializeOwned>(
    dir: &Path,
    file: &'static str,
    bytes: &[u8],
) -> Result<T, CheckpointError> {
    serde_json::from_slice(bytes).map_err(|error| CheckpointError::Json {
        file,
        message: error.to_string(),
        path: dir.to_owned(),
    })
}

fn hash_file(dir: &Path, file: &'static str) -> Result<String, CheckpointError> {
    let hash = || -> io::Result<_> {
        let mut hash = Sha256::new();
        let mut reader = BufReader::with_capacity(1 << 16, fs::File::open(dir.join(file))?);
        loop {
            let bytes = reader.fill_buf()?;
            if bytes.is_empty() {
                return Ok(hash.finalize());
            }
            hash.update(bytes);
            let len = bytes.len();
            reader.consume(len);
        }
    };
    Ok(hex(&hash().map_err(not_read(dir, file))?))
}

/// Makes sure that a file or a folder's list of names survives a power cut.
fn sync(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{contract, transform};
    use crate::{HansenConfig, hansen};

    fn run() -> Checkpoint {
        let contract = contract(1, 16, 16);
        let layer = hansen::ConvLayer { channels: 4, kernel: 3, stride: 2 };
        let config = HansenConfig { layers: vec![layer; 2], ..HansenConfig::small() };
        let config = PolicyConfig::Hansen(config);
        let policy = config.init(&contract, 1, &Device::flex()).unwrap();
        Checkpoint::new(config, transform(&contract), policy, Provenance::default())
    }

    #[test]
    fn a_run_replaces_a_run_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("deep/run");
        let first = run().save(&dir).unwrap();
        assert_eq!(run().save(&dir).unwrap(), first, "the same run has the same hash");
        let opened = Checkpoint::open(&dir, &Device::flex()).unwrap();
        assert_eq!(opened.hash(), Some(first.as_str()));
        assert_eq!(opened.provenance.engraft, env!("CARGO_PKG_VERSION"));
        let left: Vec<_> = fs::read_dir(dir.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing else is left behind");

        let other = folder.path().join("notes");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("a.txt"), "mine").unwrap();
        assert!(matches!(run().save(&other), Err(CheckpointError::Occupied { .. })));
        assert_eq!(fs::read_to_string(other.join("a.txt")).unwrap(), "mine");
    }

    #[test]
    fn a_run_that_lacks_a_file_or_has_one_byte_changed_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let open = |dir: &Path| Checkpoint::open(dir, &Device::flex()).map(|_| ());
        for file in [CONFIG, STATS, MODEL, HASHES] {
            let dir = folder.path().join(file);
            run().save(&dir).unwrap();
            let path = dir.join(file);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(open(&dir).is_err(), "{file} with a bit flipped");
            fs::write(&path, &bytes[..middle]).unwrap();
            assert!(open(&dir).is_err(), "{file} cut short");
            fs::remove_file(&path).unwrap();
            let error = open(&dir).unwrap_err();
            assert!(matches!(error, CheckpointError::NotARun { missing, .. } if missing == file));
        }
    }

    #[test]
    fn an_unfinished_run_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        run().save(&folder.path().join("run")).unwrap();
        let unfinished = folder.path().join(".unfinished-run-x");
        fs::create_dir(&unfinished).unwrap();
        for file in [CONFIG, STATS, MODEL] {
            fs::copy(folder.path().join("run").join(file), unfinished.join(file)).unwrap();
        }
        assert!(Checkpoint::open(&unfinished, &Device::flex()).is_err());
    }
}
