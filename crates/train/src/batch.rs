//! Samples to tensors.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use engraft_core::{Observation, Sample, View};
use engraft_datasets::{Dataset, PastEnd, relative_stats, sample, split, stats};
use engraft_policies::{Contract, Images, PolicyInput, Transform};
use rayon::prelude::*;

use crate::augment::BackboneSees;
use crate::features::{FeatureStore, images};
use crate::frames::Frames;
use crate::order::Place;
use crate::{AugmentConfig, PastEndTarget, Recipe, TrainError};

/// What one forward and backward pass on one device learns from: a batch, or a part of one.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) input: PolicyInput,
    /// Pictures that a frozen backbone sees instead of the input's.
    pub(crate) clean: Option<Images>,
    /// Normalised chunks: `[batch, horizon, action_dim]`.
    pub(crate) targets: Tensor<3>,
    /// 1 where a target counts and 0 elsewhere, `[batch, horizon, 1]`; all count if `None`.
    pub(crate) mask: Option<Tensor<3>>,
    /// Numbers of `targets` that count, in all parts of the batch together.
    pub(crate) num_counted: usize,
    /// Samples.
    pub(crate) num_samples: usize,
    /// Pictures, of all frames and views.
    pub(crate) num_images: usize,
}

/// Demonstrations split, measured, and ready to be cut into batches.
pub(crate) struct Data {
    pub(crate) frames: Frames,
    pub(crate) transform: Transform,
    /// `(episode, step)` of each sample to learn from.
    pub(crate) train: Vec<(usize, usize)>,
    /// The same for the samples to judge with.
    pub(crate) val: Vec<(usize, usize)>,
    pub(crate) features: Option<FeatureStore>,
    num_frames: usize,
    horizon: usize,
    past_end: PastEndTarget,
    seed: u64,
    augment: Option<AugmentConfig>,
}

/// What a policy trained by `recipe` on `dataset` is made for.
pub fn contract(recipe: &Recipe, dataset: &dyn Dataset) -> Contract {
    Contract {
        spec: dataset.spec().clone(),
        num_frames: recipe.num_frames,
        horizon: recipe.horizon,
        use_proprio: recipe.use_proprio,
        use_depth: recipe.use_depth,
        relative_actions: recipe.relative_actions,
    }
}

/// The scaling of inputs and outputs, measured over the episodes `train`.
///
/// # Errors
///
/// When an episode cannot be read.
pub fn measure(
    contract: Contract,
    dataset: &dyn Dataset,
    train: &[usize],
) -> Result<Transform, TrainError> {
    let mut found = stats(dataset, train)?;
    let relative = contract.relative_dims();
    if relative.iter().any(Option::is_some) {
        found.actions = relative_stats(dataset, train, contract.horizon, &relative)?;
    }
    Ok(Transform::new(contract, found.proprio, found.actions)?)
}

impl Data {
    pub(crate) fn new(
        recipe: &Recipe,
        dataset: Arc<dyn Dataset>,
        image_budget: u64,
    ) -> Result<Self, TrainError> {
        let split = split(dataset.num_episodes(), recipe.val_fraction, recipe.seed);
        let transform = measure(contract(recipe, &*dataset), &*dataset, &split.train)?;
        let steps = |episodes: &[usize]| -> Vec<(usize, usize)> {
            let steps = |&episode: &usize| {
                (0..dataset.episode_len(episode)).map(move |step| (episode, step))
            };
            episodes.iter().flat_map(steps).collect()
        };
        let (train, mut val) = (steps(&split.train), steps(&split.val));
        if train.is_empty() {
            return Err(TrainError::Empty { purpose: "learn from" });
        }
        if let Some(most) = recipe.val_samples.filter(|&most| most < val.len()) {
            val = (0..most).map(|i| val[i * val.len() / most]).collect();
        }
        Ok(Self {
            frames: Frames::new(dataset, image_budget),
            transform,
            train,
            val,
            features: None,
            num_frames: recipe.num_frames,
            horizon: recipe.horizon,
            past_end: recipe.past_end,
            seed: recipe.seed,
            augment: recipe.augment.clone(),
        })
    }

    /// Episodes to learn from.
    pub(crate) fn num_train_episodes(&self) -> usize {
        self.train.chunk_by(|one, other| one.0 == other.0).count()
    }

    /// Bytes of one sample's pictures and features as tensors on `device`.
    pub(crate) fn sample_bytes(&self, device: &Device) -> usize {
        let Contract { spec, use_depth, .. } = self.transform.contract();
        let pixels: usize = spec.views.iter().map(|view| view.width * view.height).sum();
        let depth = if *use_depth { size_of::<f32>() } else { 0 };
        let features = self.features.as_ref().map_or(0, FeatureStore::picture_bytes);
        let pictures = if self.clean_beside_augmented() { 2 } else { 1 };
        let pixel = pictures * Images::pixel_bytes(device) + depth;
        let frame = pixels * pixel + features * spec.num_views();
        self.num_frames * frame
    }

