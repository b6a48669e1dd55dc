"""Whether masks and first states fit a call, which is counted without them.

TensorFlow lays one tensor over another wherever an axis of one of them is 1: a mask that has more
than what it covers would make the result larger than was counted.
"""

from itertools import chain

from server.gate.config.layer_table import MODELS
from server.gate.config.tree import Layer, Shape
from server.gate.cost.effect import Shapes, broadcast, is_on
from server.gate.cost.rules_recurrent import state_widths

_ATTENTION = frozenset({"Attention", "AdditiveAttention", "MultiHeadAttention"})
_SEQUENCE = 3  # axes
_LOOPS = frozenset({"RNN", "LSTM", "GRU", "SimpleRNN", *(f"ConvLSTM{n}D" for n in (1, 2, 3))})
_OF_QUERY = frozenset({"query_mask.0", "mask.0"})


def fits(layer: Layer, name: str, shape: Shape, inputs: Shapes, outputs: Shapes) -> bool:
    """Tell whether a tensor beside the inputs leaves a call as it was counted.

    Parameters
    ----------
    layer : Layer
        That is called.
    name : str
        The argument, a dot and the place in it.
    shape : tuple of int
        Of the tensor.
    inputs, outputs : tuple of Shape
        Of the call.
    """
    if not inputs or not outputs:
        return False
    if name.startswith("initial_state"):
        return _is_state(layer, name, shape, inputs[0], outputs[0])
    if layer.kind in _ATTENTION:
        return _is_attended(name, shape, inputs, outputs[-1])
    if layer.kind in MODELS:  # inside, Keras hands it on by itself
        kind, _, place = name.rpartition(".")
        return kind == "mask" and int(place) < len(inputs) and _begins(inputs[int(place)], shape)
    if layer.kind == "Softmax":
        return broadcast([inputs[0], shape]) == inputs[0]
    return bears_masks(layer, inputs) and _begins(inputs[0], shape)


def hands_on(layer: Layer, *, is_masked: bool) -> bool:
    """Whether what a layer gives may bear a mask.

    Parameters
    ----------
    layer : Layer
        That is called.
    is_masked : bool
        Whether what it is called on may.
    """
    if layer.kind.startswith("ops.") or _ends_sequence(layer):
        return False
    return is_masked or _makes_masks(layer)


def _ends_sequence(layer: Layer) -> bool:
    if layer.kind == "Bidirectional":
        return _ends_sequence(layer.inner["layer"][0])
    if layer.kind in _LOOPS:
        return not is_on(layer, "return_sequences", default=False)
    return layer.kind == "Flatten" or layer.kind.startswith("Global")


def _makes_masks(layer: Layer) -> bool:
    """Whether a layer in here has Keras hand masks on by itself, or is given one to hand on."""
    inner = [*(layer.model.layers if layer.model else ()), *chain(*layer.inner.values())]
    own = layer.kind == "Masking" or bool(layer.config.get("mask_zero"))
    names = (name for node in layer.nodes for name, _ in node.beside)
    given = any("mask" in name and not name.startswith("attention_mask") for name in names)
    return own or given or any(map(_makes_masks, inner))


def bears_masks(layer: Layer, inputs: Shapes) -> bool:
    """Whether a mask that Keras hands to a layer would cover its input as it was meant."""
    if layer.kind == "GlobalAveragePooling1D":
        return layer.config.get("data_format") != "channels_first"
    if layer.kind == "MultiHeadAttention":
        return all(len(shape) == _SEQUENCE for shape in inputs)
    if layer.kind == "Activation":
        return layer.config.get("activation") != "Softmax"  # the layer, which takes masks itself
    return layer.kind != "Softmax"


def _is_state(layer: Layer, name: str, shape: Shape, given: Shape, made: Shape) -> bool:
    if len(shape) != len(given) - 1:
        return False
    if len(shape) == 2:
        widths, place = state_widths(layer), int(name.rpartition(".")[2])
        return place < len(widths) and shape == (given[0], widths[place])
    picture = (made[0], *made[-len(shape) + 1 :])
    return broadcast([picture, shape]) == picture


def _is_attended(name: str, shape: Shape, inputs: Shapes, scores: Shape) -> bool:
    batch, *_, steps, length = scores
    if name.startswith("attention_mask"):
        return len(shape) in (3, 4) and _covers(scores, shape)
    if any(len(given) != _SEQUENCE for given in inputs):
        return False
    return shape in ((batch, steps if name in _OF_QUERY else length), (batch, 1))


def _covers(scores: Shape, shape: Shape) -> bool:
    shape = (shape[0], *[1] * (len(scores) - len(shape)), *shape[1:])
    return broadcast([scores, shape]) == scores


def _begins(given: Shape, shape: Shape) -> bool:
    return len(shape) <= len(given) and all(
        own in (1, axis) for own, axis in zip(shape, given, strict=False)
    )
