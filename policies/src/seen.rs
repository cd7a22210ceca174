//! Features of pictures that a frozen stream saw before.
//!
//! Frame stacks overlap: most frames of one were in the stack before it, and a frozen network makes
//! of a picture what it made of it then. A picture is looked up by its bytes, all of them, and goes
//! through the network by itself, never beside others; so what a stack comes to is the same to the
//! last bit whether or not anything was remembered.

use std::collections::HashMap;

use burn::tensor::Tensor;
use engraft_backbones::Features;
use engraft_core::Observation;

use crate::{Policy, PolicyInput};

/// Pictures that were seen, and their features, within a budget of bytes.
#[derive(Debug)]
pub struct Seen {
    budget_bytes: usize,
    used_bytes: usize,
    pictures: HashMap<Vec<u8>, Known>,
    /// Runs on with every use of a picture.
    clock: u64,
    /// Pictures asked for.
    asked: u64,
    /// Pictures that went through the network.
    encoded: u64,
}

#[derive(Debug)]
struct Known {
    features: Vec<Features>,
    num_bytes: usize,
    last: u64,
}

impl Seen {
    /// Nothing seen yet. Pictures and features together never take more than `budget_bytes`; with
    /// none, nothing is remembered.
    pub fn new(budget_bytes: usize) -> Self {
        let pictures = HashMap::new();
        Self { budget_bytes, used_bytes: 0, pictures, clock: 0, asked: 0, encoded: 0 }
    }

    /// Bytes that pictures and features take now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Pictures that were asked for, and those of them that had to go through the network.
    pub fn counts(&self) -> (u64, u64) {
        (self.asked, self.encoded)
    }

    /// What [`PolicyInput::features`] takes for `input`, which was made of `stacks`; `None` where
    /// the policy has nothing frozen.
    ///
    /// All calls must be about one policy.
    pub fn features(
        &mut self,
        policy: &Policy,
        stacks: &[&[Observation]],
        input: &PolicyInput,
    ) -> Option<Vec<Features>> {
        policy.backbone().filter(|stream| !stream.fine_tune())?;
        let pictures = stacks.iter().copied().flatten().flat_map(|frame| &frame.views);
        let pictures: Vec<&[u8]> = pictures.map(|view| view.rgb.pixels()).collect();
        // Before anything is encoded, so that nothing of this very call makes room for the rest.
        let known: Vec<_> = pictures.iter().map(|pixels| self.look_up(pixels)).collect();
        let mut found = Vec::with_capacity(pictures.len());
        for (i, (known, pixels)) in known.into_iter().zip(pictures).enumerate() {
            // The same picture may have come up earlier in this call.
            if let Some(features) = known.or_else(|| self.look_up(pixels)) {
                found.push(features);
                continue;
            }
            let features = policy.frozen_features(&input.rgb.some(i..i + 1))?;
            self.encoded += 1;
            self.remember(pixels, &features);
            found.push(features);
        }
        self.asked += found.len() as u64;
        Some(side_by_side(&found))
    }

    fn look_up(&mut self, pixels: &[u8]) -> Option<Vec<Features>> {
        let known = self.pictures.get_mut(pixels)?;
        self.clock += 1;
        known.last = self.clock;
        Some(known.features.clone())
    }

    fn remember(&mut self, pixels: &[u8], features: &[Features]) {
        let numbers = |features: &Features| {
            features.map.shape().num_elements()
                + features.cls.as_ref().map_or(0, |cls| cls.shape().num_elements())
        };
        let num_numbers: usize = features.iter().map(numbers).sum();
        let num_bytes = pixels.len() + num_numbers * size_of::<f32>();
        if num_bytes > self.budget_bytes {
            return;
        }
        while self.used_bytes + num_bytes > self.budget_bytes {
            let oldest = self.pictures.iter().min_by_key(|(_, known)| known.last);
            let Some(oldest) = oldest.map(|(pixels, _)| pixels.clone()) else { break };
            self.used_bytes -= self.pictures.remove(&oldest).map_or(0, |known| known.num_bytes);
        }
        self.used_bytes += num_bytes;
        self.clock += 1;
        let known = Known { features: features.to_vec(), num_bytes, last: self.clock };
        self.pictures.insert(pixels.to_vec(), known);
    }
}

