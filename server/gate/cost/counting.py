"""Follow a model through its calls by shapes alone, and add up what they keep and cost.

What a layer keeps must not depend on how it is called or built, as Keras makes its weights at the
first of these; so one count serves all.
"""

from collections.abc import Sequence
from dataclasses import replace

from server.gate.config.reader import input_shape
from server.gate.config.tree import Batch, Constant, Layer, Model, Ref, Shape
from server.gate.config.values import MAX_AXIS
from server.gate.cost.arity import given as given_to
from server.gate.cost.beside import bears_masks, fits, hands_on
from server.gate.cost.effect import Effect, Rule, Shapes, misfit, size
from server.gate.cost.firsts import Firsts, unlike
from server.gate.cost.order import MAX_VAIN, Order
from server.gate.cost.rules_conv import RULES as CONV
from server.gate.cost.rules_operations import RULES as OPERATIONS
from server.gate.cost.rules_operations import indexed
from server.gate.cost.rules_recurrent import RULES as RECURRENT
from server.gate.cost.rules_shape import RULES as SHAPE
from server.gate.cost.rules_weights import RULES as WEIGHTS
from server.gate.refusals import refused

RULES: dict[str, Rule] = {**CONV, **SHAPE, **WEIGHTS, **RECURRENT, **OPERATIONS}
MAX_CALLS = 50_000
_MAX_RANK = 32
# what a rule does with a shape or a setting that does not fit its layer
_MISFITS = (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, OverflowError)


class Counter:
    """Counts one model; what was counted once is known.

    Attributes
    ----------
    firsts : Firsts
        What is made of each layer at its first call.
    is_masked : bool
        Whether what is called now is called on tensors that may bear masks.
    """

    def __init__(self) -> None:
        self.is_masked = False
        self._known: dict[tuple[int, Shapes, bool], Effect] = {}
        self.firsts = Firsts()

    def run(self, layer: Layer, shapes: Shapes) -> Effect:
        """Return what a call of a layer does, also of one inside another that is called now."""
        if self.is_masked and not bears_masks(layer, shapes):
            sentence = "a mask that a layer before it makes would be laid over it in another way"
            raise refused("masked-layer", sentence, where=layer.where)
        if (known := self._known.get((id(layer), shapes, self.is_masked))) is None:
            known = self._checked(layer, shapes, self._effect(layer, shapes))
            self._known[id(layer), shapes, self.is_masked] = known
            self.firsts.note(layer, shapes, known.weights)
            if layer.built:
                self.firsts.check_built(layer, self.run(layer, layer.built).weights, known.weights)
        return known

    def _effect(self, layer: Layer, shapes: Shapes) -> Effect:
        if layer.model is not None:
            return self._model(layer, layer.model, shapes)
        if (rule := RULES.get(layer.kind)) is None:
            raise refused("cost-unknown", "a cell outside of a recurrent layer", where=layer.where)
        try:
            return rule(layer, shapes, self.run)
        except _MISFITS as error:
            raise misfit(layer) from error

    def _checked(self, layer: Layer, shapes: Shapes, effect: Effect) -> Effect:
        # before they grow further, for then the counting itself costs
        if any(len(shape) > _MAX_RANK for shape in (*effect.outputs, *effect.weights)):
            raise refused("cost-axis", f"a tensor has over {_MAX_RANK} axes", where=layer.where)
        if any(axis > MAX_AXIS for shape in effect.outputs for axis in shape):
            raise refused("cost-tensor", "an axis of a tensor is over 2^31", where=layer.where)
        if any(axis < 1 for shape in effect.outputs for axis in shape):
            raise misfit(layer)
        if any(axis < 0 for shape in effect.weights for axis in shape):
            raise misfit(layer)
        if not all(map(_keeps_batch, effect.outputs)):
            sentence = "it takes the batch from its place, axis 0, where it has to stay"
            raise refused("batch-axis", sentence, where=layer.where)
        held = [*map(size, effect.outputs), effect.largest]
        if layer.model is None:
            held.append(effect.scratch)
        return Effect(
            effect.outputs,
            effect.weights,
            effect.flops,
            effect.scratch,
            effect.calls,
            max(held),
        )

    def _model(self, layer: Layer, model: Model, shapes: Shapes) -> Effect:
        declared = self._declared(model) if shapes else ()
        self.firsts.check_ranks(layer, declared or shapes, shapes)
        own = _Sum(self, layer)
        outputs = own.stack(model, shapes) if model.is_sequential else own.graph(model, shapes)
        # it is built with its own shapes before it is called with others
        if declared not in ((), shapes) and self.run(layer, declared).weights != own.weights():
            raise refused("build-config", "it is built for other inputs", where=layer.where)
        return own.effect(outputs)

    def _declared(self, model: Model) -> Shapes:
        if model.is_sequential:
            return (model.declared,) if model.declared else ()
        found = {layer.name: input_shape(layer) for layer in model.layers}
        shapes = [found.get(ref.layer) for ref in model.inputs]
        return tuple(shape for shape in shapes if shape) if all(shapes) else ()