    /// Whether a batch holds the recorded pictures beside the augmented ones.
    fn clean_beside_augmented(&self) -> bool {
        let clean = |augment: &AugmentConfig| augment.backbone_sees == BackboneSees::Clean;
        self.augment.as_ref().is_some_and(clean) && self.features.is_none()
    }

    /// Whether a frozen backbone sees every picture as it was recorded.
    pub(crate) fn backbone_sees_clean(&self) -> bool {
        self.augment.as_ref().is_none_or(|augment| augment.backbone_sees == BackboneSees::Clean)
    }

    /// The batch of these places of the row of samples, augmented, in a part for each device.
    ///
    /// The parts are as even as they can be, the first ones larger. Where there are fewer samples
    /// than devices, the last devices get no part.
    pub(crate) fn train_parts(
        &self,
        places: &[Place],
        devices: &[Device],
    ) -> Result<Vec<Batch>, TrainError> {
        let mut rest = places;
        let mut parts = Vec::with_capacity(devices.len());
        for (i, device) in devices.iter().enumerate().take(places.len()) {
            let (part, after) = rest.split_at(rest.len().div_ceil(devices.len() - i));
            parts.push(self.train_batch(part, device)?);
            rest = after;
        }
        let num_counted = parts.iter().map(|part| part.num_counted).sum();
        for part in &mut parts {
            part.num_counted = num_counted;
        }
        Ok(parts)
    }

    fn train_batch(&self, places: &[Place], device: &Device) -> Result<Batch, TrainError> {
        let steps: Vec<_> = places.iter().map(|place| self.train[place.sample]).collect();
        let mut samples = self.samples(&steps)?;
        let clean = self.clean_beside_augmented().then(|| images(views(&samples), device));
        if let Some(augment) = &self.augment {
            samples.par_iter_mut().zip(places).for_each(|(sample, place)| {
                if let Some(draw) = augment.draw(self.seed, place.pass, place.sample) {
                    draw.apply(&mut sample.frames);
                }
            });
        }
        self.batch(&steps, &samples, clean, self.backbone_sees_clean(), device)
    }

    /// The batch of these `(episode, step)`, as they were recorded.
    pub(crate) fn plain_batch(
        &self,
        steps: &[(usize, usize)],
        device: &Device,
    ) -> Result<Batch, TrainError> {
        self.batch(steps, &self.samples(steps)?, None, true, device)
    }

    fn samples(&self, steps: &[(usize, usize)]) -> Result<Vec<Sample>, TrainError> {
        let past_end = match self.past_end {
            PastEndTarget::Mask | PastEndTarget::Repeat => PastEnd::Repeat,
            PastEndTarget::Zero => PastEnd::Zero,
        };
        let samples = steps.par_iter().map(|&(episode, step)| {
            let episode = self.frames.episode(episode)?;
            sample(&episode, step, self.num_frames, self.horizon, past_end)
        });
        Ok(samples.collect::<Result<_, _>>()?)
    }

    fn batch(
        &self,
        steps: &[(usize, usize)],
        samples: &[Sample],
        clean: Option<Images>,
        from_store: bool,
        device: &Device,
    ) -> Result<Batch, TrainError> {
        let stacks: Vec<&[Observation]> = samples.iter().map(|sample| &sample.frames[..]).collect();
        let mut input = self.transform.input(&stacks, device)?;
        if let Some(store) = self.features.as_ref().filter(|_| from_store) {
            let frames = steps.iter().flat_map(|&(episode, step)| {
                let stack = engraft_core::frame_stack(step, self.num_frames);
                stack.into_iter().map(move |step| (episode, step))
            });
            let plain = device.clone().inner();
            input.features = Some(store.read(&frames.collect::<Vec<_>>(), &plain)?);
        }
        let chunks: Vec<_> = samples
            .iter()
            .map(|sample| (&sample.actions, &sample.frames[sample.frames.len() - 1]))
            .collect();
        let targets = self.transform.targets(&chunks, device)?;
        let mask = (self.past_end == PastEndTarget::Mask).then(|| {
            let mask = samples.iter().flat_map(|sample| &sample.mask);
            mask.map(|&inside| f32::from(u8::from(inside))).collect::<Vec<_>>()
        });
        let steps_counted = match &mask {
            Some(mask) => mask.iter().filter(|&&inside| inside > 0.0).count(),
            None => samples.len() * self.horizon,
        };
        let num_counted = steps_counted * self.transform.contract().spec.action_dim();
        let mask = mask.map(|mask| {
            Tensor::from_data(TensorData::new(mask, [samples.len(), self.horizon, 1]), device)
        });
        let num_views = self.transform.contract().spec.num_views();
        Ok(Batch {
            input,
            clean,
            targets,
            mask,
            num_counted,
            num_samples: samples.len(),
            num_images: samples.len() * self.num_frames * num_views,
        })
    }
}

fn views(samples: &[Sample]) -> impl Iterator<Item = &View> {
    samples.iter().flat_map(|sample| &sample.frames).flat_map(|frame| &frame.views)
}
