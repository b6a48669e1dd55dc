"""gate_child.py as a process: honest models pass, and what it counted goes into the record."""

import zipfile
from pathlib import Path

import pytest

from server.errors import BadModel
from server.inference.process import Child
from tests.gate.files import keras_file, members, zipped
from tests.gate.hostile import ATTACKS
from tests.gate.onnx_files import honest, named, written
from tests.inference.conftest import Judged
from tests.inference.walls import GIB, HERE, needs_sandbox

pytestmark = pytest.mark.timeout(400)
VERDICT = {"version", "format", "keras_version", "parameters", "activations", "largest", "flops"}


async def gate(path: Path) -> dict[str, object]:
    child = await Child.start(
        "server.inference.gate_child",
        {"path": str(path)},
        timeout_s=60,
        nice=0,
        rights=HERE.rights(memory_bytes=GIB, read=[path]),
    )
    await child.end()
    return child.ready


async def test_a_file_that_passes_is_told_with_its_cost(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(keras_file())
    told = await gate(tmp_path / "m")
    assert told["format"] == "keras"
    found = told["gate"]
    assert isinstance(found, dict)
    assert set(found) >= VERDICT
    assert found["parameters"] == 15


@needs_sandbox
async def test_it_judges_behind_the_walls(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(keras_file())
    child = await Child.start(
        "server.inference.gate_child",
        {"path": str(tmp_path / "m")},
        timeout_s=60,
        nice=0,
        rights=HERE.rights(memory_bytes=GIB, read=[tmp_path / "m"]),
    )
    told = Path(f"/proc/{child.pid}/status").read_text()
    await child.end()
    assert "\nNoNewPrivs:\t1\n" in told
    assert "\nSeccomp:\t2\n" in told
    assert "\nSeccomp_filters:\t2\n" in told  # one while it judged, and another behind it


async def test_an_archive_that_is_packed_passes_behind_the_walls_of_the_sandbox(
    tmp_path: Path,
) -> None:
    # nothing can be written there: packed weights are read without a file
    (tmp_path / "m").write_bytes(zipped(members(), method=zipfile.ZIP_DEFLATED))
    assert (await gate(tmp_path / "m"))["format"] == "keras"


async def test_onnx_is_held_against_its_own_checker_behind_the_walls(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(written(honest()))
    assert (await gate(tmp_path / "m"))["format"] == "onnx"
    (tmp_path / "m").write_bytes(named("Concat"))
    with pytest.raises(BadModel) as refused:
        await gate(tmp_path / "m")
    assert refused.value.members["reason"] == "onnx-checker"


async def test_a_refusal_is_told_with_its_code_and_its_place(tmp_path: Path) -> None:
    make, reason = ATTACKS["nested lambda"]
    (tmp_path / "m").write_bytes(make())
    with pytest.raises(BadModel) as refused:
        await gate(tmp_path / "m")
    assert refused.value.members["reason"] == reason
    assert "odd" in str(refused.value.members["where"])


async def test_every_layer_family_and_every_old_file_passes(judged: Judged) -> None:
    paths = [*judged.folder.glob("*.keras"), *judged.folder.glob("*.h5")]
    assert len(paths) > 30
    for path in paths:
        told = await gate(path)
        assert told["format"] == path.suffix[1:]
