"""What is timed: a network forward, backward, in a whole optimiser step, or for one observation."""

import io
import time

import numpy as np
import torch

import networks

HORIZON, ACTION_DIM, PROPRIO_DIM = 8, 7, 7
LEARNING_RATE, WEIGHT_DECAY, CLIP = 1e-3, 1e-4, 1.0


class Failed(Exception):
    """Why a variant cannot be had."""


def num_params(model):
    learned = [p for p in model.parameters() if p.requires_grad]
    return sum(p.numel() for p in learned or model.parameters())


def count_flops(run):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter does not know the fused attention of the CPU, whose products are the same.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


class Work:
    """Something to repeat; `run` is one iteration and gives the output."""

    counts_flops = True

    def prepare(self, variant):
        output = self.run()
        self.shape = list(output.shape)
        self.flops = count_flops(self.run) if self.counts_flops and variant == "eager" else None

    def sample(self, repeat):
        start = time.perf_counter()
        for _ in range(repeat):
            self.run()
        return (time.perf_counter() - start) / repeat


def adapted(model, variant, training):
    """The model as a variant runs it."""
    if variant == "channels-last":
        return model.to(memory_format=torch.channels_last)
    if variant == "compile":
        # Weights become constants where nothing learns: the compiler may then lay them out anew.
        return torch.compile(model, dynamic=False, options=None if training else {"freezing": True})
    return model


def laid_out(x, variant):
    return x.contiguous(memory_format=torch.channels_last) if variant == "channels-last" else x


class Backbone(Work):
    def __init__(self, case, variant):
        from backbones import backbone

        side = case["side"]
        model = backbone(case["network"], side)
        self.params = num_params(model)
        pixels = torch.rand(case["batch"], 3, side, side) * 255
        if variant == "onnxruntime":
            self.call = onnx_session(model, pixels)
        else:
            model, pixels = adapted(model, variant, False), laid_out(pixels, variant)
            self.call = lambda: model(pixels)

    def run(self):
        with torch.no_grad():
            return self.call()


def onnx_session(model, pixels):
    import onnxruntime

    file = io.BytesIO()
    torch.onnx.export(model, (pixels,), file, dynamo=False, input_names=["pixels"], output_names=["map"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Its threads would spin into the turns of the others.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {"pixels": pixels.numpy()}
    return lambda: session.run(None, feed)[0]


class Policy(Work):
    """A policy in `mode` forward, gradient or step."""

    def __init__(self, case, variant):
        batch, side, self.mode = case["batch"], case["side"], case["mode"]
        model = networks.policy(case["network"], side, PROPRIO_DIM, HORIZON, ACTION_DIM)
        self.params = num_params(model)
        self.learned = [p for p in model.parameters() if p.requires_grad]
        model = adapted(model, variant, self.mode != "forward")
        rgb, depth = torch.rand(batch, 3, side, side) * 255, torch.rand(batch, 1, side, side) * 2
        self.inputs = [laid_out(rgb, variant), laid_out(depth, variant), torch.randn(batch, PROPRIO_DIM)]
        if case["network"] == "spawnnet":
            grid = side // 8  # ViT-S/8's maps
            maps = [torch.randn(batch, 384, grid, grid) for _ in range(3)]
            self.inputs += [laid_out(networks.unit_norm(x), variant) for x in maps]
        self.targets = torch.randn(batch, HORIZON, ACTION_DIM)
        self.model = model.eval() if self.mode == "forward" else model
        self.optimizer = torch.optim.AdamW(
            self.learned, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )

    def run(self):
        if self.mode == "forward":
            with torch.no_grad():
                return self.model(*self.inputs)
        self.optimizer.zero_grad(set_to_none=True)
        output = self.model(*self.inputs)
        loss = (output - self.targets).square().mean()
        loss.backward()
        if self.mode == "step":
            torch.nn.utils.clip_grad_norm_(self.learned, CLIP)
            self.optimizer.step()
            loss.item()
        return output


class Observation(Work):
    """One observation, from bytes to a chunk in physical units."""

    counts_flops = True

    def __init__(self, case, variant):
        side = case["side"]
        model = networks.policy(case["network"], side, PROPRIO_DIM, HORIZON, ACTION_DIM).eval()
        self.params = num_params(model)
        self.model = adapted(model, variant, False)
        self.variant = variant
        generator = np.random.default_rng(1)
        self.rgb = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
        self.depth = generator.random((side, side), dtype=np.float32)
        self.proprio = generator.random(PROPRIO_DIM, dtype=np.float32)
        self.stats = [torch.zeros(PROPRIO_DIM), torch.ones(PROPRIO_DIM), torch.zeros(ACTION_DIM), torch.ones(ACTION_DIM)]

    def run(self):
        mean, std, action_mean, action_std = self.stats
        with torch.inference_mode():
            rgb = torch.from_numpy(self.rgb).permute(2, 0, 1)[None]
            if self.variant != "channels-last":
                rgb = rgb.contiguous()
            depth = torch.nan_to_num(torch.from_numpy(self.depth))[None, None]
            proprio = ((torch.from_numpy(self.proprio) - mean) / std)[None]
            actions = self.model(rgb.float(), depth, proprio)
            return (actions * action_std + action_mean).numpy()
