"""Judges `engraft import spawnnet` and `engraft predict` against PyTorch.

Builds checkpoints in the layout of the public SpawnNet code with random weights, written anew
from the layout's description, and compares the actions that PyTorch and engraft predict from the
same files. The bar is 1e-4 of the largest action. Needs torch, timm, torchvision and safetensors.

    python tests/judges/spawnnet_heavy.py [--engraft target/release/engraft] [--only NAME]
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import timm
import torch
import torch.nn.functional as F
import torchvision
from safetensors.numpy import save_file
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
STAGES = 3


def conv3(channels):
    return nn.Conv2d(channels, channels, 3, padding=1)


def residual(channels):
    return nn.Sequential(nn.ReLU(), conv3(channels), nn.ReLU(), conv3(channels))


class Stream(nn.Module):
    """Stem and three stages, with the tensor names of the reference."""

    def __init__(self, inputs, width, block_widths):
        super().__init__()
        self.stem = nn.Conv2d(inputs, width, 4, stride=4)
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.feat_convs = nn.ModuleList([nn.Sequential(conv3(width), pool) for _ in range(STAGES)])
        self.resnet1 = nn.ModuleList([residual(w) for w in block_widths])
        self.resnet2 = nn.ModuleList([residual(w) for w in block_widths])

    def refine(self, stage, x):
        x = x + self.resnet1[stage](x)
        return x + self.resnet2[stage](x)


class FusedStream(Stream):
    """The stream with adapters and the linear layers that follow the fusion."""

    def __init__(self, dims, fusion, tokens, mask):
        last = fusion == "last"
        super().__init__(4, 64, [64, 64, 128] if last else [128] * 3)
        dims = dims[-1:] if last else dims
        self.adapters = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(dim, 64, 1), nn.ReLU()) for dim in dims]
        )
        self.linears = nn.ModuleList([] if last else [nn.Linear(128, 64) for _ in range(2)])
        self.last, self.tokens, self.mask = last, tokens, mask

    def forward(self, rgb, depth, taps):
        """`taps`: per stage `(class token [n, c] or None, map [n, c, h, w])`, not normalised."""
        colour = 0 if self.mask in ("depth-only", "no-rgbd") else 1
        metres = 0 if self.mask in ("rgb-only", "no-rgbd") else 1
        x = torch.cat([rgb * colour, depth.clamp(0, 2) * metres], 1)
        x = self.stem(x)
        taps = taps[-1:] if self.last else taps
        for stage in range(STAGES):
            x = self.feat_convs[stage](x)
            fused = 0 if self.last and stage == 2 else stage
            if not self.last or stage == 2:
                cls, grid = taps[fused]
                if self.tokens == "cls":
                    grid = cls[:, :, None, None].expand_as(grid)
                grid = grid / grid.norm(dim=1, keepdim=True)
                a = self.adapters[fused](grid)
                a = F.interpolate(a, x.shape[-2:], mode="bilinear", align_corners=False)
                x = torch.cat([x, a], 1)
            x = self.refine(stage, x)
            if not self.last and stage < 2:
                x = self.linears[stage](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x.permute(0, 2, 3, 1).flatten(1)  # height, width, channel


class Backbone(nn.Module):
    """A backbone under the names it has inside the reference's encoder."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        if name.startswith("resnet"):
            net = getattr(torchvision.models, name)()
            net.fc = nn.Identity()
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.uniform_(-0.2, 0.2)
                    module.running_var.uniform_(0.5, 1.5)
            self.module = nn.Module()
            self.module.convnet = net
        else:
            net = timm.create_model(name, num_classes=0)
            for key in ("cls_token", "patch_embed", "pos_embed", "blocks", "norm"):
                setattr(self, key, getattr(net, key))
            nn.init.normal_(self.cls_token, std=0.5)
        half = "base" in name
        self.mean = torch.tensor([0.5] * 3 if half else [0.485, 0.456, 0.406])
        self.std = torch.tensor([0.5] * 3 if half else [0.229, 0.224, 0.225])

    @property
    def dims(self):
        if self.name == "resnet18":
            return [128, 256, 512]
        if self.name == "resnet50":
            return [512, 1024, 2048]
        return [self.cls_token.shape[-1]] * 3

    def normalised(self, rgb):
        return (rgb / 255 - self.mean[:, None, None]) / self.std[:, None, None]

    def taps(self, x):
        if self.name.startswith("resnet"):
            net = self.module.convnet
            x = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x)))))
            maps = []
            for layer in (net.layer2, net.layer3, net.layer4):
                x = layer(x)
                maps.append((None, x + 1e-12))
            return maps
        x = self.patch_embed.proj(x)
        n, width, h, w = x.shape
        x = torch.cat([self.cls_token.expand(n, -1, -1), x.flatten(2).transpose(1, 2)], 1)
        x = x + self.pos_embed
        out = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in (5, 8, 11):
                out.append((x[:, 0], x[:, 1:].transpose(1, 2).reshape(n, width, h, w)))
        return out


