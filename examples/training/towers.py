"""The layers of the demo model, all of them standard ones.

::

    features (58) ---- cut `length`, normalise, squash ----+
                                                           +--> tower 1 .. k --> average --> genre
    spectrogram ------ cut the frame, scale, pool ---------+
    (235, 335, 1), 0..255                                       (10)

What stands before the towers is the *front*. It learns nothing, so it is computed once, and each
tower is trained alone on what comes out of it. The towers have the same form and other random
numbers. The finished model is one flat graph: no model inside a model, no layer of our own.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from training.gtzan import GENRES

FEATURES = 58
PICTURE = (235, 335, 1)

# Rows from 216 and columns from 333 on can be white frame, in the PNGs or in the server's drawing.
_FRAME = ((0, 235 - 216), (0, 335 - 333))
# A mel band is 1.7 rows high. The server's drawing and the PNGs agree in blocks, not in single
# pixels; columns (90 ms) are kept apart all the same, rhythm was worth more by validation.
_BLOCK = (6, 1)
# Beyond about this many standard deviations it does not matter how far out a feature is.
_SQUASH = 2.0

# Keras has no types; these say what is meant.
Model = Any
Tensor = Any


def build_front(features: NDArray[np.float32]) -> Model:
    """Build what all towers share.

    Parameters
    ----------
    features : np.ndarray, shape (n, 58), float32
        Mean and variance are taken from these rows.

    Returns
    -------
    keras.Model
        Inputs `features` (58) and `spectrogram` (235, 335, 1), 0..255; outputs (57) numbers within
        +-2 and a picture (36, 333, 1) within +-1.
    """
    row_input = keras.Input((FEATURES,), name="features")
    picture_input = keras.Input(PICTURE, name="spectrogram")
    scale = layers.Normalization(name="feature_scale")
    scale.adapt(features[:, 1:])
    # A cut, not a weight of zero: even a length that is infinite or no number changes nothing.
    row = layers.Reshape((FEATURES, 1), name="feature_column")(row_input)
    row = layers.Cropping1D((1, 0), name="without_length")(row)
    row = scale(layers.Flatten(name="feature_row")(row))
    row = layers.Rescaling(1 / _SQUASH, name="feature_squash_in")(row)
    row = layers.Activation("tanh", name="feature_squash")(row)
    row = layers.Rescaling(_SQUASH, name="feature_squash_out")(row)
    picture = layers.Cropping2D(_FRAME, name="without_frame")(picture_input)
    picture = layers.Rescaling(1 / 127.5, offset=-1, name="picture_scale")(picture)
    picture = layers.AveragePooling2D(_BLOCK, name="picture_blocks")(picture)
    return keras.Model([row_input, picture_input], [row, picture], name="front")


def build_tower(front: Model) -> Model:
    """Build one tower alone, to be trained on the front's outputs.

    Parameters
    ----------
    front : keras.Model
        As made by `build_front`.

    Returns
    -------
    keras.Model
        From the front's two outputs to ten probabilities.
    """
    inputs = [keras.Input(output.shape[1:]) for output in front.outputs]
    return keras.Model(inputs, _tower(*inputs, name="tower"), name="tower")


def join(front: Model, towers: Sequence[Model]) -> Model:
    """Make one model of the front and trained towers.

    Parameters
    ----------
    front : keras.Model
        As made by `build_front`.
    towers : sequence of keras.Model
        As made by `build_tower`, and trained.

    Returns
    -------
    keras.Model
        Inputs `features` and `spectrogram`; output `genre`, the mean of the towers' probabilities.
    """
    answers = []
    for k, tower in enumerate(towers, 1):
        answer = _tower(*front.outputs, name=f"tower{k}")
        keras.Model(front.outputs, answer).set_weights(tower.get_weights())
        answers.append(answer)
    if len(answers) == 1:
        genre = layers.Identity(name="genre")(answers[0])
    else:
        genre = layers.Average(name="genre")(answers)
    return keras.Model(front.inputs, genre, name="genre_demo")


def _tower(row: Tensor, picture: Tensor, *, name: str) -> Tensor:
    row = _row_branch(row, name=name)
    picture = _picture_branch(picture, name=name)
    both = layers.Concatenate(name=f"{name}_both")([row, picture])
    both = layers.Dropout(0.2, name=f"{name}_both_drop")(both)
    return layers.Dense(len(GENRES), activation="softmax", name=f"{name}_genre")(both)


def _row_branch(row: Tensor, *, name: str) -> Tensor:
    for k, (units, drop) in enumerate(((96, 0.5), (48, 0.3)), 1):
        l2 = keras.regularizers.L2(1e-3)
        dense = layers.Dense(units, activation="relu", kernel_regularizer=l2, name=f"{name}_row{k}")
        row = layers.Dropout(drop, name=f"{name}_row{k}_drop")(dense(row))
    return row


def _picture_branch(picture: Tensor, *, name: str) -> Tensor:
    for k, channels in enumerate((16, 32, 64, 96), 1):
        block = f"{name}_block{k}"
        convolve = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{block}_conv")
        # The default momentum of 0.99 is too slow for 14 steps an epoch.
        norm = layers.BatchNormalization(momentum=0.9, name=f"{block}_norm")
        picture = layers.ReLU(name=f"{block}_relu")(norm(convolve(picture)))
        picture = layers.MaxPool2D(2, name=f"{block}_pool")(picture)
    mean = layers.GlobalAveragePooling2D(name=f"{name}_mean")(picture)
    peak = layers.GlobalMaxPooling2D(name=f"{name}_peak")(picture)
    picture = layers.Concatenate(name=f"{name}_picture")([mean, peak])
    picture = layers.Dropout(0.3, name=f"{name}_picture_drop")(picture)
    return layers.Dense(48, activation="relu", name=f"{name}_picture_dense")(picture)
