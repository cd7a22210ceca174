#!/usr/bin/env python3
"""Writes the golden taps of the backbones.

    make_backbones.py                                # backbones.safetensors: made-up weights,
                                                     # tensors_*.pth: PyTorch's two file formats
    make_backbones.py LITE0.pth MOBILENET.pt PHOTO   # backbones_trained.safetensors

Made with torch 2.10.0, torchvision 0.25.0, timm 1.0.31, safetensors 0.8.0, numpy 2.2.6.

Weights are not stored: each tensor is a fixed function of its name (`made_up` here and in
crates/backbones/src/parity.rs), so a golden file holds outputs only, every so many of them.
PHOTO is scikit-image's `chelsea` (CC0), the middle square of 224 pixels of its 256-pixel version.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

HERE = Path(__file__).parent
VITS = {
    "dino-vits8": (384, 6, 8),
    "dino-vits16": (384, 6, 16),
    "dino-vitb8": (768, 12, 8),
    "dino-vitb16": (768, 12, 16),
    "mae-vitb16": (768, 12, 16),
}
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
NORMALIZATION = {
    "efficientnet-lite0": ([127 / 255] * 3, [128 / 255] * 3),
    "mae-vitb16": ([0.5] * 3, [0.5] * 3),
}


def noise(name: str, count: int) -> np.ndarray:
    """`count` numbers in -1..1 that only the name decides; exact in float32."""
    seed = np.uint64(0xCBF29CE484222325)
    with np.errstate(over="ignore"):
        for byte in name.encode():
            seed = (seed ^ np.uint64(byte)) * np.uint64(0x100000001B3)
        z = seed + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0


def made_up(name: str, shape) -> torch.Tensor:
    """The tensor of that name and shape."""
    values = noise(name, int(np.prod(shape, dtype=np.int64)))
    if name.endswith("running_var"):
        values = 1.0 + 0.5 * values
    elif name in ("cls_token", "pos_embed"):
        values = 0.5 * values
    elif len(shape) == 1:
        values = (1.0 if name.endswith("weight") else 0.0) + 0.2 * values
    else:
        # A larger gain makes the mobile networks amplify rounding: torch then differs from
        # itself in float64 by 1e-4 of a tap's scale.
        fan_in = int(np.prod(shape[1:], dtype=np.int64))
        values = values * np.sqrt(3.0 / fan_in)
    return torch.from_numpy(values.astype(np.float32).reshape(tuple(shape)))


def picture(height: int, width: int) -> torch.Tensor:
    """One picture with edges, ramps and texture; integers from 0 to 255."""
    y, x, c = np.ogrid[:height, :width, :3]
    values = (5 * y + 3 * x + 70 * c + 7 * ((x * y) >> 4)) % 256
    return torch.from_numpy(values.transpose(2, 0, 1)[None].astype(np.float32))


def lite0_names() -> dict:
    """The checkpoint's name of each module, by timm's."""
    names = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    names["classifier"] = "_fc"
    flat = 0
    for stage, blocks in enumerate([1, 2, 2, 3, 3, 4, 1]):
        for block in range(blocks):
            here, there = f"blocks.{stage}.{block}", f"_blocks.{flat}"
            if stage == 0:
                parts = [("conv_dw", "_depthwise_conv"), ("bn1", "_bn1"), ("conv_pw", "_project_conv"), ("bn2", "_bn2")]
            else:
                parts = [("conv_pw", "_expand_conv"), ("bn1", "_bn0"), ("conv_dw", "_depthwise_conv")]
                parts += [("bn2", "_bn1"), ("conv_pwl", "_project_conv"), ("bn3", "_bn2")]
            names.update({f"{here}.{ours}": f"{there}.{theirs}" for ours, theirs in parts})
            flat += 1
    return names


def nested_names(state: dict) -> dict:
    """torchvision's MobileNetV2 names, from those of the trained checkpoint."""
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[2] == "conv":
            block, index = int(parts[1]), int(parts[3])
            place, is_norm = divmod(index, 3)
            last = 3 if block == 1 else 6
            tail = f"{place + is_norm}" if index >= last else f"{place}.{is_norm}"
            name = ".".join([*parts[:3], tail, parts[4]])
        renamed[name] = tensor
    return renamed


