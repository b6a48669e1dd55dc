"""HDF5 files that lead the library further than they are long, made byte by byte."""

import io
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from tests.gate.files import h5_file

Attack = tuple[Callable[[], bytes], str]
ARRAY = "model_weights/dense/dense/0"
NOWHERE = 2**64 - 1
WORD = 0xFFFF_FFFF
LINKS, ATTRIBUTES = 5, 8  # kinds of trees
END = 40  # the place of the file's end in its head
GROUP_NODE, CHUNK_NODE = 24 + 32 * 8 + 33 * 8, 24 + 64 * 8 + 65 * 24
HEAP = 16 << 20


def ended(data: bytearray) -> bytes:
    """Have the head tell the file's end."""
    data[END : END + 8] = struct.pack("<Q", len(data))
    return bytes(data)


def nodes(data: bytearray, kind: int) -> list[int]:
    """Return where the nodes of B-trees lie."""
    found, at = [], data.find(b"TREE")
    while at >= 0:
        if data[at + 4] == kind:
            found.append(at)
        at = data.find(b"TREE", at + 4)
    return found


def entries(data: bytearray, at: int) -> int:
    return int(struct.unpack_from("<H", data, at + 6)[0])


def groups_of_one_leaf(levels: int = 9, children: int = 32) -> bytes:
    """Lay levels of nodes over one empty leaf, each of which has the same child many times."""
    data = bytearray(h5_file(spoil=lambda file: file.create_group("zz")))
    root = next(at for at in nodes(data, 0) if not entries(data, at))
    data += bytes(-len(data) % 8)
    child = len(data)
    data += b"SNOD\1\0" + bytes(2 + 8 * 40)
    for level in range(levels):
        node = struct.pack("<4sBBHQQ", b"TREE", 0, level, children, NOWHERE, NOWHERE)
        node = (node + struct.pack("<QQ", 0, child) * children).ljust(GROUP_NODE, b"\0")
        child = len(data)
        data += node
    data[root : root + GROUP_NODE] = data[child:]
    return ended(data)


def pieces_of_one_leaf(levels: int = 5, children: int = 60) -> bytes:
    """Do the same over the index of an array's pieces."""

    def spoil(file: h5py.File) -> None:
        file.create_dataset("x", data=np.zeros(4, np.float32), chunks=(2,), compression="gzip")

    data = bytearray(h5_file(spoil=spoil))
    (root,) = nodes(data, 1)
    leaf = bytes(data[root : root + CHUNK_NODE])
    key, last = leaf[24:48], leaf[24 + 64 : 24 + 64 + 24]
    data += bytes(-len(data) % 8)
    child = len(data)
    data += leaf
    for level in range(1, levels + 1):
        node = struct.pack("<4sBBHQQ", b"TREE", 1, level, children, NOWHERE, NOWHERE)
        node += (key + struct.pack("<Q", child)) * children + last
        child = len(data)
        data += node.ljust(CHUNK_NODE, b"\0")
    data[root : root + CHUNK_NODE] = data[child:]
    return ended(data)


