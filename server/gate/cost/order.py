"""In which order Keras can make the calls of a graph, and how often it tries in vain."""

from server.gate.config.tree import Layer, Model, Node

MAX_VAIN = 2_000


class Order:
    """How often Keras would try calls in vain.

    It goes over a graph in the file's order, again and again, until everything is called.
    """

    def __init__(self, model: Model) -> None:
        self._place = {layer.name: place for place, layer in enumerate(model.layers)}
        self._pass: dict[str, int] = {}  # of the latest call of each layer

    def note(self, layer: Layer, node: Node) -> None:
        """Note a call whose needs are all noted."""
        own = self._place[layer.name]
        before = (self._pass.get(r.layer, 0) + (self._place[r.layer] > own) for r in node.needs)
        self._pass[layer.name] = max([*before, self._pass.get(layer.name, 0)])

    @property
    def vain(self) -> int:
        """How many tries there are, of all layers together."""
        return sum(self._pass.values())
