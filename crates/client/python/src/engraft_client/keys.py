"""CURVE keys: who the server and its client are, so that what they say is proved and encrypted.

Keys are kept in certificates, the files that ``zmq.auth.create_certificates`` writes: ``NAME.key``
holds the public key, ``NAME.key_secret`` both.
"""

import os
import re
from pathlib import Path

import zmq
import zmq.auth

from engraft_client.errors import PolicyError

Key = str | os.PathLike[str]

_Z85 = re.compile(rb"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


def server_public_key(key: Key) -> bytes:
    """The 40 characters of the server's public key, given so or as the path of a certificate."""
    text = os.fspath(key)
    if isinstance(key, str) and not Path(text).is_file() and _Z85.fullmatch(text.encode()):
        return text.encode()
    public, _ = _certificate("server_key", text)
    return public


def client_pair(key: Key | None) -> tuple[bytes, bytes]:
    """Public and secret key of this client: of a secret certificate, or made for this run."""
    if key is None:
        public, secret = zmq.curve_keypair()
        return public, secret
    path = Path(key)
    public, proof = _certificate("client_key", os.fspath(key))
    if proof is None:
        hint = "give the file that ends in .key_secret"
        raise _wrong("client_key", f"a certificate with a secret key, found none in `{path}`", hint)
    mode = path.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        expected = f"a secret key that its owner alone can read, found mode {mode:03o}"
        raise _wrong("client_key", expected, f"chmod 600 {path}")
    return public, proof


def _certificate(option: str, path: str) -> tuple[bytes, bytes | None]:
    hint = "zmq.auth.create_certificates(folder, name) writes such files"
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        expected = f"the path of a certificate, found `{path}` ({error})"
        raise _wrong(option, expected, hint) from error
    for key in (public, secret):
        if key is not None and not _Z85.fullmatch(key):
            raise _wrong(option, f"keys of 40 characters in Z85, found others in `{path}`", hint)
    return public, secret


def _wrong(option: str, expected: str, hint: str) -> PolicyError:
    return PolicyError("BAD_OPTION", f"{option}: expected {expected}: {hint}")
