"""server/gate/hdf5: what the library would follow is followed first."""

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from server.errors import BadModel
from server.gate.hdf5.blocks import CHUNKS_OF_NODE, Blocks
from server.gate.hdf5.storage import check_pieces
from tests.gate.files import h5_file, judged, reason
from tests.gate.hostile_hdf5 import HDF5, NOWHERE

OF_PLAIN_AXIS = 24 + 8 * CHUNKS_OF_NODE + 24 * (CHUNKS_OF_NODE + 1)
MIB = 1 << 20


@pytest.mark.parametrize("name", HDF5)
def test_what_leads_further_than_the_file_is_long_is_refused(tmp_path: Path, name: str) -> None:
    make, code = HDF5[name]
    assert reason(tmp_path, make()) == code


def cost(data: bytes, at: int = 0) -> int:
    file = bytes(at) + data
    blocks = Blocks(lambda count, place: file[place : place + count], size=len(file))
    return blocks.cost(at, data)


def node(kind: int, children: list[int], *, size: int, key: int) -> bytes:
    head = struct.pack("<4sBBHQQ", b"TREE", kind, 0, len(children), NOWHERE, NOWHERE)
    return (head + b"".join(bytes(key) + struct.pack("<Q", at) for at in children)).ljust(size)


@pytest.mark.parametrize("kind", [0, 1])
def test_a_node_whose_children_are_its_own_costs_a_little(kind: int) -> None:
    size, key = (544, 8) if kind == 0 else (OF_PLAIN_AXIS, 24)
    assert 0 < cost(node(kind, [96, 192, 288], size=size, key=key)) < 1000


def test_what_is_no_block_costs_nothing() -> None:
    assert cost(b"SNOD" + bytes(60)) == cost(b"") == 0


def test_a_block_that_is_read_again_is_known() -> None:
    data = node(0, [96, 192], size=544, key=8)
    blocks = Blocks(lambda count, _: data[:count], size=len(data))
    assert blocks.cost(0, data) > 0
    assert blocks.cost(0, data) == 0
    with pytest.raises(OSError, match="in common"):
        blocks.cost(1000, data)


def wide_heap(filters: int = 0, width: int = 4, first: int = 512, largest: int = 64 << 10) -> bytes:
    head = struct.pack("<4sBHH", b"FRHP", 0, 8, filters).ljust(110, b"\0")
    return head + struct.pack("<HQQ", width, first, largest) + bytes(20)


def names(size: int, place: int) -> bytes:
    """Return the head of names with a free place, and behind it free places that lead to it."""
    head = struct.pack("<4s4xQQQ", b"HEAP", size, place, 64 + 32)
    return head + struct.pack("<QQ", 8, 16) * 4


def test_names_without_free_places_cost_nothing() -> None:
    assert cost(names(size=64, place=1), at=64) == 0


def test_a_heap_as_it_is_written_costs_nothing() -> None:
    assert cost(wide_heap()) == 0


@pytest.mark.parametrize(
    "data",
    [
        node(0, [96, 96], size=544, key=8),
        node(0, [96], size=544, key=8)[:30],
        node(1, [96], size=OF_PLAIN_AXIS - 1, key=24),
        node(1, [96], size=24 + 8 * CHUNKS_OF_NODE, key=0),
        b"TREE",
        struct.pack("<4sBBIHHBB", b"BTHD", 0, 5, 512, 11, 3, 100, 40) + bytes(20),
        struct.pack("<4sBBIHHBB", b"BTHD", 0, 5, 8192, 11, 1, 100, 40) + bytes(20),
        struct.pack("<4sBBIHHBB", b"BTHD", 0, 0, 512, 11, 1, 100, 40) + bytes(20),
        struct.pack("<4sBBIHHBB", b"BTHD", 0, 5, 0, 11, 1, 100, 40) + bytes(20),
        struct.pack("<4sBBIHHBB", b"BTHD", 0, 5, 512, 0, 1, 100, 40) + bytes(20),
        struct.pack("<4sBBIHHBB", b"BTHD", 0, 5, 512, 503, 1, 100, 40) + bytes(20),
        b"BTHD",
        names(size=1 << 60, place=8),
        names(size=64, place=1 << 40),
        names(size=64, place=8),
        b"HEAP",
        wide_heap(filters=20),
        wide_heap(width=0),
        wide_heap(first=0),
        wide_heap(largest=1 << 30),
        b"FRHP",
        b"EAHD" + bytes(40),
        b"FAHD",
        b"GCOL" + bytes(4092),
        b"GCOL\1\0\0\0" + struct.pack("<Q", 1 << 30) + bytes(5000),
    ],
)
def test_a_block_that_has_no_end_is_seen(data: bytes) -> None:
    with pytest.raises(OSError, match=r"\w"):
        cost(data, at=64)


