"""What of a file was judged, as one digest: whoever builds the model must read the same.

Readers of archives differ. The gate and the process that loads a model each read the list of a
``.keras`` file in their own way, and the two must agree on every member, not on the configuration
alone.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple


class Placed(NamedTuple):
    """A member of an archive, as a reader sees it.

    Attributes
    ----------
    name : str
        As it is listed.
    header : int
        Where its header lies in the file.
    method, packed, size, crc : int
        How it is packed, its bytes in the file and when unpacked, and their CRC-32.
    """

    name: str
    header: int
    method: int
    packed: int
    size: int
    crc: int


def digest_of(config: bytes, members: Iterable[Placed] = ()) -> str:
    """Return the SHA-256 of a configuration and of where an archive's members lie."""
    outline = json.dumps(sorted(members)).encode()
    return hashlib.sha256(hashlib.sha256(config).digest() + outline).hexdigest()
