//! `--device` and `--devices`: the only place where a name becomes a device.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use burn::tensor::Device;

/// Where tensors live, as written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// A GPU through wgpu, discrete ones first; without an index, the one that the driver prefers.
    Wgpu(Option<usize>),
    /// An NVIDIA GPU.
    Cuda(usize),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, index) = match text.split_once(':') {
            Some((kind, index)) => (kind, Some(index)),
            None => (text, None),
        };
        let index = index
            .map(|index| index.parse::<usize>().map_err(|_| format!("no device index: {index:?}")))
            .transpose()?;
        match (kind, index) {
            ("cpu", None) => Ok(Self::Cpu),
            ("wgpu", index) => Ok(Self::Wgpu(index)),
            ("cuda", index) => Ok(Self::Cuda(index.unwrap_or(0))),
            _ => Err(format!("expected cpu, wgpu[:INDEX] or cuda[:INDEX], found {text:?}")),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu(None) => f.write_str("wgpu"),
            Self::Wgpu(Some(index)) => write!(f, "wgpu:{index}"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceName {
    /// The device, or the feature that this binary was built without.
    pub(crate) fn open(self) -> anyhow::Result<Device> {
        match self {
            Self::Cpu => cpu(),
            Self::Wgpu(index) => wgpu(index),
            Self::Cuda(index) => cuda(index),
        }
    }
}

/// Names as they are written: `cuda:0, cuda:1`.
pub(crate) fn list(names: &[DeviceName]) -> String {
    names.iter().map(DeviceName::to_string).collect::<Vec<_>>().join(", ")
}

/// The devices of `--devices`, each GPU once. The processor may stand there more than once, which
/// is good for trying things out.
pub(crate) fn open_all(names: &[DeviceName]) -> anyhow::Result<Vec<Device>> {
    if names.len() > 1 && names.contains(&DeviceName::Wgpu(None)) {
        bail!("--devices: expected an index of each GPU, as in wgpu:0,wgpu:1, found wgpu");
    }
    for (i, name) in names.iter().enumerate() {
        if *name != DeviceName::Cpu && names[..i].contains(name) {
            bail!("--devices: expected each GPU once, found {name} twice");
        }
    }
    names.iter().map(|name| name.open()).collect()
}

#[cfg(feature = "cpu")]
#[allow(clippy::unnecessary_wraps)] // The twin below fails.
fn cpu() -> anyhow::Result<Device> {
    Ok(Device::flex())
}

#[cfg(not(feature = "cpu"))]
fn cpu() -> anyhow::Result<Device> {
    not_built("cpu")
}

#[cfg(feature = "wgpu")]
fn wgpu(index: Option<usize>) -> anyhow::Result<Device> {
    use burn::tensor::{DeviceKind, DeviceType};
    keep_what_is_tuned();
    let mut found = Device::enumerate(DeviceType::Wgpu).into_vec();
    // Whatever order the driver lists them in, the fastest kind comes first.
    let kinds = [DeviceKind::DiscreteGpu, DeviceKind::IntegratedGpu, DeviceKind::VirtualGpu];
    let kinds = kinds.iter().flat_map(|kind| (0..found.len()).map(kind)).map(Device::wgpu);
    let order: Vec<Device> = kinds.collect();
    found.sort_by_key(|device| order.iter().position(|one| one == device).unwrap_or(usize::MAX));
    let driver = "a driver for Vulkan, Metal or DirectX 12";
    let first = pick("wgpu", index.unwrap_or(0), &found, driver)?;
    if first == Device::wgpu(DeviceKind::Cpu) {
        crate::progress::note("wgpu: a software driver, which computes on the CPU: cpu is faster");
    } else if index.is_none() {
        return Ok(Device::wgpu(DeviceKind::DefaultDevice));
    }
    Ok(first)
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_index: Option<usize>) -> anyhow::Result<Device> {
    not_built("wgpu")
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> anyhow::Result<Device> {
    keep_what_is_tuned();
    let found = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec();
    pick("cuda", index, &found, "an NVIDIA GPU and its driver")
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> anyhow::Result<Device> {
    not_built("cuda")
}

/// What a GPU was tuned to, and what was compiled for it, is kept in the cache between runs. Left
/// alone it would be tuned anew, or leave its files in whatever folder the command is run in.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn keep_what_is_tuned() {
    use burn::cubecl::config::cache::CacheConfig;
    use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
    let Ok(folder) = engraft_backbones::weights::cache_dir() else { return };
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.environment.path = CacheConfig::Directory(folder.join("gpu"));
    config.compilation.cache = true;
    // Set once: the second of several devices finds it so.
    CubeClRuntimeConfig::try_set(config);
}

/// One of the devices that this machine has, which `needs` says how to get.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn pick(kind: &str, index: usize, found: &[Device], needs: &str) -> anyhow::Result<Device> {
    match found.get(index) {
        Some(device) => Ok(device.clone()),
        None if found.is_empty() => {
            bail!("no device {kind}: it needs {needs}; `--device cpu` needs nothing")
        }
        None if found.len() == 1 => {
            bail!("no device {kind}:{index}: this machine has {kind}:0 alone")
        }
        None => bail!(
            "no device {kind}:{index}: this machine has {kind}:0 to {kind}:{}",
            found.len() - 1
        ),
    }
}

#[cfg(not(all(feature = "cpu", feature = "wgpu", feature = "cuda")))]
fn not_built(feature: &str) -> anyhow::Result<Device> {
    bail!(
        "this engraft was built without the `{feature}` backend; \
         build it with `cargo build --release --features {feature}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["cpu", "wgpu", "wgpu:1", "cuda:0"] {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
    }

    #[test]
    fn other_names_say_what_is_expected() {
        let error = "gpu".parse::<DeviceName>().unwrap_err();
        assert_eq!(error, "expected cpu, wgpu[:INDEX] or cuda[:INDEX], found \"gpu\"");
        assert!("cuda:x".parse::<DeviceName>().is_err());
        assert!("cpu:1".parse::<DeviceName>().is_err());
    }

    #[test]
    fn a_gpu_cannot_share_work_with_itself() {
        let error = |names: &[DeviceName]| open_all(names).unwrap_err().to_string();
        let twice = error(&[DeviceName::Cuda(1), DeviceName::Cpu, DeviceName::Cuda(1)]);
        assert_eq!(twice, "--devices: expected each GPU once, found cuda:1 twice");
        let vague = error(&[DeviceName::Wgpu(Some(0)), DeviceName::Wgpu(None)]);
        assert!(vague.contains("wgpu:0,wgpu:1"), "{vague}");
        assert_eq!(list(&[DeviceName::Cpu, DeviceName::Cuda(1)]), "cpu, cuda:1");
    }
}
