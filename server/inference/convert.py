"""Turn a Keras model into ONNX, or say why it cannot be.

The graph is traced in float32 with its open axes open, and the inputs and outputs get the names of
the model's signature. Imported in the intake child only.
"""

import logging
from typing import Any

import onnx
import tensorflow as tf
import tf2onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # no types
from onnx import GraphProto, ModelProto

from server.inference.keras_engine import KerasEngine
from server.inference.keras_model import first_line
from server.tasks.contract import Signature, names

OPSET = 17
TOOL = f"tf2onnx {tf2onnx.__version__}"
_MAX_BYTES = (1 << 31) - 1  # what protobuf writes into one file


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
    _name(model.graph, signature)
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
    foreign = {node.op_type for graph in _graphs(model.graph) for node in graph.node if node.domain}
    if foreign:
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


def _name(graph: GraphProto, signature: Signature) -> None:
    """Give inputs and outputs the signature's names, in its order."""
    inputs, outputs = names(signature.inputs), names(signature.outputs)
    new = {_input_name(k): name for k, name in enumerate(inputs)}
    new |= {_output_name(k): name for k, name in enumerate(outputs)}
    used = {name for inner in _graphs(graph) for node in inner.node for name in node.output}
    used |= {entry.name for inner in _graphs(graph) for entry in inner.initializer}
    if len(set(new.values())) != len(new) or used & set(new.values()):
        raise NotConvertible("one name stands for two tensors")
    for inner in _graphs(graph):
        for node in inner.node:
            node.input[:] = [new.get(name, name) for name in node.input]
            node.output[:] = [new.get(name, name) for name in node.output]
    for listed, wanted in ((graph.input, inputs), (graph.output, outputs)):
        by_name = {new.get(value.name): value for value in listed}
        if set(by_name) != set(wanted):
            raise NotConvertible(f"{TOOL} changed the inputs or outputs")
        ordered = []
        for name in wanted:
            value = onnx.ValueInfoProto()
            value.CopyFrom(by_name[name])
            value.name = name
            ordered.append(value)
        del listed[:]
        listed.extend(ordered)


def _input_name(k: int) -> str:
    return f"served_input_{k}"


def _output_name(k: int) -> str:
    return f"served_output_{k}"


def _serialize(model: ModelProto) -> bytes:
    model.graph.doc_string = ""  # it counts the functions that were traced before
    try:
        data: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise NotConvertible("it is larger than the 2 GB of one ONNX file") from error
    if len(data) > _MAX_BYTES:
        raise NotConvertible("it is larger than the 2 GB of one ONNX file")
    return data
