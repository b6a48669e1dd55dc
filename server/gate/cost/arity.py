"""How many tensors a layer is called on, and in which arguments they stand."""

from server.gate.config.operation_table import BINARY
from server.gate.config.tree import Argument, Constant, Layer, Model, Node, Ref
from server.gate.refusals import refused

_MERGES = frozenset(
    ["Add", "Average", "Maximum", "Minimum", "Multiply", "Concatenate", "CustomScaleLayer"]
)
_OF_TWO = frozenset({"Dot", "Subtract"})
_LISTS = frozenset({"ops.Concatenate", "ops.Stack"})
_LISTED_ATTENTION = frozenset({"Attention", "AdditiveAttention"})
_MOST_BY_ITSELF = {
    "MultiHeadAttention": 3,
    "ops.Where": 3,
    **{f"ops.{name}": 2 for name in BINARY},
}


def given(layer: Layer, node: Node) -> tuple[Ref | Constant, ...]:
    """Return the tensors of a call in the order in which the layer takes them.

    Raises
    ------
    BadModel
        If it does not take them so: what stands behind may be a mask or a state, which Keras would
        lay over the first.
    """
    if (found := _taken(layer, node)) is None:
        raise refused(
            "call-arguments",
            f"the layer ({layer.kind}) is not called so: give it its tensors as its documentation "
            "has them, and masks and first states by name",
            where=layer.where,
        )
    return found


def _taken(layer: Layer, node: Node) -> tuple[Ref | Constant, ...] | None:
    arguments = node.arguments
    if layer.model is not None:
        return _of_model(layer.model, arguments)
    if layer.kind.startswith("ops.") and node.is_old:
        return None
    first, count = arguments[0], len(arguments[0].tensors)
    if first.names:
        return None
    if layer.kind in _LISTS or layer.kind in _MERGES:
        fits = len(arguments) == 1 and not first.is_one
    elif layer.kind in _OF_TWO:
        fits = len(arguments) == 1 and count == 2
    elif layer.kind in _LISTED_ATTENTION:
        fits = len(arguments) == 1 and count in (2, 3)
    else:
        most = _MOST_BY_ITSELF.get(layer.kind, 1)
        fits = len(arguments) <= most and all(argument.is_one for argument in arguments)
    return tuple(one for argument in arguments for one in argument.tensors) if fits else None


def _of_model(model: Model, arguments: tuple[Argument, ...]) -> tuple[Ref | Constant, ...] | None:
    if len(arguments) != 1:
        return None
    (argument,) = arguments
    if not argument.names:
        return argument.tensors
    wanted = model.names or tuple(ref.layer for ref in model.inputs)
    if sorted(wanted) != list(argument.names):
        return None
    by_name = dict(zip(argument.names, argument.tensors, strict=True))
    return tuple(by_name[name] for name in wanted)
