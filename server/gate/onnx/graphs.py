"""Judge an ONNX file by its structure: what converted models are, and what may be uploaded later.

Its cost is bounded by its numbers and by how far operators enlarge tensors; the shapes between them
are not followed, so memory and time of its worker stay bounded from outside.
"""

import struct
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

from server.gate.onnx.protobuf import MAX_KEPT, Message, Reader, Span, floats, varints
from server.gate.onnx.table import (
    BITS,
    CONTROL,
    FACTORS,
    FLOAT,
    GRAPH,
    GRAPHS,
    INT64,
    OPERATORS,
    SCHEMA,
    SIZES,
)
from server.gate.refusals import refused, shown

MAX_FILE = (1 << 31) - 1
MAX_NODES = 20_000
MAX_PARAMETERS = 500_000_000
MAX_TENSOR = 1 << 28
MAX_GROWTH = 1 << 24
_IR_VERSIONS = range(3, 14)
_OPSETS = range(1, 40)
_MAX_RANK = 16
_MAX_DOMAINS = 64
_NAME_CHARS = 256
_NO_LETTER = "\ufffd"  # what bytes that are none are read as
_MOST_NAMES = {"initializer": 200_000, "input": 256, "output": 256}
_VARINT_BYTES = 16 << 20
_FEW = MAX_KEPT  # numbers of a tensor that may be a shape
_LOW = bytes(range(128))


@dataclass(frozen=True, slots=True)
class OnnxVerdict:
    """What is known of an ONNX file that is let through.

    Attributes
    ----------
    parameters : int
        Numbers in its initializers and constants.
    nodes : int
        Operators.
    """

    parameters: int
    nodes: int


def judge_onnx(file: BinaryIO, size: int, *, may_loop: bool = False) -> OnnxVerdict:
    """Judge an open file.

    Parameters
    ----------
    file : BinaryIO
        The file.
    size : int
        Its bytes.
    may_loop : bool
        Whether loops and branches may be in it, as in what our own converter writes.

    Raises
    ------
    BadModel
        With a code in ``reason`` and the place in ``where``.
    """
    if size > MAX_FILE:
        raise refused("file-size", "the ONNX file is over 2 GiB")
    reader = Reader(file, SCHEMA)
    model = reader.message("Model", Span(0, size), "model")
    _check_model(model)
    graphs = _Graphs(reader, may_loop=may_loop)
    graphs.check(model["graph"][0], "graph", {})
    return OnnxVerdict(graphs.parameters, graphs.nodes)


def _check_model(model: Message) -> None:
    if _first(model, "ir_version", 0) not in _IR_VERSIONS or "graph" not in model:
        raise refused("onnx-version", "this version of ONNX is not read", where="model")
    imported: set[str] = set()
    for opset in model.get("opset_import", []):
        # tools list domains that no operator is of; one that is not known is refused where it is
        domain = _first(opset, "domain", "")
        if len(imported) == _MAX_DOMAINS or domain in imported:
            raise refused("onnx-domain", f"the domain {shown(domain)!r} is listed once too often")
        imported.add(domain)
        if domain in OPERATORS and _first(opset, "version", 0) not in _OPSETS:
            raise refused("onnx-version", "this version of the operators is not read")


def _check_names(graph: Message, where: str) -> None:
    """Refuse tensors of one name, of which each reader would take another."""
    kept = {_first(tensor, "name", "") for tensor in graph.get("initializer", [])}
    for key, most in _MOST_NAMES.items():
        names = [_first(value, "name", "") for value in graph.get(key, [])]
        if key == "input":  # old files list what the model keeps among them
            names = [name for name in names if name not in kept]
        if len(names) > most:
            raise refused("onnx-graph", f"a graph has over {most} values as {key}", where=where)
        if len(set(names)) != len(names):
            raise refused("onnx-graph", f"a name is there twice as {key}", where=where)
        if key != "initializer" and not all(map(_is_name, names)):
            raise refused("onnx-graph", f"a name of an {key} is no readable text", where=where)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _NAME_CHARS and name.isprintable() and _NO_LETTER not in name


