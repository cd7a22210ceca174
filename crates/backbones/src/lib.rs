//! Frozen vision networks that hand out features at chosen layers.
//!
//! An [`Architecture`] is a network without weights; a [`Backbone`] is one with them; a
//! [`Tap`] names a layer, and [`Features`] are what comes out of it. Known weights have a name
//! in the manifest and are kept in a cache folder: see [`weights`].
//!
//! ```no_run
//! use burn::tensor::{Device, Tensor};
//! use engraft_backbones::{Architecture, load_named};
//!
//! let device = Device::default();
//! let backbone = load_named("efficientnet-lite0", &device)?;
//! let images = Tensor::full([1, 3, 96, 96], 127.0, &device); // RGB, 0 to 255
//! let features = backbone.frozen_features(images, &backbone.architecture().default_taps());
//! assert_eq!(features[0].map.dims(), [1, 40, 12, 12]);
//! # Ok::<(), engraft_backbones::WeightsError>(())
//! ```
//!
//! Batch normalization always uses the statistics of pre-training and is folded into the
//! convolution before it when weights are loaded, so a backbone cannot drift in training.

mod architecture;
mod backbone;
mod cache;
mod efficientnet;
mod error;
mod inverted;
mod layout;
mod manifest;
mod mobilenet;
mod preprocessing;
mod pull;
mod resnet;
mod tap;
mod tensors;
mod vit;
pub mod weights;

pub use architecture::Architecture;
pub use backbone::Backbone;
pub use engraft_kernels::Precision;
pub use error::{BackboneError, WeightsError};
pub use inverted::InvertedResidualNet;
pub use preprocessing::{Normalization, Preprocessing};
pub use resnet::Resnet;
pub use tap::{Facet, Features, Tap, TapShape};
pub use tensors::NamedTensors;
pub use vit::Vit;
pub use weights::load_named;

#[cfg(test)]
mod loading;
#[cfg(test)]
mod parity;
