"""server/gate/hdf5: structure, and what is declared against what is stored."""

import contextlib
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import BadModel
from server.gate.hdf5 import outline as hdf5
from server.gate.hdf5 import superblock
from server.gate.hdf5.window import Window
from tests.gate.files import h5_file, judged, keras_file, members, patched, reason, refusal, zipped
from tests.gate.hostile import arrays, in_pieces

WEIGHTS = "model_weights/dense/dense"
Spoil = Callable[[h5py.File], object]


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
def test_files_of_every_version_are_read(tmp_path: Path, libver: str) -> None:
    assert judged(tmp_path, h5_file(libver=libver)).cost.parameters == 15


def packed(file: h5py.File) -> None:
    del file[f"{WEIGHTS}/0"]
    file.create_dataset(
        f"{WEIGHTS}/0",
        data=np.ones((4, 3), "f4"),
        compression="gzip",
        shuffle=True,
        fletcher32=True,
    )


def old_marks(file: h5py.File) -> None:
    file.attrs["keras_version"] = np.bytes_("2.2.4")
    group = file.create_group("model_weights/top_level_model_weights")
    group.attrs["weight_names"] = np.array([], float)
    file["optimizer_weights/iterations"] = np.int64(3)


def test_names_that_are_cut_in_parts_are_joined(tmp_path: Path) -> None:
    def spoil(file: h5py.File) -> None:
        group = file["model_weights"].attrs
        del group["layer_names"]
        group["layer_names0"] = ["dense"]

    assert judged(tmp_path, h5_file(spoil=spoil)).cost.parameters == 15


def raw_dataset(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    plan: Any = None,
    kind: Any = h5t.NATIVE_FLOAT,
) -> None:
    free = (h5s.UNLIMITED,) * len(shape or ())
    chunked_ = plan is not None and plan.get_layout() == h5d.CHUNKED
    space = h5s.create_simple(shape, free if chunked_ else None) if shape else h5s.create(h5s.NULL)
    h5d.create(file.id, name.encode(), kind, space, plan)


def chunked(*chunk: int, filter_id: int | None = None) -> Any:
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_chunk(chunk)
    if filter_id is not None:
        plan.set_filter(filter_id, h5py.h5z.FLAG_OPTIONAL, (0,))
    return plan


def several(file: h5py.File) -> None:
    for k in range(9):
        raw_dataset(file, f"x{k}", (200_000,), chunked(100))
        file[f"x{k}"][0] = 1


def compact(file: h5py.File) -> None:
    """Keep an array inside its own header, as small ones may be."""
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_layout(h5d.COMPACT)
    raw_dataset(file, "optimizer_weights", (3,), plan)


def nested(depth: int) -> Spoil:
    """Put groups into one another, so many below the root."""
    return lambda file: file.create_group("/".join(["g"] * depth))


@pytest.mark.parametrize("spoil", [packed, old_marks, compact, nested(hdf5.MAX_DEPTH)])
def test_what_honest_files_hold_is_let_through(tmp_path: Path, spoil: Spoil) -> None:
    assert judged(tmp_path, h5_file(spoil=spoil)).cost.parameters == 15


def zeros(file: h5py.File) -> None:
    file.create_dataset("x", data=np.zeros((4000, 1000), "f4"), compression="gzip")


def external(file: h5py.File) -> None:
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_external(b"/etc/passwd", 0, 400)
    raw_dataset(file, "x", (100,), plan)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(4,))
    file.create_virtual_dataset("x", layout)


def cycle(file: h5py.File) -> None:
    file["model_weights/again"] = file["model_weights"]


def cycle_to_root(file: h5py.File) -> None:
    file["model_weights/root"] = file["/"]


def many_objects(file: h5py.File) -> None:
    for k in range(hdf5.MAX_OBJECTS + 1):
        h5py.h5g.create(file.id, f"g{k}".encode())