class _Sum:
    """Adds up the calls inside a model."""

    def __init__(self, counter: Counter, layer: Layer) -> None:
        self._counter = counter
        self._layer = layer
        self._is_masked = counter.is_masked  # from outside
        self._bearing: set[tuple[str, int]] = set()  # calls whose outputs may bear masks
        self._weights: dict[int, Shapes] = {}
        self._flops = self._numbers = self._largest = 0
        self._calls = 1

    def weights(self) -> Shapes:
        """Return what all layers keep, each layer once."""
        return tuple(shape for shapes in self._weights.values() for shape in shapes)

    def effect(self, outputs: Shapes) -> Effect:
        """Return the sum."""
        return Effect(
            outputs, self.weights(), self._flops, self._numbers, self._calls, self._largest
        )

    def stack(self, model: Model, shapes: Shapes) -> Shapes:
        """Call each layer on what the one before it gave."""
        if not shapes:
            if model.declared is None:
                raise refused(
                    "no-signature",
                    "the file does not say what the model's inputs are: build the model before "
                    "saving it",
                    where=self._layer.where,
                )
            shapes = (model.declared,)
        self._largest = max(map(size, shapes))
        is_masked = self._is_masked
        for layer in model.layers:
            if layer.kind != "InputLayer":
                shapes = self._call(layer, shapes, is_masked=is_masked)
                is_masked = hands_on(layer, is_masked=is_masked)
        return shapes

    def graph(self, model: Model, shapes: Shapes) -> Shapes:
        """Call each layer as soon as what it is called on is there."""
        layers = {layer.name: layer for layer in model.layers}
        order = Order(model)
        made = self._inputs(model, layers, shapes)
        waiting: dict[str, list[Layer]] = {}
        ready = [layer for layer in model.layers if layer.nodes]
        while ready:
            layer = ready.pop()
            calls = made.setdefault(layer.name, [])
            while len(calls) < len(layer.nodes):
                node = layer.nodes[len(calls)]
                if missing := [ref for ref in node.needs if not self._is_made(layers, made, ref)]:
                    waiting.setdefault(missing[0].layer, []).append(layer)
                    break
                given = [self._tensor(layers, made, item) for item in given_to(layer, node)]
                if layer.kind == "ops.GetItem":
                    given = [self._part(layer, given, node.key)]
                beside = [(k, self._tensor(layers, made, item)) for k, item in node.beside]
                is_masked = any((ref.layer, ref.node) in self._bearing for ref in node.needs)
                if hands_on(layer, is_masked=is_masked):
                    self._bearing.add((layer.name, len(calls)))
                calls.append(self._call(layer, tuple(given), beside, is_masked=is_masked))
                order.note(layer, node)
                ready += waiting.pop(layer.name, [])
        if waiting:
            raise self._broken("some of its layers wait for each other")
        if order.vain > MAX_VAIN:
            raise self._broken("its layers stand behind those that they feed")
        return tuple(self._tensor(layers, made, self._end(layers, ref)) for ref in model.outputs)

    def _end(self, layers: dict[str, Layer], ref: Ref) -> Ref:
        """Return what an output of a model means: there, functional models count from 1."""
        inner = layers[ref.layer].model if ref.layer in layers else None
        if inner is None or inner.is_sequential:
            return ref
        if ref.node == 0:
            raise self._broken(f"the layer {ref.layer!r} is not called so often")
        return replace(ref, node=ref.node - 1)

    def _inputs(
        self, model: Model, layers: dict[str, Layer], shapes: Shapes
    ) -> dict[str, list[Shapes]]:
        made: dict[str, list[Shapes]] = {}
        for layer in model.layers:
            if not layer.nodes:
                if layer.kind != "InputLayer" or (shape := input_shape(layer)) is None:
                    raise self._broken(f"the layer {layer.name!r} is called on nothing")
                made[layer.name] = [(shape,)]
        if any(ref.layer not in made for ref in model.inputs):
            raise self._broken("its inputs are no input layers")
        if shapes:
            if len(shapes) != len(model.inputs):
                raise self._broken("it is called on another number of tensors than it has inputs")
            made |= {ref.layer: [(shape,)] for ref, shape in zip(model.inputs, shapes, strict=True)}
        if self._is_masked:
            self._bearing |= {(name, 0) for name in made}
        self._largest = max((size(shape) for ((shape,),) in made.values()), default=0)
        return made

    def _call(
        self,
        layer: Layer,
        shapes: Shapes,
        beside: Sequence[tuple[str, Shape]] = (),
        *,
        is_masked: bool,
    ) -> Shapes:
        # who is given a mask takes no other; what lies inside may be handed it
        is_given = any(name.startswith("mask.") for name, _ in beside)
        has_inside = layer.model is not None or bool(layer.inner)
        self._counter.is_masked = has_inside if is_given else is_masked
        effect = self._counter.run(layer, shapes)
        self._counter.is_masked = self._is_masked
        if not all(fits(layer, name, shape, shapes, effect.outputs) for name, shape in beside):
            raise misfit(layer)
        if self._weights.setdefault(id(layer), effect.weights) != effect.weights:
            raise unlike(layer)
        self._flops += effect.flops
        self._numbers += effect.scratch + (0 if layer.model else sum(map(size, effect.outputs)))
        self._largest = max(self._largest, effect.largest)
        self._calls += effect.calls
        if self._calls > MAX_CALLS:
            raise refused("cost-calls", "layers are called too often", where=layer.where)
        return effect.outputs

    def _is_made(self, layers: dict[str, Layer], made: dict[str, list[Shapes]], ref: Ref) -> bool:
        if ref.layer not in layers:
            raise self._broken(f"the layer {ref.layer!r} is not there")
        return ref.node < len(made.get(ref.layer, ()))

    def _tensor(
        self, layers: dict[str, Layer], made: dict[str, list[Shapes]], item: Ref | Constant
    ) -> Shape:
        if isinstance(item, Constant):
            return item.shape
        if not self._is_made(layers, made, item):
            raise self._broken(f"the layer {item.layer!r} is not called so often")
        outputs = made[item.layer][item.node]
        if item.tensor >= len(outputs):
            raise self._broken(f"the layer {item.layer!r} has not so many outputs")
        return outputs[item.tensor]

    def _part(self, layer: Layer, given: list[Shape], key: object) -> Shape:
        try:
            return indexed(given[0], key)
        except _MISFITS as error:
            raise misfit(layer) from error

    def _broken(self, why: str) -> Exception:
        return refused("broken-graph", why, where=self._layer.where)


def _keeps_batch(shape: Shape) -> bool:
    return [k for k, axis in enumerate(shape) if isinstance(axis, Batch)] == [0]
