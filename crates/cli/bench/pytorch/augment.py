"""Augmentation of a batch as DrQ-v2 and torchvision do it: bytes to a float tensor."""

from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F

from work import Work

PAD = 4


def drq_shift(x):
    """DrQ-v2's random shift: a padded batch sampled at whole pixels."""
    n, _, side, _ = x.shape
    x = F.pad(x, (PAD,) * 4, "replicate")
    padded = side + 2 * PAD
    eps = 1.0 / padded
    line = torch.linspace(-1.0 + eps, 1.0 - eps, padded)[:side].unsqueeze(0).repeat(side, 1).unsqueeze(2)
    grid = torch.cat([line, line.transpose(1, 0)], 2).unsqueeze(0).repeat(n, 1, 1, 1)
    shift = torch.randint(0, 2 * PAD + 1, (n, 1, 1, 2)).float() * (2.0 / padded)
    return F.grid_sample(x, grid + shift, padding_mode="zeros", align_corners=False)


def slice_shift(x):
    """The same by copies: of bytes, before they are floats."""
    n, channels, side, _ = x.shape
    out = torch.empty(n, channels, side, side)
    # Replicate padding knows floats alone, so the border is copied by index.
    reach = torch.arange(-PAD, side + PAD).clamp(0, side - 1)
    x = x.index_select(2, reach).index_select(3, reach)
    for i, (top, left) in enumerate(torch.randint(0, 2 * PAD + 1, (n, 2)).tolist()):
        out[i] = x[i, :, top : top + side, left : left + side]
    return out


class Augment(Work):
    counts_flops = False
    params = None

    def __init__(self, case, variant):
        side, what = case["side"], case["network"]
        self.pictures = torch.randint(0, 256, (case["batch"], 3, side, side), dtype=torch.uint8)
        if what == "shift":
            self.call = (lambda x: slice_shift(x)) if variant == "slices" else (lambda x: drq_shift(x.float()))
            return
        from torchvision.transforms import v2

        one = {
            "crop": lambda: v2.RandomResizedCrop(side, scale=(0.7, 1.0), ratio=(0.75, 4 / 3), antialias=True),
            "color": lambda: v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
        }[what]()
        if variant == "eager":
            self.call = lambda x: torch.stack([one(picture) for picture in x]).float()
            return
        threads = torch.get_num_threads()
        # Each of the pool's threads computes on itself alone.
        pool = ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1))
        self.call = lambda x: torch.stack(list(pool.map(one, x))).float()

    def run(self):
        with torch.no_grad():
            return self.call(self.pictures)
