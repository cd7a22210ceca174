"""The other side of `engraft bench`: prepares what it is told to, and times an iteration per request.

Requests and answers are JSON, a line each: `{"op": "hello"}`, `{"op": "prepare", "case": {...},
"variant": "eager"}`, `{"op": "sample", "variant": "eager", "repeat": 1}`, `{"op": "drop"}`.
"""

import gc
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
import warnings


def peak_bytes():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def build(case, variant):
    kind = case["kind"]
    if kind == "augment":
        from augment import Augment as make
    elif kind == "train":
        from train import Train as make
    elif kind == "memory":
        return Memory(case, variant)
    else:
        import work

        make = {"backbone": work.Backbone, "policy": work.Policy, "observation": work.Observation}[kind]
    made = make(case, variant)
    made.prepare(variant)
    return made


class Memory:
    """The peak memory of a fresh process that does `case["inside"]` a few times."""

    flops = None

    def __init__(self, case, variant):
        self.words = [sys.executable, os.path.abspath(__file__), os.environ["OMP_NUM_THREADS"]]
        self.words += [json.dumps(case["inside"]), variant, str(case["iterations"])]
        self.shape, self.params, _ = self.child()

    def child(self):
        done = subprocess.run(self.words, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError((done.stderr.strip().splitlines() or ["the child said nothing"])[-1])
        return json.loads(done.stdout.strip().splitlines()[-1])

    def sample(self, repeat):
        return self.child()[2]


def child(case, variant, iterations):
    """What a process of its own does; counting products would cost memory that the work does not."""
    import work

    work.count_flops = lambda run: None
    made = build(case, variant)
    made.sample(iterations)
    return [made.shape, made.params, peak_bytes()]


def hello():
    import torch

    versions = {"python": platform.python_version()}
    for package in ["torch", "torchvision", "timm", "onnxruntime", "numpy"]:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    versions["torch"] = torch.__version__  # says too whether CUDA is in it, which takes memory
    return {
        "versions": versions,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def answer(request, prepared):
    op = request["op"]
    if op == "hello":
        return hello()
    if op == "drop":
        prepared.clear()
        gc.collect()
        if "torch" in sys.modules:
            sys.modules["torch"].compiler.reset()
        return {}
    if op == "prepare":
        made = prepared[request["variant"]] = build(request["case"], request["variant"])
        return {"shape": made.shape, "params": made.params, "flops": made.flops}
    return {"value": prepared[request["variant"]].sample(request["repeat"])}


def set_threads(threads):
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(1)


def main():
    warnings.filterwarnings("ignore")
    if len(sys.argv) > 1:
        set_threads(int(sys.argv[1]))
        case, variant, iterations = json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
        print(json.dumps(child(case, variant, iterations)))
        return
    # Libraries print where they like; what the answers go through is ours alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    set_threads(int(os.environ["OMP_NUM_THREADS"]))
    prepared = {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), prepared)
        except Exception as error:  # Every failure is an answer: the other side shows it.
            words = " ".join(str(error).split()) or "no message"
            reply = {"error": f"{type(error).__name__}: {words[:300]}"}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
