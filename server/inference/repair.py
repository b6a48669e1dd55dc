"""Mend the configuration of old model files where its meaning is certain.

Keras 3 refuses some of what Keras 2 wrote, and reads some of it with another meaning. A repair
changes the configuration alone, never weights, and never the stored file. What is not certain is
left to Keras's own judgement or refused.

====================================  =============================================================
What old files hold                   What is done
====================================  =============================================================
Sequential as a bare list             given the form of Keras 2.2: a name and the list
first layer with its input shape      an input layer is put before it; Keras 3 would count the batch
(or a model in its place)             axis twice, or lose the shape
arguments that Keras 3 has not        left out where they say what Keras 3 does anyway, else refused
``GRU`` without ``reset_after``       set to false, the only way there was then
``hard_sigmoid`` before Keras 3       named `OLD_HARD_SIGMOID`: it was clip(0.2 x + 0.5, 0, 1), and
                                      is clip(x / 6 + 0.5, 0, 1)
``dtype`` of an initializer           left out: initial values are overwritten
a list as initial values              zeros, for the same reason: laid over a large weight, a list
                                      asks for far more memory than both
a compiled model inside another       uncompiled: nothing is trained, and Keras would build its
                                      metrics and its optimizer whatever their size
NumPy values, precision policies      written as the number and the name that they stand for
====================================  =============================================================
"""

from collections.abc import Iterator
from typing import Any

from server.errors import BadModel
from server.gate.config.keras_version import is_before_3
from server.gate.config.values import array

OLD_HARD_SIGMOID = "keras2_hard_sigmoid"

_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_GROUPLESS = (
    *("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"),
    *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
)
_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
_NORM = ("BatchNormalization",)
_ANY = object()
# layers, argument, the value that means what Keras 3 does without it
_ARGUMENTS: tuple[tuple[tuple[str, ...], str, object], ...] = (
    (_RECURRENT, "time_major", False),
    (_RECURRENT, "input_length", _ANY),  # a shape, which the weights tell as well
    (("SimpleRNN", *_RECURRENT[4:]), "implementation", _ANY),  # which of two equal ways to compute
    (_GROUPLESS, "groups", 1),
    *(
        (_SEPARABLE, f"kernel_{what}", _ANY)
        for what in ("initializer", "regularizer", "constraint")
    ),
    (_NORM, "fused", _ANY),  # a faster way to compute the same
    (_NORM, "virtual_batch_size", None),
    (("Attention", "AdditiveAttention"), "causal", False),
)
_INPUT_SHAPES = ("batch_shape", "batch_input_shape")
_INPUT_DTYPES = ("float16", "float32", "float64", "int32", "int64", "uint8", "bool")
_POLICIES = ("Policy", "PolicyV1")
_ACTIVATIONS = ("activation", "recurrent_activation")


