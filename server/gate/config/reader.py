"""Turn a model's configuration into checked layers, or refuse it with the place of the fault."""

from typing import Any

from server.gate.config import values
from server.gate.config.layer_table import (
    APPLICATIONS,
    CUSTOM,
    LAYER_MODULE,
    LAYERS,
    MODEL_KEYS,
    MODEL_MODULES,
    MODELS,
    OPERATION_IN_H5,
    TOLD,
    UNSERVED,
)
from server.gate.config.nodes import nodes, refs
from server.gate.config.operation_table import MODULE_OF, OPERATIONS
from server.gate.config.schema import WRAPPED, check_keys
from server.gate.config.tree import BATCH, OPEN, Batch, Layer, Model, Shape
from server.gate.refusals import refused, shown

MAX_LAYERS = 2000
MAX_CALLS = 20_000
MAX_NESTED = 8
_MAX_RANK = 8
_ENVELOPE = frozenset(
    {
        *("module", "class_name", "config", "registered_name", "build_config", "compile_config"),
        *("shared_object_id", "name", "inbound_nodes"),
    }
)
# the order in which layers take the shapes that they are built with
_BUILT_FIRST = ("input_shape", "query_shape", "sequences_shape", "value_shape", "key_shape")
_IN_CONFIG = ("batch_shape", "batch_input_shape")
_INPUT_SHAPES = (*_IN_CONFIG, "shape")


class ConfigReader:
    """Reads one configuration, and counts what is in it.

    Parameters
    ----------
    is_old : bool
        Whether a Keras before 3 wrote it.
    """

    def __init__(self, *, is_old: bool) -> None:
        self._is_old = is_old
        self._layers = 0
        self._calls = 0
        self._shared: dict[int, Layer] = {}

    def model(self, config: Any) -> Layer:
        """Check a whole configuration.

        Raises
        ------
        BadModel
            With the path of what is not known or not allowed.
        """
        _check_shared(config)
        layer = self._layer(config, "model", 0)
        if layer.model is None:
            raise refused("no-model", "the file describes a single layer, no model", where="model")
        return layer

    def _layer(self, entry: Any, where: str, depth: int) -> Layer:
        """Check a layer; who bears one id with another is that other, as to Keras."""
        layer = self._checked(entry, where, depth)
        if "shared_object_id" not in entry:
            return layer
        return self._shared.setdefault(entry["shared_object_id"], layer)

    def _checked(self, entry: Any, where: str, depth: int) -> Layer:
        if depth > MAX_NESTED:
            raise refused("config-nested", f"models lie over {MAX_NESTED} deep in each other")
        if not isinstance(entry, dict):
            raise values.bad_value(entry, where)
        self._layers += 1
        if self._layers > MAX_LAYERS:
            raise refused("config-layers", f"the model has over {MAX_LAYERS} layers", where=where)
        kind, config = entry.get("class_name"), entry.get("config")
        if not isinstance(kind, str):
            raise values.bad_value(kind, where)
        name = _name(entry, config)
        where = f"{where}/{name or kind}"
        known = _known(entry, kind, where)
        for key in entry:
            if key not in _ENVELOPE:
                raise values.unknown_key(key, where)
        of_item = kind == "GetItem" and known is not None
        calls = nodes(entry.get("inbound_nodes", []), where, of_item=of_item)
        self._calls += len(calls)
        if self._calls > MAX_CALLS:
            raise refused("config-calls", f"layers are called over {MAX_CALLS} times")
        built = _built(entry.get("build_config"), where)
        if known is None:
            model = self._inside(kind, config, where, depth)
            return Layer(kind, name, {}, where, {}, model, built, calls)
        checked = check_keys(kind, config, known, where)
        if "module" not in entry:
            _check_old_axis(checked, config, where)
        if sum(checked.get(key) is not None for key in _INPUT_SHAPES) > 1:
            raise refused("bad-value", "an input has one shape", where=where)
        if entry.get("module") == MODULE_OF.get(kind, LAYER_MODULE) != LAYER_MODULE:
            kind = f"ops.{kind}"
        if self._is_old and kind in ("GRU", "GRUCell"):
            checked.setdefault("reset_after", False)
        inner = {
            key: self._wrapped(item, key, f"{where}.{key}", depth)
            for key, item in dict(config or {}).items()
            if key in WRAPPED
        }
        return Layer(kind, name, checked, where, inner, None, built, calls)

    def _wrapped(self, value: Any, key: str, where: str, depth: int) -> tuple[Layer, ...]:
        if value is None:
            return ()
        if isinstance(value, list) != (key == "cells"):
            raise values.bad_value(value, where)
        items = value if isinstance(value, list) else [value]
        return tuple(self._layer(item, where, depth + 1) for item in items)

    def _inside(self, kind: str, config: Any, where: str, depth: int) -> Model:
        if kind == "Sequential" and isinstance(config, list):  # as Keras before 2.2.3 wrote it
            config = {"layers": config}
        if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
            raise refused("no-model", "the configuration of a model has no layers", where=where)
        for key in config:
            if key not in MODEL_KEYS:
                raise values.unknown_key(key, where)
        values.name(config.get("name"), where)
        values.dtype(config.get("dtype"), where)
        layers = tuple(self._layer(item, where, depth + 1) for item in config["layers"])
        if kind == "Sequential":
            declared = _declared(layers) or _shape(config.get("build_input_shape"), where)
            return Model(layers, True, declared=declared)
        if len({layer.name for layer in layers}) != len(layers):
            raise refused("duplicate-name", "two layers have one name", where=where)
        inputs = refs(config.get("input_layers"), f"{where}.input_layers")
        outputs = refs(config.get("output_layers"), f"{where}.output_layers")
        named = config.get("input_layers")
        names = tuple(sorted(named)) if isinstance(named, dict) else ()
        if names and len(names) != len(inputs):
            raise values.bad_value(named, f"{where}.input_layers")
        return Model(layers, False, inputs, outputs, names=names)


