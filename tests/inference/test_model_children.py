"""intake_child.py, onnx_child.py and keras_child.py as processes."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.errors import BadModel, UnusableInput
from server.gate import judge as gate
from server.inference.child import to_array, to_part
from server.inference.frames import PREDICT, SPARING, Message
from server.inference.process import Child
from server.inference.record import RECORD_VERSION
from tests.gate.files import called, functional, given, layer, tensor
from tests.gate.hostile_costs import another_rank
from tests.gate.hostile_kernels import with_arrays
from tests.inference.conftest import Judged
from tests.inference.walls import GIB, HERE

pytestmark = pytest.mark.timeout(400)
TENSORS = {"task": "tensors"}
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: nobody else may look into a child that gives no dumps"
)
HEAVY = ("tensorflow", "keras", "h5py", "onnx", "tf2onnx", "scipy", "soundfile")


async def judge(path: Path, output: Path | None, **more: Any) -> dict[str, Any]:
    config = {"path": str(path), "manifest": TENSORS, **more}
    fd = os.open(output, os.O_RDWR | os.O_CREAT) if output is not None else None
    try:
        child = await Child.start(
            "server.inference.intake_child",
            config,
            timeout_s=120,
            nice=0,
            files={} if fd is None else {"output": fd},
            rights=HERE.rights(memory_bytes=4 * GIB, read=[path], writes_bytes=GIB),
        )
    finally:
        if fd is not None:
            os.close(fd)
    await child.end()
    record: dict[str, Any] = child.ready["record"]
    return record


async def start(kind: str, path: Path, *, threads: int = 1, apart: bool = False) -> Child:
    config = {"path": str(path), "threads": threads, "max_batch": 8, "apart": apart}
    writes_bytes = GIB if kind == "keras" else 0
    return await Child.start(
        f"server.inference.{kind}_child",
        config,
        timeout_s=120,
        nice=0,
        rights=HERE.rights(memory_bytes=2 * GIB, read=[path], writes_bytes=writes_bytes),
    )


async def ask(
    child: Child, rows: NDArray[np.float32], name: str, *, op: str = PREDICT
) -> NDArray[np.float32]:
    answer = await child.call(Message({"op": op}, [to_part(name, rows)]), timeout_s=60)
    (part,) = answer.parts
    assert part.dtype == "float32"
    return to_array(part)


@pytest.fixture
async def served(judged: Judged) -> AsyncIterator[tuple[Child, str]]:
    """Run the converted worker of a small picture model; also give the name of its input."""
    child = await start("onnx", judged.folder / "conv2d.onnx")
    yield child, judged.families["conv2d"]["inputs"][0]
    await child.end()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("op", [PREDICT, SPARING])
async def test_rows_that_are_run_apart_are_answered_as_by_themselves(
    judged: Judged, served: tuple[Child, str], threads: int, op: str
) -> None:
    one, name = served
    path = judged.folder / "conv2d.onnx"
    rows = np.random.default_rng(7).standard_normal((5, 24, 20, 1)).astype(np.float32)
    alone = np.concatenate([await ask(one, row[None], name) for row in rows])
    child = await start("onnx", path, threads=threads, apart=True)
    try:
        assert np.abs(await ask(child, rows, name, op=op) - alone).max() < 1e-6
        assert np.abs(await ask(child, rows[:1], name, op=op) - alone[:1]).max() < 1e-6
    finally:
        await child.end()


async def test_the_same_model_becomes_the_same_bytes(judged: Judged, tmp_path: Path) -> None:
    await judge(judged.folder / "conv2d.keras", tmp_path / "again")
    before = (judged.folder / "conv2d.onnx").read_bytes()
    assert (tmp_path / "again").read_bytes() == before != b""


async def test_a_model_that_stays_with_keras_leaves_the_file_empty(
    judged: Judged, tmp_path: Path
) -> None:
    record = await judge(judged.folder / "half.keras", tmp_path / "m.onnx")
    assert record["engine"]["name"] == "keras"
    assert (tmp_path / "m.onnx").read_bytes() == b""


@pytest.mark.parametrize("name", ["shapes.keras", "old-gru.h5"])
async def test_only_what_was_judged_is_built(judged: Judged, name: str) -> None:
    path = judged.folder / name
    of_gate = gate.judge(path).reading
    assert of_gate is not None
    assert (await judge(path, None, judged=of_gate))["engine"]["name"] == "keras"
    with pytest.raises(BadModel) as refused:
        await judge(path, None, judged="0" * 64)
    assert refused.value.members["reason"] == "two-readings"


async def test_a_graph_that_is_larger_than_was_counted_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(another_rank(outer=True))
    with pytest.raises(BadModel) as refused:
        await judge(path, None)
    assert refused.value.members["reason"] == "cost-tensor"


async def test_a_run_that_takes_more_than_was_counted_is_the_last(tmp_path: Path) -> None:
    size = 10_000  # squared, in floats, it is 381 MiB
    table = functional(
        given(size, 1),
        called(layer("Permute", "p", dims=[2, 1]), tensor("given")),
        called(layer("Add", "a"), [tensor("given"), tensor("p")]),
        called(layer("GlobalMaxPooling1D", "m"), tensor("a")),
        outputs=["m", 0, 0],
    )
    path = tmp_path / "model"
    path.write_bytes(with_arrays(table, {}))
    with pytest.raises(BadModel) as refused:
        await judge(path, None, activations=size)
    assert refused.value.members["reason"] == "cost-memory"


async def test_a_run_that_takes_what_was_counted_is_not(judged: Judged) -> None:
    path = judged.folder / "shapes.keras"
    counted = gate.judge(path).cost.activations
    assert (await judge(path, None, activations=counted))["engine"]["name"] == "keras"


async def test_without_a_file_for_it_nothing_is_converted(judged: Judged) -> None:
    record = await judge(judged.folder / "conv1d.keras", None)
    assert record["engine"]["name"] == "keras"
    assert record["max_batch"] == 8


async def test_the_record_says_how_a_model_is_served(judged: Judged, tmp_path: Path) -> None:
    record = await judge(judged.folder / "shapes.keras", tmp_path / "m.onnx")
    assert record["version"] == RECORD_VERSION
    assert record["engine"]["rows"] in ("apart", "together")
    assert record["engine"]["name"] == "onnxruntime"
    assert record["conversion"]["max_abs_difference"] <= 1e-5
    assert record["binding"]["task"] == "tensors"
    assert record["repairs"] == []


async def test_both_workers_give_the_same_numbers(
    judged: Judged, served: tuple[Child, str]
) -> None:
    converted, name = served
    original = await start("keras", judged.folder / "conv2d.keras")
    try:
        rows = np.random.default_rng(5).random((8, 24, 20, 1), dtype=np.float32)
        together = await ask(converted, rows, name)
        np.testing.assert_allclose(together, await ask(original, rows, name), atol=1e-5)
        alone = [await ask(converted, row[None], name) for row in rows]
        np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)
    finally:
        await original.end()


@pytest.mark.parametrize("kind", ["onnx", "keras"])
async def test_an_input_that_a_model_cannot_run_on_is_refused(
    judged: Judged, served: tuple[Child, str], kind: str
) -> None:
    converted, name = served
    child = converted if kind == "onnx" else await start("keras", judged.folder / "conv2d.keras")
    try:
        with pytest.raises(UnusableInput, match="cannot be run on this input"):
            await ask(child, np.zeros((1, 3, 3, 1), np.float32), name)
        assert np.isfinite(await ask(child, np.zeros((1, 24, 20, 1), np.float32), name)).all()
    finally:
        if child is not converted:
            await child.end()


async def test_a_message_without_an_input_is_refused(served: tuple[Child, str]) -> None:
    child, _ = served
    with pytest.raises(UnusableInput, match="cannot be run on this input"):
        await ask(child, np.zeros((1, 2), np.float32), "elsewhere")


@needs_root
async def test_the_light_worker_maps_no_heavy_library(served: tuple[Child, str]) -> None:
    mapped = Path(f"/proc/{served[0].pid}/maps").read_text()
    assert [name for name in HEAVY if f"site-packages/{name}/" in mapped] == []


@needs_root
async def test_the_light_worker_speaks_to_nobody(served: tuple[Child, str]) -> None:
    threads = {
        (task / "comm").read_text().strip()
        for task in Path(f"/proc/{served[0].pid}/task").iterdir()
    }
    sockets = [
        link
        for fd in Path(f"/proc/{served[0].pid}/fd").iterdir()
        if (link := os.readlink(fd)).startswith("socket:")
    ]
    assert len(sockets) == 1
    assert len(threads) <= 2


@pytest.mark.parametrize("family", ["open-time", "masked-words", "inputs-by-name"])
async def test_odd_models_start_warm(judged: Judged, family: str) -> None:
    for kind, ending, engine in (("onnx", "onnx", "onnxruntime"), ("keras", "keras", "keras")):
        child = await start(kind, judged.folder / f"{family}.{ending}")
        await child.end()
        assert child.ready == {"engine": engine}