def test_trees_of_an_honest_depth_are_read() -> None:
    assert cost(struct.pack("<4sBBIHHBB", b"BTHD", 0, 5, 512, 11, 2, 100, 40) + bytes(20)) == 0


def test_an_index_costs_as_much_as_it_says_there_is() -> None:
    tree = struct.pack("<4sBBIHHBB10xQI", b"BTHD", 0, 5, 512, 11, 2, 100, 40, MIB, 0)
    assert cost(tree) > 16 * MIB
    assert cost(b"EAHD" + bytes(40) + struct.pack("<Q", MIB) + bytes(20)) > 16 * MIB
    assert cost(b"FAHD" + bytes(4) + struct.pack("<Q", MIB) + bytes(12)) > 16 * MIB


def test_a_piece_that_is_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    def spoil(file: h5py.File) -> None:
        file.create_dataset(
            "x",
            data=np.zeros((4, 3), np.float32),
            chunks=(MIB, 3),
            maxshape=(None, 3),
            compression="gzip",
        )

    assert reason(tmp_path, h5_file(spoil=spoil)) == "hdf5-bomb"


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
@pytest.mark.parametrize(
    "packing",
    [
        {},
        {"compression": "gzip"},
        {"shuffle": True},
        {"fletcher32": True},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "gzip", "maxshape": (None, None)},
        {"compression": "gzip", "maxshape": (None, 3)},
        {"compression": "gzip", "maxshape": (4, 3)},
    ],
)
def test_pieces_as_honest_tools_write_them_are_let_through(
    tmp_path: Path, libver: str, packing: dict[str, Any]
) -> None:
    def spoil(file: h5py.File) -> None:
        path = "model_weights/dense/dense/0"
        del file[path]
        values = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
        file.create_dataset(path, data=values, chunks=(3, 2), **packing)

    assert judged(tmp_path, h5_file(spoil=spoil, libver=libver)).cost.parameters == 15


def test_more_pieces_than_an_array_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pieces"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros((8, 3), np.float32), chunks=(2, 3))
    with h5py.File(path) as file:
        item = file["x"].id
        plan = item.get_create_plist()
        check_pieces(item, plan, "x", 4, lambda *_: b"", most=4)
        with pytest.raises(BadModel):
            check_pieces(item, plan, "x", 4, lambda *_: b"", most=3)


def test_an_array_that_may_grow_to_axes_of_its_own_is_refused(tmp_path: Path) -> None:
    def spoil(file: h5py.File) -> None:
        file.create_dataset("x", data=np.zeros((4, 3), "f4"), chunks=(2, 2), maxshape=(4, 9))

    assert reason(tmp_path, h5_file(spoil=spoil)) == "hdf5-type"


def test_a_piece_that_was_left_unpacked_is_let_through(tmp_path: Path) -> None:
    def spoil(file: h5py.File) -> None:
        path = "model_weights/dense/dense/0"
        del file[path]
        array = file.create_dataset(
            path, shape=(4, 3), dtype="f4", chunks=(4, 3), compression="gzip"
        )
        array.id.write_direct_chunk((0, 0), bytes(48), filter_mask=1)

    assert judged(tmp_path, h5_file(spoil=spoil)).cost.parameters == 15


def test_a_piece_of_many_megabytes_is_unpacked_in_parts(tmp_path: Path) -> None:
    def spoil(file: h5py.File) -> None:
        values = np.random.default_rng(1).random((1200, 1000), np.float32)
        file.create_dataset("x", data=values, chunks=values.shape, compression="gzip")

    assert judged(tmp_path, h5_file(spoil=spoil)).cost.parameters == 15