def repair(config: dict[str, Any], *, keras_version: str | None) -> list[str]:
    """Mend a model's configuration in place.

    Parameters
    ----------
    config : dict
        Of the whole model: ``class_name`` and ``config``.
    keras_version : str or None
        That wrote it.

    Returns
    -------
    list of str
        What was repaired, in a few words each, every kind once.

    Raises
    ------
    BadModel
        If an argument asks for what Keras 3 cannot do.
    """
    is_old = is_before_3(keras_version)
    done: dict[str, None] = {}
    for entry in _objects(config):
        # the whole model is not compiled: it needs no copy of its file for that
        if entry is not config and entry.pop("compile_config", None) is not None:
            done["compiled model inside"] = None
        done |= dict.fromkeys(_mend_sequential(entry))
        if isinstance(entry["config"], dict):
            done |= dict.fromkeys(_mend_arguments(entry["class_name"], entry["config"]))
            done |= dict.fromkeys(_mend_values(entry["config"]))
            if is_old:
                done |= dict.fromkeys(_mend_old(entry["class_name"], entry["config"]))
    return list(done)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every described object, the outer ones first."""
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)
    elif isinstance(value, dict):
        if isinstance(value.get("class_name"), str) and "config" in value:
            yield value
        for item in value.values():
            yield from _objects(item)


def _mend_sequential(entry: dict[str, Any]) -> Iterator[str]:
    if entry["class_name"] != "Sequential":
        return
    if isinstance(entry["config"], list):
        entry["config"] = {"name": entry.get("name", "sequential"), "layers": entry["config"]}
        yield "Sequential: list form"
    config = entry["config"]
    layers = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(layers, list) or not layers or not _is_object(layers[0]):
        return
    first = layers[0]
    if first["class_name"] == "InputLayer" or (shape := _input_shape(first)) is None:
        return
    layers.insert(0, _input_layer(shape, first))
    if isinstance(first["config"], dict):
        for name in _INPUT_SHAPES:
            first["config"].pop(name, None)
    yield "Sequential: input shape"


def _is_object(value: Any) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("class_name"), str) and "config" in value
    )


def _input_shape(layer: Any) -> list[Any] | None:
    """Return the shape that a first layer declares, or the model in its place."""
    if not _is_object(layer):
        return None
    config = layer["config"]
    if isinstance(config, list):
        return _input_shape(config[0]) if config else None
    if not isinstance(config, dict):
        return None
    if shape := _own_shape(layer["class_name"], config):
        return shape
    layers, ends = config.get("layers"), config.get("input_layers")
    if not isinstance(layers, list) or not layers:
        return None
    if ends:  # a functional model: ["name", 0, 0], or several, with or without names
        ends = list(ends.values()) if isinstance(ends, dict) else ends
        if isinstance(ends[0], list):
            ends = ends[0] if len(ends) == 1 else [None]
        layers = [entry for entry in layers if _is_object(entry) and _name(entry) == ends[0]]
    return _input_shape(layers[0]) if layers else None


def _own_shape(kind: str, config: dict[str, Any]) -> list[Any] | None:
    for name in _INPUT_SHAPES:
        if shape := _listed(config.get(name)):
            return shape
    shape = _listed(config.get("shape")) if kind == "InputLayer" else None
    return [config.get("batch_size"), *shape] if shape else None


def _listed(value: Any) -> list[Any] | None:
    """Return a shape, which may be written as a tuple or an array."""
    value = array(value, "shape") if isinstance(value, dict) else value
    return value if isinstance(value, list) else None


def _name(entry: dict[str, Any]) -> Any:
    config = entry["config"]
    return entry.get("name") or (config.get("name") if isinstance(config, dict) else None)


def _input_layer(shape: list[Any], first: dict[str, Any]) -> dict[str, Any]:
    config = first["config"] if isinstance(first["config"], dict) else {}
    dtype = config.get("dtype")
    made = {
        "batch_shape": shape,
        "dtype": dtype if dtype in _INPUT_DTYPES else "float32",
        "name": f"{config.get('name', 'model')}_input",
    }
    layer: dict[str, Any] = {"class_name": "InputLayer", "config": made}
    if "module" in first:
        layer |= {"module": "keras.layers", "registered_name": None}
    return layer


def _mend_arguments(name: str, config: dict[str, Any]) -> Iterator[str]:
    for layers, argument, meant in _ARGUMENTS:
        if name not in layers or argument not in config:
            continue
        value = config.pop(argument)
        if meant is not _ANY and value != meant:
            raise BadModel(
                f"layer {config.get('name')!r} ({name}) has {argument}={value!r}, which Keras 3 "
                "cannot do: build the model without it and save it again",
                reason="keras-2-argument",
            )
        yield f"{name}: {argument}"


def _mend_values(config: dict[str, Any]) -> Iterator[str]:
    for key, value in config.items():
        if not isinstance(value, dict):
            continue
        if value.get("type") == "ndarray" and "value" in value:
            config[key] = value["value"]
            yield f"{key}: NumPy value"
        if not isinstance(inner := value.get("config"), dict):
            continue
        if key == "dtype" and value.get("class_name") in _POLICIES and "name" in inner:
            config[key] = inner["name"]
            yield "dtype: precision policy"
        if key.endswith("_initializer"):
            if inner.pop("dtype", None) is not None:
                yield "initializer: dtype"
            if isinstance(inner.get("value"), list | dict):
                value |= {"class_name": "Zeros", "config": {}}
                yield "initializer: list"


def _mend_old(name: str, config: dict[str, Any]) -> Iterator[str]:
    if name in ("GRU", "GRUCell") and "reset_after" not in config and "units" in config:
        config["reset_after"] = False
        yield f"{name}: reset_after"
    for key in _ACTIVATIONS:
        if config.get(key) == "hard_sigmoid":
            config[key] = {
                "module": "builtins",
                "class_name": "function",
                "config": OLD_HARD_SIGMOID,
                "registered_name": "function",
            }
            yield f"{name}: hard_sigmoid of Keras 2"