class _Graphs:
    """Goes through a graph and those inside it, and counts."""

    def __init__(self, reader: Reader, *, may_loop: bool) -> None:
        self._reader = reader
        self._may_loop = may_loop
        self.parameters = 0
        self.nodes = 0
        self._shapes: dict[str, list[float]] = {}

    def check(self, graph: Message, where: str, outer: dict[str, float]) -> None:
        """Check a graph; `outer` holds how far each tensor around it has grown."""
        _check_names(graph, where)
        known = dict(outer)
        for tensor in graph.get("initializer", []):
            name = _first(tensor, "name", "")
            self._tensor(tensor, f"{where}/{name}", name)
            known[name] = 1.0
        for value in graph.get("input", []):
            known[_first(value, "name", "")] = 1.0
        for node in graph.get("node", []):
            self._node(node, where, known)
        for value in graph.get("output", []):
            if _first(value, "name", "") not in known:
                raise refused("onnx-graph", "an output is made by no operator", where=where)

    def _node(self, node: Message, where: str, known: dict[str, float]) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise refused("onnx-nodes", f"the model has over {MAX_NODES} operators")
        kind, domain = _first(node, "op_type", ""), _first(node, "domain", "")
        where = f"{where}/{_first(node, 'name', '') or kind}"
        if domain not in OPERATORS:
            sentence = f"operators of {shown(domain)!r} are not known here"
            raise refused("onnx-domain", sentence, where=where)
        may = self._may_loop and not domain and kind in CONTROL
        if not may and kind not in OPERATORS.get(domain, ()):
            raise refused(
                "onnx-operator",
                f"the operator {shown(kind)!r} of the domain {shown(domain)!r} is not served",
                where=where,
            )
        given = [name for name in node.get("input", []) if name]
        if missing := [name for name in given if name not in known]:
            raise refused("onnx-graph", f"{shown(missing[0])!r} is used before it is made")
        outputs = [name for name in node.get("output", []) if name]
        for attribute in node.get("attribute", []):
            self._attribute(attribute, where, known, outputs if kind == "Constant" else [])
        growth = max((known[name] for name in given), default=1.0)
        growth *= self._growth(kind, node, where)
        if growth > MAX_GROWTH:
            raise refused("cost-tensor", "operators enlarge a tensor too far", where=where)
        for name in outputs:
            if name in known:
                raise refused("onnx-graph", f"{shown(name)!r} is made twice", where=where)
            known[name] = growth

    def _attribute(
        self, attribute: Message, where: str, known: dict[str, float], names: list[str]
    ) -> None:
        where = f"{where}.{_first(attribute, 'name', '')}"
        inner = [*attribute.get("g", []), *attribute.get("graphs", [])]
        if (inner or _first(attribute, "type", 0) in (GRAPH, GRAPHS)) and not self._may_loop:
            raise refused("onnx-graph", "an operator holds a graph of its own", where=where)
        for graph in inner:
            self.check(graph, where, known)
        for tensor in [*attribute.get("t", []), *attribute.get("tensors", [])]:
            self._tensor(tensor, where, names[0] if names else "")
        if names and "ints" in attribute:
            self._shapes[names[0]] = attribute["ints"][:_FEW]

    def _tensor(self, tensor: Message, where: str, name: str) -> None:
        dims: list[int] = tensor.get("dims", [])
        kind = _first(tensor, "data_type", 0)
        if _first(tensor, "data_location", 0) or "external_data" in tensor:
            sentence = "a tensor lies in another file: save the model as one"
            raise refused("onnx-external", sentence, where=where)
        if kind not in BITS or len(dims) > _MAX_RANK or min(dims, default=0) < 0:
            raise refused("onnx-tensor", "a tensor is of a kind that is not read", where=where)
        count = prod(dims)
        self.parameters += count
        if self.parameters > MAX_PARAMETERS:
            raise refused("cost-parameters", f"the model holds over {MAX_PARAMETERS} numbers")
        if not self._is_whole(tensor, count, BITS[kind]):
            raise refused("onnx-tensor", "a tensor holds not what it declares", where=where)
        if kind in (FLOAT, INT64) and count <= _FEW:
            self._shapes[name] = self._numbers(tensor, where)

    def _is_whole(self, tensor: Message, count: int, bits: int) -> bool:
        """Return whether a tensor's bytes are as many as its axes say."""
        raw: list[Span] = tensor.get("raw_data", [])
        told = [key for key in tensor if key.endswith("_data")]
        if len(told) != 1:
            return not told and not count
        if raw:
            return raw[0].size == (count * bits + 7) // 8
        spans: list[Span] = tensor[told[0]]
        held = sum(span.size for span in spans)
        if told[0] in ("float_data", "double_data"):
            return held == count * (4 if told[0] == "float_data" else 8)
        if held > _VARINT_BYTES:
            return False
        packed = b"".join(map(self._reader.content, spans))
        # a number ends with the one byte of it that is below 128
        return len(packed) - len(packed.translate(None, _LOW)) == count

    def _numbers(self, tensor: Message, where: str) -> list[float]:
        if _first(tensor, "data_type", 0) == FLOAT:
            spans: list[Span] = tensor.get("raw_data", []) + tensor.get("float_data", [])
            return [n for span in spans for n in floats(self._reader.content(span), where)]
        if "raw_data" in tensor:
            data = self._reader.content(tensor["raw_data"][0])
            return list(struct.unpack(f"<{len(data) // 8}q", data))
        spans = tensor.get("int64_data", [])
        return [n for span in spans for n in varints(self._reader.content(span), where)]

    def _growth(self, kind: str, node: Message, where: str) -> float:
        """Return how many times larger than its inputs an operator's outputs may be."""
        given = node.get("input", [])
        if self._product(given, SIZES.get(kind)) > MAX_TENSOR:
            raise refused("cost-tensor", "a tensor is declared too large", where=where)
        return self._product(given, FACTORS.get(kind))

    def _product(self, given: list[str], index: int | None) -> float:
        """Return the product of the numbers that one of the inputs is known to hold."""
        if index is None or index >= len(given):
            return 1.0
        return prod(n if n > 1 else 1.0 for n in self._shapes.get(given[index], []))


def _first(message: Message, name: str, default: Any) -> Any:
    return message[name][0] if message.get(name) else default
