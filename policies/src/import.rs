//! Checkpoints of the public SpawnNet code into runs.
//!
//! The reference keeps an encoder and a policy as two PyTorch files of bare tensors. What the
//! tensors tell is read off them: the kind of policy, the backbone, the fusion, the head and its
//! bounds, the horizon. What they leave open is asked for by the name of its flag.

use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use engraft_backbones::{Architecture, Backbone, NamedTensors, Precision, WeightsError};
use engraft_core::{Dimension, RobotSpec, Stats, ViewSpec};

pub(crate) mod layout;

use layout::Layout;

use crate::backbone::BackboneConfig;
use crate::lfs::Pictures;
use crate::{
    ChannelMask, Checkpoint, Contract, Fusion, HeadConfig, LfsConfig, Policy, PolicyConfig,
    PolicyError, Provenance, SpawnNetConfig, Tokens, Transform, TransformError,
};

/// Pixels a side of the reference's pictures.
const PICTURE: usize = 224;

/// Actions per second of the reference's arm.
const CONTROL_HZ: f32 = 5.0;

/// What to import, and what the tensors may leave open.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// `encoder_*.ckpt`
    pub encoder: PathBuf,
    /// `policy_*.ckpt`
    pub policy: PathBuf,
    /// Observations in a frame stack (`--frames`).
    pub frames: Option<usize>,
    /// Cameras (`--views`).
    pub views: Option<usize>,
    /// Actions in a chunk (`--horizon`); the tensors tell it, so this is a check.
    pub horizon: Option<usize>,
    /// What the learned stream sees (`--channel-mask`); all, if nothing is said.
    pub channel_mask: Option<ChannelMask>,
    /// Which features are fused (`--tokens`); dense, if nothing is said.
    pub tokens: Option<Tokens>,
    /// The backbone, where the tensors fit more than one; else the one that the reference uses.
    pub architecture: Option<Architecture>,
}

