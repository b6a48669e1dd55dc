"""The headers of tus 1.0.0, read and written.

::

    Upload-Length: 300000000                     of the whole upload
    Upload-Offset: 0                             where a part begins
    Upload-Metadata: sha256 <base64>,name <base64>
    Upload-Checksum: sha1 <base64>               of a part; sha256 too
"""

import base64
import hashlib
import hmac
import re
from collections.abc import AsyncIterable, AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime

from server.digest import Digest
from server.errors import BadDigest, MalformedRequest
from server.repository.partial_files import Partial
from server.upload_errors import ChecksumMismatch, UnknownTusVersion, WrongMediaType
from server.web.connection import StreamedRequest

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination"
ALGORITHMS = ("sha1", "sha256")
PART = "application/offset+octet-stream"
_SHA256 = "sha256"  # the metadata that names the model's digest
LARGEST = (1 << 53) - 1
_MOST_METADATA = 4096
_KEY = re.compile(r"[!-+\--~]{1,64}")  # visible ASCII but the comma


def check_version(asked: StreamedRequest) -> None:
    """Pass if a request speaks this version.

    Raises
    ------
    UnknownTusVersion
        If it does not.
    """
    if asked.headers.get("Tus-Resumable") != VERSION:
        raise UnknownTusVersion(f"send the header Tus-Resumable: {VERSION}")


def check_part(asked: StreamedRequest) -> None:
    """Pass if a request brings a part of an upload.

    Raises
    ------
    WrongMediaType
        If its body is of another type.
    """
    if asked.mimetype != PART:
        raise WrongMediaType(f"a part of an upload is of the type {PART}")


def number(asked: StreamedRequest, name: str) -> int:
    """Return the number in a header.

    Raises
    ------
    MalformedRequest
        If there is none.
    """
    text = asked.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) <= LARGEST):
        raise MalformedRequest(f"the header {name} is a number of bytes")
    return int(text)


def read_metadata(text: str) -> Digest | None:
    """Return the digest that an upload's metadata names.

    Raises
    ------
    MalformedRequest, BadDigest
        If the metadata is malformed.
    """
    if len(text) > _MOST_METADATA:
        raise MalformedRequest(f"Upload-Metadata has at most {_MOST_METADATA} characters")
    pairs = [pair.strip(" ").partition(" ") for pair in text.split(",")] if text.strip(" ") else []
    named: dict[str, bytes] = {}
    for key, _, value in pairs:
        if not _KEY.fullmatch(key) or key in named:
            raise MalformedRequest("Upload-Metadata names each key once, in visible ASCII")
        named[key] = _decoded(value, "Upload-Metadata")
    if _SHA256 not in named:
        return None
    try:
        return Digest.parse(named[_SHA256].decode("ascii"))
    except UnicodeDecodeError as error:
        raise BadDigest("the metadata `sha256` is 64 hexadecimal digits") from error


def _decoded(text: str, name: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise MalformedRequest(f"the values in {name} are base64") from error
    return raw


class Checksum:
    """What a part must hash to.

    Parameters
    ----------
    text : str
        The header's value.

    Raises
    ------
    MalformedRequest
        If it names no algorithm that is known, or no digest of it.
    """

    def __init__(self, text: str) -> None:
        algorithm, _, value = text.partition(" ")
        if algorithm not in ALGORITHMS:
            raise MalformedRequest(f"the algorithm of Upload-Checksum is one of {list(ALGORITHMS)}")
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._expected = _decoded(value, "Upload-Checksum")
        if len(self._expected) != self._hash.digest_size:
            raise MalformedRequest(f"Upload-Checksum is no {algorithm} of anything")

    async def hashed(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Yield a part's pieces, and hash them."""
        async for chunk in chunks:
            self._hash.update(chunk)
            yield chunk

    def check(self) -> None:
        """Pass if the part has this checksum.

        Raises
        ------
        ChecksumMismatch
            If it has another.
        """
        if not hmac.compare_digest(self._hash.digest(), self._expected):
            raise ChecksumMismatch


def state_headers(partial: Partial, expires: float) -> dict[str, str]:
    """Return what every answer says of an upload."""
    until = datetime.fromtimestamp(expires, UTC)
    return {
        "Upload-Offset": str(partial.offset),
        "Upload-Expires": format_datetime(until, usegmt=True),
    }


def options(max_bytes: int) -> dict[str, str]:
    """Return what the server can do."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(max_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