def many_objects_apart(file: h5py.File) -> None:
    for k in range(2):
        group = file.create_group(f"part{k}")
        for j in range(hdf5.MAX_OBJECTS // 2 + 1):
            h5py.h5g.create(group.id, f"g{j}".encode())


def many_attributes(file: h5py.File) -> None:
    group = file.create_group("g", track_order=True)
    for k in range(300):
        group.attrs[f"a{k}"] = 1


def large_attributes(file: h5py.File) -> None:
    for k in range(140):
        file.create_group(f"g{k}").attrs["a"] = np.zeros(8000)


def attribute(value: Any) -> Spoil:
    def spoil(file: h5py.File) -> None:
        file.attrs["odd"] = value(file) if callable(value) else value

    return spoil


def compound(file: h5py.File) -> None:
    file["x"] = np.zeros(3, [("a", "f4"), ("b", "i4")])


def wide_float(file: h5py.File) -> None:
    file["x"] = np.zeros(3, np.longdouble)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda f: f.__setitem__("x", h5py.SoftLink("/model_weights")), "hdf5-link"),
        (lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "hdf5-link"),
        (cycle, "hdf5-shared-object"),
        (cycle_to_root, "hdf5-shared-object"),
        (external, "hdf5-external"),
        (virtual, "hdf5-virtual"),
        (lambda f: raw_dataset(f, "x", (1,), chunked(1, filter_id=32_001)), "hdf5-filter"),
        (lambda f: f.create_dataset("x", (4,), "f4", compression="lzf"), "hdf5-filter"),
        (lambda f: raw_dataset(f, "x", (1 << 30,)), "hdf5-bomb"),
        (lambda f: raw_dataset(f, "x", (1 << 30,), chunked(1 << 10)), "hdf5-bomb"),
        (lambda f: raw_dataset(f, "x", (1,), chunked(1 << 28)), "hdf5-bomb"),
        (
            several,
            "hdf5-bomb",
        ),
        (zeros, "hdf5-bomb"),
        (lambda f: raw_dataset(f, "x", (1,) * 9), "hdf5-type"),
        (lambda f: raw_dataset(f, "x", None), "hdf5-type"),  # type: ignore[arg-type]  # no axes
        (compound, "hdf5-type"),
        (wide_float, "hdf5-type"),
        (lambda f: f.__setitem__("x", np.dtype("f4")), "hdf5-type"),
        (lambda f: f.__setitem__("x", "text"), "hdf5-type"),
        (many_objects, "hdf5-objects"),
        (lambda f: arrays(f, hdf5.MAX_ARRAYS + 1), "hdf5-objects"),
        (lambda f: arrays(f, hdf5.MAX_PLANNED + 1, in_pieces()), "hdf5-objects"),
        (many_objects_apart, "hdf5-objects"),
        (nested(hdf5.MAX_DEPTH + 1), "hdf5-nested"),
        (many_attributes, "hdf5-attributes"),
        (large_attributes, "hdf5-attributes"),
        (attribute(lambda f: f["model_weights"].ref), "hdf5-attributes"),
        (attribute(np.zeros(1, [("a", "f4")])), "hdf5-attributes"),
        (
            lambda f: f["model_weights/dense"].attrs.create("weight_names", [b"dense/0"] * 2),
            "hdf5-names",
        ),
        (
            lambda f: f["model_weights/dense"].attrs.create("weight_names", [b"dense/9"]),
            "hdf5-names",
        ),
        (
            lambda f: f["model_weights/dense"].attrs.create("weight_names", [b"/etc/passwd"]),
            "hdf5-names",
        ),
        (lambda f: f["model_weights"].attrs.create("layer_names", [b"dense"] * 2), "hdf5-names"),
        (lambda f: f["model_weights"].attrs.create("layer_names", [b"absent"]), "hdf5-names"),
        (lambda f: f.__delitem__("model_weights"), "no-model"),
        (lambda f: f.attrs.__delitem__("model_config"), "no-model"),
        (lambda f: f.attrs.create("model_config", 5), "no-model"),
        (lambda f: f.attrs.create("model_config", np.bytes_(b"\xff\xfe")), "damaged-file"),
        (lambda f: f["model_weights"].attrs.create("layer_names", 5), "damaged-file"),
    ],
)
def test_what_a_model_never_needs_is_refused(tmp_path: Path, spoil: Spoil, expected: str) -> None:
    assert reason(tmp_path, h5_file(spoil=spoil)) == expected


def test_the_place_of_a_fault_is_told(tmp_path: Path) -> None:
    def spoil(file: h5py.File) -> None:
        file["model_weights/dense/elsewhere"] = h5py.SoftLink("/")

    told = refusal(tmp_path, h5_file(spoil=spoil))
    assert told.members["where"] == "model_weights/dense/elsewhere"
    assert "a soft link" in told.detail


