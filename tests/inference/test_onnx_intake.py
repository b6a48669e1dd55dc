"""ONNX files that are served as they were uploaded: judged in their own child process."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.errors import BadModel, ServerError
from server.inference.child import to_array, to_part
from server.inference.frames import PREDICT, Message
from server.inference.process import Child
from tests.inference.walls import GIB, HERE

pytest.importorskip("onnx", reason="needs the keras extra")
pytest.importorskip("onnxruntime", reason="needs the onnx extra")

import onnx  # what is not there skips the file
from onnx import TensorProto, helper, numpy_helper

OPSETS = [helper.make_opsetid("", 17)]
TENSORS = {"task": "tensors"}


def info(name: str, *shape: Any, dtype: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, list(shape))


def write(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], **w: Any) -> Path:
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in w.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, kept)
    onnx.save(helper.make_model(graph, opset_imports=OPSETS, ir_version=8), path)
    return path


def dense(path: Path, *, batch: Any = "n", width: Any = 4) -> Path:
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"]),
    ]
    return write(path, nodes, [info("x", batch, width)], [info("y", batch, 3)], w=weights)


async def judge(path: Path, manifest: dict[str, Any] | None = None) -> dict[str, Any]:
    child = await Child.start(
        "server.inference.onnx_intake_child",
        {"path": str(path), "manifest": manifest or TENSORS},
        timeout_s=120,
        nice=0,
        rights=HERE.rights(memory_bytes=2 * GIB, read=[path]),
    )
    await child.end()
    record: dict[str, Any] = child.ready["record"]
    return record


async def test_a_file_is_bound_run_and_served_as_it_is(tmp_path: Path) -> None:
    path = dense(tmp_path / "model")
    record = await judge(path)
    assert record["format"] == "onnx"
    assert record["engine"]["name"] == "onnxruntime"
    assert record["max_batch"] == 8
    assert record["binding"]["inputs"] == [{"tensor": "x", "shape": [None, 4], "dtype": "float32"}]
    apart = record["engine"]["rows"] == "apart"
    config = {"path": str(path), "threads": 1, "max_batch": 8, "apart": apart}
    worker = await Child.start(
        "server.inference.onnx_child",
        config,
        timeout_s=60,
        nice=0,
        rights=HERE.rights(memory_bytes=2 * GIB, read=[path]),
    )
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    try:
        answer = await worker.call(Message({"op": PREDICT}, [to_part("x", x)]), timeout_s=30)
    finally:
        await worker.end()
    (found,) = [to_array(part) for part in answer.parts]
    w = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    expected = np.exp(x @ w) / np.exp(x @ w).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


async def test_a_batch_axis_of_one_is_kept(tmp_path: Path) -> None:
    record = await judge(dense(tmp_path / "model", batch=1))
    assert (record["max_batch"], record["engine"]["rows"]) == (1, "together")


async def test_a_genre_model_of_features_is_bound_like_any(tmp_path: Path) -> None:
    w = np.ones((58, 10), np.float32)
    node = helper.make_node("MatMul", ["features", "w"], ["genre"])
    path = write(tmp_path / "m", [node], [info("features", "n", 58)], [info("genre", "n", 10)], w=w)
    record = await judge(path, {"task": "genre"})
    assert record["binding"]["inputs"][0]["frontend"] == "gtzan-58@1"


def cast(path: Path, to: int) -> Path:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=to)]
    return write(path, nodes, [info("x", "n", 4)], [info("y", "n", 4, dtype=to)])


def flat(path: Path) -> Path:
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    return write(path, nodes, [info("x", "n", 4)], [info("y")])


def of_type(path: Path, dtype: int) -> Path:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    inputs = [info("x", "n", 4, dtype=dtype)]
    return write(path, nodes, inputs, [info("y", "n", 4)])


def silent(path: Path) -> Path:
    return write(path, [helper.make_node("Relu", ["x"], ["y"])], [info("x", "n", 4)], [])


def deaf(path: Path) -> Path:
    return write(
        path, [helper.make_node("Relu", ["w"], ["y"])], [], [info("y", 1)], w=np.ones(1, "f4")
    )


def scalar(path: Path) -> Path:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return write(path, nodes, [info("x")], [info("y")])


def unfit(path: Path) -> Path:
    """Write a product whose sides do not fit, which shows when it is run."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return write(path, nodes, [info("x", "n", "m")], [info("y", "n", 3)], w=np.ones((5, 3), "f4"))


@pytest.mark.parametrize(
    ("made", "reason", "said"),
    [
        (lambda path: cast(path, TensorProto.INT64), "onnx-type", "output 'y' is tensor.int64."),
        (lambda path: of_type(path, TensorProto.DOUBLE), "onnx-type", "'x' is tensor.double."),
        (lambda path: of_type(path, TensorProto.FLOAT16), "onnx-type", "'x' is tensor.float16."),
        (silent, "onnx-graph", "no output"),
        (deaf, "onnx-graph", "no input"),
        (lambda path: dense(path, batch=32), "fixed-batch", "fixed at 32"),
        (flat, "output-batch", "axis 0 of output 'y'"),
        (scalar, "no-batch", "input 'x' has no batch axis"),
        (unfit, None, "cannot be run"),
    ],
)
async def test_what_cannot_be_served_is_said(
    tmp_path: Path, made: Any, reason: str | None, said: str
) -> None:
    with pytest.raises(BadModel, match=said) as refused:
        await judge(made(tmp_path / "model"))
    assert refused.value.members.get("reason") == reason


async def test_what_onnx_runtime_refuses_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(dense(tmp_path / "whole").read_bytes()[:-40])
    with pytest.raises(BadModel, match=r"ONNX Runtime .* cannot load"):
        await judge(path)


async def test_an_endless_start_is_ended(tmp_path: Path) -> None:
    path = dense(tmp_path / "model")
    config = {"path": str(path), "manifest": TENSORS}
    with pytest.raises(ServerError):
        async with asyncio.timeout(30):
            await Child.start("server.inference.onnx_intake_child", config, timeout_s=0.01, nice=0)
