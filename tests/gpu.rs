//! What a GPU comes to, beside the CPU.
//!
//! Built with `--features cuda` or `--features wgpu` alone. `tests/gpu/wgpu.sh` runs it on Mesa's
//! software driver, where there is no GPU. There each kernel takes about a second to be compiled,
//! so networks are cut short, and tests share shapes: what counts is that every kind of operation
//! is compared.

mod command;
mod networks;

use burn::cubecl::config::cache::CacheConfig;
use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use burn::tensor::Device;

#[cfg(feature = "cuda")]
const NAME: &str = "cuda";
#[cfg(not(feature = "cuda"))]
const NAME: &str = "wgpu";

#[cfg(feature = "cuda")]
fn device() -> Device {
    Device::cuda(0)
}

#[cfg(not(feature = "cuda"))]
fn device() -> Device {
    Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)
}

/// The GPU, tuned to what the command's runs have tuned it to, and the other way round.
fn gpu() -> Device {
    let folder = engraft_backbones::weights::cache_dir().unwrap();
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.environment.path = CacheConfig::Directory(folder.join("gpu"));
    CubeClRuntimeConfig::try_set(config);
    device()
}

/// How far `found` is from `expected`, as a share of the latter's length.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let off: f64 = found.iter().zip(expected).map(|(&a, &b)| square(a - b)).sum();
    let length: f64 = expected.iter().map(|&x| square(x)).sum();
    if length == 0.0 { off.sqrt() } else { (off / length).sqrt() }
}

/// The farthest of several comparisons, as a share of what is compared.
struct Worst {
    found: f64,
    bar: f64,
}

impl Worst {
    fn within(bar: f64) -> Self {
        Self { found: 0.0, bar }
    }

    fn compare(&mut self, what: &str, found: &[f32], expected: &[f32]) {
        let off = difference(found, expected);
        // A NaN is no less.
        assert!(off <= self.bar, "{what} is off by {off:e} of its length");
        self.found = self.found.max(off);
    }
}
