"""server/gate/archive/unpacked.py: deflated members are read at any place, in bounded memory."""

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import example, settings
from hypothesis import given as drawn
from hypothesis import strategies as st

from server.errors import BadModel
from server.gate.archive import zips
from server.gate.archive.unpacked import Unpacked
from server.gate.archive.zips import DEFLATED, Member
from tests.gate.files import given, judged, layer, members, sequential, zipped

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


def packed(path: Path, data: bytes, *, level: int = 1) -> Member:
    """Write deflated bytes between others, and describe them as an archive would."""
    squeezed = zlib.compressobj(level, zlib.DEFLATED, -15)
    raw = squeezed.compress(data) + squeezed.flush()
    path.write_bytes(b"before" + raw + b"behind")
    return Member("m", 0, 6, len(raw), len(data), DEFLATED, zlib.crc32(data))


def test_bytes_of_any_place_are_those_that_were_packed(tmp_path: Path) -> None:
    rng = random.Random(9)
    # more than stays in memory, and no two blocks alike
    data = b"".join(rng.randbytes(1000) + bytes(9000) for _ in range(4000)) + b"the end"
    member = packed(tmp_path / "m", data)
    with open(tmp_path / "m", "rb") as file:
        found = Unpacked(file, member)
        for _ in range(200):
            at, count = rng.randrange(len(data)), rng.choice([0, 1, 700, 3 * MIB])
            assert found.read_at(count, at) == data[at : at + count]
        assert found.read_at(100, len(data) - 7) == b"the end"
        assert found.read_at(100, len(data) + 5) == b""


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 2 * MIB])
def test_every_length_is_read_whole(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    member = packed(tmp_path / "m", data)
    with open(tmp_path / "m", "rb") as file:
        assert Unpacked(file, member).read_at(size + 1, 0) == data


@pytest.mark.parametrize(("size", "change"), [(0, 1), (500, 1), (500, -1), (MIB, 1), (MIB, -1)])
def test_another_size_than_declared_is_damaged(tmp_path: Path, size: int, change: int) -> None:
    member = packed(tmp_path / "m", bytes(size))
    told = Member("m", 0, 6, member.packed, size + change, DEFLATED, member.crc)
    with open(tmp_path / "m", "rb") as file, pytest.raises(BadModel):
        Unpacked(file, told)


def test_other_bytes_than_declared_are_damaged(tmp_path: Path) -> None:
    member = packed(tmp_path / "m", bytes(500))
    told = Member("m", 0, 6, member.packed, 500, DEFLATED, member.crc ^ 1)
    with open(tmp_path / "m", "rb") as file, pytest.raises(BadModel):
        Unpacked(file, told)


def test_a_reader_that_jumps_without_end_is_stopped(tmp_path: Path) -> None:
    data = bytes(64 * MIB)
    member = packed(tmp_path / "m", data)
    with open(tmp_path / "m", "rb") as file:
        found = Unpacked(file, member)
        jumps = (found.read_at(1, k % 64 * MIB) for k in range(10_000))
        with pytest.raises(OSError, match="more is unpacked"):
            list(jumps)


def test_a_packed_model_larger_than_the_memory_of_the_gate_passes(tmp_path: Path) -> None:
    config = sequential(given(8000), layer("Dense", "dense", units=8000))
    content = members(config, (8000, 8000), (8000,))
    assert len(content["model.weights.h5"]) > 240 * MIB
    buffer = io.BytesIO()
    # level 0 is deflate that does not shrink: zeros that shrink are refused by their ratio
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    path = tmp_path / "m"
    path.write_bytes(buffer.getvalue())
    with open(path, "rb") as file:
        method = zips.members(file, path.stat().st_size)["model.weights.h5"].method
    assert method == DEFLATED
    done = subprocess.run(
        [sys.executable, "-m", "tests.gate.measured", str(path)],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert (told["status"], told["reason"]) == (0, None)
    assert told["rss_mib"] < 160


DEFLATED_FILE = zipped(members(), method=zipfile.ZIP_DEFLATED)


@settings(deadline=None)  # it goes through a file
@example(at=DEFLATED_FILE.index(b"model.weights.h5") + 16, value=0xFF)
@drawn(at=st.integers(0, len(DEFLATED_FILE) - 1), value=st.integers(0, 255))
def test_a_changed_byte_of_a_packed_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int
) -> None:
    data = bytearray(DEFLATED_FILE)
    data[at] = value
    with contextlib.suppress(BadModel):
        judged(tmp_path_factory.getbasetemp(), bytes(data))