def _name(entry: dict[str, Any], config: Any) -> str:
    name = entry.get("name")
    if name is None and isinstance(config, dict):
        name = config.get("name")
    values.name(name, "name")
    return name or ""


def _known(entry: dict[str, Any], kind: str, where: str) -> frozenset[str] | None:
    """Return the keys that a class may have, or None for a model; refuse unknown classes."""
    has_module, module = "module" in entry, entry.get("module")
    if not isinstance(module, str):
        module = None
    registered = entry.get("registered_name")
    if kind not in TOLD and registered in (None, kind):
        if kind in MODELS and (not has_module or module in MODEL_MODULES):
            return None
        home = APPLICATIONS.get(kind, LAYER_MODULE)
        in_legacy = not has_module and kind not in APPLICATIONS
        if kind in LAYERS and (in_legacy or module == home):
            return LAYERS[kind]
        if kind in OPERATIONS and module == MODULE_OF[kind]:
            return OPERATIONS[kind]
    told = TOLD.get(kind, CUSTOM)
    if kind in OPERATIONS and not has_module:
        told = OPERATION_IN_H5
    elif told is CUSTOM and _is_of_keras(kind, module, registered):
        told = UNSERVED
    reason, sentence = told
    raise refused(reason, f"{shown(kind)}: {sentence}", where=where)


def _is_of_keras(kind: str, module: str | None, registered: Any) -> bool:
    home = module == LAYER_MODULE or (module or "").startswith("keras.src.ops.")
    return home and kind.isidentifier() and kind[0] != "_" and registered in (None, kind)


def _shape(value: Any, where: str) -> Shape | None:
    """Return a shape with a batch of one, or None."""
    shape = values.whole(value, where)
    if shape is None:
        return None
    if not isinstance(shape, list) or not 0 < len(shape) <= _MAX_RANK:
        raise values.bad_value(value, where)
    first, *rest = shape
    if any(isinstance(axis, list) or (axis is not None and axis < 0) for axis in shape):
        raise values.bad_value(value, where)
    return (Batch(first or BATCH), *(OPEN if axis is None else axis for axis in rest))


