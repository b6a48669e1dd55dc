"""What a model costs, counted from its checked configuration before anything is built."""

from dataclasses import dataclass

from server.gate.config.tree import Layer
from server.gate.cost.counting import Counter
from server.gate.cost.effect import Shapes, size
from server.gate.refusals import refused, short

MAX_PARAMETERS = 500_000_000
MAX_TENSOR = 1 << 28
MAX_ACTIVATIONS = 1 << 31
MAX_FLOPS = 2 * 10**12


@dataclass(frozen=True, slots=True)
class Cost:
    """What one sample costs, with open axes counted as `server.gate.config.tree.OPEN`.

    Attributes
    ----------
    parameters : int
        Numbers that the model keeps.
    activations : int
        Numbers that its layers give out, all together.
    largest : int
        Numbers in its largest tensor.
    flops : int
        Additions and multiplications.
    layers : int
        Calls of layers.
    """

    parameters: int
    activations: int
    largest: int
    flops: int
    layers: int


def count(layer: Layer) -> tuple[Cost, Shapes, Shapes]:
    """Return the cost of a whole model, the shapes of its weights, and which it may store twice.

    Raises
    ------
    BadModel
        If it cannot be counted, or is over a limit.
    """
    counter = Counter()
    effect = counter.run(layer, ())
    counter.firsts.check_weights()
    parameters = sum(size(shape) for shape in effect.weights)
    # the scratch of a model holds what its layers give out
    cost = Cost(parameters, effect.scratch, effect.largest, effect.flops, effect.calls)
    for name, value, limit in (
        ("parameters", cost.parameters, MAX_PARAMETERS),
        ("tensor", cost.largest, MAX_TENSOR),
        ("activations", cost.activations, MAX_ACTIVATIONS),
        ("flops", cost.flops, MAX_FLOPS),
        ("initializers", counter.firsts.made, MAX_FLOPS),
    ):
        if value > limit:
            sentence = f"{name} of the model are {short(value)}; the limit is {limit:.3g}"
            raise refused(f"cost-{name}", sentence, where=layer.where)
    return cost, effect.weights, counter.firsts.stored_twice()
