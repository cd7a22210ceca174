//! Imitation learning: samples to tensors, a training run, its evaluation.
