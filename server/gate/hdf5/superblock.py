"""Check the head of an HDF5 file: where it begins and ends, and that there is no more to it."""

from dataclasses import dataclass

from server.errors import BadModel
from server.gate.hdf5.blocks import CHUNKS_OF_NODE
from server.gate.refusals import refused

SIGNATURE = b"\x89HDF\r\n\x1a\n"
BYTES = 64
UNDEFINED = 0xFFFF_FFFF_FFFF_FFFF  # an address of nothing
_WIDE = b"\x08\x08"  # bytes of an address, and of a length
_VERSION, _CHUNKS = 8, 24  # places in the head; the second is there in version 1 alone


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the head says how wide addresses are, where the file begins and ends, and more."""

    sizes: int
    base: int
    end: int
    more: int


_PLACES = {
    0: _Places(13, 24, 40, 48),
    1: _Places(13, 28, 44, 52),
    2: _Places(9, 12, 28, 20),
    3: _Places(9, 12, 28, 20),
}


def check_superblock(head: bytes, size: int) -> None:
    """Check the first bytes of a file.

    Raises
    ------
    BadModel
        If it is damaged, does not begin and end where it should, or has tables of its own.
    """
    if len(head) < BYTES or not head.startswith(SIGNATURE):
        raise damaged()
    places = _PLACES.get(head[_VERSION])
    if places is None or head[places.sizes : places.sizes + 2] != _WIDE:
        raise damaged()

    def number(at: int) -> int:
        return int.from_bytes(head[at : at + 8], "little")

    if number(places.base):
        raise refused("hdf5-user-block", "the HDF5 file does not begin at its first byte")
    if number(places.end) > size:
        raise damaged()
    if number(places.end) < size:
        raise refused("trailing-bytes", "there are bytes after the HDF5 file's end")
    # tables for the whole file: what the library takes from there is not seen as it is read
    has_wide_nodes = head[_VERSION] == 1 and head[_CHUNKS] != CHUNKS_OF_NODE // 2
    if number(places.more) != UNDEFINED or has_wide_nodes:
        raise refused("hdf5-type", "the HDF5 file has tables that no model's file has")


def damaged() -> BadModel:
    """Build the refusal of a file that cannot be read."""
    return refused("damaged-file", "the HDF5 file is damaged or cut short: upload it again")
