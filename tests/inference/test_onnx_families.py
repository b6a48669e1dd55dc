"""Graphs as PyTorch exports the models of tasks: through the gate, then judged and run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.gate.judge import judge as judge_by_structure

pytest.importorskip("onnx", reason="needs the keras extra")
pytest.importorskip("onnxruntime", reason="needs the onnx extra")

from onnx import helper

from tests.inference.test_onnx_intake import info, judge, write

RNG = np.random.default_rng(58)
node = helper.make_node


def some(*shape: int) -> NDArray[np.float32]:
    return (RNG.standard_normal(shape) * 0.1).astype(np.float32)


def normalised(channels: int) -> dict[str, NDArray[np.float32]]:
    return {"one": np.ones(channels, "f4"), "none": np.zeros(channels, "f4")}


def recurrent(path: Path) -> Path:
    """Write what Open-Unmix is made of: a bidirectional LSTM over frames, between dense layers."""
    nodes = [
        node("Transpose", ["x"], ["frames"], perm=[2, 0, 1]),
        node("LSTM", ["frames", "w", "r", "b"], ["both"], direction="bidirectional", hidden_size=4),
        node("Transpose", ["both"], ["last"], perm=[0, 2, 1, 3]),
        node("Reshape", ["last", "joined"], ["flat"]),
        node("MatMul", ["flat", "dense"], ["z"]),
        node("Tanh", ["z"], ["t"]),
        node("Transpose", ["t"], ["mask"], perm=[1, 2, 0]),
        node("Relu", ["mask"], ["kept"]),
        node("Mul", ["kept", "x"], ["y"]),
    ]
    weights = {"w": some(2, 16, 6), "r": some(2, 16, 4), "b": some(2, 32), "dense": some(8, 6)}
    joined = np.array([0, 0, 8], np.int64)
    shape = ["n", 6, 10]
    return write(path, nodes, [info("x", *shape)], [info("y", *shape)], joined=joined, **weights)


def waveform(path: Path) -> Path:
    """Write what Demucs is made of: convolutions, gated units, attention, and the way back."""
    nodes = [
        node("Conv", ["x", "down"], ["c"], kernel_shape=[8], strides=[4], pads=[2, 2]),
        node("Split", ["c"], ["a", "gate"], axis=1),
        node("Sigmoid", ["gate"], ["open"]),
        node("Mul", ["a", "open"], ["glu"]),
        node("Transpose", ["glu"], ["tokens"], perm=[0, 2, 1]),
        node("LayerNormalization", ["tokens", "one", "none"], ["even"]),
        node("MatMul", ["even", "glu"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("MatMul", ["weights", "even"], ["seen"]),
        node("Add", ["seen", "tokens"], ["sum"]),
        node("Erf", ["sum"], ["soft"]),
        node("Transpose", ["soft"], ["back"], perm=[0, 2, 1]),
        node("ConvTranspose", ["back", "up"], ["t"], kernel_shape=[8], strides=[4], pads=[2, 2]),
        node("Reshape", ["t", "stems"], ["y"]),
    ]
    weights = {"down": some(16, 2, 8), "up": some(8, 8, 8), **normalised(8)}
    stems = np.array([0, 4, 2, -1], np.int64)
    inputs, outputs = [info("x", "n", 2, 256)], [info("y", "n", 4, 2, 256)]
    return write(path, nodes, inputs, outputs, stems=stems, **weights)


def pictures(path: Path) -> Path:
    """Write a U-Net as pix2pix has it."""
    size: dict[str, Any] = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", ["x", "d1"], ["a"], **size),
        node("LeakyRelu", ["a"], ["la"], alpha=0.2),
        node("Conv", ["la", "d2"], ["b"], **size),
        node("BatchNormalization", ["b", "one", "none", "none", "one"], ["bn"]),
        node("Relu", ["bn"], ["rb"]),
        node("ConvTranspose", ["rb", "u1"], ["c"], **size),
        node("Concat", ["c", "a"], ["skip"], axis=1),
        node("ConvTranspose", ["skip", "u2"], ["z"], **size),
        node("Tanh", ["z"], ["y"]),
    ]
    weights = {"d1": some(4, 1, 4, 4), "d2": some(8, 4, 4, 4), "u1": some(8, 4, 4, 4)}
    shape = ["n", 1, 32, 32]
    last = {"u2": some(8, 1, 4, 4), **normalised(8)}
    return write(path, nodes, [info("x", *shape)], [info("y", *shape)], **weights, **last)


@pytest.mark.parametrize("made", [recurrent, waveform, pictures])
async def test_a_family_is_let_through_and_runs_in_batches(
    tmp_path: Path, made: Callable[[Path], Path]
) -> None:
    path = made(tmp_path / "model")
    assert judge_by_structure(path).format == "onnx"
    record = await judge(path)
    assert record["engine"]["name"] == "onnxruntime"
    assert record["conversion"] is None
    assert record["max_batch"] == 8


async def test_a_weight_that_is_listed_as_an_input_is_none(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    inputs = [info("x", "n", 4), info("w", 4, 3)]  # as files of IR version 3 list all weights
    path = write(tmp_path / "model", nodes, inputs, [info("y", "n", 3)], w=some(4, 3))
    record = await judge(path)
    assert [entry["tensor"] for entry in record["binding"]["inputs"]] == ["x"]


async def test_each_of_several_outputs_is_answered(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("Neg", ["x"], ["b"])]
    outputs = [info("a", "n", 4), info("b", "n", 4)]
    record = await judge(write(tmp_path / "model", nodes, [info("x", "n", 4)], outputs))
    assert [entry["tensor"] for entry in record["binding"]["outputs"]] == ["a", "b"]


async def test_an_axis_that_is_open_is_kept_open(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["y"])]
    shape = ["n", 2, "time"]
    path = write(tmp_path / "model", nodes, [info("x", *shape)], [info("y", *shape)])
    assert (await judge(path))["binding"]["inputs"][0]["shape"] == [None, 2, None]
