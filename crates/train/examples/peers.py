"""PyTorch's side of peers.rs: reads the name of a case, runs it once, prints the seconds it took.

    python peers.py THREADS SHAPES

SHAPES are those of a policy's parameters, as 64x3x3x3,64.
"""

import sys
import time

import torch
import torch.nn.functional as F
from torchvision.transforms import v2

BATCH, SIDE, PAD = 32, 224, 4

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(1)
pictures = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8)
# Interleaved in memory, as a decoder leaves pictures and as torchvision resizes them fastest.
interleaved = pictures.contiguous(memory_format=torch.channels_last)
floats = pictures.float() / 255


def shift_slices():
    side = SIDE + 2 * PAD
    padded = torch.empty(BATCH, 3, side, side, dtype=torch.uint8)
    padded[:, :, PAD:-PAD, PAD:-PAD] = pictures
    padded[:, :, :PAD, PAD:-PAD] = pictures[:, :, :1]
    padded[:, :, -PAD:, PAD:-PAD] = pictures[:, :, -1:]
    padded[:, :, :, :PAD] = padded[:, :, :, PAD : PAD + 1]
    padded[:, :, :, -PAD:] = padded[:, :, :, -PAD - 1 : -PAD]
    offsets = torch.randint(0, 2 * PAD + 1, (BATCH, 2)).tolist()
    parts = [padded[i, :, y : y + SIDE, x : x + SIDE] for i, (y, x) in enumerate(offsets)]
    return torch.stack(parts)


def shift_grid():
    """As DrQ-v2 does it."""
    padded = F.pad(floats, (PAD,) * 4, "replicate")
    side = SIDE + 2 * PAD
    eps = 1.0 / side
    line = torch.linspace(-1.0 + eps, 1.0 - eps, side)[:SIDE]
    line = line.unsqueeze(0).repeat(SIDE, 1).unsqueeze(2)
    base = torch.cat([line, line.transpose(1, 0)], dim=2).unsqueeze(0).repeat(BATCH, 1, 1, 1)
    offset = torch.randint(0, 2 * PAD + 1, (BATCH, 1, 1, 2)).float() * 2.0 / side
    return F.grid_sample(padded, base + offset, padding_mode="zeros", align_corners=False)


crop = v2.RandomResizedCrop(SIDE, scale=(0.6, 1.0), ratio=(0.75, 1.333), antialias=True)
bright = v2.ColorJitter(0.3)
plain = v2.ColorJitter(0.3, 0.3, 0.3)
colour = v2.ColorJitter(0.3, 0.3, 0.3, 0.1)

shapes = [[int(side) for side in shape.split("x")] for shape in sys.argv[2].split(",")]
params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
averages = [param.detach().clone() for param in params]
adamw = dict(lr=1e-3, weight_decay=0.01, eps=1e-8)
foreach = torch.optim.AdamW(params, foreach=True, **adamw)
fused = torch.optim.AdamW(params, fused=True, **adamw)


def give_gradients():
    for param in params:
        param.grad = torch.randn_like(param) * 1e-3


def clip_and(optimizer):
    torch.nn.utils.clip_grad_norm_(params, 0.1, foreach=True)
    optimizer.step()


def nothing():
    pass


with torch.no_grad():
    lerp = lambda: torch._foreach_lerp_(averages, [param.detach() for param in params], 0.01)

# A case, and what comes before it untimed.
cases = {
    "shift, pad and slice, u8": (shift_slices, nothing),
    "shift, grid_sample, f32": (shift_grid, nothing),
    "crop, u8": (lambda: crop(interleaved), nothing),
    "brightness, u8": (lambda: bright(pictures), nothing),
    "colour without hue, u8": (lambda: plain(pictures), nothing),
    "colour without hue, f32": (lambda: plain(floats), nothing),
    "colour, u8": (lambda: colour(pictures), nothing),
    "colour, f32": (lambda: colour(floats), nothing),
    "clip and AdamW, foreach": (lambda: clip_and(foreach), give_gradients),
    "clip and AdamW, fused": (lambda: clip_and(fused), give_gradients),
    "AdamW alone as Burn has it, fused": (fused.step, give_gradients),
    "moving average": (lerp, nothing),
}

for line in sys.stdin:
    run, before = cases[line.strip()]
    before()
    began = time.perf_counter()
    run()
    print(time.perf_counter() - began, flush=True)
