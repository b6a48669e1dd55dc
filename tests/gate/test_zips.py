"""server/gate/archive/zips.py: archives laid out in one way, and no other."""

import contextlib
import io
import random
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import BadModel
from tests.gate.files import given as given_shape
from tests.gate.files import (
    judged,
    keras_file,
    layer,
    members,
    patched,
    reason,
    sequential,
    zipped,
)

CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
KERAS = keras_file()


class Unseekable(io.BytesIO):
    """A sink that makes the writer put sizes behind the data."""

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation


def streamed(content: dict[str, bytes]) -> bytes:
    buffer = Unseekable()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in content.items():
            with archive.open(name, "w", force_zip64=name.endswith("h5")) as sink:
                sink.write(data)
    return buffer.getvalue()


def wide(content: dict[str, bytes], *, first: bytes = b"", last: bytes = b"") -> bytes:
    """Write an archive with every number in 64 bits, and fields around those in its list."""
    data = io.BytesIO()
    listing = io.BytesIO()
    for name, raw in content.items():
        head = (20, 0, 0, 0, 33, zlib.crc32(raw))
        extra = struct.pack("<2H2Q", 1, 16, len(raw), len(raw))
        start = data.tell()
        data.write(struct.pack("<4s5HI2I2H", LOCAL, *head, 2**32 - 1, 2**32 - 1, len(name), 20))
        data.write(name.encode() + extra + raw)
        extra = first + struct.pack("<2H3Q", 1, 24, len(raw), len(raw), start) + last
        fields = (*head, 2**32 - 1, 2**32 - 1, len(name), len(extra), 0, 0, 0, 0, 2**32 - 1)
        listing.write(struct.pack("<4s6HI2I5H2I", CENTRAL, 20, *fields) + name.encode() + extra)
    start, length = data.tell(), listing.tell()
    count = len(content)
    end = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
    end += struct.pack("<4sIQI", b"PK\x06\x07", 0, start + length, 1)
    end += struct.pack("<4s4H2IH", END, 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    return data.getvalue() + listing.getvalue() + end


@pytest.mark.parametrize(
    "data",
    [
        KERAS,
        zipped(members(), method=zipfile.ZIP_DEFLATED),
        streamed(members()),
        wide(members()),
    ],
    ids=["stored", "deflated", "streamed", "64-bit"],
)
def test_honest_archives_are_read(tmp_path: Path, data: bytes) -> None:
    assert judged(tmp_path, data).format == "keras"


def duplicate() -> bytes:
    return zipped(members() | {"cOnfig.json": b"{}"}).replace(b"cOnfig", b"config")


def symlink() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members().items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name == "config.json" else 0o100644) << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def overlapping() -> bytes:
    """Let the second entry of the list point to the first member."""
    at = KERAS.index(CENTRAL)
    second = KERAS.index(CENTRAL, at + 4)
    return KERAS[: second + 42] + bytes(4) + KERAS[second + 46 :]


def packed(**sizes: int) -> bytes:
    content = {name: bytes(size) for name, size in sizes.items()}
    return zipped(content | {"config.json": b"{}"}, method=zipfile.ZIP_DEFLATED)


def long_list() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members().items():
            info = zipfile.ZipInfo(name)
            info.comment = b"c" * 60_000
            archive.writestr(info, data)
    return buffer.getvalue()


def enlarging() -> bytes:
    """Stay below the ratio of a member, but not of the whole."""
    data = random.Random(5).randbytes(1 << 20) + bytes(18 << 20)
    content = {"config.json": b"{}", "model.weights.h5": data}
    return zipped(content, method=zipfile.ZIP_DEFLATED)


