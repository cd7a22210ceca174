//! Augmentation as training does it: host bytes of a batch to a tensor.

use burn::tensor::Device;
use engraft_core::{Observation, Stats};
use engraft_policies::{Contract, Transform};
use engraft_train::{AugmentConfig, CropConfig};
use rayon::prelude::*;

use super::cases::{ACTION_DIM, Augmentation, Case, PROPRIO_DIM};
use super::ours::{self, Ready};

/// Largest shift in pixels, DrQ-v2's.
const SHIFT_PIXELS: usize = 4;

fn config(augmentation: Augmentation) -> AugmentConfig {
    let plain = AugmentConfig::NOTHING;
    match augmentation {
        Augmentation::Shift => AugmentConfig { shift_pixels: SHIFT_PIXELS, ..plain },
        Augmentation::Crop => {
            let crop = CropConfig { area: [0.7, 1.0], aspect: [0.75, 4.0 / 3.0] };
            AugmentConfig { crop: Some(crop), ..plain }
        }
        Augmentation::Color => {
            let factor = Some([0.7, 1.3]);
            let hue = Some([-0.1, 0.1]);
            AugmentConfig { brightness: factor, contrast: factor, saturation: factor, hue, ..plain }
        }
    }
}

/// The part of a training batch that is pictures: a copy of each, its draw, and the tensor.
pub(crate) fn prepare(
    case: &Case,
    augmentation: Augmentation,
    device: &Device,
) -> anyhow::Result<Ready<'static>> {
    let contract = Contract { use_depth: false, ..ours::contract(case.side) };
    let (proprio, actions) = (Stats::identity(PROPRIO_DIM), Stats::identity(ACTION_DIM));
    let transform = Transform::new(contract, proprio, actions)?;
    let (side, batch, device) = (case.side, case.batch, device.clone());
    let kept: Vec<Observation> = (0..batch)
        .map(|_| {
            let views = vec![ours::view(side, false)?];
            anyhow::Ok(Observation { views, proprio: vec![0.0; PROPRIO_DIM] })
        })
        .collect::<Result<_, _>>()?;
    let config = config(augmentation);
    let mut pass = 0;
    let mut run = move || -> anyhow::Result<Vec<usize>> {
        pass += 1;
        let draw = |(index, observation): (usize, &Observation)| {
            let mut frames = [observation.clone()];
            if let Some(draw) = config.draw(1, pass, index) {
                draw.apply(&mut frames);
            }
            frames
        };
        let samples: Vec<_> = kept.par_iter().enumerate().map(draw).collect();
        let stacks: Vec<&[Observation]> = samples.iter().map(|frames| &frames[..]).collect();
        let input = transform.input(&stacks, &device)?;
        let [batch, _, _, height, width] = input.dims();
        Ok(vec![batch, 3, height, width])
    };
    let shape = run()?;
    Ok(Ready { sample: ours::repeat(move || run().map(drop)), shape, params: None })
}
