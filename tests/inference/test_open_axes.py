"""Models that leave axes open: no input of a caller counts as a crash of the model."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.digest import Digest
from server.errors import Overload, UnusableInput, WorkerFailed
from server.inference.child import to_part
from server.inference.child_kind import ChildKind, Engine
from server.inference.frames import Part
from server.inference.open_axes import TriedShapes, has_open_axes
from server.inference.residents import Budget
from server.inference.workers import ModelWorkers
from tests.inference.odd_child import Mark
from tests.inference.odd_models import odd_kind, row, values
from tests.inference.walls import GIB, HERE

onnx = pytest.importorskip("onnx", reason="needs the package that writes ONNX files")

MODEL = Digest(hashlib.sha256(b"a model").digest())
OPEN = {"binding": {"inputs": [{"tensor": "x", "shape": [None, None]}]}}
CLOSED = {"binding": {"inputs": [{"tensor": "x", "shape": [None, 2]}]}}
DIE = float(Mark.DIE)


class OneModel:
    """A model behind its workers, which count its crashes."""

    def __init__(self, kind: ChildKind) -> None:
        self._engine = Engine(kind, 8, 60 << 20)
        self._tasks: list[asyncio.Task[None]] = []
        self.crashes = 0
        self.workers = ModelWorkers(
            self._engine_of,
            Budget(4 * GIB, 4),
            spawn=self._spawn,
            on_crash=self._crashed,
            on_recovery=self._recovered,
            are_cores_wanted=lambda: False,
        )

    async def ask(self, tensors: list[Part], record: Mapping[str, Any] = OPEN) -> list[Part]:
        async with asyncio.timeout(120):
            return await self.workers.predict(MODEL, record, tensors)

    async def close(self) -> None:
        await self.workers.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _engine_of(self, _digest: Digest, _record: Mapping[str, Any]) -> Engine:
        return self._engine

    async def _crashed(self, _digest: Digest) -> None:
        self.crashes += 1

    async def _recovered(self, _digest: Digest) -> None:
        return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._tasks.append(asyncio.ensure_future(work))
        return self._tasks[-1]


@pytest.fixture
async def odd(tmp_path: Path) -> AsyncIterator[OneModel]:
    model = OneModel(odd_kind({"events": str(tmp_path / "events"), "log": str(tmp_path / "log")}))
    yield model
    await model.close()


def starts(folder: Path) -> int:
    return len((folder / "events").read_text().splitlines())


@pytest.mark.parametrize("mark", [Mark.DIE, Mark.RAISE, Mark.SHORT, Mark.NOTHING, Mark.FLAT])
async def test_an_end_on_a_new_shape_is_the_inputs_fault(odd: OneModel, mark: Mark) -> None:
    await odd.ask(row(1.0, 1.0))
    with pytest.raises(UnusableInput, match=r"of the shape \[1\]"):
        await odd.ask(row(float(mark)))
    assert values((await odd.ask(row(2.0, 2.0)))[0]) == [4.0, 4.0]
    assert odd.crashes == 0


async def test_an_end_on_a_shape_that_was_answered_before_is_a_crash(odd: OneModel) -> None:
    await odd.ask(row(1.0, 1.0))
    with pytest.raises(WorkerFailed):
        await odd.ask(row(DIE, 1.0))
    assert odd.crashes == 1


async def test_an_end_of_a_model_without_open_axes_is_a_crash(odd: OneModel) -> None:
    with pytest.raises(WorkerFailed):
        await odd.ask(row(DIE, 1.0), CLOSED)
    assert odd.crashes == 1


async def test_after_an_end_only_what_is_larger_or_the_same_has_to_wait(odd: OneModel) -> None:
    await odd.ask(row(1.0, 1.0, 1.0))
    with pytest.raises(UnusableInput):
        await odd.ask(row(DIE, 1.0))
    for refused in (row(1.0, 1.0), row(1.0, 1.0, 1.0, 1.0)):
        with pytest.raises(Overload) as told:
            await odd.ask(refused)
        assert 0 < told.value.retry_after_s <= 60
    assert values((await odd.ask(row(5.0)))[0]) == [10.0]
    assert values((await odd.ask(row(5.0, 5.0, 5.0)))[0]) == [10.0, 10.0, 10.0]


async def test_many_deadly_calls_at_once_end_one_process(odd: OneModel, tmp_path: Path) -> None:
    await odd.ask(row(1.0))
    asked = [odd.ask(row(*[DIE] * (2 + k))) for k in range(12)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Overload"] * 11 + [
        "UnusableInput"
    ]
    await odd.ask(row(1.0))
    assert starts(tmp_path) == 2
    assert odd.crashes == 0


async def test_a_minute_later_new_shapes_are_tried_again() -> None:
    tried = TriedShapes(careful_s=0.0)
    for _ in range(2):
        with pytest.raises(UnusableInput, match="it died"):
            async with tried.trying(row(1.0)):
                raise WorkerFailed("it died")
    async with tried.trying(row(1.0)):
        pass
    with pytest.raises(WorkerFailed):
        async with tried.trying(row(1.0)):
            raise WorkerFailed("it died")


async def test_old_shapes_are_forgotten() -> None:
    tried = TriedShapes()
    for size in range(1, 1030):
        async with tried.trying(row(*[0.0] * size)):
            pass
    with pytest.raises(UnusableInput):
        async with tried.trying(row(0.0)):
            raise WorkerFailed("it died")
    with pytest.raises(WorkerFailed):
        async with tried.trying(row(*[0.0] * 1000)):
            raise WorkerFailed("it died")


def test_a_batch_axis_is_no_open_axis() -> None:
    assert has_open_axes(OPEN)
    assert not has_open_axes(CLOSED)
    assert not has_open_axes({})


# real engines


def onnx_model(folder: Path, nodes: list[Any], weights: dict[str, Any]) -> Path:
    """Write a model of the input x [n, t, 1] and the output y."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", floats, ["n", "t", 1])],
        [helper.make_tensor_value_info("y", floats, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def onnx_kind(
    path: Path, *, call_timeout_s: float = 60.0, memory_bytes: int = 2 * GIB
) -> ChildKind:
    return ChildKind(
        "server.inference.onnx_child",
        {"path": str(path), "threads": 1, "max_batch": 8, "apart": False},
        start_timeout_s=60,
        call_timeout_s=call_timeout_s,
        max_calls=1 << 30,
        in_flight=2,
        rights=HERE.rights(memory_bytes=memory_bytes, read=[path]),
    )


def signal(size: int) -> list[Part]:
    return [to_part("x", np.zeros((1, size, 1), np.float32))]


async def check(model: OneModel, size: int, why: str) -> None:
    """Hold a call of some size against what the model answers before and after it."""
    try:
        before = await model.ask(signal(300))
        with pytest.raises(UnusableInput, match=why):
            await model.ask(signal(size))
        assert bytes((await model.ask(signal(300)))[0].data) == bytes(before[0].data)
        assert model.crashes == 0
    finally:
        await model.close()


async def test_an_answer_that_is_too_large_to_send_is_refused(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = onnx_model(tmp_path, nodes, {"w": np.ones((1, 1024), np.float32)})
    await check(OneModel(onnx_kind(path)), 20_000, "81920000 bytes; at most 67108864")


def squares(times: int) -> list[Any]:
    """Return the nodes that multiply x by its transpose, and that by itself so many times."""
    make = onnx.helper.make_node
    nodes = [
        make("Transpose", ["x"], ["xt"], perm=[0, 2, 1]),
        make("MatMul", ["x", "xt"], ["s0"]),
        *(make("MatMul", [f"s{k}", f"s{k}"], [f"s{k + 1}"]) for k in range(times)),
    ]
    return [*nodes, make("ReduceMean", [f"s{times}"], ["y"], axes=[1], keepdims=0)]


async def test_memory_that_a_model_cannot_get_for_an_input_is_refused(tmp_path: Path) -> None:
    path = onnx_model(tmp_path, squares(0), {})
    model = OneModel(onnx_kind(path, memory_bytes=GIB // 4))
    await check(model, 60_000, "cannot be run on this input|could not be run on tensors")


async def test_a_run_that_does_not_end_in_time_is_refused(tmp_path: Path) -> None:
    path = onnx_model(tmp_path, squares(20), {})
    model = OneModel(onnx_kind(path, call_timeout_s=3.0))
    await check(model, 6_000, "no answer within 3 s")
