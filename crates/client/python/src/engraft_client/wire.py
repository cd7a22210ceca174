"""The native protocol: one msgpack map as header, and raw little-endian arrays behind it.

Bytes only; nothing here knows a socket. The protocol is described in ``crates/wire/src/native.rs``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgpack
import numpy as np

from engraft_client.errors import PolicyError
from engraft_client.observation import Array

VERSION = 1
MAX_HEADER_BYTES = 64 << 10
MAX_BYTES = 16 << 20
MAX_FRAMES = 32

_DTYPES: dict[str, Any] = {"u1": np.dtype("u1"), "f4": np.dtype("<f4")}
T = TypeVar("T")


@dataclass(frozen=True)
class Message:
    """What a server sent: its kind, the fields of its header, and its arrays by name."""

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)

    def get(self, name: str, kind: type[T]) -> T:
        """A field that has to be there."""
        value = self.fields.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = "nothing" if value is None else type(value).__name__
            expected = f"expected {kind.__name__}, found {found}"
            raise _bad(f"field `{name}` of `{self.kind}`: {expected}")
        return value


def encode(
    kind: str,
    fields: dict[str, Any],
    arrays: Sequence[tuple[str, Array]] = (),
    max_bytes: int = MAX_BYTES,
) -> list[bytes | memoryview]:
    """The frames of a message, header first; the arrays are not copied.

    Args:
        kind: The kind of message.
        fields: What else the header holds.
        arrays: Names and contiguous arrays of uint8 or little-endian float32.
        max_bytes: What the server takes.
    """
    header: dict[str, Any] = {"v": VERSION, "t": kind, **fields}
    if arrays:
        names = {dtype: name for name, dtype in _DTYPES.items()}
        header["arrays"] = [
            {"k": key, "d": names[array.dtype], "s": list(array.shape)} for key, array in arrays
        ]
    frames: list[bytes | memoryview] = [msgpack.packb(header)]
    frames += [array.reshape(-1).view(np.uint8).data if array.size else b"" for _, array in arrays]
    total = sum(len(frame) for frame in frames)
    limits = [
        ("bytes of the header", MAX_HEADER_BYTES, len(frames[0])),
        ("bytes of the message", max_bytes, total),
        ("frames of the message", MAX_FRAMES, len(frames)),
    ]
    for what, limit, found in limits:
        if found > limit:
            hint = "this policy needs smaller pictures or fewer frames than it was trained with"
            detail = f"{what}: expected at most {limit}, found {found}: {hint}"
            raise PolicyError("TOO_LARGE", detail)
    return frames


def decode(frames: Sequence[bytes]) -> Message:
    """Reads a message.

    Raises:
        PolicyError: ``BAD_REPLY`` whenever the frames are not a message of this protocol.
    """
    if not frames or len(frames[0]) > MAX_HEADER_BYTES:
        raise _bad(f"its header has {len(frames[0]) if frames else 0} bytes")
    try:
        header = msgpack.unpackb(frames[0])
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise _bad(f"{type(error).__name__} {error}") from error
    if not isinstance(header, dict):
        raise _bad(f"expected a map, found {type(header).__name__}")
    if (version := header.pop("v", None)) != VERSION:
        detail = f"expected protocol version {VERSION}, found {version}"
        hint = "check that an engraft server listens there, and update client or server"
        raise PolicyError("BAD_VERSION", f"{detail}: {hint}")
    kind = header.pop("t", None)
    if not isinstance(kind, str):
        raise _bad("it names no kind")
    metas = header.pop("arrays", [])
    if not isinstance(metas, list) or len(metas) != len(frames) - 1:
        raise _bad(f"its header does not describe the {len(frames) - 1} arrays behind it")
    pairs = zip(metas, frames[1:], strict=True)
    return Message(kind, header, dict(_array(meta, data) for meta, data in pairs))


def _array(meta: Any, data: bytes) -> tuple[str, Array]:
    try:
        key, dtype, shape = meta["k"], _DTYPES[meta["d"]], meta["s"]
        if not isinstance(key, str) or any(int(n) < 0 for n in shape):
            raise ValueError("it has no name or no size")
        return key, np.frombuffer(data, dtype).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(f"array {str(meta)[:80]}: {type(error).__name__} {error}") from error


def _bad(reason: str) -> PolicyError:
    return PolicyError("BAD_REPLY", f"cannot read what the server sent: {reason}")
