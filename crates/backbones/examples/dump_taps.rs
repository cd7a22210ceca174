//! Writes every tap of a network to a file, for a judge to compare.
//!
//! ```text
//! cargo run -p engraft-backbones --example dump_taps -- ARCHITECTURE WEIGHTS IMAGES OUT
//! ```
//!
//! `IMAGES` is a safetensors file; each of its tensors is a batch `[n, 3, height, width]` of
//! pixels, 0 to 255. `OUT` gets `<batch>/<tap>`, `<batch>/<tap>.cls` and `<batch>/logits`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use engraft_backbones::{Architecture, Backbone, NamedTensors};
use safetensors::tensor::{Dtype, TensorView};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [architecture, weights, images, out] = arguments.as_slice() else {
        return Err("expected ARCHITECTURE WEIGHTS IMAGES OUT".into());
    };
    let architecture: Architecture = architecture.parse()?;
    let device = Device::flex();
    let backbone = Backbone::load(architecture, Path::new(weights), &device)?;
    let taps = architecture.taps();
    let mut found: BTreeMap<String, TensorData> = BTreeMap::new();
    for (batch, data) in NamedTensors::read(Path::new(images))? {
        let images = Tensor::<4>::from_data(data, &device);
        for (tap, features) in taps.iter().zip(backbone.features(images.clone(), &taps)) {
            found.insert(format!("{batch}/{tap}"), features.map.into_data());
            if let Some(cls) = features.cls {
                found.insert(format!("{batch}/{tap}.cls"), cls.into_data());
            }
        }
        if let Some(logits) = backbone.classify(images) {
            found.insert(format!("{batch}/logits"), logits.into_data());
        }
    }
    let views = found.iter().map(|(name, data)| {
        let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes());
        view.map(|view| (name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    safetensors::serialize_to_file(views, None, Path::new(out))?;
    Ok(())
}
