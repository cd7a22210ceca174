#!/usr/bin/env python3
"""Judges videos with PyAV: every frame and every time, in order, at random and around key frames.

    python tests/judges/video_light.py

PyAV writes fresh videos of random content; the example `frames` of engraft-datasets must find the
same pixels in them, bit by bit, and the same times.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import make_video as golden  # noqa: E402

SEED = random.SystemRandom().randrange(1 << 30)


def frames(path: Path, wanted: list) -> tuple:
    """What the example prints, and the pixels of the frames wanted; EXAMPLES names a folder that holds it built."""
    command = ["cargo", "run", "--quiet", "--locked", "-p", "engraft-datasets", "--example", "frames", "--"]
    command = [str(Path(os.environ["EXAMPLES"]) / "frames")] if "EXAMPLES" in os.environ else command
    out = path.with_suffix(".rgb")
    result = subprocess.run([*command, path, out, *map(str, wanted)], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found = json.loads(result.stdout)
    pixels = np.fromfile(out, np.uint8).reshape(len(wanted), found["height"], found["width"], 3)
    return found, pixels


def scene(rng: np.random.Generator, steps: int, width: int, height: int) -> list:
    """A still background with noise, and squares that fly across it."""
    back = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)[:height, :width]
    squares = [(rng.integers(0, 256, 3), rng.uniform(0, 1, 2), rng.uniform(-0.1, 0.1, 2)) for _ in range(5)]
    pictures = []
    for step in range(steps):
        picture = back + rng.integers(-6, 7, back.shape)
        for color, start, speed in squares:
            y, x = ((start + speed * step) % 1 * (height, width)).astype(int)
            picture[y : y + height // 4, x : x + width // 4] = color
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures


def write(path: Path, pictures: list, codec: str, options: dict, fps=30, matrix=None, span=None, pix_fmt="yuv420p"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width, _ = pictures[0].shape
        stream.pix_fmt = pix_fmt
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if span is not None:
            stream.codec_context.color_range = span
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode())


def judge(path: Path, rng: random.Random) -> str:
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    times = [frame.time for frame in decoded]
    count = len(times)
    with av.open(str(path)) as container:
        keys = [packet.pts for packet in container.demux(video=0) if packet.is_keyframe and packet.pts is not None]
    by_pts = {frame.pts: at for at, frame in enumerate(decoded)}
    borders = [by_pts[pts] + near for pts in keys if pts in by_pts for near in (-2, -1, 0, 1)]
    wanted = list(range(count)) + [rng.randrange(count) for _ in range(60)]
    wanted += [at for at in borders if 0 <= at < count][:60]
    for start in (rng.randrange(max(1, count - 3)) for _ in range(15)):
        wanted += range(start, min(start + 4, count))
    nearest = []
    for _ in range(20):
        secs = rng.uniform(times[0] - 0.1, times[-1] + 0.1)
        nearest.append((secs, min(range(count), key=lambda at: abs(times[at] - secs))))
    found, pixels = frames(path, wanted + [f"@{secs!r}" for secs, _ in nearest])
    wanted += [at for _, at in nearest]
    assert found["times"] == times, f"{path.name}: times differ: {found['times'][:5]} and {times[:5]}"
    assert [frame["index"] for frame in found["frames"]] == wanted, f"{path.name}: other frames than asked for"
    rgb = [frame.to_ndarray(format="rgb24").astype(int) for frame in decoded]
    for at, ours in zip(wanted, pixels):
        off = np.abs(ours - rgb[at]).max()
        assert off == 0, f"{path.name}: frame {at} of {count} is off by {off} (seed {SEED})"
    return f"{found['codec']:6} {found['width']} x {found['height']}, {count} frames, {len(wanted)} looked at"


def main():
    rng = random.Random(SEED)
    noise = np.random.default_rng(SEED)
    lerobot = {"g": "2", "crf": "30", "preset": "12"}
    size = lambda: (8 * rng.randrange(8, 40), 8 * rng.randrange(8, 30))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)

        def fresh(name, codec, options, count=40, shape=None, **more):
            write(scratch / f"{name}.mp4", scene(noise, count, *(shape or size())), codec, options, **more)

        fresh("lerobot", "libsvtav1", lerobot)
        fresh("lerobot_50fps", "libsvtav1", lerobot, fps=50, count=61)
        fresh("av1_long", "libsvtav1", {"g": "24", "crf": "40", "preset": "10"}, count=60)
        fresh("av1_bt709_full", "libsvtav1", lerobot, matrix=1, span=2)
        fresh("av1_ntsc", "libsvtav1", lerobot, shape=(98, 66), fps=Fraction(30000, 1001))
        fresh("h264", "libx264", {})
        fresh("h264_all", "libx264", {"bf": "8", "g": "30", "refs": "5", "b-pyramid": "normal", "preset": "slow"}, count=90)
        fresh("h264_g2", "libx264", {"g": "2"})
        fresh("h264_main", "libx264", {"profile": "main", "g": "12"})
        fresh("h264_baseline", "libx264", {"profile": "baseline", "g": "12"})
        fresh("h264_cavlc", "libx264", {"coder": "0", "g": "12", "bf": "2"})
        fresh("h264_slices", "libx264", {"slices": "4", "g": "9"})
        fresh("h264_open", "libx264", {"x264-params": "open-gop=1:keyint=10:bframes=3"}, count=45)
        fresh("h264_fast", "libx264", {"tune": "zerolatency", "preset": "ultrafast"})
        fresh("h264_intra", "libx264", {"g": "1"})
        fresh("h264_weighted", "libx264", {"weightp": "2", "weightb": "1", "crf": "35"})
        fresh("h264_bt709", "libx264", {}, matrix=1, shape=(50, 38))
        fresh("h264_full", "libx264", {}, span=2)
        fresh("h264_422", "libx264", {"bf": "2"}, pix_fmt="yuv422p")
        fresh("h264_grey", "libx264", {"bf": "2"}, pix_fmt="gray")
        for number in range(3):
            write(scratch / f"part{number}.mp4", scene(noise, 11 + number, 96, 72), "libsvtav1", lerobot)
            write(scratch / f"h264_part{number}.mp4", scene(noise, 11 + number, 96, 72), "libx264", {"g": "6"})
        golden.concatenate(scratch / "episodes.mp4", [scratch / f"part{number}.mp4" for number in range(3)])
        golden.concatenate(scratch / "h264_episodes.mp4", [scratch / f"h264_part{number}.mp4" for number in range(3)])
        for path in sorted(scratch.glob("*.mp4")):
            print(f"   {path.stem:16} {judge(path, rng)}", flush=True)
    print("PyAV agrees with every frame and every time")


if __name__ == "__main__":
    main()
