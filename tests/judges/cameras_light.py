"""Cameras over HTTP, judged by servers that others wrote.

FFmpeg (through PyAV) serves motion JPEG as it does for anybody, in chunks; a server in the manner of
the many little ones in Python writes parts without a length; where ustreamer is installed it is
asked too. What the bridge sees is compared with what Pillow decodes.
"""

import contextlib
import http.server
import io
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image

LOOK = Path(os.environ.get("EXAMPLES", "target/debug/examples")) / "look"


def picture(number: int) -> Image.Image:
    """A soft pattern, which JPEG keeps."""
    y, x = np.mgrid[0:120, 0:160]
    waves = [np.sin(x / 17 + number), np.cos(y / 13), np.sin((x + y) / 23)]
    return Image.fromarray(np.stack([127 + 90 * wave for wave in waves], -1).astype(np.uint8))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def look(url: str, folder: str) -> np.ndarray:
    out = Path(folder) / "seen.png"
    subprocess.run([LOOK, f"front={url}", out], check=True, timeout=60)
    return np.asarray(Image.open(out).convert("RGB")).astype(int)


def near(seen: np.ndarray, expected: np.ndarray, most: float) -> float:
    assert seen.shape == expected.shape, f"{seen.shape} instead of {expected.shape}"
    off = np.abs(seen - expected.astype(int))
    assert off.mean() <= most, f"pixels are off by {off.mean():.2f} on average"
    return float(off.mean())


class Ffmpeg(http.server.BaseHTTPRequestHandler):
    """Parts as FFmpeg's muxer writes them, in chunks, as its own server sends them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=ffmpeg")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError, av.FFmpegError), av.open(self, "w", format="mpjpeg") as parts:
            stream = parts.add_stream("mjpeg", rate=30)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj444p"
            stream.codec_context.qmin = stream.codec_context.qmax = 2
            frame = av.VideoFrame.from_image(picture(0)).reformat(format="yuvj444p")
            for number in range(600):
                frame.pts = number
                parts.mux(stream.encode(frame))
                time.sleep(1 / 60)

    def write(self, data: bytes) -> int:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        return len(data)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def from_ffmpeg(folder: str) -> str:
    with served(Ffmpeg) as host:
        off = near(look(f"http://{host}/", folder), np.asarray(picture(0)), 3.0)
    version = ".".join(map(str, av.library_versions["libavformat"]))
    return f"libavformat {version}: pixels within {off:.2f} of what was drawn, on average"


class Little(http.server.BaseHTTPRequestHandler):
    """As of a hundred tutorials: no length, a boundary with its dashes, a password."""

    jpeg = b""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Basic bWU6c2VjcmV0":
            self.send_error(401)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=--frame")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + self.jpeg + b"\r\n")
                time.sleep(1 / 60)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


def from_python(folder: str) -> str:
    buffer = io.BytesIO()
    picture(1).save(buffer, "JPEG", quality=95)
    Little.jpeg = buffer.getvalue()
    expected = np.asarray(Image.open(io.BytesIO(Little.jpeg)).convert("RGB"))
    with served(Little) as host:
        off = near(look(f"http://me:secret@{host}/stream", folder), expected, 0.5)
        words = [LOOK, f"front=http://{host}/stream", Path(folder) / "no.png", "1"]
        refused = subprocess.run(words, capture_output=True, timeout=60)
    assert refused.returncode != 0 and b"401" in refused.stderr, refused.stderr
    return f"http.server: pixels within {off:.2f} of Pillow's on average; without a password 401"


def from_ustreamer(folder: str) -> str:
    program = shutil.which("ustreamer")
    if program is None:
        return "ustreamer: not installed"
    port = free_port()
    words = [program, "--host", "127.0.0.1", "--port", str(port), "--device", "/dev/no-such-camera"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, stdout=quiet, stderr=quiet) as server:
        try:
            # Without a camera it sends its own picture, which says so.
            seen = look(f"http://127.0.0.1:{port}/stream", folder)
        finally:
            server.terminate()
    assert seen.shape == (480, 640, 3) and seen.std() > 5, seen.shape
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
    return f"ustreamer {version}: its picture of no camera, {seen.shape[1]} x {seen.shape[0]}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for judge in (from_ffmpeg, from_python, from_ustreamer):
            print(judge(folder))


if __name__ == "__main__":
    main()
