"""What Keras makes of a layer once and for all, at its first call or when it is built."""

from server.gate.config.tree import Layer, Shape
from server.gate.cost.effect import Shapes, misfit, size
from server.gate.cost.initial_values import made_by
from server.gate.refusals import refused, short


class Firsts:
    """Notes what layers were first called on and made with, and refuses what differs from it.

    Attributes
    ----------
    made : int
        Additions and multiplications that initial values take.
    """

    def __init__(self) -> None:
        self.made = 0
        self._weights: dict[int, Shapes] = {}
        self._unlike: list[Layer] = []  # that were called on shapes that need other weights
        self._around: dict[int, Shapes] = {}  # weights of layers that hold another's kernel
        self._fixed: dict[int, Shape] = {}  # what layers are called on that know one shape
        self._ranks: dict[int, list[int]] = {}  # of what a model is called on

    def note(self, layer: Layer, shapes: Shapes, weights: Shapes) -> None:
        """Note a call."""
        if (first := self._weights.get(id(layer))) is None:
            self._weights[id(layer)] = weights
            self.made += made_by(layer, weights)
        elif first != weights:
            self._unlike.append(layer)
        if layer.kind == "SpectralNormalization":
            self._around[id(layer)] = weights
        if layer.kind == "Normalization":
            # Keras lays the numbers of the first call over every other
            sample = tuple(int(axis) for axis in shapes[0][1:])
            if self._fixed.setdefault(id(layer), sample) != sample:
                raise misfit(layer)

    def check_ranks(self, layer: Layer, declared: Shapes, shapes: Shapes) -> None:
        """Refuse tensors of which Keras would take away an axis, or to which it would add one."""
        known = self._ranks.setdefault(id(layer), [len(shape) for shape in declared])
        if any(len(shape) != rank for shape, rank in zip(shapes, known, strict=False)):
            raise misfit(layer)

    def check_weights(self) -> None:
        """Refuse a layer that would need other weights at another call, wherever that is."""
        for layer in self._unlike:
            raise unlike(layer)

    def stored_twice(self) -> Shapes:
        """Return kernels that stand in two places of a `.keras` file: inside and around."""
        return tuple(max(weights[:-1], key=len) for weights in self._around.values())

    def check_built(self, layer: Layer, built: Shapes, called: Shapes) -> None:
        """Hold what a layer is built with before its first call against what the call needs."""
        if built != called:
            kept = short(sum(map(size, built)))
            raise refused(
                "build-config",
                f"it is built with {kept} numbers, which is not what its call needs",
                where=layer.where,
            )


def unlike(layer: Layer) -> Exception:
    """Build the refusal of a layer that two calls need other weights of."""
    sentence = "it is called on shapes that need other weights"
    return refused("shared-layer", sentence, where=layer.where)
