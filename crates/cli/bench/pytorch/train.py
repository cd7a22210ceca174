"""Training from files: the same frames, decoded, through a DataLoader."""

import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

import networks
from work import CLIP, LEARNING_RATE, WEIGHT_DECAY, laid_out, num_params

PAD = 4


class Frames(Dataset):
    """Decoded frames in .npy files, a batch at a time, shifted at random."""

    def __init__(self, folder):
        folder = Path(folder)
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        proprio, actions = np.load(folder / "proprio.npy"), np.load(folder / "actions.npy")
        scaled = lambda x, axes: (x - x.mean(axes)) / (x.std(axes) + 1e-6)
        self.proprio = torch.from_numpy(scaled(proprio, 0))
        self.actions = torch.from_numpy(scaled(actions, (0, 1)))

    def __len__(self):
        return len(self.pictures)

    def __getitems__(self, indices):
        side = self.pictures.shape[1]
        out = np.empty((len(indices), side, side, 3), dtype=np.uint8)
        line = np.arange(side)
        for i, index in enumerate(indices):
            down, right = np.random.randint(-PAD, PAD + 1, 2)
            rows, columns = (line + down).clip(0, side - 1), (line + right).clip(0, side - 1)
            out[i] = self.pictures[index][rows][:, columns]
        return torch.from_numpy(out).permute(0, 3, 1, 2), self.proprio[indices], self.actions[indices]


class Train:
    """`steps` optimiser steps; a sample is seconds per picture."""

    flops = None

    def __init__(self, case, variant):
        self.steps, self.variant, batch = case["steps"], variant, case["batch"]
        frames = Frames(case["folder"])
        _, horizon, action_dim = frames.actions.shape
        self.model = networks.policy(
            case["network"], case["side"], frames.proprio.shape[1], horizon, action_dim, depth=False
        )
        if variant == "channels-last":
            self.model = self.model.to(memory_format=torch.channels_last)
        self.params = num_params(self.model)
        self.learned = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.learned, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )
        workers = torch.get_num_threads() if variant == "workers" else 0
        order = RandomSampler(frames, replacement=True, num_samples=self.steps * batch)
        self.loader = DataLoader(
            frames, batch, sampler=order, num_workers=workers, collate_fn=lambda batch: batch,
            persistent_workers=workers > 0,
        )
        self.batch = batch

    def prepare(self, variant):
        self.sample(1)
        self.shape = [self.batch, *self.loader.dataset.actions.shape[1:]]

    def sample(self, _):
        start = time.perf_counter()
        for pictures, proprio, targets in self.loader:
            rgb = laid_out(pictures, self.variant) if self.variant == "channels-last" else pictures.contiguous()
            rgb = rgb.float()
            self.optimizer.zero_grad(set_to_none=True)
            depth = torch.zeros(len(rgb), 1, *rgb.shape[2:])
            loss = (self.model(rgb, depth, proprio) - targets).square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.learned, CLIP)
            self.optimizer.step()
            loss.item()
        return (time.perf_counter() - start) / (self.steps * self.batch)
