"""The SHA-256 value type: a model's only name.

A digest is 32 bytes inside and 64 lower-case hexadecimal digits outside; upper case is read and
never written.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from typing import Self

from server.errors import BadDigest

READ_BYTES = 1 << 16  # pieces that stay in the cache: larger ones hash at half the speed
_HEX = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Digest:
    """A SHA-256 digest.

    Attributes
    ----------
    raw : bytes
        The 32 bytes.
    """

    raw: bytes

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read 64 hexadecimal digits of either case.

        Raises
        ------
        BadDigest
            If `text` is anything else.
        """
        if not isinstance(text, str) or not _HEX.fullmatch(text):
            raise BadDigest("a model digest is the SHA-256 of its file: 64 hexadecimal digits")
        return cls(bytes.fromhex(text))

    @classmethod
    def of_file(cls, fd: int) -> Self:
        """Hash an open file from its first byte, whatever its position."""
        sha256 = hashlib.sha256()
        offset = 0
        while piece := os.pread(fd, READ_BYTES, offset):
            sha256.update(piece)
            offset += len(piece)
        return cls(sha256.digest())

    @property
    def hex(self) -> str:
        """The 64 lower-case digits."""
        return self.raw.hex()

    @property
    def short(self) -> str:
        """The first 12 digits, for logs."""
        return self.raw.hex()[:12]

    def __str__(self) -> str:
        return self.hex
