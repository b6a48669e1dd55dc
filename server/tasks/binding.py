"""Hold a model's signature against the forms that a task knows, and say which tensor is which.

::

    {"task": "midi", "takes": "tensors", "form": "frames",
     "inputs":  [{"as": "audio", "tensor": "serving_default_input_2:0",
                  "shape": [null, 43844, 1], "dtype": "float32"}],
     "outputs": [{"as": "note", "tensor": "StatefulPartitionedCall:1",
                  "shape": [null, 172, 88]}, ...]}

A manifest names tensors (``{"outputs": {"StatefulPartitionedCall:1": {"as": "note"}}}``); those
that it does not name are told by their own names, or by their shapes where only one fits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from server.errors import BadModel
from server.tasks.contract import Contract, Form, Signature, TensorSpec, names


def bind_form(
    contract: Contract, signature: Signature, manifest: Mapping[str, Any]
) -> dict[str, Any]:
    """Find the form that a model has.

    Parameters
    ----------
    contract : Contract
        With one form at least.
    signature : Signature
        Of the model.
    manifest : mapping
        What its owner declares.

    Returns
    -------
    dict
        The binding drawn above; axes that the model leaves open are the form's.

    Raises
    ------
    BadModel
        Naming the axis that is wrong, in each form.
    """
    reasons: list[str] = []
    for form in contract.forms:
        try:
            return _bound(contract.name, form, signature, manifest)
        except BadModel as error:
            reasons.append(
                f"{form.name}: {error.detail}" if len(contract.forms) > 1 else error.detail
            )
    raise BadModel("; ".join(reasons))


def _bound(
    task: str, form: Form, signature: Signature, manifest: Mapping[str, Any]
) -> dict[str, Any]:
    inputs = _match(signature.inputs, form.inputs, manifest.get("inputs", {}), "input")
    outputs = _match(signature.outputs, form.outputs, manifest.get("outputs", {}), "output")
    fed = {spec.name for _, spec in inputs}
    if unfed := [name for name in names(signature.inputs) if name not in fed]:
        raise BadModel(f"nothing feeds the inputs {unfed}: the task has {names(form.inputs)}")
    return {
        "task": task,
        "takes": "tensors",
        "form": form.name,
        "inputs": [
            {
                "as": wanted.name,
                "tensor": spec.name,
                "shape": _shape(spec, wanted),
                "dtype": spec.fed,
            }
            for wanted, spec in inputs
        ],
        "outputs": [
            {"as": wanted.name, "tensor": spec.name, "shape": _shape(spec, wanted)}
            for wanted, spec in outputs
        ],
    }


def _match(
    found: Sequence[TensorSpec],
    wanted: Sequence[TensorSpec],
    declared: Mapping[str, Mapping[str, Any]],
    what: str,
) -> list[tuple[TensorSpec, TensorSpec]]:
    """Pair every tensor of a form with one of a model."""
    by_name = {spec.name: spec for spec in found}
    if unknown := sorted(set(declared) - set(by_name)):
        raise BadModel(f"the manifest names the {what}s {unknown}; the model has {names(found)}")
    said = {tensor: entry["as"] for tensor, entry in declared.items() if "as" in entry}
    if unknown := sorted(set(said.values()) - set(names(wanted))):
        raise BadModel(f"the manifest names {what}s as {unknown}; the task has {names(wanted)}")
    if len(set(said.values())) != len(said):
        raise BadModel(f"the manifest names two {what}s alike")
    told = {name: by_name[tensor] for tensor, name in said.items()}
    told |= {w.name: by_name[w.name] for w in wanted if w.name in by_name and w.name not in told}
    for spec in wanted:  # what was told is checked first: a wrong word is the cause of what follows
        if spec.name in told:
            _check(told[spec.name], spec, what)
    left = [spec for spec in found if spec not in told.values()]
    for spec in wanted:
        if spec.name not in told:
            chosen = told[spec.name] = _only(left, spec, what)
            _check(chosen, spec, what)
            left.remove(chosen)
    return [(spec, told[spec.name]) for spec in wanted]


def _check(chosen: TensorSpec, wanted: TensorSpec, what: str) -> None:
    if (fault := _misfit(chosen, wanted)) is not None:
        raise BadModel(f"{what} {chosen.name!r} as {wanted.name!r} is {_text(chosen)}: {fault}")


def _only(left: Sequence[TensorSpec], wanted: TensorSpec, what: str) -> TensorSpec:
    """Return the one tensor that can be meant."""
    fitting = [spec for spec in left if _misfit(spec, wanted) is None]
    if len(fitting) == 1:
        return fitting[0]
    if len(fitting) > 1:
        raise BadModel(
            f"{names(fitting)} all have the shape of {wanted.name!r}: say which in the manifest, "
            f'{{"{what}s": {{"<tensor>": {{"as": "{wanted.name}"}}}}}}'
        )
    if len(left) == 1:
        return left[0]
    raise BadModel(f"no {what} has the shape of {wanted.name!r}, {_text(wanted)}")


def _misfit(spec: TensorSpec, wanted: TensorSpec) -> str | None:
    """Say what is wrong with a model's tensor."""
    if "float" not in spec.dtype:
        return f"it must be float32, not {spec.dtype}"
    if len(spec.shape) != len(wanted.shape):
        return f"it must have {len(wanted.shape)} axes, {_text(wanted)}"
    for axis, (size, needed) in enumerate(zip(spec.shape, wanted.shape, strict=True)):
        if axis > 0 and None not in (size, needed) and size != needed:
            return f"axis {axis} must be {needed}, not {size}"
    return None


def _shape(spec: TensorSpec, wanted: TensorSpec) -> list[int | None]:
    rest = zip(spec.shape[1:], wanted.shape[1:], strict=True)
    return [spec.shape[0], *(size if size is not None else needed for size, needed in rest)]


def _text(spec: TensorSpec) -> str:
    return "[" + ", ".join("n" if axis is None else str(axis) for axis in spec.shape) + "]"
