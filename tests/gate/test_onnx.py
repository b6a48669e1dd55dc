"""server/gate/onnx/graphs.py and protobuf.py: ONNX files by their structure."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from server.errors import BadModel
from server.gate.judge import judge
from server.gate.onnx.graphs import OnnxVerdict, judge_onnx
from server.gate.onnx.protobuf import varints
from server.gate.onnx.table import OPERATORS
from tests.gate import onnx_files
from tests.gate.files import reason as refused_by_the_gate
from tests.gate.files import refusal
from tests.gate.onnx_files import honest, kernel, model, named, written

Change = Callable[[Any], object]


def judged(data: bytes, *, may_loop: bool = False) -> OnnxVerdict:
    return judge_onnx(io.BytesIO(data), len(data), may_loop=may_loop)


def reason(data: bytes, *, may_loop: bool = False) -> object:
    with pytest.raises(BadModel) as refused:
        judged(data, may_loop=may_loop)
    return refused.value.members["reason"]


def test_an_honest_file_is_let_through() -> None:
    data = written(honest())
    onnx_files.check(data)
    assert judged(data) == OnnxVerdict(parameters=12, nodes=1)


def test_the_gate_lets_an_honest_file_through(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(written(honest()))
    verdict = judge(path)
    assert (verdict.format, verdict.cost.parameters, verdict.cost.layers) == ("onnx", 12, 1)


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (helper.make_node("Concat", ["x"], ["y"]), "axis"),
        (helper.make_node("MatMul", ["x"], ["y"]), "MatMul"),
        (helper.make_node("Relu", ["x"], ["y"], alpha=1.0), "alpha"),
    ],
    ids=["attribute", "input", "unknown"],
)
def test_the_checker_of_the_library_is_asked_too(tmp_path: Path, node: Any, says: str) -> None:
    data = written(model([node]))
    judged(data)  # nothing is wrong with its structure
    told = refusal(tmp_path, data)
    assert told.members["reason"] == "onnx-checker"
    assert says in told.detail


def test_a_large_file_is_not_given_to_the_library(tmp_path: Path) -> None:
    large = numpy_helper.from_array(np.zeros(9 << 20, np.float32), "large")
    data = written(model([helper.make_node("Concat", ["x"], ["y"])], [large]))
    path = tmp_path / "model"
    path.write_bytes(data)
    assert judge(path).cost.parameters == 9 << 20  # the checker would miss an attribute


def test_the_gate_tells_the_fault_of_a_hostile_file_first(tmp_path: Path) -> None:
    assert refused_by_the_gate(tmp_path, onnx_files.external()) == "onnx-external"


@pytest.mark.parametrize(
    "make",
    [
        lambda: helper.make_tensor("w", TensorProto.FLOAT, [4, 3], [1.0] * 12),
        lambda: helper.make_tensor("w", TensorProto.DOUBLE, [2], [1.0] * 2),
        lambda: helper.make_tensor("w", TensorProto.INT64, [3], [1, -1, 300]),
        lambda: helper.make_tensor("w", TensorProto.INT32, [3], [1, -1, 300]),
        lambda: helper.make_tensor("w", TensorProto.UINT64, [2], [1, 1 << 63]),
        lambda: helper.make_tensor("w", TensorProto.FLOAT16, [2], [1.0, 2.0]),
        lambda: numpy_helper.from_array(np.zeros((2, 0), np.float32), "w"),
        lambda: helper.make_tensor("w", TensorProto.INT64, [0], []),
        lambda: numpy_helper.from_array(np.ones(3, np.int64), "w"),
        lambda: numpy_helper.from_array(np.array([True, False]), "w"),
        lambda: numpy_helper.from_array(np.array(2.5, np.float32), "w"),
    ],
)
def test_tensors_of_every_kind_are_held_to_their_axes(make: Callable[[], Any]) -> None:
    tensor = make()
    data = written(model([helper.make_node("Relu", ["x"], ["y"])], [tensor]))
    assert judged(data).parameters == int(np.prod(tensor.dims))


def test_constants_and_attributes_of_every_kind_are_read() -> None:
    nodes = [
        helper.make_node("Constant", [], ["a"], value=kernel("inside")),
        helper.make_node("Constant", [], ["shape"], value_ints=[1, 3]),
        helper.make_node("Constant", [], ["f"], value_floats=[1.0, 2.0]),
        helper.make_node("Gemm", ["x", "a"], ["g"], alpha=0.5, transB=0),
        helper.make_node("Expand", ["g", "shape"], ["e"]),
        helper.make_node("Clip", ["e", "", "f"], ["y"], name="clip"),
    ]
    made = model(nodes)
    made.metadata_props.add(key="source", value="test")
    assert judged(written(made)) == OnnxVerdict(parameters=12, nodes=6)


def test_loops_are_read_where_our_converter_wrote_them() -> None:
    assert reason(onnx_files.loop()) == "onnx-operator"
    assert judged(onnx_files.loop(), may_loop=True).nodes == 3


def with_weight(change: Change) -> bytes:
    made = honest()
    change(made.graph.initializer[0])
    return written(made)


def with_model(change: Change) -> bytes:
    made = honest()
    change(made)
    return written(made)


def with_node(change: Change) -> bytes:
    made = honest()
    change(made.graph.node[0])
    return written(made)


def graph_attribute(node: Any) -> None:
    node.attribute.append(helper.make_attribute("body", onnx_files.body()))


def empty_graph_attribute(node: Any) -> None:
    node.attribute.add(name="body", type=onnx.AttributeProto.GRAPH)


def deep() -> bytes:
    graph = onnx_files.body()
    for _ in range(20):
        outer = onnx_files.body()
        outer.node[0].attribute.append(helper.make_attribute("body", graph))
        graph = outer
    made = honest()
    made.graph.node[0].attribute.append(helper.make_attribute("body", graph))
    return written(made)


def many_nodes() -> bytes:
    chain = [helper.make_node("Relu", ["x"], ["t0"])]
    chain += [helper.make_node("Relu", [f"t{k}"], [f"t{k + 1}"]) for k in range(20_001)]
    return written(model(chain))


def enlarged(factor: int, times: int) -> bytes:
    """Write a chain of operators that each enlarge."""
    scales = numpy_helper.from_array(np.array([factor], np.float32), "s")
    nodes = [
        helper.make_node("Upsample", ["x" if k == 0 else f"t{k - 1}", "s"], [f"t{k}"])
        for k in range(times)
    ]
    return written(model([*nodes, helper.make_node("Relu", [f"t{times - 1}"], ["y"])], [scales]))


def with_numbers(numbers: list[Any], *more: Any) -> bytes:
    listed = [helper.make_attribute("f", numbers), *more]
    return with_node(lambda node: node.attribute.extend(listed))


def many_inputs(made: Any) -> None:
    made.graph.input.extend([onnx_files.value(f"i{k}") for k in range(256)])


def many_domains(made: Any) -> None:
    made.opset_import.extend([helper.make_opsetid(f"d{k}", 1) for k in range(64)])


GAP = b"\x08\x08"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (onnx_files.external(), "onnx-external"),
        (with_weight(lambda w: w.external_data.add(key="a", value="b")), "onnx-external"),
        (with_weight(lambda w: w.dims.append(2)), "onnx-tensor"),
        (with_weight(lambda w: w.dims.__setitem__(0, -4)), "onnx-tensor"),
        (with_weight(lambda w: w.dims.__setitem__(0, 1 << 40)), "cost-parameters"),
        (with_weight(lambda w: w.dims.extend([1] * 20)), "onnx-tensor"),
        (with_weight(lambda w: setattr(w, "data_type", TensorProto.STRING)), "onnx-tensor"),
        (with_weight(lambda w: setattr(w, "data_type", 99)), "onnx-tensor"),
        (with_weight(lambda w: setattr(w, "raw_data", b"")), "onnx-tensor"),
        (with_weight(lambda w: w.ClearField("raw_data")), "onnx-tensor"),
        (with_weight(lambda w: w.float_data.extend([1.0] * 12)), "onnx-tensor"),
        (with_weight(lambda w: w.string_data.append(b"x")), "onnx-field"),
        (with_weight(lambda w: w.segment.CopyFrom(TensorProto.Segment(begin=1))), "onnx-field"),
        (with_model(lambda m: m.functions.add(name="f")), "onnx-field"),
        (with_model(lambda m: m.training_info.add()), "onnx-field"),
        (with_model(lambda m: m.graph.sparse_initializer.add()), "onnx-field"),
        (with_model(lambda m: m.ClearField("graph")), "onnx-version"),
        (with_model(lambda m: setattr(m, "ir_version", 2)), "onnx-version"),
        (with_model(lambda m: setattr(m, "ir_version", -1)), "onnx-version"),
        (with_model(lambda m: setattr(m.opset_import[0], "version", 999)), "onnx-version"),
        (with_model(lambda m: setattr(m, "doc_string", "d" * 70_000)), "onnx-text"),
        (with_model(lambda m: setattr(m.graph.output[0], "name", "z")), "onnx-graph"),
        (with_node(lambda n: n.input.append("later")), "onnx-graph"),
        (with_node(lambda n: n.output.append("x")), "onnx-graph"),
        (with_node(lambda n: setattr(n, "overload", "o")), "onnx-field"),
        (with_node(lambda n: setattr(n, "domain", "ai.onnx.ml")), "onnx-operator"),
        (with_node(graph_attribute), "onnx-graph"),
        (with_node(empty_graph_attribute), "onnx-graph"),
        (onnx_files.of_a_domain(), "onnx-domain"),
        (named("Execute"), "onnx-operator"),
        (deep(), "onnx-depth"),
        (many_nodes(), "onnx-nodes"),
        (named("Tile", repeats=[1 << 40]), "cost-tensor"),
        (enlarged(1000, 3), "cost-tensor"),
        (enlarged(2, 30), "cost-tensor"),
        (named("Expand", shape=[1 << 20, 1 << 20]), "cost-tensor"),
        (b"", "onnx-version"),
        (GAP + b"\x3a\x05abc", "onnx-damaged"),
        (GAP + b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "onnx-damaged"),
        (GAP + b"\x0b", "onnx-damaged"),
        (GAP + b"\x38\x01", "onnx-damaged"),
        (GAP + GAP, "onnx-damaged"),
        (GAP + b"\x0d\x01", "onnx-damaged"),
        (GAP + b"\x09" + bytes(8), "onnx-damaged"),
        (GAP + b"\x80", "onnx-damaged"),
        (GAP + b"\x42\x00" * 400_001, "onnx-fields"),
        (with_numbers([1.0] * 9_700_000), "onnx-fields"),
        (with_model(lambda m: m.graph.initializer.append(onnx_files.kernel())), "onnx-graph"),
        (with_model(lambda m: m.graph.output.append(m.graph.output[0])), "onnx-graph"),
        (with_model(lambda m: m.graph.input.append(m.graph.input[0])), "onnx-graph"),
        (with_model(lambda m: m.graph.input.add(name="a\nb")), "onnx-graph"),
        (with_model(lambda m: m.graph.input.add(name="a" * 257)), "onnx-graph"),
        (written(honest()).replace(b"\x01y", b"\x01\xff"), "onnx-graph"),
        (with_model(many_inputs), "onnx-graph"),
        (with_model(lambda m: m.opset_import.add(domain="", version=17)), "onnx-domain"),
        (with_model(many_domains), "onnx-domain"),
    ],
)
def test_what_is_not_known_is_refused(data: bytes, expected: str) -> None:
    assert reason(data) == expected


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.training", "pkg.onnxscript.torch"])
def test_domains_that_no_operator_is_of_are_let_through(domain: str) -> None:
    data = with_model(lambda made: made.opset_import.append(helper.make_opsetid(domain, 99)))
    assert judged(data).nodes == 1


def test_what_a_model_keeps_may_stand_among_its_inputs() -> None:
    data = with_model(lambda made: made.graph.input.append(onnx_files.value("w", 4, 3)))
    assert judged(data).nodes == 1


def forest(trees: int, nodes: int) -> bytes:
    """Write a forest of trees as skl2onnx does, its numbers one by one."""
    count = trees * nodes
    numbers: dict[str, Any] = {
        **dict.fromkeys(("nodes_truenodeids", "nodes_falsenodeids"), [300] * count),
        "nodes_nodeids": list(range(nodes)) * trees,
        "nodes_treeids": [k // nodes for k in range(count)],
        "nodes_featureids": [3] * count,
        "nodes_values": [0.5] * count,
    }
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        nodes_modes=["BRANCH_LEQ"] * count,
        **numbers,
    )
    return written(model([node], opsets=[*onnx_files.OPSETS, helper.make_opsetid("ai.onnx.ml", 3)]))


def test_a_forest_of_a_hundred_thousand_nodes_is_read() -> None:
    assert judged(forest(100, 1023)).nodes == 1


def test_the_numbers_behind_the_first_are_no_other_field() -> None:
    tail = helper.make_attribute("last", "text")
    data = with_numbers([1 << 40, -1, 0] * 50, tail)
    assert judged(data).nodes == 1
    with pytest.raises(BadModel):
        judged(data[:-3])


def test_lists_of_numbers_are_read_packed_and_one_by_one() -> None:
    data = with_node(lambda n: n.attribute.append(helper.make_attribute("f", [1.0, 2.0])))
    assert judged(data).nodes == 1
    node = b"\x0a\x01x\x12\x01y\x22\x04Relu\x2a\x0a\x3a\x08" + bytes(8)
    graph = b"\x0a" + bytes([len(node)]) + node + b"\x5a\x03\x0a\x01x\x62\x03\x0a\x01y"
    assert judged(GAP + b"\x3a" + bytes([len(graph)]) + graph).nodes == 1
    ints = graph.replace(b"\x2a\x0a\x3a\x08", b"\x2a\x0a\x42\x08")
    assert judged(GAP + b"\x3a" + bytes([len(ints)]) + ints).nodes == 1
    odd = graph.replace(b"\x2a\x0a\x3a\x08" + bytes(8), b"\x2a\x0a\x3a\x07" + bytes(7) + b"\x52")
    assert reason(GAP + b"\x3a" + bytes([len(odd)]) + odd) == "onnx-damaged"


@pytest.mark.parametrize("data", [b"\x80" * 11 + b"\x01", b"\x80"])
def test_an_endless_number_is_damaged(data: bytes) -> None:
    with pytest.raises(BadModel):
        varints(data, "it")


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6))
def test_packed_numbers_are_read_as_the_library_writes_them(numbers: list[int]) -> None:
    raw = TensorProto(int64_data=numbers).SerializeToString()
    assert varints(raw[2:], "it") == numbers  # one byte of a key, one of a length


def field(number: int, content: bytes) -> bytes:
    """Write a field of protobuf that holds bytes."""
    length, rest = b"", len(content)
    while rest > 127:
        length += bytes([rest & 127 | 128])
        rest >>= 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + content


def test_a_list_of_numbers_that_is_too_long_to_count_is_refused() -> None:
    count = 17 << 20
    head = TensorProto(dims=[count], data_type=TensorProto.INT64, name="w").SerializeToString()
    tensor = head + field(7, bytes(count))  # int64_data, a byte for each zero
    made = model([helper.make_node("Relu", ["x"], ["y"])])
    graph = made.graph.SerializeToString() + field(5, tensor)
    made.ClearField("graph")
    assert reason(written(made) + field(7, graph)) == "onnx-tensor"


def test_a_file_over_its_limit_is_refused() -> None:
    with pytest.raises(BadModel) as refused:
        judge_onnx(io.BytesIO(b""), 1 << 31)
    assert refused.value.members["reason"] == "file-size"


def test_every_operator_of_the_table_exists() -> None:
    known = {(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas_with_history()}
    assert {("", name) for name in OPERATORS[""]} <= known
    assert {("ai.onnx.ml", name) for name in OPERATORS["ai.onnx.ml"]} <= known


WHOLE = written(honest())


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(at: int, value: int) -> None:
    data = bytearray(WHOLE)
    data[at] = value
    with contextlib.suppress(BadModel):
        judged(bytes(data))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadModel):
        judged(GAP + data)
