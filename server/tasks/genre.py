"""Genre: ten probabilities from a song's spectrogram and its row of 58 features.

::

    sound -> 30 s window -> picture frontend -> scaler -> [n, H, W, 1] --.
                        `-> feature row --.                              +-> model -> [n, 10]
    csv (in its place) -------------------+-> scaler --> [n, 58] --------'

What a frontend makes before the scaler is a *raw value* with a name (``gtzan-58@1``,
``kaggle-gtzan@1 235x335``): the same for every model, so that it can be kept and given again.

Either input alone makes a genre model too. Without a manifest the model's own signature says which
input is which, the picture is the Kaggle set's and the labels are GTZAN's, because such models were
trained on them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.audio.analysis import Analysis
from server.audio.decode import Waveform, decode, decode_windows
from server.audio.feature_row import parse_feature_row
from server.audio.frontends import FRONTENDS, HEIGHT, WIDTH, PictureFrontend, RowFrontend
from server.audio.spectrum import SAMPLE_RATE_HZ
from server.audio.window import WindowRule
from server.errors import BadModel
from server.tasks.contract import Contract, Signature, TensorSpec, names
from server.tasks.task import Call, Prepared, Task, Tensors

LABELS = (
    *("blues", "classical", "country", "disco", "hiphop"),
    *("jazz", "metal", "pop", "reggae", "rock"),
)
_LEAST_SIDE = 32
_ROW, _PICTURE = "gtzan-58@1", "kaggle-gtzan@1"
_WINDOW = WindowRule()
_SUM_SLACK = 1e-3  # logits and independent sigmoids are no probabilities of one choice
_SATURATED = 0.9999995  # the answer of a model that was fed numbers it has never seen


def bind(signature: Signature, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Say which tensor of a model is fed with what, and what its output means.

    Raises
    ------
    BadModel
        Naming the tensor and the axis that does not fit.
    """
    declared: Mapping[str, Any] = manifest.get("inputs", {})
    if unknown := sorted(set(declared) - set(names(signature.inputs))):
        raise BadModel(
            f"the manifest names the inputs {unknown}; the model has {names(signature.inputs)}"
        )
    inputs = [_bind_input(spec, declared.get(spec.name, {})) for spec in signature.inputs]
    kinds = [item["kind"] for item in inputs]
    if len(set(kinds)) != len(kinds):
        raise BadModel(f"two inputs of one kind: {', '.join(kinds)}; one of each is the most")
    output = _bind_output(signature.outputs, manifest)
    return {"task": "genre", "inputs": inputs, **output}


def _bind_input(spec: TensorSpec, declared: Mapping[str, Any]) -> dict[str, Any]:
    if not spec.dtype.startswith("float"):
        raise BadModel(f"input {spec.name!r} takes {spec.dtype}; genre models take floats")
    shape = spec.shape[1:]
    picture = len(shape) in (2, 3) and not _is_row(shape)
    name = declared.get("frontend", _PICTURE if picture else _ROW)
    frontend = FRONTENDS.get(name)
    if frontend is None:
        raise BadModel(f"unknown frontend {name!r}; there are {sorted(FRONTENDS)}")
    if isinstance(frontend, RowFrontend):
        bound = _bind_row(spec, frontend, declared)
    else:
        bound = _bind_picture(spec, frontend)
        if "frontend" not in declared:
            _check_sides(spec, bound)
    scaler = {key: declared[key] for key in ("mean", "scale") if key in declared}
    _check_scaler(spec.name, scaler, width=len(bound.get("columns", [0])))
    item = {"tensor": spec.name, "frontend": name, **bound, **scaler}
    return {**item, "value": _value_name(item)}