@pytest.mark.parametrize(
    ("marks", "groups"), [(("layer_names",), ()), ((), ("layers",))], ids=["old", "new"]
)
def test_weights_without_a_model_are_told(
    tmp_path: Path, marks: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name in marks:
            file.attrs[name] = [b"dense"]
        for name in groups:
            file.create_group(name)
    assert reason(tmp_path, buffer.getvalue()) == "weights-only"


WHOLE = h5_file()
SIGNATURE = superblock.SIGNATURE


def with_user_block() -> bytes:
    return patched(WHOLE, SIGNATURE, 24, "<Q", 512)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(512) + WHOLE, "unknown-format"),
        (with_user_block(), "hdf5-user-block"),
        (WHOLE + keras_file(), "trailing-bytes"),
        (WHOLE[:100], "damaged-file"),
        (WHOLE[:40], "damaged-file"),
        (WHOLE[:-100], "damaged-file"),
        (SIGNATURE + bytes(500), "damaged-file"),
        (SIGNATURE + b"\x09" + bytes(500), "damaged-file"),
    ],
)
def test_a_file_that_does_not_begin_and_end_as_it_says_is_refused(
    tmp_path: Path, data: bytes, expected: str
) -> None:
    assert reason(tmp_path, data) == expected


def test_arrays_outside_of_the_file_are_refused(tmp_path: Path) -> None:
    # the library looks at this as well since 1.14, before us
    (tmp_path / "m").write_bytes(WHOLE)
    with h5py.File(tmp_path / "m") as file, pytest.raises(BadModel) as refused:
        hdf5.outline(file, lambda *_: b"", size=100)
    assert refused.value.members["reason"] == "hdf5-bomb"


def test_arrays_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    def spoil(file: h5py.File) -> None:
        for k in range(40):
            file[f"x{k}"] = np.zeros(2000, "f4")

    data = h5_file(spoil=spoil)
    spots = [k for k in range(len(data) - 18) if data[k : k + 2] == b"\x03\x01"]
    for at in spots:
        if struct.unpack_from("<Q", data, at + 10)[0] == 8000:
            told = struct.pack("<2Q", 8, len(data) - 8)
            data = data[: at + 2] + told + data[at + 18 :]
    assert reason(tmp_path, data) in ("hdf5-bomb", "damaged-file")


def test_a_reader_that_is_sent_around_runs_out_of_budget() -> None:
    window = Window(lambda count, at: WHOLE[at : at + count], size=len(WHOLE), budget=4000)
    assert [window.seek(8), window.seek(4, 1), window.seek(-4, 2)] == [8, 12, len(WHOLE) - 4]
    assert window.read(100) == WHOLE[-4:]
    reads = (window.read(8) for _ in iter(lambda: window.seek(0), None))
    with pytest.raises(OSError, match="more is read"):
        list(reads)


HEAP = WHOLE.index(b"GCOL")


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [(8, "<Q", 100), (8, "<Q", 1 << 40), (24, "<Q", 1 << 40), (24, "<Q", 2**64 - 1)],
)
def test_a_heap_without_an_end_is_damaged(
    tmp_path: Path, offset: int, form: str, value: int
) -> None:
    assert reason(tmp_path, patched(WHOLE, b"GCOL", offset, form, value)) == "damaged-file"


def test_a_heap_whose_objects_do_not_lead_on_is_damaged(tmp_path: Path) -> None:
    # libhdf5 1.14.6 reads an object without index and length again and again
    assert reason(tmp_path, WHOLE[: HEAP + 16] + bytes(16) + WHOLE[HEAP + 32 :]) == "damaged-file"


def test_the_weights_of_an_archive_follow_the_same_rules(tmp_path: Path) -> None:
    buffer = io.BytesIO(members()["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        file["x"] = h5py.ExternalLink("/etc/passwd", "/")
    content = members() | {"model.weights.h5": buffer.getvalue()}
    assert reason(tmp_path, zipped(content)) == "hdf5-link"


@settings(deadline=None)  # it goes through a file
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int
) -> None:
    data = bytearray(WHOLE)
    data[at] = value
    with contextlib.suppress(BadModel):
        judged(tmp_path_factory.getbasetemp(), bytes(data))