/// A run made of the reference's files.
#[derive(Debug)]
pub struct Imported {
    /// The run, not saved yet.
    pub checkpoint: Checkpoint,
    /// What was read off the tensors and what was assumed, one sentence each.
    pub notes: Vec<String>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read, or its backbone does not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Neither of the reference's encoders.
    #[error(
        "the encoder is neither SpawnNet (`conv.stem.weight`) nor IMPALA (`stem.weight`) (path: {path:?})"
    )]
    Kind {
        /// The encoder.
        path: PathBuf,
    },
    /// Not one of the reference's backbones.
    #[error("cannot tell the backbone from the encoder's tensors: {reason}")]
    Backbone {
        /// What is odd.
        reason: String,
    },
    /// The files and the config differ.
    #[error("the checkpoint does not fit: {problems}")]
    Tensors {
        /// Names that are missing, left over or wrongly shaped.
        problems: String,
    },
    /// The tensors leave something open.
    #[error("the tensors leave open how many {what} there are, give {flag} ({choices})")]
    Flag {
        /// What is open.
        what: &'static str,
        /// The flag.
        flag: &'static str,
        /// What would fit.
        choices: String,
    },
    /// A flag contradicts the tensors.
    #[error("{flag} {given} does not fit the tensors ({choices})")]
    Contradiction {
        /// The flag.
        flag: &'static str,
        /// Its value.
        given: usize,
        /// What would fit.
        choices: String,
    },
    /// The config read off the tensors makes no policy.
    #[error("the checkpoint makes no policy")]
    Policy(#[from] PolicyError),
    /// The statistics do not fit; only our own fault.
    #[error("the checkpoint makes no transform")]
    Transform(#[from] TransformError),
}

/// Makes a run of an encoder and a policy file of the reference.
///
/// Pictures are 224 x 224. Actions and proprio are in the units of the reference's data, which
/// neither file names; nothing is normalized.
///
/// # Errors
///
/// When a file cannot be read, its tensors are not exactly those of a SpawnNet or an
/// IMPALA-style network, or they leave open what no option says.
pub fn import_spawnnet(options: &ImportOptions, device: &Device) -> Result<Imported, ImportError> {
    let mut encoder = NamedTensors::read(&options.encoder)?;
    let policy = NamedTensors::read(&options.policy)?;
    let vit = encoder.split_off("vit.");
    let is_spawnnet = encoder.get("conv.stem.weight").is_some();
    if !is_spawnnet && encoder.get("stem.weight").is_none() {
        return Err(ImportError::Kind { path: options.encoder.clone() });
    }
    let head = layout::Head::read(&policy)?;
    head.check_horizon(options.horizon)?;
    let head_config = HeadConfig { hidden: head.hidden.clone(), bounds: Some(head.bounds()) };
    let mut notes = Vec::new();
    let (config, layout, use_depth) = if is_spawnnet {
        let architecture = match options.architecture {
            Some(architecture) => architecture,
            None => layout::backbone(&vit)?,
        };
        let config = spawnnet_config(options, &encoder, architecture, head_config)?;
        notes.push(format!("the backbone is {architecture}, and it is part of the run"));
        assumed(&mut notes, options.channel_mask.is_none(), "--channel-mask all");
        assumed(&mut notes, options.tokens.is_none(), "--tokens dense");
        let picture = 49 * (config.channels + config.adapter_channels);
        let layout = Layout::per_picture(head.inputs, picture, options)?;
        let depth = matches!(config.channel_mask, ChannelMask::All | ChannelMask::DepthOnly);
        (PolicyConfig::SpawnNet(config), layout, depth)
    } else {
        let config = lfs_config(&encoder, head_config)?;
        let layout = match config.pictures {
            Pictures::Separate => Layout::per_picture(head.inputs, 49 * config.channels, options)?,
            Pictures::Stacked => Layout::stacked(head.inputs, &encoder, options)?,
        };
        (PolicyConfig::Lfs(config), layout, true)
    };
    let Layout { frames, views, proprio_dim } = layout;
    notes.push(format!(
        "{frames} frame(s), {views} view(s), {proprio_dim} proprio dimension(s), chunks of {} x {}",
        head.horizon,
        head.scale.len(),
    ));
    notes.push(format!("a control rate of {CONTROL_HZ} Hz is assumed, the reference's"));

    let contract = contract(&head, &layout, use_depth);
    let mut learned = config.build(&contract, 0, device, false)?;
    if let Some(backbone) = config.backbone() {
        let network = Backbone::from_tensors(backbone.architecture, vit, device)?;
        learned = learned.map_network(|_| network);
    } else if !vit.is_empty() {
        let names: Vec<_> = vit.names().map(|name| format!("vit.{name}")).collect();
        return Err(tensors_error(&[], &names, &[]));
    }
    let learned = fill(learned, encoder, policy)?;
    let (proprio, action) = (contract.spec.proprio_dim(), contract.spec.action_dim());
    let transform = Transform::new(contract, Stats::identity(proprio), Stats::identity(action))?;
    let mut provenance = Provenance::default();
    for (name, path) in [("encoder", &options.encoder), ("policy", &options.policy)] {
        provenance.notes.insert(format!("imported-{name}"), path.display().to_string());
    }
    let checkpoint = Checkpoint::new(config, transform, learned, provenance);
    Ok(Imported { checkpoint, notes })
}

fn assumed(notes: &mut Vec<String>, open: bool, flag: &str) {
    if open {
        notes.push(format!("no tensor tells it, so `{flag}` is assumed, the reference's default"));
    }
}

fn spawnnet_config(
    options: &ImportOptions,
    encoder: &NamedTensors,
    architecture: Architecture,
    head: HeadConfig,
) -> Result<SpawnNetConfig, ImportError> {
    let rows = |name: &'static str| layout::rows(encoder, name);
    let fusion =
        if encoder.get("conv.adapters.1.0.weight").is_some() { Fusion::All } else { Fusion::Last };
    Ok(SpawnNetConfig {
        backbone: BackboneConfig {
            architecture,
            weights: None,
            taps: Vec::new(),
            size: None,
            fine_tune: false,
            precision: Precision::Single,
        },
        channels: rows("conv.stem.weight")?,
        adapter_channels: rows("conv.adapters.0.0.weight")?,
        channel_mask: options.channel_mask.unwrap_or_default(),
        fusion,
        tokens: options.tokens.unwrap_or_default(),
        head,
    })
}

fn lfs_config(encoder: &NamedTensors, head: HeadConfig) -> Result<LfsConfig, ImportError> {
    let stacked = encoder.get("fc.weight").is_some();
    let pictures = if stacked { Pictures::Stacked } else { Pictures::Separate };
    Ok(LfsConfig { channels: layout::rows(encoder, "stem.weight")?, pictures, head })
}

fn contract(head: &layout::Head, layout: &Layout, use_depth: bool) -> Contract {
    let view = |number| ViewSpec {
        name: format!("view_{number}"),
        width: PICTURE,
        height: PICTURE,
        depth: use_depth,
    };
    let actions = head.bounds().into_iter().enumerate().map(|(number, [low, high])| {
        Dimension::new(format!("action_{number}"), "").within(low, high)
    });
    let proprio = (0..layout.proprio_dim).map(|i| Dimension::new(format!("state_{i}"), ""));
    let spec = RobotSpec {
        name: "spawnnet".into(),
        control_hz: CONTROL_HZ,
        views: (0..layout.views).map(view).collect(),
        proprio: proprio.collect(),
        actions: actions.collect(),
    };
    Contract {
        spec,
        num_frames: layout.frames,
        horizon: head.horizon,
        use_proprio: true,
        use_depth,
        relative_actions: false,
    }
}

/// Puts the learned tensors into a policy, and accounts for every one.
pub(crate) fn fill(
    policy: Policy,
    encoder: NamedTensors,
    head: NamedTensors,
) -> Result<Policy, ImportError> {
    let mut policy = policy;
    let spawnnet = matches!(policy, Policy::SpawnNet(_));
    let (mut missing, mut other) = (Vec::new(), Vec::new());
    let mut ours = NamedTensors::default();
    let mut theirs: NamedTensors = encoder.into_iter().chain(head).collect();
    for (name, expected) in learned_shapes(&policy) {
        let official = layout::official(&name, spawnnet);
        match theirs.remove(&official) {
            None => missing.push(official),
            Some(data) if data.shape().to_vec() != expected => {
                let found = data.shape().to_vec();
                other.push(format!("`{official}` has shape {found:?} instead of {expected:?}"));
            }
            Some(data) => {
                ours.insert(name, data);
            }
        }
    }
    let left_over: Vec<_> = theirs.names().map(str::to_owned).collect();
    if !(missing.is_empty() && left_over.is_empty() && other.is_empty()) {
        return Err(tensors_error(&missing, &left_over, &other));
    }
    match &mut policy {
        Policy::SpawnNet(policy) => {
            ours.split_off("conv.").load_into(&mut policy.conv, "conv")?;
            ours.split_off("adapters.").load_into(&mut policy.adapters, "adapters")?;
            if !policy.linears.is_empty() {
                ours.split_off("linears.").load_into(&mut policy.linears, "linears")?;
            }
            ours.split_off("head.").load_into(&mut policy.head, "head")?;
        }
        Policy::Lfs(policy) => ours.load_into(policy, "lfs")?,
        Policy::Hansen(_) | Policy::Frozen(_) => {}
    }
    Ok(policy)
}

fn tensors_error(missing: &[String], left_over: &[String], other: &[String]) -> ImportError {
    let few = |names: &[String]| {
        let shown: Vec<_> = names.iter().take(4).map(|name| format!("`{name}`")).collect();
        shown.join(", ") + if names.len() > 4 { ", ..." } else { "" }
    };
    let mut parts = Vec::new();
    for (names, what) in [(missing, "missing"), (left_over, "left over")] {
        if !names.is_empty() {
            parts.push(format!("{} tensor(s) {what} ({})", names.len(), few(names)));
        }
    }
    parts.extend(other.iter().take(4).cloned());
    ImportError::Tensors { problems: parts.join("; ") }
}

/// Name and shape of every tensor outside the backbone, in PyTorch's layout.
pub(crate) fn learned_shapes(policy: &Policy) -> Vec<(String, Vec<usize>)> {
    #[derive(Default)]
    struct Shapes {
        path: Vec<String>,
        found: Vec<(String, Vec<usize>)>,
    }
    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let mut shape = param.lazy_shape().to_vec();
            if D == 2 {
                shape.reverse(); // Linear layers are the only matrices.
            }
            self.found.push((self.path[1..].join("."), shape)); // without the policy's kind
        }
    }
    let mut shapes = Shapes::default();
    policy.visit(&mut shapes);
    shapes.found.retain(|(name, _)| !name.starts_with("backbone."));
    shapes.found
}

#[cfg(test)]
mod tests;
