"""The server's own key: it signs receipts, and bearer tokens are made with a secret of it.

::

    MODELS_DIR/identity.key    Ed25519, PKCS #8 in PEM, made at the first start, its owner's alone
"""

import hashlib
import os
import secrets
import stat
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.signing.encoding import base64url, canonical_json


class IdentityFault(Exception):
    """The key cannot be used; says why."""


class Identity:
    """The server's key.

    Parameters
    ----------
    private : Ed25519PrivateKey
        Never leaves this process.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key().public_bytes_raw()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the key, which is made where there is none.

        Raises
        ------
        IdentityFault
            If it cannot be made or read, or others may read it.
        """
        try:
            if not path.exists():
                _make(path)
            mode = path.stat().st_mode
            text = path.read_bytes()
        except OSError as error:
            raise IdentityFault(f"cannot be read or made ({error.strerror})") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise IdentityFault("must be its owner's alone (chmod 600)")
        try:
            private = serialization.load_pem_private_key(text, None)
        except (ValueError, TypeError) as error:
            raise IdentityFault("is no private key in PEM") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise IdentityFault("is no Ed25519 key")
        return cls(private)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key, as RFC 8037 writes it."""
        x = base64url(self._public)
        return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": thumbprint(x), "use": "sig"}

    def sign(self, message: bytes) -> bytes:
        """Sign a message."""
        return self._private.sign(message)

    def secret(self, purpose: bytes) -> bytes:
        """Derive a secret for one purpose; it says nothing of the key or of other secrets."""
        derivation = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose)
        return derivation.derive(self._private.private_bytes_raw())


def thumbprint(x: str) -> str:
    """Name a public key by its digest (RFC 7638).

    Parameters
    ----------
    x : str
        The key in base64url.
    """
    members = canonical_json({"crv": "Ed25519", "kty": "OKP", "x": x})
    return base64url(hashlib.sha256(members).digest())


def _make(path: Path) -> None:
    """Write a new key that is on disk before it has its name; the first of two makers wins."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    partial = path.with_name(f".part-{secrets.token_hex(8)}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(fd)
        os.link(partial, path)
    except FileExistsError:
        return
    finally:
        partial.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