class Reference:
    """A public implementation, the names its checkpoints use, and its taps."""

    def __init__(self, architecture: str):
        self.architecture = architecture
        if architecture in VITS:
            from timm.models.vision_transformer import VisionTransformer

            width, heads, patch = VITS[architecture]
            self.sizes = dict(patch_size=patch, embed_dim=width, depth=12, num_heads=heads, num_classes=0)
            self.net = VisionTransformer(img_size=224, **self.sizes)
            self.names = {}
        elif architecture == "efficientnet-lite0":
            import timm

            self.net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
            self.names = lite0_names()
        elif architecture == "mobilenet-v2":
            import torchvision

            self.net = torchvision.models.mobilenet_v2(weights=None)
            self.names = {}
        else:
            import torchvision

            self.net = getattr(torchvision.models, architecture)(weights=None)
            self.names = {}
        self.net.eval()

    def name(self, name: str) -> str:
        """What a checkpoint calls our `name`."""
        module, _, part = name.rpartition(".")
        return f"{self.names[module]}.{part}" if self.names else name

    def fill(self) -> dict:
        """Makes up the weights, and gives back the checkpoint."""
        checkpoint = {}
        for name, tensor in self.net.state_dict().items():
            if name.endswith("num_batches_tracked"):
                checkpoint[self.name(name)] = tensor.clone()
            else:
                checkpoint[self.name(name)] = made_up(self.name(name), tensor.shape)
        self.load(checkpoint)
        return checkpoint

    def load(self, checkpoint: dict):
        state = {name: checkpoint[self.name(name)] for name in self.net.state_dict()}
        self.net.load_state_dict(state)

    def load_trained(self, path: Path):
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if self.architecture == "mobilenet-v2":
            checkpoint = nested_names(checkpoint)
            # The file has no classifier, and no tap needs one.
            own = self.net.state_dict().items()
            checkpoint.update({name: tensor for name, tensor in own if name.startswith("classifier")})
        self.load(checkpoint)

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = NORMALIZATION.get(self.architecture, IMAGENET)
        shape = (1, 3, 1, 1)
        return (images / 255 - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)

    @torch.inference_mode()
    def taps(self, images: torch.Tensor) -> dict:
        """Every tap of pictures `[n, 3, h, w]` of 0 to 255; `TAP.cls` beside those with one."""
        inputs = self.normalize(images)
        if self.architecture in VITS:
            return self.vit_taps(inputs)
        found, hooks = {}, []

        def keep(name, module, function=lambda x: x):
            hook = lambda _module, _inputs, output: found.update({name: function(output).clone()})
            hooks.append(module.register_forward_hook(hook))

        if self.architecture == "efficientnet-lite0":
            for stage in range(7):
                keep(f"stage_{stage}", self.net.blocks[stage])
            keep("head", self.net.bn2)
        elif self.architecture == "mobilenet-v2":
            for block in range(1, 18):
                keep(f"stage_{block}", self.net.features[block])
            keep("head", self.net.features[18])
        else:
            for layer in range(1, 5):
                keep(f"layer_{layer}", getattr(self.net, f"layer{layer}"))
        logits = self.net(inputs)
        if self.architecture == "efficientnet-lite0":
            found["logits"] = logits
        for hook in hooks:
            hook.remove()
        return found

    def vit_taps(self, inputs: torch.Tensor) -> dict:
        from timm.models.vision_transformer import VisionTransformer

        patch, heads = self.sizes["patch_size"], self.sizes["num_heads"]
        height, width = inputs.shape[2:]
        rows, columns = height // patch, width // patch
        inputs = inputs[:, :, : rows * patch, : columns * patch]
        net = VisionTransformer(img_size=(rows * patch, columns * patch), **self.sizes).eval()
        state = dict(self.net.state_dict())
        state["pos_embed"] = dino_positions(state["pos_embed"], rows, columns)
        net.load_state_dict(state)
        found = {}

        def split(name, tokens):
            n, _, channels = tokens.shape
            found[f"{name}.cls"] = tokens[:, 0].clone()
            found[name] = tokens[:, 1:].transpose(1, 2).reshape(n, channels, rows, columns).clone()

        def keep_block(index):
            return lambda _module, _inputs, output: split(f"token_{index}", output)

        def keep_qkv(index):
            def hook(_module, _inputs, output):
                query, key, value = output.chunk(3, dim=2)
                for name, part in [("query", query), ("key", key), ("value", value)]:
                    split(f"{name}_{index}", part)
                n, tokens, channels = query.shape
                by_head = lambda x: x.reshape(n, tokens, heads, channels // heads).transpose(1, 2)
                scores = by_head(query)[:, :, :1] @ by_head(key).transpose(2, 3)
                weights = (scores / (channels // heads) ** 0.5).softmax(dim=3)
                split(f"attn_{index}", weights[:, :, 0].transpose(1, 2))

            return hook

        for index, block in enumerate(net.blocks):
            block.register_forward_hook(keep_block(index))
            block.attn.qkv.register_forward_hook(keep_qkv(index))
        net(inputs)
        return found


def dino_positions(embed: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Position embeddings for another grid, the way that DINO's code resamples them."""
    side = round((embed.shape[1] - 1) ** 0.5)
    if (rows, columns) == (side, side):
        return embed
    grid = embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = ((rows + 0.1) / side, (columns + 0.1) / side)
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
    assert grid.shape[2:] == (rows, columns)
    return torch.cat([embed[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def thin_out(found: dict, at_most: int) -> dict:
    """Each tap's largest magnitude, a step, and the tap's values at every so many places."""
    thin = {}
    for name, values in found.items():
        flat = values.flatten()
        step = -(-flat.numel() // at_most)
        head = torch.tensor([flat.abs().max().item(), float(step)])
        thin[name] = torch.cat([head, flat[::step]]).contiguous()
    return thin


# Sizes are small where a network is large, and never square or trained-for but once.
CASES = [
    ("efficientnet-lite0", 97, 130),
    ("mobilenet-v2", 97, 130),
    ("resnet18", 96, 130),
    ("resnet34", 64, 64),
    ("resnet50", 65, 96),
    ("dino-vits16", 224, 224),
    ("dino-vits16", 100, 160),
    ("dino-vits8", 64, 48),
]
FEW_TAPS = ["token_0", "token_5", "token_11", "key_9", "query_3", "value_7", "attn_11"]


def made_up_golden():
    from safetensors.torch import save_file

    golden = {}
    for architecture, height, width in CASES:
        reference = Reference(architecture)
        reference.fill()
        found = reference.taps(picture(height, width))
        if architecture in VITS:
            wanted = FEW_TAPS + [f"{tap}.cls" for tap in FEW_TAPS]
            found = {name: found[name] for name in wanted}
        for name, values in thin_out(found, 300).items():
            golden[f"{architecture}/{height}x{width}/{name}"] = values
    save_file(golden, HERE / "backbones.safetensors")


def trained_golden(lite0: Path, mobilenet: Path, photo: Path):
    from PIL import Image
    from safetensors.torch import save_file

    pixels = torch.from_numpy(np.array(Image.open(photo).convert("RGB")).transpose(2, 0, 1)[None].copy())
    golden = {"pixels": pixels}
    for architecture, path in [("efficientnet-lite0", lite0), ("mobilenet-v2", mobilenet)]:
        reference = Reference(architecture)
        reference.load_trained(path)
        for name, values in thin_out(reference.taps(pixels.float()), 1000).items():
            golden[f"{architecture}/{name}"] = values
    save_file(golden, HERE / "backbones_trained.safetensors")


def file_formats():
    grid = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    tensors = {"strided": grid.T, "half": grid[0].half(), "double": grid[1].double(), "steps": torch.tensor(7)}
    checkpoint = {"epoch": 3, "state_dict": tensors}
    torch.save(checkpoint, HERE / "tensors_zip.pth")
    torch.save(checkpoint, HERE / "tensors_legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        trained_golden(*map(Path, sys.argv[1:]))
    else:
        made_up_golden()
        file_formats()
