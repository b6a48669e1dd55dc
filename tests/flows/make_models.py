"""Build tiny Keras models and what they answer: `python -m tests.flows.make_models FOLDER`.

Run as a process of its own, because TensorFlow has no place in the tests' process. The weights are
random but seeded; what they answer to the song of `sounds.py` is written to `expected.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from server.audio.feature_names import FEATURE_NAMES
from server.audio.frontends import FRONTENDS, PictureFrontend, RowFrontend
from tests.flows import sounds
from tests.flows.tensors import FRAMES, TOKENS

LABELS_8 = ["ambient", "blues", "dub", "folk", "jazz", "metal", "pop", "ska"]
Values = NDArray[np.float32]


def main(folder: Path) -> None:
    """Build every model and write its answers."""
    keras.utils.set_random_seed(58)
    y = sounds.song()
    row = _row(y)
    mean, scale = 0.8 * row, (2 * np.abs(row) + _least_scale()).astype(np.float32)
    head = {"mean": mean, "variance": scale**2}
    expected: dict[str, list[float]] = {}

    def save(name: str, model: Any, *inputs: NDArray[Any], ending: str = "h5") -> None:
        path = folder / f"{name}.{ending}"
        model.save(path)
        if inputs:
            loaded = keras.saving.load_model(path, compile=False)
            fed: Any = [value[None] for value in inputs]
            answer = loaded(fed if len(fed) > 1 else fed[0], training=False)
            expected[name] = np.asarray(answer)[0].tolist()

    for name, height, width in (("two", 235, 335), ("two_200", 200, 335), ("two_217", 217, 334)):
        model = _model(features=58, picture=(height, width, 1), head=head)
        save(name, model, row, _picture(y, height, width))
        if name == "two":
            save("two_keras", model, row, _picture(y, height, width), ending="keras")
    save("row", _model(features=58, head=head), row)
    save("row_57", _model(features=57, head={k: v[:57] for k, v in head.items()}), row[:57])
    save("labels_8", _model(features=58, head=head, labels=8), row)
    unscaled = _model(features=58, picture=(235, 335, 1), rescale=False)
    scaled = ((row - mean) / scale).astype(np.float32)
    save("unscaled", unscaled, scaled, _picture(y, 235, 335) / np.float32(255))
    save("sequential", _sequential(head), row)
    save("half", _half(head), row, ending="keras")
    save("batch_32", _fixed_batch())
    save("stateful", _stateful())
    save("two_answers", _two_answers(), ending="keras")
    save("row_60", _model(features=60))
    save("channels_3", _model(picture=(235, 335, 3)))
    save("two_rows", _two_rows())
    save("frames", _frames(), FRAMES)
    save("tokens", _tokens(), TOKENS)
    save("echo", _echo(), ending="keras")
    save("wide", _wide(), ending="keras")
    save("narrow", _narrow(), ending="keras")
    save("pix2pix", _pix2pix(), ending="keras")
    lambda_input = keras.Input((58,), name="features")
    doubled = keras.layers.Lambda(lambda x: x * 2)(lambda_input)
    save("lambda", keras.Model(lambda_input, keras.layers.Dense(10)(doubled)), ending="keras")
    _model(features=58).save_weights(folder / "only.weights.h5")
    told = {
        "answers": expected,
        "row": row.tolist(),
        "mean": mean.tolist(),
        "scale": scale.tolist(),
    }
    (folder / "expected.json").write_text(json.dumps(told))


def _model(
    *,
    features: int = 0,
    picture: tuple[int, int, int] | None = None,
    head: dict[str, Values] | None = None,
    labels: int = 10,
    rescale: bool = True,
) -> Any:
    """Build a model that answers far from 0 and 1 when it is fed as it expects."""
    layers = keras.layers
    inputs, parts = [], []
    if features:
        inputs.append(keras.Input((features,), name="features"))
        x = layers.Normalization(**head)(inputs[-1]) if head else inputs[-1]
        parts.append(layers.Dense(16, activation="tanh" if rescale else None)(x))
    if picture:
        inputs.append(keras.Input(picture, name="spectrogram"))
        x = layers.Rescaling(1 / 255)(inputs[-1]) if rescale else inputs[-1]
        x = layers.AveragePooling2D(16)(x)
        x = layers.Conv2D(4, 3, activation="tanh" if rescale else None)(x)
        parts.append(layers.Dense(16, activation="tanh" if rescale else None)(layers.Flatten()(x)))
    joined = layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    wide = keras.initializers.RandomNormal(stddev=0.8)  # one class stands out from the others
    genre = layers.Dense(labels, activation="softmax", kernel_initializer=wide, name="genre")
    return keras.Model(inputs, genre(joined))


def _least_scale() -> Values:
    """Return scales below which a column would tell an MP3 from its original."""
    least = [100.0 if name.startswith("mfcc") else 1e-2 for name in FEATURE_NAMES]
    return np.array(least, np.float32)


def _two_rows() -> Any:
    one, two = keras.Input((58,), name="one"), keras.Input((58,), name="two")
    joined = keras.layers.Concatenate()([one, two])
    return keras.Model([one, two], keras.layers.Dense(10, activation="softmax")(joined))


def _frames() -> Any:
    """Build a model that leaves the length of its input open."""
    frames = keras.Input((None, 4), name="frames")
    x = keras.layers.Dense(6, activation="tanh")(frames)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(frames, keras.layers.Dense(3, name="scores")(x))


def _tokens() -> Any:
    """Build a model of whole numbers below 10."""
    tokens = keras.Input((None,), name="tokens", dtype="int32")
    x = keras.layers.Embedding(10, 4)(tokens)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, keras.layers.Dense(2, name="scores")(x))


def _wide() -> Any:
    """Build a model that answers 512 numbers for each of as many as its caller sends."""
    x = keras.Input((None, 1), name="x")
    return keras.Model(x, keras.layers.Dense(512, name="y")(x))


def _echo() -> Any:
    """Build a model that answers what it is fed."""
    row, picture = keras.Input((58,), name="features"), keras.Input((32, 40, 1), name="spectrogram")
    joined = keras.layers.Concatenate(name="fed")([row, keras.layers.Flatten()(picture)])
    return keras.Model([row, picture], joined)


def _narrow() -> Any:
    """Build a model of bytes and switches, which answers the sum of each."""
    bytes_ = keras.Input((3,), name="bytes", dtype="uint8")
    switches = keras.Input((3,), name="switches", dtype="bool")
    as_floats = [keras.layers.Rescaling(1.0)(x) for x in (bytes_, switches)]
    sums = [keras.ops.sum(x, axis=1, keepdims=True) for x in as_floats]
    return keras.Model([bytes_, switches], keras.layers.Concatenate(name="sums")(sums))


def _pix2pix() -> Any:
    """Build a small generator of pictures, as docs/tasks/spec2spec.md says to."""
    layers = keras.layers
    x = inputs = keras.Input((256, 256, 1), name="input_image")
    skips = []
    for width in (2, 4, 4):
        x = layers.Conv2D(width, 4, 2, "same", use_bias=False)(x)
        x = layers.GroupNormalization(groups=-1, epsilon=1e-3)(x)
        x = layers.LeakyReLU(negative_slope=0.3)(x)
        skips.append(x)
    for width, skip in ((4, skips[1]), (2, skips[0])):
        x = layers.Conv2DTranspose(width, 4, 2, "same", use_bias=False)(x)
        x = layers.GroupNormalization(groups=-1, epsilon=1e-3)(x)
        x = layers.Concatenate()([layers.ReLU()(x), skip])
    made = layers.Conv2DTranspose(1, 4, 2, "same", activation="tanh", name="mel")(x)
    return keras.Model(inputs, made)


def _sequential(head: dict[str, Values]) -> Any:
    layers = [keras.layers.Normalization(**head), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential(layers)
    model.build((None, 58))
    return model


def _half(head: dict[str, Values]) -> Any:
    features = keras.Input((58,), name="features")
    scaled = keras.layers.Normalization(**head)(features)
    dense = keras.layers.Dense(10, activation="softmax", dtype="mixed_float16")
    return keras.Model(features, dense(scaled))


def _fixed_batch() -> Any:
    features = keras.Input(batch_shape=(32, 58), name="features")
    return keras.Model(features, keras.layers.Dense(10, activation="softmax")(features))


def _stateful() -> Any:
    features = keras.Input(batch_shape=(1, 58), name="features")
    x = keras.layers.Reshape((58, 1))(features)
    x = keras.layers.LSTM(2, stateful=True, name="memory")(x)
    return keras.Model(features, keras.layers.Dense(10, activation="softmax")(x))


def _two_answers() -> Any:
    """Build a model that gives two rows for each."""
    features = keras.Input((58,), name="features")
    x = keras.layers.Dense(20)(features)
    return keras.Model(features, keras.ops.reshape(x, (-1, 10)))


def _row(y: sounds.Samples) -> Values:
    frontend = FRONTENDS["gtzan-58@1"]
    assert isinstance(frontend, RowFrontend)
    return frontend.compute(y).astype(np.float32)


def _picture(y: sounds.Samples, height: int, width: int) -> Values:
    frontend = FRONTENDS["kaggle-gtzan@1"]
    assert isinstance(frontend, PictureFrontend)
    return frontend.compute(y, height, width)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
