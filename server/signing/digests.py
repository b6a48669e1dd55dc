"""What a body must hash to (RFC 9530), and bodies that are hashed while they arrive.

::

    Content-Digest: sha-256=:<base64 of 32 bytes>:          one digest, in its canonical spelling
                    sha-512=:<base64 of 64 bytes>:
"""

import base64
import hashlib
import hmac
import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Self

from server.digest import Digest
from server.errors import BadSignature

_FORM = re.compile(r"(sha-256|sha-512)=:([A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==):")
_SIZES = {"sha-256": 32, "sha-512": 64}


@dataclass(frozen=True, slots=True)
class ContentDigest:
    """What a body was said to hash to.

    Attributes
    ----------
    algorithm : str
        ``sha-256`` or ``sha-512``.
    raw : bytes
        The digest.
    """

    algorithm: str
    raw: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the header.

        Raises
        ------
        BadSignature
            If it is not exactly one digest of the two kinds.
        """
        found = _FORM.fullmatch(text)
        raw = decode_base64(found[2]) if found else b""
        if found is None or len(raw) != _SIZES[found[1]]:
            raise BadSignature("content-digest")
        return cls(found[1], raw)

    @property
    def sha256(self) -> Digest | None:
        """The SHA-256, where it is one."""
        return Digest(self.raw) if self.algorithm == "sha-256" else None


NOTHING = ContentDigest("sha-256", hashlib.sha256().digest())  # of a message without a body


class HashedBody:
    """A body whose end raises when it is not the one that was signed.

    Parameters
    ----------
    chunks : async iterable of bytes
        The body.
    expected : ContentDigest or None
        What it must hash to; None takes any body.

    Attributes
    ----------
    digest : Digest
        Its SHA-256; known at its end.
    """

    digest: Digest

    def __init__(self, chunks: AsyncIterable[bytes], expected: ContentDigest | None) -> None:
        self._chunks = chunks
        self._expected = expected

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the pieces.

        Raises
        ------
        BadSignature
            At the end, if it is another body.
        """
        sha256 = hashlib.sha256()
        wide = None
        if self._expected is not None and self._expected.algorithm == "sha-512":
            wide = hashlib.sha512()
        async for chunk in self._chunks:
            sha256.update(chunk)
            if wide is not None:
                wide.update(chunk)
            yield chunk
        found = (wide or sha256).digest()
        if self._expected is not None and not hmac.compare_digest(found, self._expected.raw):
            raise BadSignature("body")
        self.digest = Digest(sha256.digest())


def decode_base64(text: str) -> bytes:
    """Decode standard base64, padded, in its one canonical spelling only.

    Raises
    ------
    BadSignature
        If encoding the decoded bytes gives another text.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadSignature("base64") from error
    if base64.b64encode(raw).decode() != text:
        raise BadSignature("base64")
    return raw