class SpawnNetEncoder(nn.Module):
    def __init__(self, backbone, fusion, tokens, mask):
        super().__init__()
        self.vit = Backbone(backbone)
        self.conv = FusedStream(self.vit.dims, fusion, tokens, mask)

    def width(self, frames, views, state):
        return frames * (views * 6272 + state)

    def forward(self, rgb, depth, state):
        frames, views = rgb.shape[:2]
        x = self.vit.normalised(rgb.flatten(0, 1))
        x = self.conv(x, depth.flatten(0, 1), self.vit.taps(x))
        return torch.cat([x.reshape(frames, -1), state], 1).flatten()


class ImpalaEncoder(Stream):
    def __init__(self, width, stacked=0):
        super().__init__(4 * stacked if stacked else 4, width, [width] * 3)
        if stacked:
            self.fc = nn.Linear(width * 49, 384)
        self.features, self.stacked = width * 49, stacked

    def width(self, frames, views, state):
        return (384 if self.stacked else frames * views * self.features) + frames * state

    def forward(self, rgb, depth, state):
        rgb, depth = rgb.flatten(0, 1) / 255, depth.flatten(0, 1)
        if self.stacked:
            x = torch.cat([rgb.flatten(0, 1), depth.flatten(0, 1)])[None]
        else:
            x = torch.cat([rgb, depth], 1)
        x = self.stem(x)
        for stage in range(STAGES):
            x = self.refine(stage, self.feat_convs[stage](x))
        x = F.relu(x).flatten(1)
        if self.stacked:
            x = F.relu(self.fc(x))
        return torch.cat([x.flatten(), state.flatten()])


class Head(nn.Module):
    def __init__(self, inputs, horizon, bounds):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([(high - low) / 2 for low, high in bounds]))
        self.bias = nn.Parameter(torch.tensor([(high + low) / 2 for low, high in bounds]))
        self.trunk = nn.Sequential(
            nn.Linear(inputs, 256),
            nn.ReLU(),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, horizon * len(bounds)),
        )

    def forward(self, x):
        return self.trunk(x).reshape(-1, len(self.scale)) * self.scale + self.bias


def spawnnet(backbone, fusion="all", tokens="dense", mask="all"):
    flags = ["--channel-mask", mask, "--tokens", tokens]
    return lambda: (SpawnNetEncoder(backbone, fusion, tokens, mask), flags)


def impala(width, stacked=0):
    return lambda: (ImpalaEncoder(width, stacked), [])


# name: encoder, frames, views, state, horizon, bounds
ARM = [(-1.0, 1.0)] * 7 + [(0.0, 1.0)]
SIM = [(-1.0, 1.0)] * 11
CASES = {
    "dino": (spawnnet("vit_small_patch8_224"), 2, 2, 7, 4, ARM),
    "dino, rgb only": (spawnnet("vit_small_patch16_224", mask="rgb-only"), 1, 2, 7, 4, ARM),
    "dino, pretrained only": (
        spawnnet("vit_small_patch16_224", "last", "dense", "no-rgbd"), 1, 3, 49, 1, SIM),
    "dino, class token": (spawnnet("vit_small_patch16_224", tokens="cls"), 2, 1, 7, 3, ARM),
    "mvp, depth only": (spawnnet("vit_base_patch16_224", mask="depth-only"), 1, 2, 7, 4, ARM),
    "r3m": (spawnnet("resnet50"), 1, 3, 49, 1, SIM),
    "r3m of ResNet-18, last": (spawnnet("resnet18", "last"), 1, 1, 7, 4, ARM),
    "impala": (impala(128), 4, 2, 7, 4, ARM),
    "impala, narrow": (impala(64), 1, 3, 49, 1, SIM),
    "impala, small": (impala(64, stacked=8), 4, 2, 7, 4, ARM),
}


def observation(generator, frames, views, state):
    rgb = generator.integers(0, 256, (frames, views, 3, 224, 224), dtype=numpy.uint8)
    ramp = numpy.linspace(0, 3, 224, dtype=numpy.float32)
    rgb[..., ::2, :] //= 2
    depth = numpy.broadcast_to(ramp, (frames, views, 1, 224, 224)).copy()
    depth += generator.random(depth.shape, dtype=numpy.float32) * 0.5
    return rgb, depth, generator.standard_normal((frames, state)).astype(numpy.float32)