def heaps_of_many_objects(groups: int = 50) -> bytes:
    """Have the names of each group lie at the head of a large heap, all of them in one place."""
    names = [f"g{k}" for k in range(groups)]
    data = bytearray(h5_file(spoil=lambda file: [file.create_group(name) for name in names]))
    data += bytes(-len(data) % 16)
    base, heads = len(data), 32 * groups
    heap = bytearray(struct.pack("<HH4xQ", 1, 1, 0) * ((HEAP + heads) // 16))
    for k in range(groups):
        at = 32 * k
        heap[at : at + 16] = b"GCOL\1\0\0\0" + struct.pack("<Q", HEAP)
        heap[at + 16 : at + 32] = struct.pack("<HH4xQ", 1, 1, heads - (at + 32))
    at, k = data.find(b"HEAP"), 0
    while at >= 0 and k < groups:
        size, _, place = struct.unpack_from("<QQQ", data, at + 8)
        if not any(data[place + 24 : place + size]):  # of an empty group
            data[at + 16 : at + 32] = struct.pack("<QQ", 1, base + 32 * k)
            k += 1
        at = data.find(b"HEAP", at + 4)
    return ended(data + heap)


def free_places_in_a_circle(*places: int) -> bytes:
    """Have each free place among the names of a group lead to the next, and the last to the first.

    Parameters
    ----------
    *places : int
        Where they lie, from the first name on.
    """
    data = bytearray(h5_file(spoil=lambda file: file.create_group("zz")))
    at = data.rindex(b"HEAP")
    data[at + 16 : at + 24] = struct.pack("<Q", places[0])
    (names,) = struct.unpack_from("<Q", data, at + 24)
    for place, following in zip(places, (*places[1:], places[0]), strict=True):
        if names + place + 16 > len(data):
            break
        data[names + place : names + place + 16] = struct.pack("<QQ", following, 16)
    return bytes(data)


def one_text_often(count: int = 3500, size: int = 4 << 20) -> bytes:
    """Have every text of an attribute be one long text, which is copied for each."""

    def spoil(file: h5py.File) -> None:
        texts = np.array(["x" * size, *["yy"] * (count - 1)], dtype=object)
        names = file["model_weights"].attrs
        del names["layer_names"]
        names.create("layer_names", texts, dtype=h5py.string_dtype())

    data = bytearray(h5_file(spoil=spoil))
    at = data.index(struct.pack("<I", size))
    while not data[struct.unpack_from("<Q", data, at + 4)[0] :].startswith(b"GCOL"):
        at = data.index(struct.pack("<I", size), at + 1)
    data[at : at + 16 * count] = bytes(data[at : at + 16]) * count
    return bytes(data)


def numbers_with_names(count: int) -> Callable[[h5py.File], object]:
    kind = h5py.enum_dtype({f"n{k}": k for k in range(count)}, basetype="i4")
    return lambda file: file.create_dataset("x", data=np.zeros(3, "i4"), dtype=kind)


def small_arrays_of_large_pieces(file: h5py.File) -> None:
    for k in range(200):
        file.create_dataset(
            f"optimizer_weights/{k}",
            data=np.zeros(1, np.int8),
            chunks=(4 << 20,),
            maxshape=(None,),
            compression="gzip",
        )


def many_pieces(length: int = 2**30) -> bytes:
    """Declare an array of a thousand million pieces, and write the last."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.h5")
        with (
            h5py.File(path, "w", libver="latest") as file,
            h5py.File(io.BytesIO(h5_file(libver="latest"))) as honest,
        ):
            for name, value in honest.attrs.items():
                file.attrs[name] = value
            for name in honest:
                honest.copy(name, file)
            pieces = file.create_dataset(
                "x", shape=(length,), chunks=(1,), maxshape=(None,), dtype="i1"
            )
            pieces[length - 1] = 1
        return path.read_bytes()


def elsewhere_with_an_address() -> bytes:
    """Name another file for an array, and also a place in this one."""

    def spoil(file: h5py.File) -> None:
        del file[ARRAY]
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_external(b"/etc/hostname", 0, 48)
        h5d.create(file.id, ARRAY.encode(), h5t.IEEE_F32LE, h5s.create_simple((4, 3)), plan)

    data = bytearray(h5_file(spoil=spoil))
    at = data.index(b"\x03\x01" + b"\xff" * 8) + 2  # a layout in one piece, at no place
    data[at : at + 16] = struct.pack("<QQ", 64, 48)
    return bytes(data)


def piece(filters: int, stored: bytes, mask: int = 0) -> Callable[[], bytes]:
    """Store one piece of an array as it is told, packed so many times less those of a mask."""

    def spoil(file: h5py.File) -> None:
        del file[ARRAY]
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_chunk((4, 3))
        for _ in range(filters):
            plan.set_deflate(9)
        shape = h5s.create_simple((4, 3))
        array = h5d.create(file.id, ARRAY.encode(), h5t.IEEE_F32LE, shape, plan)
        array.write_direct_chunk((0, 0), stored, mask)

    return lambda: h5_file(spoil=spoil)


def with_tables(libver: str, place: int) -> Callable[[], bytes]:
    """Have the head name tables of the whole file."""

    def make() -> bytes:
        data = bytearray(h5_file(libver=libver))
        data[place : place + 8] = struct.pack("<Q", 96)
        return bytes(data)

    return make


def checksum(data: bytes) -> int:
    """Return what HDF5 writes behind a block: the hash lookup3 of Bob Jenkins."""
    a = b = c = (0xDEADBEEF + len(data)) & WORD
    at = 0
    while len(data) - at > 12:
        a, b, c = (n + m & WORD for n, m in zip((a, b, c), words(data, at), strict=True))
        for turn in (4, 6, 8, 16, 19, 4):
            a = (a - c & WORD) ^ turned(c, turn)
            a, b, c = b, (c + b) & WORD, a
        at += 12
    a, b, c = (n + m & WORD for n, m in zip((a, b, c), words(data, at), strict=True))
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - turned(b, turn) & WORD
        a, b, c = b, c, a
    return b


def words(data: bytes, at: int) -> tuple[int, ...]:
    return struct.unpack("<3I", data[at : at + 12].ljust(12, b"\0"))


def turned(word: int, count: int) -> int:
    return (word << count | word >> (32 - count)) & WORD


def uncounted(kind: int, spoil: Callable[[h5py.File], object]) -> Callable[[], bytes]:
    """Have the heads of trees of a kind say that there is nothing in them."""

    def make() -> bytes:
        data = bytearray(h5_file(spoil=spoil, libver="latest"))
        at = data.find(b"BTHD")
        while at >= 0:
            told = struct.unpack_from("<I", data, at + 34)[0]
            assert told == checksum(bytes(data[at : at + 34]))
            if data[at + 5] == kind:
                data[at + 26 : at + 34] = bytes(8)
                struct.pack_into("<I", data, at + 34, checksum(bytes(data[at : at + 34])))
            at = data.find(b"BTHD", at + 4)
        return bytes(data)

    return make


def pieces_in_a_deep_tree(file: h5py.File) -> None:
    values = np.zeros((2600, 2600), np.int8)
    file.create_dataset("x", data=values, chunks=(8, 8), maxshape=(None, None), compression="gzip")


def many_groups(file: h5py.File) -> None:
    for k in range(20):
        file.create_group(f"model_weights/dense/g{k}")


def attributes_of_a_kind(file: h5py.File) -> None:
    for k in range(40):
        file["model_weights"].attrs[f"a{k}"] = np.zeros(2, dtype=[("a", "f8")])


ZEROS = zlib.compress(bytes(64 << 20), 9)
HDF5: dict[str, Attack] = {
    "groups that have one leaf in common": (groups_of_one_leaf, "damaged-file"),
    "pieces that have one leaf in common": (pieces_of_one_leaf, "damaged-file"),
    "heaps of many objects in one place": (heaps_of_many_objects, "damaged-file"),
    "numbers that have names": (
        lambda: h5_file(spoil=numbers_with_names(3)),
        "hdf5-type",
    ),
    "free places that lead to themselves": (lambda: free_places_in_a_circle(8), "damaged-file"),
    "free places in a circle": (lambda: free_places_in_a_circle(8, 24), "damaged-file"),
    "a free place outside": (lambda: free_places_in_a_circle(1 << 20), "damaged-file"),
    "small arrays of large pieces": (
        lambda: h5_file(spoil=small_arrays_of_large_pieces),
        "hdf5-bomb",
    ),
    "an array of a thousand million pieces": (many_pieces, "hdf5-bomb"),
    "an array of 200,000 pieces": (
        lambda: h5_file(spoil=lambda f: f.create_dataset("x", shape=(200_000,), chunks=(1,))),
        "hdf5-bomb",
    ),
    "an array of 100,000 pieces in a deep tree": (
        lambda: h5_file(spoil=pieces_in_a_deep_tree, libver="latest"),
        "hdf5-bomb",
    ),
    "an array in another file, with an address": (elsewhere_with_an_address, "hdf5-external"),
    "a piece that is packed three times": (
        piece(3, zlib.compress(zlib.compress(ZEROS, 9), 9)),
        "hdf5-filter",
    ),
    "a piece that unpacks to more than it is": (piece(1, ZEROS), "hdf5-bomb"),
    "a piece that is larger than it is": (piece(0, bytes(4096)), "hdf5-bomb"),
    "a piece that is smaller than it is": (piece(0, bytes(40)), "hdf5-bomb"),
    "a piece that unpacks to less than it is": (piece(1, zlib.compress(bytes(40))), "hdf5-bomb"),
    "a piece that is packed whatever its mask says": (piece(1, ZEROS, 1 << 31), "hdf5-bomb"),
    "a piece with more behind it": (piece(1, zlib.compress(bytes(48)) + b"more"), "damaged-file"),
    "a piece without its end": (piece(1, zlib.compress(bytes(48))[:-6]), "damaged-file"),
    "a piece that is no packed one": (piece(1, b"\0" * 60), "damaged-file"),
    "links that nobody counts": (uncounted(LINKS, many_groups), "damaged-file"),
    "attributes that nobody counts": (
        uncounted(ATTRIBUTES, attributes_of_a_kind),
        "damaged-file",
    ),
    "tables behind an old head": (with_tables("earliest", 48), "hdf5-type"),
    "tables behind a new head": (with_tables("latest", 20), "hdf5-type"),
}
