//! `--device`: the only place where a name becomes a device.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

/// Where tensors live, as written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// A GPU through wgpu; without an index, the one that the driver prefers.
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
#[allow(clippy::unnecessary_wraps)] // The twin below fails.
fn wgpu(index: Option<usize>) -> anyhow::Result<Device> {
    use burn::tensor::DeviceKind;
    Ok(Device::wgpu(index.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu)))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_index: Option<usize>) -> anyhow::Result<Device> {
    not_built("wgpu")
}

#[cfg(feature = "cuda")]
#[allow(clippy::unnecessary_wraps)] // The twin below fails.
fn cuda(index: usize) -> anyhow::Result<Device> {
    Ok(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> anyhow::Result<Device> {
    not_built("cuda")
}

#[cfg(not(all(feature = "cpu", feature = "wgpu", feature = "cuda")))]
fn not_built(feature: &str) -> anyhow::Result<Device> {
    anyhow::bail!(
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
}
