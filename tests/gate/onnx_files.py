"""Small ONNX files, honest and hostile, written by the library itself."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = [helper.make_opsetid("", 17)]


def value(name: str, *shape: Any) -> Any:
    """Describe an input or an output."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def model(nodes: list[Any], initializers: list[Any] | None = None, **more: Any) -> Any:
    """Make a model from ``x`` to ``y``."""
    graph = helper.make_graph(
        nodes, "graph", [value("x", "n", 4)], [value("y", "n", 3)], initializers or []
    )
    return helper.make_model(graph, opset_imports=more.pop("opsets", OPSETS), ir_version=8, **more)


def kernel(name: str = "w") -> Any:
    """Make the weights of a dense layer."""
    return numpy_helper.from_array(np.ones((4, 3), np.float32), name)


def honest() -> Any:
    """Make a dense layer."""
    return model([helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")], [kernel()])


def written(made: Any) -> bytes:
    """Return a model's bytes."""
    data: bytes = made.SerializeToString()
    return data


def external() -> bytes:
    """Write a model whose weights lie in another file."""
    made = honest()
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    return written(made)


def body() -> Any:
    """Make the inside of a loop."""
    condition = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    return helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [helper.make_tensor_value_info("k", TensorProto.INT64, []), condition],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )


def loop() -> bytes:
    """Write a model that runs 2^62 times around."""
    count = helper.make_tensor("n", TensorProto.INT64, [], [1 << 62])
    nodes = [
        helper.make_node("Loop", ["n", ""], ["z"], body=body()),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    return written(model(nodes, [count, kernel()]))


def of_a_domain() -> bytes:
    """Write a model of operators that a library would have to bring."""
    opsets = [*OPSETS, helper.make_opsetid("com.mine", 1)]
    node = helper.make_node("Execute", ["x"], ["y"], domain="com.mine")
    return written(model([node], opsets=opsets))


def named(kind: str, **arrays: list[Any]) -> bytes:
    """Write a model of one operator with further inputs."""
    more = [numpy_helper.from_array(np.array(a), name) for name, a in arrays.items()]
    return written(model([helper.make_node(kind, ["x", *arrays], ["y"])], more))


def check(data: bytes) -> None:
    """Hold a file against the library's own checker."""
    onnx.checker.check_model(onnx.load_model_from_string(data))