def _is_row(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def _bind_row(
    spec: TensorSpec, frontend: RowFrontend, declared: Mapping[str, Any]
) -> dict[str, Any]:
    columns = list(declared.get("columns", frontend.names))
    if unknown := [name for name in columns if name not in frontend.names]:
        raise BadModel(f"{frontend.name} has no columns {unknown[:5]}")
    shape = spec.shape[1:]
    if not _is_row(shape) or shape[0] not in (None, len(columns)):
        raise BadModel(
            f"input {spec.name!r} is {_text(spec)}: axis 1 must be {len(columns)}, the features; "
            "a model of fewer features names its columns in a manifest"
        )
    return {"kind": "row", "columns": columns, "shape": [1, len(columns), *shape[1:]]}


def _bind_picture(spec: TensorSpec, frontend: PictureFrontend) -> dict[str, Any]:
    shape = spec.shape[1:]
    if len(shape) not in (2, 3):
        raise BadModel(
            f"input {spec.name!r} is {_text(spec)}: a picture has the axes [n, height, width, 1]"
        )
    if len(shape) == 3 and shape[2] not in (None, 1):
        raise BadModel(
            f"input {spec.name!r} is {_text(spec)}: axis 3 has {shape[2]} channels, must have 1"
        )
    height, width = shape[0] or HEIGHT, shape[1] or WIDTH  # where the model leaves an axis open
    for axis, size, limits in ((1, height, frontend.heights), (2, width, frontend.widths)):
        if not limits[0] <= size <= limits[1]:
            raise BadModel(
                f"input {spec.name!r} is {_text(spec)}: axis {axis} must be from {limits[0]} to "
                f"{limits[1]} for the frontend {frontend.name}"
            )
    whole = [1, height, width, *([1] if len(shape) == 3 else [])]
    return {"kind": "picture", "height": height, "width": width, "shape": whole}


def _check_sides(spec: TensorSpec, bound: Mapping[str, Any]) -> None:
    """Refuse what is more likely a table of cepstra than a picture, unless its owner says so."""
    for axis, size in ((1, bound["height"]), (2, bound["width"])):
        if size < _LEAST_SIDE:
            raise BadModel(
                f"input {spec.name!r} is {_text(spec)}: axis {axis} is too small for a "
                "spectrogram; if it is one, name its frontend in a manifest"
            )


def _check_scaler(tensor: str, scaler: Mapping[str, Any], *, width: int) -> None:
    for key, value in scaler.items():
        if isinstance(value, Sequence) and len(value) != width:
            raise BadModel(f"{key} of input {tensor!r} has {len(value)} numbers, must have {width}")


def _bind_output(outputs: Sequence[TensorSpec], manifest: Mapping[str, Any]) -> dict[str, Any]:
    labels = list(manifest.get("labels", LABELS))
    named = manifest.get("output", outputs[0].name if len(outputs) == 1 else None)
    chosen = next((spec for spec in outputs if spec.name == named), None)
    if chosen is None:
        raise BadModel(f"the manifest must name one output of {names(outputs)}")
    if len(chosen.shape) != 2 or chosen.shape[1] != len(labels):
        raise BadModel(
            f"output {chosen.name!r} is {_text(chosen)}: axis 1 must be {len(labels)}, the labels; "
            "a model with other labels names them in a manifest"
        )
    return {"output": chosen.name, "labels": labels}


def _text(spec: TensorSpec) -> str:
    return "[" + ", ".join("n" if axis is None else str(axis) for axis in spec.shape) + "]"


def frontend(call: Call, binding: Mapping[str, Any]) -> Prepared:
    """Turn a song and its feature row into the model's tensors.

    The song is decoded only where a raw value is wanted that is not known, or the window is not.
    """
    row_is_given = bool(call.csv.strip())
    inputs = binding["inputs"]
    derived = [item for item in inputs if not (item["kind"] == "row" and row_is_given)]
    missing = {_value_name(item): item for item in derived if _value_name(item) not in call.known}
    window, made = call.window, {}
    if missing or window is None:
        waveform = decode(call.sound, ext=call.ext, rule=_WINDOW)
        window = _window(waveform)
        made = _raw_values(missing, waveform)
    tensors = _tensors({**call.known, **made}, call.csv if row_is_given else b"", inputs)
    return Prepared(tensors, {"window": window, "features": _source(inputs, row_is_given)}, made)


def windows(call: Call, binding: Mapping[str, Any], first: int, most: int) -> Prepared:
    """Turn some windows of a song into the model's tensors, one row each; nothing is kept."""
    inputs = binding["inputs"]
    wanted = {_value_name(item): item for item in inputs}
    part, count = decode_windows(call.sound, ext=call.ext, rule=_WINDOW, first=first, most=most)
    rows = [_tensors(_raw_values(wanted, waveform), b"", inputs) for waveform in part]
    tensors = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    whole = _window(part[0])
    if count > 1:
        whole |= {"start_s": 0.0, "stop_s": whole["of_s"]}
    return Prepared(
        tensors, {"window": whole, "features": _source(inputs, False), "count": count}, {}
    )


def _tensors(
    values: Mapping[str, NDArray[Any]], csv: bytes, inputs: Sequence[Mapping[str, Any]]
) -> Tensors:
    tensors: Tensors = {}
    for item in inputs:
        if item["kind"] == "picture":
            value = values[_value_name(item)]
        elif csv:
            value = parse_feature_row(csv, item["columns"])
        else:
            value = _columns(values[_value_name(item)], item)
        tensors[item["tensor"]] = _scaled(value, item).reshape(item["shape"])
    return tensors


def _source(inputs: Sequence[Mapping[str, Any]], row_is_given: bool) -> str | None:
    has_row = any(item["kind"] == "row" for item in inputs)
    return ("client" if row_is_given else "derived") if has_row else None


def _value_name(item: Mapping[str, Any]) -> str:
    name: str = item["frontend"]
    return name if item["kind"] == "row" else f"{name} {item['height']}x{item['width']}"


def _raw_values(
    missing: Mapping[str, Mapping[str, Any]], waveform: Waveform
) -> dict[str, NDArray[Any]]:
    sound = Analysis(waveform.y)
    made: dict[str, NDArray[Any]] = {}
    # rows first: what they leave with the sound makes the picture nearly free
    for name, item in sorted(missing.items(), key=lambda pair: pair[1]["kind"] != "row"):
        source = FRONTENDS[item["frontend"]]
        if isinstance(source, RowFrontend):
            made[name] = source.read(sound)
        else:
            made[name] = source.read(sound, item["height"], item["width"])
    return made


def _columns(row: NDArray[Any], item: Mapping[str, Any]) -> NDArray[np.float32]:
    source = FRONTENDS[item["frontend"]]
    if not isinstance(source, RowFrontend):
        raise BadModel(f"{item['frontend']} makes no feature row")
    named = dict(zip(source.names, row.tolist(), strict=True))
    return np.array([named[name] for name in item["columns"]], np.float32)


def _scaled(values: NDArray[np.float32], item: Mapping[str, Any]) -> NDArray[np.float32]:
    if "mean" not in item and "scale" not in item:
        return values
    mean, scale = np.asarray(item.get("mean", 0.0)), np.asarray(item.get("scale", 1.0))
    scaled: NDArray[np.float32] = ((values - mean) / scale).astype(np.float32)
    return scaled


def _window(waveform: Waveform) -> dict[str, Any]:
    window = waveform.window
    return {
        "start_s": round(window.start / SAMPLE_RATE_HZ, 3),
        "stop_s": round(window.stop / SAMPLE_RATE_HZ, 3),
        "of_s": round(waveform.source_samples / SAMPLE_RATE_HZ, 3),
        "repeated": window.is_repeated,
    }


def reply(outputs: Mapping[str, NDArray[Any]], binding: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the model's output into labelled probabilities.

    Raises
    ------
    BadModel
        If the model answered something that is no row of finite numbers.
    """
    row = outputs[binding["output"]]
    if row.shape != (1, len(binding["labels"])) or not np.isfinite(row).all():
        raise BadModel("the model answered no row of finite numbers for this sound")
    values = row[0].tolist()
    return {
        "labels": binding["labels"],
        "array": [values],
        "saturated": max(values) > _SATURATED and abs(sum(values) - 1) < _SUM_SLACK,
    }


GENRE = Task(
    contract=Contract(
        name="genre",
        sample_rate_hz=SAMPLE_RATE_HZ,
        min_seconds=_WINDOW.min_samples / SAMPLE_RATE_HZ,
        frontends=tuple(FRONTENDS),
        summary="Ten genre probabilities from a song and its row of 58 features.",
    ),
    bind=bind,
    frontend=frontend,
    decode=reply,
    windows=windows,
)
