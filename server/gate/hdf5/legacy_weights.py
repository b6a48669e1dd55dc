"""Which arrays of an ``.h5`` model its loader will read, by the names that the file lists.

::

    /                 model_config, keras_version
    /model_weights    layer_names
        /dense        weight_names: "dense/kernel:0", ...
            /dense/kernel:0
"""

from math import prod
from typing import Any

import h5py

from server.gate.hdf5.outline import MAX_OBJECTS, Dataset, Outline
from server.gate.refusals import refused

_WEIGHTS = "model_weights"
_TOP = "top_level_model_weights"


def listed(file: Any, found: Outline) -> list[Dataset]:
    """Return the arrays that are listed, each of which may be listed once.

    Raises
    ------
    BadModel
        If a list names what is not there, or one thing twice.
    """
    if _WEIGHTS not in found.groups:
        raise refused("no-model", "the HDF5 file holds a model without its weights")
    layers = _names(file[_WEIGHTS], "layer_names", MAX_OBJECTS)
    if f"{_WEIGHTS}/{_TOP}" in found.groups and _TOP not in layers:
        layers.append(_TOP)
    if len({*layers}) != len(layers):
        raise refused("hdf5-names", "a name is listed twice", where=_WEIGHTS)
    paths: list[str] = []
    for layer in layers:
        group = f"{_WEIGHTS}/{layer}"
        if group not in found.groups:
            raise refused("hdf5-names", "a layer is listed that is not there", where=group)
        paths += [
            f"{group}/{name}"
            for name in _names(file[group], "weight_names", MAX_OBJECTS - len(paths))
        ]
    if len({*paths}) != len(paths):
        raise refused("hdf5-names", "a name is listed twice", where=_WEIGHTS)
    if missing := [path for path in paths if path not in found.datasets]:
        raise refused("hdf5-names", "a weight is listed that is not there", where=missing[0])
    return [found.datasets[path] for path in paths]


def text(file: Any, name: str) -> str | None:
    """Return a text attribute of the root, or None."""
    value = file.attrs.get(name)
    if isinstance(value, str):
        value = value.encode()  # h5py keeps bytes that are no letters as half characters
    return value.decode() if isinstance(value, bytes) else None


def _names(group: h5py.Group, name: str, most: int) -> list[str]:
    """Return a list of names, which is cut in parts where it is long."""
    if name in group.attrs:
        return _texts(group, name, most)
    found: list[str] = []
    part = 0
    while f"{name}{part}" in group.attrs:
        found += _texts(group, f"{name}{part}", most - len(found))
        part += 1
    return found


def _texts(group: h5py.Group, name: str, most: int) -> list[str]:
    if prod(group.attrs.get_id(name).shape) > most:
        raise refused("hdf5-names", "more names are listed than there are objects", where=name)
    value = group.attrs[name]
    # bytes and str are Keras's two ways; an empty list is stored as an empty array of floats
    return [item.decode() if isinstance(item, bytes) else str(item) for item in value]
