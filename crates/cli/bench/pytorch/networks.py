"""The policies in plain PyTorch, layer for layer as engraft has them."""

import torch
import torch.nn.functional as F
from torch import nn

IMAGENET_MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255]
IMAGENET_STD = [0.229 * 255, 0.224 * 255, 0.225 * 255]


class Normalize(nn.Module):
    """Pixels from 0 to 255 to what a network was trained on."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("shift", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(std).reshape(1, 3, 1, 1))

    def forward(self, x):
        return (x - self.shift) * self.scale


class ResidualBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.second(F.relu(self.first(F.relu(x))))


class ConvStream(nn.Module):
    """A stem and three stages that each halve height and width."""

    def __init__(self, inputs, channels, residual):
        super().__init__()
        self.stem = nn.Conv2d(inputs, channels, 4, stride=4)
        self.feat_convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        self.resnet1 = nn.ModuleList(ResidualBlock(residual) for _ in range(3))
        self.resnet2 = nn.ModuleList(ResidualBlock(residual) for _ in range(3))

    def halve(self, stage, x):
        return F.max_pool2d(self.feat_convs[stage](x), 3, stride=2, padding=1)

    def refine(self, stage, x):
        return self.resnet2[stage](self.resnet1[stage](x))


def last_side(side):
    """Pixels a side after the stem and three stages."""
    side //= 4
    for _ in range(3):
        side = (side + 1) // 2
    return side


class Head(nn.Module):
    def __init__(self, inputs, horizon, action_dim):
        super().__init__()
        widths = [inputs, 256, 128, horizon * action_dim]
        self.trunk = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.register_buffer("scale", torch.ones(action_dim))
        self.register_buffer("bias", torch.zeros(action_dim))
        self.horizon, self.action_dim = horizon, action_dim

    def forward(self, x):
        for i, layer in enumerate(self.trunk):
            x = layer(F.relu(x) if i else x)
        return x.reshape(x.shape[0], self.horizon, self.action_dim) * self.scale + self.bias


class Lfs(nn.Module):
    """SpawnNet's learned stream without its features, 128 channels wide."""

    def __init__(self, side, proprio, horizon, action_dim):
        super().__init__()
        self.conv = ConvStream(4, 128, 128)
        self.head = Head(128 * last_side(side) ** 2 + proprio, horizon, action_dim)

    def forward(self, rgb, depth, proprio, *_):
        x = self.conv.stem(torch.cat([rgb / 255, depth], 1))
        for stage in range(3):
            x = self.conv.refine(stage, self.conv.halve(stage, x))
        return self.head(torch.cat([F.relu(x).flatten(1), proprio], 1))


class Hansen(nn.Module):
    """The shallow ConvNet: five convolutions for 96 pixels, six and a projection for 224."""

    def __init__(self, side, proprio, horizon, action_dim, depth=True):
        super().__init__()
        self.depth, large = depth, side > 96
        shapes = [(7, 2), (5, 2), *[(3, 2)] * 4] if large else [*[(3, 2)] * 3, (3, 1), (3, 1)]
        convs, channels = [], 4 if depth else 3
        for kernel, stride in shapes:
            convs.append(nn.Conv2d(channels, 32, kernel, stride=stride))
            side, channels = (side - kernel) // stride + 1, 32
        self.convnet = nn.ModuleList(convs)
        features = 32 * side * side
        self.project = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, 128)) if large else None
        self.head = Head((128 if large else features) + proprio, horizon, action_dim)

    def forward(self, rgb, depth, proprio, *_):
        x = rgb / 255 - 0.5
        if self.depth:
            x = torch.cat([x, depth], 1)
        for i, conv in enumerate(self.convnet):
            x = conv(x)
            if self.project is not None or i + 1 < len(self.convnet):
                x = F.relu(x)
        x = x.flatten(1)
        if self.project is not None:
            x = self.project(x)
        return self.head(torch.cat([x, proprio], 1))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x):
        n, tokens, width = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        return self.proj(x.transpose(1, 2).reshape(n, tokens, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class VitSmall(nn.Module):
    """ViT-S that hands out the tokens after the blocks `taps` as maps; no block after the last."""

    def __init__(self, patch, side, taps=(5, 8, 11)):
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.patch_embed = nn.Conv2d(3, 384, patch, stride=patch)
        self.grid = side // patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 384))
        self.pos_embed = nn.Parameter(torch.randn(1, self.grid**2 + 1, 384) * 0.02)
        self.blocks = nn.ModuleList(Block(384, 6) for _ in range(max(taps) + 1))
        self.taps = taps

    def forward(self, rgb):
        x = self.patch_embed(self.normalize(rgb)).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                maps.append(x[:, 1:].transpose(1, 2).reshape(-1, 384, self.grid, self.grid))
        return maps


def unit_norm(x):
    x = x + 1e-12
    return x / x.square().sum(1, keepdim=True).sqrt()


class SpawnNet(nn.Module):
    """Frozen features fused into a learned stream; with `patch` the frozen ViT-S runs inside."""

    def __init__(self, side, proprio, horizon, action_dim, patch=None):
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.vit = VitSmall(patch, side).eval().requires_grad_(False) if patch else None
        self.conv = ConvStream(4, 64, 128)
        self.adapters = nn.ModuleList(nn.Conv2d(384, 64, 1) for _ in range(3))
        # A linear layer over the channels of each pixel.
        self.linears = nn.ModuleList(nn.Conv2d(128, 64, 1) for _ in range(2))
        self.head = Head(128 * last_side(side) ** 2 + proprio, horizon, action_dim)

    def forward(self, rgb, depth, proprio, *features):
        if self.vit is not None:
            with torch.no_grad():
                features = [unit_norm(x) for x in self.vit(rgb)]
        x = self.conv.stem(torch.cat([self.normalize(rgb), depth.clamp(0, 2)], 1))
        for stage in range(3):
            x = self.conv.halve(stage, x)
            narrow = F.relu(self.adapters[stage](features[stage]))
            if narrow.shape[2:] != x.shape[2:]:
                narrow = F.interpolate(narrow, x.shape[2:], mode="bilinear", align_corners=False)
            x = self.conv.refine(stage, torch.cat([x, narrow], 1))
            if stage < 2:
                x = self.linears[stage](x)
        return self.head(torch.cat([x.permute(0, 2, 3, 1).flatten(1), proprio], 1))


def policy(network, side, proprio, horizon, action_dim, depth=True):
    """The policy of that name with fresh weights; the others read a missing depth as zeros."""
    sizes = (side, proprio, horizon, action_dim)
    return {
        "lfs": lambda: Lfs(*sizes),
        "hansen": lambda: Hansen(*sizes, depth=depth),
        "spawnnet": lambda: SpawnNet(*sizes),
        "spawnnet-vits16": lambda: SpawnNet(*sizes, patch=16),
    }[network]()