def enliven(encoder, head):
    """Weights under which actions depend on the picture; with PyTorch's own, biases drown it."""
    for name, parameter in [*encoder.named_parameters(), *head.named_parameters()]:
        if name.startswith("vit.") or name in ("scale", "bias"):
            continue
        if parameter.dim() < 2:
            nn.init.uniform_(parameter, -0.1, 0.1)
        else:
            nn.init.kaiming_normal_(parameter)
            if "adapters" in name:  # its inputs have length one
                parameter.data *= math.sqrt(parameter.shape[1])


def run(arguments):
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)


def judge(engraft, name, case, folder):
    make, frames, views, state, horizon, bounds = case
    torch.manual_seed(len(name))
    encoder, flags = make()
    head = Head(encoder.width(frames, views, state), horizon, bounds)
    with torch.no_grad():
        enliven(encoder, head)
    encoder.eval()
    torch.save(encoder.state_dict(), folder / "encoder.ckpt")
    torch.save(head.state_dict(), folder / "policy.ckpt")
    rgb, depth, proprio = observation(numpy.random.default_rng(len(name)), frames, views, state)
    save_file({"rgb": rgb, "depth": depth, "proprio": proprio}, folder / "obs.safetensors")
    with torch.no_grad():
        tensors = (torch.from_numpy(rgb).float(), torch.from_numpy(depth), torch.from_numpy(proprio))
        expected = head(encoder(*tensors)).numpy()
        other = head(encoder(tensors[0].flip(-1), *tensors[1:])).numpy()
    if numpy.abs(expected - other).max() < 0.01 * numpy.abs(expected).max():
        return "the actions hardly depend on the picture, so nothing is judged"

    out = folder / "run"
    command = [*engraft, "import", "spawnnet", "--encoder", folder / "encoder.ckpt"]
    command += ["--policy", folder / "policy.ckpt", "--frames", str(frames)]
    command += ["--views", str(views), "--horizon", str(horizon), *flags, "--out", out]
    imported = run(command)
    if imported.returncode != 0:
        return f"import failed: {imported.stderr.strip()}"
    predicted = run([*engraft, "predict", out, "--observation", folder / "obs.safetensors", "--json"])
    if predicted.returncode != 0:
        return f"predict failed: {predicted.stderr.strip()}"
    found = numpy.array(json.loads(predicted.stdout)["actions"])
    if found.shape != expected.shape:
        return f"shape {found.shape} instead of {expected.shape}"
    error = numpy.abs(found - expected).max() / numpy.abs(expected).max()
    print(f"{name}: relative error {error:.1e} over {expected.size} values")
    return None if error <= TOLERANCE and math.isfinite(error) else f"error {error:.1e}"


def judge_messages(engraft, folder):
    """What is open is asked for by its flag; what is odd is named."""
    encoder, _ = impala(64)()
    head = Head(encoder.width(4, 2, 7), 4, ARM)
    broken = dict(encoder.state_dict())
    broken["surplus"] = broken.pop("resnet1.0.1.bias")
    problems = []
    for tensors, flags, said in [
        (encoder.state_dict(), [], ["--frames"]),
        (encoder.state_dict(), ["--frames", "5"], ["--frames 5"]),
        (encoder.state_dict(), ["--frames", "4", "--horizon", "9"], ["--horizon 9"]),
        (broken, ["--frames", "4"], ["resnet1.0.1.bias", "surplus"]),
    ]:
        torch.save(tensors, folder / "encoder.ckpt")
        torch.save(head.state_dict(), folder / "policy.ckpt")
        command = [*engraft, "import", "spawnnet", "--encoder", folder / "encoder.ckpt"]
        command += ["--policy", folder / "policy.ckpt", *flags, "--out", folder / "odd"]
        answer = run(command)
        if answer.returncode != 2 or not all(word in answer.stderr for word in said):
            problems.append(f"{flags}: expected {said}, got {answer.stderr.strip()!r}")
        if (folder / "odd").exists():
            problems.append(f"{flags}: a run was written")
    return "; ".join(problems) or None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engraft", default=os.environ.get("ENGRAFT"))
    parser.add_argument("--only", help="judge the cases whose name holds this")
    arguments = parser.parse_args()
    engraft = ["cargo", "run", "--quiet", "--release", "--locked", "--"]
    if arguments.engraft:
        engraft = [arguments.engraft]
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            if arguments.only and arguments.only not in name:
                continue
            problem = judge(engraft, name, case, pathlib.Path(folder))
            failures += [f"{name}: {problem}"] if problem else []
        if not arguments.only:
            problem = judge_messages(engraft, pathlib.Path(folder))
            print(f"messages: {problem or 'as they should be'}")
            failures += [f"messages: {problem}"] if problem else []
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
