#!/usr/bin/env python3
"""Writes the golden videos of tests/golden/video with PyAV, and their frames as PyAV decodes them.

    pip install av==18.1.0 numpy==2.4.6
    python tests/golden/make_video.py tests/golden/video

For each NAME.mp4 there is NAME.json: its size, its codec, when each frame is shown in seconds (as
text, so that no reader rounds it), and the SHA-256 of each frame's pixels, which are 8-bit RGB, row
by row.
"""

import hashlib
import json
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, FPS = 64, 48, 30
LEROBOT = {"g": "2", "crf": "30", "preset": "12"}
BT709, JPEG = 1, 2  # as libavutil numbers them


def picture(step: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """What a camera sees at a step: [height, width, 3] of uint8."""
    y, x = np.mgrid[:height, :width]
    red = 40 + 2 * x + 20 * ((x - 3 * step) % 32 < 10)
    green = 200 - 3 * y + 30 * ((y + 2 * step) % 24 < 8)
    blue = 128 + 100 * np.sin((x + y + 5 * step) / 9)
    return np.clip(np.stack([red, green, blue], -1), 0, 255).astype(np.uint8)


def write(path: Path, codec: str, steps: range, options: dict, size=(WIDTH, HEIGHT), matrix=None, span=None, fps=FPS):
    """Encodes the pictures of `steps`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if span is not None:
            stream.codec_context.color_range = span
        for step in steps:
            frame = av.VideoFrame.from_ndarray(picture(step, *size), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())


def concatenate(path: Path, parts: list):
    """One mp4 of several, by stream copy, as LeRobot 3 makes its files of many episodes."""
    listing = path.with_suffix(".txt")
    listing.write_text("ffconcat version 1.0\n" + "".join(f"file '{part}'\n" for part in parts))
    with av.open(str(listing), "r", format="concat", options={"safe": "0"}) as source:
        with av.open(str(path), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
            stream.time_base = source.streams.video[0].time_base
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    listing.unlink()


def keep(path: Path):
    """Writes what PyAV makes of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(video=0))
        codec = stream.codec_context.codec.canonical_name
    about = {
        "codec": {"h264": "H.264", "av1": "AV1"}[codec],
        "width": frames[0].width,
        "height": frames[0].height,
        "times": [repr(frame.time) for frame in frames],
        "sha256": [hashlib.sha256(frame.to_ndarray(format="rgb24").tobytes()).hexdigest() for frame in frames],
    }
    path.with_suffix(".json").write_text(json.dumps(about, indent=0) + "\n")


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "av1.mp4", "libsvtav1", range(24), LEROBOT)
    with tempfile.TemporaryDirectory() as scratch:
        parts = [Path(scratch) / "0.mp4", Path(scratch) / "1.mp4"]
        write(parts[0], "libsvtav1", range(9), LEROBOT)
        write(parts[1], "libsvtav1", range(100, 113), LEROBOT)
        concatenate(folder / "episodes.mp4", parts)
    write(folder / "h264.mp4", "libx264", range(30), {})
    write(folder / "h264_g2.mp4", "libx264", range(20), {"g": "2"})
    write(folder / "h264_main.mp4", "libx264", range(20), {"profile": "main", "bf": "3", "g": "8"})
    write(folder / "bt709.mp4", "libsvtav1", range(6), LEROBOT, matrix=BT709)
    write(folder / "full_range.mp4", "libsvtav1", range(6), LEROBOT, span=JPEG)
    write(folder / "odd.mp4", "libx264", range(12), {"g": "6"}, size=(50, 38), matrix=BT709, span=JPEG, fps=Fraction(30000, 1001))
    write(folder / "odd_av1.mp4", "libsvtav1", range(6), LEROBOT, size=(70, 54), fps=Fraction(50, 7))
    for path in sorted(folder.glob("*.mp4")):
        keep(path)
    (folder / "versions.json").write_text(json.dumps({"av": av.__version__, "numpy": np.__version__}) + "\n")


if __name__ == "__main__":
    main()