def input_shape(layer: Layer) -> Shape | None:
    """Return the shape that an input layer declares, or any first layer of an old file."""
    for key in _IN_CONFIG:
        if layer.config.get(key) is not None:
            return _shape(layer.config[key], layer.where)
    if layer.kind == "InputLayer" and layer.config.get("shape") is not None:
        shape = [layer.config.get("batch_size"), *layer.config["shape"]]
        return _shape(shape, layer.where)
    return None


def _check_old_axis(checked: dict[str, Any], config: Any, where: str) -> None:
    """Refuse an axis that Keras drops where an entry names no module, and then takes another."""
    if checked.get("axis") is None:
        checked.pop("axis", None)
        return
    told = config["axis"]
    (axis,) = told if isinstance(told, list) and len(told) == 1 else (told,)
    if not isinstance(axis, int | float):
        raise values.bad_value(told, f"{where}.axis")


def _declared(layers: tuple[Layer, ...]) -> Shape | None:
    if not layers:
        return None
    first = layers[0]
    if first.model is None:
        return input_shape(first)
    if first.model.is_sequential:
        return first.model.declared
    ends = {ref.layer for ref in first.model.inputs}
    found = [layer for layer in first.model.layers if layer.name in ends]
    return input_shape(found[0]) if len(found) == 1 else None


def _built(value: Any, where: str) -> tuple[Shape, ...] | None:
    """Return the shapes that a layer is built with before it is called."""
    where = f"{where}.build_config"
    if value is None:
        return None
    if not isinstance(value, dict) or not set(value) <= {"input_shape", "shapes_dict"}:
        raise refused("build-config", "it is built in a way that is not known here", where=where)
    named = value.get("shapes_dict")
    if named is not None and value.get("input_shape") is not None:
        raise refused("build-config", "it is built with two shapes", where=where)
    if isinstance(named, dict):
        return _flat([named[key] for key in sorted(named, key=_build_order)], where)
    return _flat([value["input_shape"]], where) if value.get("input_shape") else None


def _check_shared(config: Any) -> None:
    """Refuse objects that differ and bear one id: Keras would build the first for both.

    The calls of a layer are counted through whatever models it is in, so that one with a place in
    two graphs would be told in another way than it is read here.
    """
    found: dict[int, tuple[Any, ...]] = {}
    in_graph: set[int] = set()
    left = [config]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            # what a model was compiled with never reaches Keras: see `server.inference.repair`
            left += [item for key, item in value.items() if key != "compile_config"]
            if "shared_object_id" not in value:
                continue
            shared = value["shared_object_id"]  # Keras takes null for an id, too
            if not isinstance(shared, int):
                raise values.bad_value(shared, "shared_object_id")
            told = tuple(value.get(key) for key in ("module", "class_name", "config"))
            if value.get("inbound_nodes"):
                in_graph.add(shared)
            if shared in found and (found[shared] != told or shared in in_graph):
                raise refused(
                    "shared-layer", f"two objects bear the id {shared}", where=str(told[1])[:64]
                )
            found[shared] = told


def _build_order(key: str) -> int:
    return _BUILT_FIRST.index(key) if key in _BUILT_FIRST else len(_BUILT_FIRST)


def _flat(items: list[Any], where: str) -> tuple[Shape, ...]:
    found: list[Shape] = []
    for item in items:
        if isinstance(item, dict) and item.get("class_name") == "__tuple__":
            found += _flat([values.array(item, where)], where)
        elif isinstance(item, dict):
            found += _flat([item[key] for key in sorted(item)], where)
        elif isinstance(item, list) and any(isinstance(axis, list | dict) for axis in item):
            found += _flat(item, where)
        elif item is not None and (shape := _shape(item, where)) is not None:
            found.append(shape)
    return tuple(found)