/// Features of pictures one by one to those of all of them, tap by tap.
fn side_by_side(pictures: &[Vec<Features>]) -> Vec<Features> {
    let num_taps = pictures.first().map_or(0, Vec::len);
    let tap = |tap: usize| {
        let of = || pictures.iter().map(move |features| &features[tap]);
        let cls: Option<Vec<_>> = of().map(|features| features.cls.clone()).collect();
        Features {
            map: Tensor::cat(of().map(|features| features.map.clone()).collect(), 0),
            cls: cls.map(|cls| Tensor::cat(cls, 0)),
        }
    };
    (0..num_taps).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use engraft_backbones::Architecture;

    use super::*;
    use crate::testing::{contract, observation, transform, values};
    use crate::{BackboneConfig, Contract, FrozenConfig, PolicyConfig, Precision, SpawnNetConfig};

    fn policies(contract: &Contract) -> Vec<Policy> {
        let mut frozen = FrozenConfig::pooled(Architecture::Resnet18, None);
        frozen.backbone.taps = vec!["layer_2".parse().unwrap()];
        let backbone = BackboneConfig {
            architecture: Architecture::MobilenetV2,
            weights: None,
            taps: Vec::new(),
            size: None,
            fine_tune: false,
            precision: Precision::Single,
        };
        let spawn =
            SpawnNetConfig { channels: 8, adapter_channels: 8, ..SpawnNetConfig::new(backbone) };
        [PolicyConfig::Frozen(frozen), PolicyConfig::SpawnNet(spawn)]
            .map(|config| config.init(contract, 1, &Device::flex()).unwrap())
            .into()
    }

    /// What the policy makes of frames `from..from + 4`.
    fn answer(policy: &Policy, contract: &Contract, seen: &mut Seen, from: usize) -> Vec<f32> {
        let stack: Vec<_> = (from..from + 4).map(|seed| observation(contract, seed)).collect();
        let mut input = transform(contract).input(&[&stack], &Device::flex()).unwrap();
        input.features = seen.features(policy, &[&stack], &input);
        assert!(input.features.is_some());
        values(policy.forward(input))
    }

    #[test]
    fn what_is_remembered_changes_no_bit_of_an_answer_and_spares_the_network() {
        let contract = contract(4, 32, 40);
        for policy in policies(&contract) {
            let (mut all, mut nothing) = (Seen::new(64 << 20), Seen::new(0));
            for from in [0, 1, 2, 2, 0] {
                let remembered = answer(&policy, &contract, &mut all, from);
                assert_eq!(remembered, answer(&policy, &contract, &mut nothing, from));
            }
            // Six frames of two views were ever shown, five times four of them asked for.
            assert_eq!(all.counts(), (40, 12));
            assert_eq!(nothing.counts(), (40, 40));
            assert_eq!(nothing.used_bytes(), 0);
        }
    }

    #[test]
    fn the_budget_is_kept_and_the_picture_unseen_for_longest_goes_first() {
        let contract = contract(4, 32, 32);
        let policy = policies(&contract).remove(0);
        let mut one = Seen::new(1 << 30);
        answer(&policy, &contract, &mut one, 0);
        let each = one.used_bytes() / 8;
        let mut seen = Seen::new(9 * each);
        for (from, encoded) in [(0, 8), (1, 10), (1, 10), (2, 12), (0, 15)] {
            answer(&policy, &contract, &mut seen, from);
            assert!(seen.used_bytes() <= 9 * each);
            assert_eq!(seen.counts().1, encoded, "from {from}");
        }
    }

    #[test]
    fn one_bit_of_a_picture_makes_it_another() {
        let contract = contract(1, 32, 32);
        let policy = policies(&contract).remove(0);
        let mut seen = Seen::new(1 << 30);
        let mut frame = observation(&contract, 0);
        for _ in 0..2 {
            let input = transform(&contract).input(&[&[frame.clone()]], &Device::flex()).unwrap();
            seen.features(&policy, &[&[frame.clone()]], &input);
            let last = frame.views[1].rgb.pixels_mut().last_mut().unwrap();
            *last ^= 1;
        }
        assert_eq!(seen.counts(), (4, 3));
    }

    #[test]
    fn a_policy_that_changes_what_it_sees_with_is_not_remembered() {
        let contract = contract(1, 32, 32);
        let mut config = FrozenConfig::pooled(Architecture::Resnet18, None);
        config.backbone.fine_tune = true;
        let policy = PolicyConfig::Frozen(config).init(&contract, 1, &Device::flex()).unwrap();
        let frame = [observation(&contract, 0)];
        let input = transform(&contract).input(&[&frame], &Device::flex()).unwrap();
        assert!(Seen::new(1 << 30).features(&policy, &[&frame], &input).is_none());
    }
}