LISTED = KERAS.index(CENTRAL)
WIDE = wide(members())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"MZ" + KERAS, "unknown-format"),
        (KERAS + b"more", "trailing-bytes"),
        (KERAS[:-2] + b"\x04\0more", "trailing-bytes"),
        (patched(KERAS, END, 20, "<H", 4), "trailing-bytes"),
        (patched(KERAS, LOCAL, 26, "<H", 65_535), "damaged-file"),
        (enlarging(), "zip-ratio"),
        (zipped(members(), more=("../escape",)), "zip-member"),
        (zipped(members(), more=("/etc/absolute",)), "zip-member"),
        (zipped(members(), more=("assets/vocabulary.txt",)), "zip-member"),
        (zipped(members(), more=tuple(f"m{k}" for k in range(65_000))), "zip-members"),
        (zipped(members(), more=("x" * 300,)), "zip-name"),
        (long_list(), "zip-members"),
        (duplicate(), "zip-duplicate"),
        (symlink(), "zip-special-file"),
        (overlapping(), "zip-layout"),
        (patched(KERAS, CENTRAL, 8, "<H", 1), "zip-encrypted"),
        (patched(KERAS, CENTRAL, 8, "<H", 0x10), "zip-method"),
        (patched(KERAS, CENTRAL, 10, "<H", 12), "zip-method"),
        (patched(KERAS, CENTRAL, 24, "<I", 1), "damaged-file"),
        (patched(KERAS, CENTRAL, 34, "<H", 7), "damaged-file"),
        (patched(KERAS, LOCAL, 14, "<I", 5), "zip-layout"),
        (patched(KERAS, LOCAL, 0, "<I", 5), "damaged-file"),
        (patched(KERAS, END, 16, "<I", LISTED - 1), "zip-layout"),
        (patched(KERAS, END, 8, "<H", 2), "zip-layout"),
        (patched(patched(KERAS, END, 8, "<H", 2), END, 10, "<H", 2), "zip-layout"),
        (patched(patched(KERAS, END, 8, "<H", 4), END, 10, "<H", 4), "damaged-file"),
        (
            KERAS[:LISTED] + b"gap" + KERAS[LISTED:-6] + struct.pack("<IH", LISTED + 3, 0),
            "zip-layout",
        ),
        (KERAS[:-30], "damaged-file"),
        (LOCAL, "damaged-file"),
        (packed(**{"metadata.json": 0, "model.weights.h5": 40 << 20}), "zip-ratio"),
        (packed(**{f"m{k}": 1 << 20 for k in range(14)} | {"n": 3 << 20}), "zip-ratio"),
        (packed(**{"metadata.json": 9 << 20, "model.weights.h5": 1}), "zip-ratio"),
        (zipped(members() | {"config.json": bytes(9 << 20)}), "zip-member-size"),
        (zipped({"config.json": b"{}"}), "no-model"),
        (zipped({"other": b"{}"}), "no-model"),
        (patched(WIDE, b"PK\x06\x07", 8, "<Q", 0), "damaged-file"),
        (patched(WIDE, b"PK\x06\x06", 4, "<Q", 45), "damaged-file"),
        (LOCAL + WIDE[-22:], "damaged-file"),
        (patched(WIDE, CENTRAL, 30, "<H", 0), "zip-layout"),
    ],
)
def test_an_odd_archive_is_refused(tmp_path: Path, data: bytes, expected: str) -> None:
    assert reason(tmp_path, data) == expected


def extra(kind: int, content: bytes) -> bytes:
    return struct.pack("<2H", kind, len(content)) + content


TIMES = extra(0x5455, b"\1" + bytes(4))
ODD_FIELDS = {
    "numbers twice": extra(1, bytes(24)),  # Python takes the first, others the last
    "fewer numbers": extra(1, bytes(8)),
    "no numbers": extra(1, b""),
    "another name": extra(0x7075, b"\1" + bytes(4) + b"config.json"),
    "unknown": extra(0xCAFE, b"PK\3\4"),
    "times twice": TIMES * 2,
    "longer than said": struct.pack("<2H", 0x5455, 100),
    "cut short": b"\1\0",
}


def test_times_beside_the_numbers_are_let_through(tmp_path: Path) -> None:
    for around in ({"first": TIMES}, {"last": TIMES}, {"first": TIMES, "last": extra(0x7875, b"")}):
        assert judged(tmp_path, wide(members(), **around)).format == "keras"


@pytest.mark.parametrize("fields", ODD_FIELDS.values(), ids=ODD_FIELDS.keys())
@pytest.mark.parametrize("where", ["first", "last"])
def test_fields_that_could_be_read_in_two_ways_are_refused(
    tmp_path: Path, fields: bytes, where: str
) -> None:
    assert reason(tmp_path, wide(members(), **{where: fields})) == "zip-layout"


def test_numbers_of_64_bits_that_nothing_asks_for_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members().items():
            info = zipfile.ZipInfo(name)
            info.extra = extra(1, struct.pack("<2Q", len(content), len(content)))
            archive.writestr(info, content)
    assert reason(tmp_path, buffer.getvalue()) == "zip-layout"


@pytest.mark.parametrize("kind", [7, 0x5455, 0x7075])  # unknown, times, another name
def test_a_list_in_64_bits_without_the_numbers_is_refused(tmp_path: Path, kind: int) -> None:
    data = WIDE.replace(struct.pack("<2H", 1, 24), struct.pack("<2H", kind, 24))
    assert reason(tmp_path, data) == "zip-layout"


