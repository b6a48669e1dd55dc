"""ONNX files from registration to prediction, over TLS."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.flows.running import Server, problem_of
from tests.flows.test_v1_predictions import call

onnx = pytest.importorskip("onnx", reason="needs the keras extra")
pytestmark = pytest.mark.timeout(240)
TENSORS = {"task": "tensors"}
WEIGHTS = np.random.default_rng(58).standard_normal((4, 3)).astype(np.float32)


def dense(**more: str) -> bytes:
    """Write a dense layer with a softmax."""
    helper = onnx.helper
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"], **more),
        helper.make_node("Softmax", ["z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(WEIGHTS, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


@pytest.fixture(scope="module")
def hosted(server: Server) -> str:
    return server.host(dense(), TENSORS)


def test_a_file_is_served_as_it_was_uploaded(server: Server, hosted: str) -> None:
    x = [[0.5, -1.0, 2.0, 0.0]]
    answer = call(server, hosted, {"x": x})
    assert answer.status_code == 200, answer.text
    scores = np.exp(np.array(x) @ WEIGHTS)
    found = answer.json()["outputs"]["y"]
    np.testing.assert_allclose(found["data"], (scores / scores.sum())[0], atol=1e-6)
    assert answer.json()["model"]["engine"].startswith("onnxruntime ")


def test_a_restarted_server_has_it(server: Server, hosted: str) -> None:
    server.kill()
    server.start()
    assert call(server, hosted, {"x": [0.0, 0.0, 0.0, 0.0]}).status_code == 200


def test_a_damaged_file_is_found_sent_back_and_taken_again(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start()
    digest, x = server.host(dense(), TENSORS), [0.0, 0.0, 0.0, 0.0]
    assert call(server, digest, {"x": x}).status_code == 200
    assert server.stop() == 0
    assert server.run("fsck").stdout == "0 faults, 0 repaired\n"
    path = server.models / digest
    path.chmod(0o640)
    path.write_bytes(path.read_bytes()[::-1])
    assert server.run("fsck", "--repair").stdout.startswith(f"damaged model: {digest} (repaired)\n")
    server.start()
    assert problem_of(call(server, digest, {"x": x}), 409) == "model-not-uploaded"
    assert server.host(dense(), TENSORS) == digest
    assert call(server, digest, {"x": x}).status_code == 200


def test_a_hostile_file_is_refused(server: Server) -> None:
    hostile = server.host(dense(domain="com.example"), TENSORS)
    answer = call(server, hostile, {"x": [0.0, 0.0, 0.0, 0.0]})
    assert problem_of(answer, 422) == "model-rejected"
    assert "com.example" in answer.json()["detail"]
