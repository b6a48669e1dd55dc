"""Turn a Keras model into ONNX, or say why it cannot be.

The graph is traced in float32 with its open axes open, and the inputs and outputs get the names of
the model's signature. Imported in the intake child only.
"""

import itertools
import logging
from collections.abc import Mapping
from typing import Any

import onnx
import tensorflow as tf
import tf2onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # no types
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from server.inference.keras_engine import KerasEngine
from server.inference.wording import first_line
from server.tasks.contract import Signature, TensorSpec, names

OPSET = 17
TOOL = f"tf2onnx {tf2onnx.__version__}"
_MAX_BYTES = (1 << 31) - 1  # what protobuf writes into one file
_ELEMENTS = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
}


class NotConvertible(Exception):
    """A model that stays with Keras; the text says why."""


def to_onnx(engine: KerasEngine, signature: Signature) -> bytes:
    """Convert a model.

    Returns
    -------
    bytes
        An ONNX file with its weights inside.

    Raises
    ------
    NotConvertible
        With the reason in a few words.
    """
    for name in ("tf2onnx", "tensorflow"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    specs = [
        tf.TensorSpec(spec.shape, spec.fed, name=_input_name(k))
        for k, spec in enumerate(signature.inputs)
    ]
    try:
        model = _converted(tf.function(engine.call, input_signature=specs))
    # a boundary: the converter fails on a graph that it does not know in any way
    except Exception as error:
        raise NotConvertible(f"{TOOL}: {type(error).__name__}: {first_line(error)}") from error
    _check_operators(model)
    _rename(model.graph, signature)
    return _serialize(model)


def _converted(function: Any) -> ModelProto:
    concrete = function.get_concrete_function()
    # constants that the graph captured, such as the mean of a Normalization, follow the arguments;
    # tf2onnx's own `from_function` would make them inputs of the model
    inputs = [tensor.name for tensor in concrete.inputs[: len(function.input_signature)]]
    outputs = [tensor.name for tensor in concrete.outputs]
    names = {name: _input_name(k) for k, name in enumerate(inputs)}
    names |= {name: _output_name(k) for k, name in enumerate(outputs)}
    frozen = tf2onnx.tf_loader.from_function(concrete, inputs, outputs)
    model: ModelProto
    model, _ = tf2onnx.convert.from_graph_def(
        frozen,
        name="model",
        input_names=inputs,
        output_names=outputs,
        opset=OPSET,
        tensors_to_rename=names,
    )
    return model


def _check_operators(model: ModelProto) -> None:
    nodes = [node for graph in _graphs(model.graph) for node in graph.node]
    if foreign := {node.op_type for node in nodes if node.domain}:
        raise NotConvertible(f"no ONNX operator for {', '.join(sorted(foreign))}")
    kept = [entry for entry in model.opset_import if not entry.domain]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _graphs(graph: GraphProto) -> list[GraphProto]:
    """Return a graph and those inside its loops and branches."""
    inner = [
        found
        for node in graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.GRAPH
        for found in _graphs(attribute.g)
    ]
    return [graph, *inner]


def _rename(graph: GraphProto, signature: Signature) -> None:
    """Give inputs and outputs the signature's names, and everything inside a number.

    The converter's names hold counters that differ from run to run.
    """
    inputs, outputs = names(signature.inputs), names(signature.outputs)
    new = {_input_name(k): name for k, name in enumerate(inputs)}
    new |= {_output_name(k): name for k, name in enumerate(outputs)}
    if len({*new.values()}) != len(new):
        raise NotConvertible("an input and an output have one name")
    new[""] = ""  # an optional input that is left out
    free = (name for k in itertools.count() if (name := f"t{k}") not in {*inputs, *outputs})
    for inner in _graphs(graph):
        values = [value.name for value in inner.input]
        values += [name for node in inner.node for name in (*node.input, *node.output)]
        for old in values:
            if old not in new:
                new[old] = next(free)
    for inner in _graphs(graph):
        _rename_within(inner, new)
    for declared, wanted in ((graph.input, signature.inputs), (graph.output, signature.outputs)):
        if {value.name for value in declared} != set(names(wanted)):
            raise NotConvertible(f"{TOOL} changed the inputs or outputs")
        del declared[:]
        declared.extend(_declared(spec) for spec in wanted)


def _rename_within(graph: GraphProto, new: Mapping[str, str]) -> None:
    graph.name, graph.doc_string = "model", ""
    del graph.value_info[:]
    for k in reversed(range(len(graph.initializer))):
        if graph.initializer[k].name not in new:
            del graph.initializer[k]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = new.get(value.name, value.name)
    graph.initializer.sort(key=lambda entry: (len(entry.name), entry.name))
    for k, node in enumerate(graph.node):
        node.name, node.doc_string = f"{node.op_type}_{k}", ""
        node.input[:] = [new[name] for name in node.input]
        node.output[:] = [new[name] for name in node.output]


def _declared(spec: TensorSpec) -> ValueInfoProto:
    value: ValueInfoProto = helper.make_tensor_value_info(
        spec.name, _ELEMENTS[spec.fed], list(spec.shape)
    )
    return value


def _input_name(k: int) -> str:
    return f"served_input_{k}"


def _output_name(k: int) -> str:
    return f"served_output_{k}"


def _serialize(model: ModelProto) -> bytes:
    try:
        data: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise NotConvertible("it is larger than the 2 GB of one ONNX file") from error
    if len(data) > _MAX_BYTES:
        raise NotConvertible("it is larger than the 2 GB of one ONNX file")
    return data
