"""Changes to the file of keys: each is one whole replacement, while servers read it."""

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.signing.keyfile import KeyFault, parse_keys, read_keys
from server.signing.keyring import Algorithm

_SECRET_BYTES = 32


def new_material(algorithm: Algorithm) -> tuple[dict[str, str], str]:
    """Make a new secret.

    Returns
    -------
    dict
        The member of the file that belongs to it.
    str
        What its owner keeps: the secret as it stands in the file, or a private key in PEM.
    """
    if algorithm is Algorithm.ED25519:
        private = Ed25519PrivateKey.generate()
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
        return {"public_key": public}, pem.decode()
    raw = secrets.token_bytes(_SECRET_BYTES)
    secret = raw.hex() if algorithm is Algorithm.ITSDANGEROUS else base64.b64encode(raw).decode()
    return {"secret": secret}, secret


def add_key(path: Path, entry: dict[str, Any]) -> None:
    """Add a key; the file is made where there is none.

    Raises
    ------
    KeyFault
        If the file, or what it would become, cannot be used.
    """

    def add(entries: list[dict[str, Any]]) -> None:
        entries.append(entry)

    _edit(path, add)


def disable_key(path: Path, key_id: str) -> None:
    """Switch a key off.

    Raises
    ------
    KeyFault
        If there is none of this id, or the file cannot be used.
    """

    def disable(entries: list[dict[str, Any]]) -> None:
        found = [entry for entry in entries if entry["id"] == key_id]
        if not found:
            raise KeyFault(f"holds no key {key_id}")
        found[0]["disabled"] = True

    _edit(path, disable)


def _edit(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    path = path.resolve()  # the file itself is replaced, not a link to it
    with _locked(path.parent):
        entries: list[dict[str, Any]] = []
        mode = 0o600
        if path.exists():
            read_keys(path)
            mode = path.stat().st_mode & 0o777
            entries = json.loads(path.read_bytes())["keys"]
        change(entries)
        text = json.dumps({"keys": entries}, indent=2).encode() + b"\n"
        parse_keys(text)
        try:
            _replace(path, text, mode)
        except OSError as error:
            raise KeyFault(f"cannot be written ({error.strerror})") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process edit at a time."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFault(f"its folder cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(path: Path, text: bytes, mode: int) -> None:
    """Give a new file the old one's name, owner and rights; it is on disk before it is seen."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            file.flush()
            if path.exists():
                old = path.stat()
                if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, mode)
            os.fsync(fd)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