def test_a_streamed_member_ends_where_the_next_begins(tmp_path: Path) -> None:
    data = streamed(members())
    at = data.index(CENTRAL)
    second = data.index(CENTRAL, at + 4)
    (size,) = struct.unpack_from("<I", data, at + 20)
    short = data[: at + 20] + struct.pack("<2I", size - 3, size - 3) + data[at + 28 :]
    assert second > at
    assert reason(tmp_path, short) == "zip-layout"


def test_a_member_that_runs_into_the_list_is_refused(tmp_path: Path) -> None:
    data = KERAS
    (size,) = struct.unpack_from("<I", data, data.rindex(CENTRAL) + 20)
    for place, offset in ((CENTRAL, 20), (CENTRAL, 24), (LOCAL, 18), (LOCAL, 22)):
        data = patched(data, place, offset, "<I", size + 5)
    assert reason(tmp_path, data) == "zip-layout"


DEFLATED = zipped(members(), method=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("change", [1, -1])
def test_a_member_that_unpacks_to_another_size_is_damaged(
    tmp_path: Path, name: str, change: int
) -> None:
    data = DEFLATED
    for mark, name_at in ((CENTRAL, 46), (LOCAL, 30)):
        at = data.index(name.encode(), data.index(mark)) - name_at
        place = at + (24 if mark == CENTRAL else 22)
        (size,) = struct.unpack_from("<I", data, place)
        data = data[:place] + struct.pack("<I", size + change) + data[place + 4 :]
    assert reason(tmp_path, data) == "damaged-file"


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_member_that_does_not_unpack_is_damaged(tmp_path: Path, name: str) -> None:
    at = DEFLATED.index(name.encode()) + len(name)
    data = DEFLATED[:at] + b"\xff" * 8 + DEFLATED[at + 8 :]
    assert reason(tmp_path, data) == "damaged-file"


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_bytes_behind_a_packed_member_are_no_part_of_it(tmp_path: Path, name: str) -> None:
    content = members()
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = squeezed.compress(content[name]) + squeezed.flush() + b"more"
    data = zipped(content | {name: raw})
    crc, size = zlib.crc32(content[name]), len(content[name])
    for mark, name_at, fields in ((CENTRAL, 46, (10, 16, 24)), (LOCAL, 30, (8, 14, 22))):
        at = data.index(name.encode(), data.index(mark)) - name_at
        for offset, form, value in zip(fields, ("<H", "<I", "<I"), (8, crc, size), strict=True):
            packed = struct.pack(form, value)
            data = data[: at + offset] + packed + data[at + offset + len(packed) :]
    assert reason(tmp_path, data) == "damaged-file"


def test_a_large_packed_member_is_unpacked_in_pieces(tmp_path: Path) -> None:
    config = sequential(given_shape(2000), layer("Dense", "dense", units=600))
    data = zipped(members(config, (2000, 600), (600,)), method=zipfile.ZIP_DEFLATED)
    assert reason(tmp_path, data) in ("zip-ratio", "hdf5-bomb")
    noise = io.BytesIO(members(config, (2000, 600), (600,))["model.weights.h5"])
    with h5py.File(noise, "r+") as file:
        file["layers/dense/vars/0"][...] = np.random.default_rng(5).random((2000, 600))
    content = members(config) | {"model.weights.h5": noise.getvalue()}
    data = zipped(content, method=zipfile.ZIP_DEFLATED)
    assert judged(tmp_path, data).cost.parameters == 1_200_600


def test_a_member_that_ends_early_is_damaged(tmp_path: Path) -> None:
    flushed = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = flushed.compress(bytes(500)) + flushed.flush(zlib.Z_SYNC_FLUSH)
    content = members() | {"model.weights.h5": raw}
    data = zipped(content)
    for place, offset, value in ((CENTRAL, 10, 8), (LOCAL, 8, 8)):
        data = patched(data, place, offset, "<H", value)
    for place, offset in ((CENTRAL, 24), (LOCAL, 22)):
        data = patched(data, place, offset, "<I", 500)
    assert reason(tmp_path, data) == "damaged-file"


@settings(deadline=None)  # it goes through a file
@given(st.integers(0, len(KERAS) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int
) -> None:
    data = bytearray(KERAS)
    data[at] = value
    with contextlib.suppress(BadModel):
        judged(tmp_path_factory.getbasetemp(), bytes(data))


@settings(deadline=None)  # it goes through a file
@given(st.binary(max_size=300))
def test_any_bytes_after_a_zip_signature_are_refused(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes
) -> None:
    assert reason(tmp_path_factory.getbasetemp(), LOCAL + tail) is not None


def test_a_comment_in_the_list_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members().items():
            archive.writestr(name, data)
        archive.infolist()[-1].comment = b"PK"
    assert reason(tmp_path, buffer.getvalue()) == "zip-layout"
