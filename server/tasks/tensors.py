"""Tensors: a model of any kind, fed with the numbers that its callers bring.

::

    named tensors of the call -> model -> named tensors of the reply

Nothing is computed around the model: there is no sound, no frontend and no scaler. Floats are fed
as float32, whole numbers as 32 or 64 bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from server.errors import BadModel, UnusableInput
from server.tasks.contract import Contract, Signature, TensorSpec, names
from server.tasks.task import Call, Prepared, Task


def bind(signature: Signature, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a model takes and answers.

    Raises
    ------
    BadModel
        Naming what the manifest declares and the model has not.
    """
    for tensor, declared in manifest.get("inputs", {}).items():
        if tensor not in names(signature.inputs):
            raise BadModel(
                f"the manifest names the input {tensor!r}; the model has {names(signature.inputs)}"
            )
        if declared:
            raise BadModel(
                f"{sorted(declared)} of input {tensor!r} is not for the task 'tensors': callers "
                "bring the numbers as the model takes them"
            )
    return {
        "task": "tensors",
        "takes": "tensors",
        "inputs": [
            {
                "tensor": spec.name,
                "shape": list(spec.shape),
                "dtype": spec.fed,
                **({} if spec.bounds is None else {"bounds": list(spec.bounds)}),
            }
            for spec in signature.inputs
        ],
        "outputs": [{"tensor": spec.name, "shape": list(spec.shape)} for spec in signature.outputs],
        **_bind_labels(signature.outputs, manifest),
    }


def _bind_labels(outputs: Sequence[TensorSpec], manifest: Mapping[str, Any]) -> dict[str, Any]:
    named, labels = manifest.get("output"), manifest.get("labels")
    if named is None and labels is None:
        return {}
    if named is None and len(outputs) == 1:
        named = outputs[0].name
    chosen = next((spec for spec in outputs if spec.name == named), None)
    if chosen is None:
        raise BadModel(f"the manifest must name one output of {names(outputs)}")
    if labels is None:
        return {"output": named}
    if chosen.shape[-1] not in (None, len(labels)):
        raise BadModel(
            f"output {named!r} has {chosen.shape[-1]} values on its last axis and "
            f"{len(labels)} labels"
        )
    return {"output": named, "labels": list(labels)}


def frontend(_call: Call, _binding: Mapping[str, Any]) -> Prepared:
    """Refuse a sound."""
    raise UnusableInput("the model takes tensors, not a sound")


def reply(outputs: Mapping[str, NDArray[Any]], _binding: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the output tensors as nested lists."""
    return {"outputs": {name: values.tolist() for name, values in outputs.items()}}


TENSORS = Task(
    contract=Contract(
        name="tensors",
        sample_rate_hz=0,
        min_seconds=0.0,
        frontends=(),
        summary="The output tensors of a model for the input tensors that the call brings.",
        takes="tensors",
    ),
    bind=bind,
    frontend=frontend,
    decode=reply,
)
