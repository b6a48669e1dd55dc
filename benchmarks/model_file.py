"""Make the model of the benchmarks: `python -m benchmarks.model_file FOLDER`.

A picture of 235 x 335 x 1 goes through four blocks of convolution, pooling and batch normalization,
a row of 58 features through two dense layers, both joined to ten probabilities: 2.5 million
parameters, 10 MB, about 0.9 billion multiplications a row. Its weights are random: time does not
depend on them. Loads TensorFlow, so others start it as a process of its own.
"""

import sys
from pathlib import Path

import keras
from keras import layers

from benchmarks.bodies import PICTURE, PICTURE_SHAPE, ROW, ROW_SHAPE
from server.inference.convert import to_onnx
from server.inference.keras_engine import KerasEngine
from server.inference.keras_model import load

_FILTERS = (32, 64, 128, 128)


def main(folder: Path) -> None:
    """Write the model as its owner has it, and as ONNX Runtime runs it."""
    keras.utils.set_random_seed(7)
    model = _model()
    model.save(folder / "model.h5")
    loaded = load(folder / "model.h5")
    (folder / "model.onnx").write_bytes(to_onnx(KerasEngine(loaded), loaded.signature))


def _model() -> keras.Model:
    picture = keras.Input(PICTURE_SHAPE, name=PICTURE)
    row = keras.Input(ROW_SHAPE, name=ROW)
    x = picture
    for filters in _FILTERS:
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.BatchNormalization()(layers.MaxPooling2D(2)(x))
    x = layers.Dense(64, activation="relu")(layers.Dropout(0.3)(layers.Flatten()(x)))
    y = layers.Dense(64, activation="relu")(row)
    y = layers.Dense(32, activation="relu")(y)
    joined = layers.Dense(64, activation="relu")(layers.Concatenate()([x, y]))
    genre = layers.Dense(10, activation="softmax", name="genre")(joined)
    return keras.Model([picture, row], genre)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
