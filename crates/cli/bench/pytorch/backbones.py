"""Backbones of torchvision and timm up to their last map, batch norms folded as engraft folds them."""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from networks import IMAGENET_MEAN, IMAGENET_STD, Normalize


class Last(nn.Module):
    """Pixels from 0 to 255 to the last map: everything but the classifier."""

    def __init__(self, normalize, network, layers):
        super().__init__()
        self.normalize, self.network, self.layers = normalize, network, layers

    def forward(self, pixels):
        return self.layers(self.network, self.normalize(pixels))


def resnet(net, x):
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def vit(net, x):
    x = net._pos_embed(net.patch_embed(x))
    for block in net.blocks:
        x = block(x)
    n, tokens, width = x.shape
    side = int((tokens - 1) ** 0.5)
    return x[:, 1:].transpose(1, 2).reshape(n, width, side, side)


def folded(model, example):
    """The same function without batch norms: each is folded into the convolution before it."""
    made_by, kept, pairs, handles = {}, [], [], []

    def remember(conv, _, output):
        kept.append(output)  # alive, so that no other tensor gets its id
        made_by[id(output)] = conv

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(remember))
        elif isinstance(module, nn.BatchNorm2d):
            look = lambda norm, inputs: pairs.append((made_by[id(inputs[0])], norm))
            handles.append(module.register_forward_pre_hook(look))
    model(example)
    for handle in handles:
        handle.remove()
    names = {module: name for name, module in model.named_modules()}
    for conv, norm in pairs:
        fused = fuse_conv_bn_eval(conv, norm)
        conv.weight, conv.bias = fused.weight, fused.bias
        parent, _, leaf = names[norm].rpartition(".")
        # timm keeps the activation inside its batch norm.
        setattr(model.get_submodule(parent), leaf, getattr(norm, "act", nn.Identity()))
    return model


def backbone(network, side):
    """The backbone of that name with fresh weights, ready for inference."""
    imagenet = Normalize(IMAGENET_MEAN, IMAGENET_STD)
    if network in ("resnet18", "resnet50"):
        import torchvision

        net = getattr(torchvision.models, network)()
        net.fc = nn.Identity()
        model = Last(imagenet, net, resnet)
    elif network == "mobilenet-v2":
        import torchvision

        net = torchvision.models.mobilenet_v2()
        net.classifier = nn.Identity()
        model = Last(imagenet, net, lambda net, x: net.features(x))
    elif network == "efficientnet-lite0":
        import timm

        net = timm.create_model("tf_efficientnet_lite0")
        model = Last(Normalize([127.0] * 3, [128.0] * 3), net, lambda net, x: net.forward_features(x))
    else:
        import timm

        patch = {"dino-vits8": 8, "dino-vits16": 16}[network]
        net = timm.create_model(f"vit_small_patch{patch}_224", num_classes=0)
        model = Last(imagenet, net, vit)
    model.eval().requires_grad_(False)
    with torch.inference_mode(False), torch.no_grad():
        return folded(model, torch.rand(1, 3, side, side) * 255)
