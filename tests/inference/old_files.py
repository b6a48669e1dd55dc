"""Model files in the forms that Keras 2 wrote, made from models of today, and their answers."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers

Config = dict[str, Any]


def write(folder: Path) -> dict[str, Any]:
    """Write every old file; return what each answers, by file name."""
    return {
        f"{name}.{ending}": make(folder / f"{name}.{ending}")
        for name, ending, make in (
            ("lost-conv", "h5", _conv_without_input),
            ("lost-dense", "h5", _dense_without_input),
            ("nested-first", "h5", _model_first),
            ("list-form", "h5", _list_form),
            ("time-major", "h5", _time_major),
            ("time-major-zip", "keras", _time_major_zip),
            ("one-group", "h5", _one_group),
            ("old-gru", "h5", _old_gru),
            ("hard-sigmoid", "h5", _hard_sigmoid),
            ("hard-sigmoid-zip", "keras", _hard_sigmoid),
        )
    }


def _conv_without_input(path: Path) -> Any:
    stack = [layers.Conv2D(2, 3, activation="relu"), layers.Flatten(), layers.Dense(3)]
    return _old(path, _sequential((9, 8, 1), *stack), _lose_input)


def _dense_without_input(path: Path) -> Any:
    return _old(path, _sequential((5,), layers.Dense(3, activation="tanh")), _lose_input)


def _model_first(path: Path) -> Any:
    base = _sequential((5,), layers.Dense(4, activation="relu"))
    return _old(path, _sequential((5,), base, layers.Dense(2)), lambda c: c["layers"].pop(0))


def _list_form(path: Path) -> Any:
    model = _sequential((5,), layers.Dense(3))

    def rewrite(config: Config) -> None:
        _lose_input(config)
        config["as-list"] = True

    return _old(path, model, rewrite)


def _time_major(path: Path) -> Any:
    model = _sequential((7, 5), layers.Bidirectional(layers.LSTM(3)))

    def rewrite(config: Config) -> None:
        wrapper = config["layers"][1]["config"]
        for name in ("layer", "backward_layer"):
            wrapper[name]["config"]["time_major"] = False

    return _old(path, model, rewrite)


def _time_major_zip(path: Path) -> Any:
    model = _sequential((7, 5), layers.LSTM(3))
    return _old(path, model, lambda c: c["layers"][1]["config"].update(time_major=False))


def _one_group(path: Path) -> Any:
    model = _sequential((9, 8, 2), layers.DepthwiseConv2D(3), layers.Flatten())
    return _old(path, model, lambda c: c["layers"][1]["config"].update(groups=1))


def _old_gru(path: Path) -> Any:
    model = _sequential((7, 5), layers.GRU(3, reset_after=False))
    return _old(path, model, lambda c: c["layers"][1]["config"].pop("reset_after"))


def _hard_sigmoid(path: Path) -> Any:
    def slope(x: Any) -> Any:
        return keras.ops.clip(0.2 * x + 0.5, 0, 1)

    meant = _sequential((7, 5), layers.LSTM(3, recurrent_activation=slope))
    model = _sequential((7, 5), layers.LSTM(3, recurrent_activation="hard_sigmoid"))
    model.set_weights(meant.get_weights())
    _old(path, model, lambda _: None)
    return _answer(meant)


def _sequential(shape: tuple[int, ...], *stack: Any) -> Any:
    return keras.Sequential([keras.Input(shape), *stack])


def _lose_input(config: Config) -> None:
    given = config["layers"].pop(0)["config"]
    config["layers"][0]["config"]["batch_input_shape"] = given["batch_shape"]


def _old(path: Path, model: Any, rewrite: Callable[[Config], object]) -> Any:
    """Save a model with its configuration rewritten; return its answer."""
    model.save(path)
    (_rewrite_h5 if path.suffix == ".h5" else _rewrite_zip)(path, rewrite)
    return _answer(model)


def _rewrite_h5(path: Path, rewrite: Callable[[Config], object]) -> None:
    with h5py.File(path, "r+") as file:
        whole = json.loads(file.attrs["model_config"])
        whole["config"].pop("build_input_shape")
        rewrite(whole["config"])
        if whole["config"].pop("as-list", False):
            whole["config"] = whole["config"]["layers"]
        file.attrs["model_config"] = json.dumps(whole)
        file.attrs["keras_version"] = "2.1.1"


def _rewrite_zip(path: Path, rewrite: Callable[[Config], object]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    whole = json.loads(members["config.json"])
    rewrite(whole["config"])
    members["config.json"] = json.dumps(whole).encode()
    members["metadata.json"] = json.dumps({"keras_version": "2.14.0"}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def inputs(shape: list[int]) -> Any:
    """Return two rows that every test of a file uses."""
    return np.random.default_rng(7).normal(0, 2, (2, *shape)).astype(np.float32)


def _answer(model: Any) -> Any:
    return np.asarray(model(inputs(model.input_shape[1:]), training=False)).tolist()
