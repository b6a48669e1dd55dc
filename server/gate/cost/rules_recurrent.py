"""Shapes and cost of recurrent layers and of layers around other layers."""

from math import prod

from server.gate.config.tree import BATCH, Layer, Open, Shape
from server.gate.cost.effect import (
    Effect,
    Rule,
    Run,
    Shapes,
    is_on,
    number,
    numbers,
    one,
    rank,
    split,
)
from server.gate.cost.rules_conv import padded, slid
from server.gate.refusals import refused

MAX_UNROLLED = 512
_STEP = 5  # calls that one of a layer at each step counts as
_AROUND = 100_000  # additions that a cell takes time for at each step beside its own
_EACH = 24  # layers that one step of a loop counts as, once it is written out
_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


def _cell(layer: Layer, width: int) -> tuple[list[Shape], list[int]]:
    """Return the weights of a cell, and the widths of its states; the first is its output."""
    kind = layer.kind.removesuffix("Cell")
    units, gates = number(layer, "units"), _GATES[kind]
    weights: list[Shape] = [(width, gates * units), (units, gates * units)]
    if is_on(layer, "use_bias", default=True):
        doubled = kind == "GRU" and is_on(layer, "reset_after", default=True)
        weights.append((2, gates * units) if doubled else (gates * units,))
    return weights, state_widths(layer)


def _cells(layer: Layer, width: int) -> tuple[list[Shape], list[int], int]:
    """Return weights and states of a cell, or of cells one on the other, and its output's width."""
    if layer.built and layer.built != ((BATCH, width),):
        raise refused("build-config", "it is built for other inputs", where=layer.where)
    if layer.kind in _GATES:
        raise ValueError(layer.kind)  # a layer, which loops by itself
    if layer.kind != "StackedRNNCells":
        weights, states = _cell(layer, width)
        return weights, states, states[0]
    weights, states = [], []
    for inner in layer.inner["cells"]:
        more, widths, width = _cells(inner, width)
        weights += more
        states += widths
    return weights, states, width


def state_widths(layer: Layer) -> list[int]:
    """Return how wide the states of a recurrent layer or a cell are, in Keras's order."""
    kind = layer.kind.removesuffix("Cell")
    if kind in _GATES:
        return [number(layer, "units")] * (2 if kind == "LSTM" else 1)
    one_way = [*layer.inner.get("layer", ()), *layer.inner.get("cell", ())]
    if layer.kind == "Bidirectional":
        one_way += layer.inner.get("backward_layer", ()) or one_way
    inner = [*one_way, *layer.inner.get("cells", ())]
    return [width for each in inner for width in state_widths(each)]


def _recurrent(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    batch, steps, width = shapes[0]
    if layer.kind == "RNN":
        weights, states, made = _cells(layer.inner["cell"][0], width)
    else:
        weights, states = _cell(layer, width)
        made = states[0]
    sequence = is_on(layer, "return_sequences", default=False)
    outputs: list[Shape] = [(batch, steps, made) if sequence else (batch, made)]
    if is_on(layer, "return_state", default=False):
        outputs += [(batch, state) for state in states]
    cells = _count(layer)
    flops = steps * (2 * sum(prod(weight) for weight in weights) + _AROUND * cells)
    calls = _written_out(layer, steps, cells)
    return Effect(tuple(outputs), tuple(weights), flops, 5 * steps * sum(states), calls)


def _count(layer: Layer) -> int:
    """Return how many cells a layer runs in each step."""
    inner = [*layer.inner.get("cell", ()), *layer.inner.get("cells", ())]
    return sum(map(_count, inner)) or 1


def _written_out(layer: Layer, steps: int, cells: int = 1) -> int:
    """Return how many calls the loop of a layer becomes."""
    if not is_on(layer, "unroll", default=False):
        return _EACH * cells
    if steps > MAX_UNROLLED:
        raise refused(
            "cost-unrolled",
            f"its loop is written out {steps} times: save the model with unroll=False",
            where=layer.where,
        )
    return _EACH * steps * cells


def _conv_lstm(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    batch, steps, *picture = shapes[0]
    dims = rank(layer)
    spatial, channels = split(layer, (batch, *picture))
    kernel, filters = numbers(layer, "kernel_size", dims), number(layer, "filters")
    outputs = slid(layer, spatial, kernel, numbers(layer, "strides", dims, 1))
    weights: list[Shape] = [(*kernel, channels, 4 * filters), (*kernel, filters, 4 * filters)]
    flops = 2 * steps * prod(outputs) * sum(prod(weight) for weight in weights)
    if is_on(layer, "use_bias", default=True):
        weights.append((4 * filters,))
    first = layer.config.get("data_format") == "channels_first"
    state: Shape = (filters, *outputs) if first else (*outputs, filters)
    sequence = is_on(layer, "return_sequences", default=False)
    found: list[Shape] = [(batch, steps, *state) if sequence else (batch, *state)]
    if is_on(layer, "return_state", default=False):
        found += [(batch, *state)] * 2
    calls = _written_out(layer, steps)
    around = padded(layer, spatial, kernel, channels)
    scratch = steps * (5 * prod(state) + around)
    flops += steps * (around + _AROUND)
    return Effect(tuple(found), tuple(weights), flops, scratch, calls)


def _bidirectional(layer: Layer, shapes: Shapes, run: Run) -> Effect:
    (forward,) = layer.inner["layer"]
    one_way = run(forward, shapes[:1])
    given = layer.inner.get("backward_layer", ())
    other = run(given[0], shapes[:1]) if given else one_way
    first, *states = one_way.outputs
    mode = layer.config.get("merge_mode", "concat")
    if mode is None:
        outputs: list[Shape] = [first, other.outputs[0]]
    elif mode == "concat":
        outputs = [(*first[:-1], first[-1] + other.outputs[0][-1])]
    elif first != other.outputs[0]:
        raise ValueError(mode)  # Keras would lay one over the other
    else:
        outputs = [first]
    return Effect(
        (*outputs, *states, *other.outputs[1:]),
        (*one_way.weights, *other.weights),
        one_way.flops + other.flops,
        one_way.scratch + other.scratch,
        one_way.calls + other.calls + 1,
        max(one_way.largest, other.largest),
    )


def _time_distributed(layer: Layer, shapes: Shapes, run: Run) -> Effect:
    batch, steps, *rest = shapes[0]
    (inner,) = layer.inner["layer"]
    effect = run(inner, ((batch, *rest),))
    # Keras writes down the call of each step, but of an open axis one for all
    calls = effect.calls if isinstance(steps, Open) else _STEP * steps * effect.calls
    outputs = tuple((batch, steps, *shape[1:]) for shape in effect.outputs)
    return Effect(
        outputs,
        effect.weights,
        steps * effect.flops,
        steps * effect.scratch,
        calls + 1,
        steps * effect.largest,
    )


def _input(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    return one(shapes[0])


RULES: dict[str, Rule] = {
    **dict.fromkeys((*_GATES, "RNN"), _recurrent),
    **{f"ConvLSTM{dims}D": _conv_lstm for dims in (1, 2, 3)},
    "Bidirectional": _bidirectional,
    "TimeDistributed": _time_distributed,
    "InputLayer": _input,
}
