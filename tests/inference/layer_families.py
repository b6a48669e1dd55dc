"""Small models of the layer families that people train, with random weights: name to builder."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

Build = Callable[[], Any]
keras.utils.set_random_seed(58)  # before the first layer: each draws its own seed when it is made
_PICTURE, _STEPS = (24, 20, 1), (12, 6)


def _picture(*stack: Any) -> Build:
    return lambda: keras.Sequential(
        [keras.Input(_PICTURE), *stack, layers.Flatten(), layers.Dense(4, activation="softmax")]
    )


def _steps(*stack: Any) -> Build:
    return lambda: keras.Sequential([keras.Input(_STEPS), *stack])


def _attention() -> Any:
    steps = keras.Input(_STEPS)
    mixed = layers.Attention()([steps, steps])
    heads = layers.MultiHeadAttention(num_heads=2, key_dim=3)(steps, steps)
    joined = layers.LayerNormalization()(layers.Add()([mixed, heads, steps]))
    return keras.Model(steps, layers.Dense(3, activation="softmax")(layers.Flatten()(joined)))


def _masked() -> Any:
    words = keras.Input((9,), dtype="int32")
    embedded = layers.Embedding(2, 5, mask_zero=True)(words)
    return keras.Model(words, layers.LSTM(4)(embedded))


def _two_outputs() -> Any:
    features, unused = keras.Input((6,), name="features"), keras.Input((3,), name="unused")
    hidden = layers.Dense(5, activation="gelu")(features)
    outputs = [layers.Dense(2, name="one")(hidden), features]
    return keras.Model([features, unused], outputs)


def _by_name() -> Any:
    inputs = {"b": keras.Input((4,), name="b"), "a": keras.Input((4,), name="a")}
    return keras.Model(inputs, layers.Dense(2)(layers.Subtract()([inputs["a"], inputs["b"]])))


def _open_time() -> Any:
    steps = keras.Input((None, 6))
    hidden = layers.Conv1D(4, 3, padding="causal", activation="relu")(steps)
    return keras.Model(steps, layers.Dense(3)(layers.GlobalAveragePooling1D()(hidden)))


def _over_the_batch() -> Any:
    features = keras.Input((6,))
    centred = features - keras.ops.mean(features, axis=0, keepdims=True)
    return keras.Model(features, layers.Dense(3)(centred))


def _batch_of_one() -> Any:
    features = keras.Input(batch_shape=(1, 6))
    return keras.Model(features, layers.Dense(3, activation="tanh")(features))


FAMILIES: dict[str, Build] = {
    "conv2d": _picture(
        layers.Conv2D(4, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(2),
        layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False),
        layers.LeakyReLU(0.2),
        layers.AveragePooling2D(2),
    ),
    "dilated": _picture(layers.Conv2D(3, 3, dilation_rate=2, activation="elu")),
    "depthwise": _picture(layers.DepthwiseConv2D(3, depth_multiplier=2), layers.PReLU()),
    "separable": _picture(layers.SeparableConv2D(4, 3, padding="same", activation="selu")),
    "transposed": _picture(layers.Conv2DTranspose(3, 3, strides=2, padding="same")),
    "pictures": _picture(
        layers.Rescaling(1 / 255),
        layers.Resizing(12, 10),
        layers.ZeroPadding2D(1),
        layers.Cropping2D(1),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.SpatialDropout2D(0.2),
    ),
    "normalization": lambda: keras.Sequential(
        [keras.Input((6,)), layers.Normalization(mean=[5.0] * 6, variance=[4.0] * 6)]
    ),
    "group-normalization": _picture(layers.Conv2D(4, 3), layers.GroupNormalization(2)),
    "unit-normalization": _steps(layers.UnitNormalization(), layers.LayerNormalization()),
    "conv1d": _steps(
        layers.Conv1D(4, 3, padding="causal", activation="swish"),
        layers.MaxPooling1D(2),
        layers.GlobalMaxPooling1D(),
    ),
    "separable1d": _steps(layers.SeparableConv1D(4, 3), layers.GlobalAveragePooling1D()),
    "lstm": _steps(layers.LSTM(5, return_sequences=True), layers.LSTM(4)),
    "gru": _steps(layers.GRU(5, return_sequences=True), layers.GRU(4, reset_after=False)),
    "simple-rnn": _steps(layers.SimpleRNN(5)),
    "cell": _steps(layers.RNN(layers.LSTMCell(4))),
    "cells": _steps(layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)])),
    "spectral": _picture(layers.SpectralNormalization(layers.Conv2D(3, 3))),
    "bidirectional": _steps(layers.Bidirectional(layers.LSTM(4)), layers.Dense(3)),
    "time-distributed": _steps(layers.TimeDistributed(layers.Dense(3)), layers.Flatten()),
    "conv-lstm": lambda: keras.Sequential(
        [keras.Input((3, 8, 8, 1)), layers.ConvLSTM2D(2, 3), layers.GlobalAveragePooling2D()]
    ),
    "shapes": _steps(
        layers.Permute((2, 1)), layers.Reshape((9, 8)), layers.Flatten(), layers.RepeatVector(2)
    ),
    "attention": _attention,
    "masked-words": _masked,
    "two-outputs": _two_outputs,
    "inputs-by-name": _by_name,
    "open-time": _open_time,
    "over-the-batch": _over_the_batch,
    "batch-of-one": _batch_of_one,
    "half": lambda: keras.Sequential(
        [keras.Input((6,)), layers.Dense(3, dtype="mixed_float16", activation="softmax")]
    ),
    "double": lambda: keras.Sequential(
        [keras.Input((6,), dtype="float64"), layers.Dense(3, dtype="float64")]
    ),
}
