# ruff: noqa: E501 - a table is read by its rows
"""Layers, what they are called on, and what comes out: `test_rules.py` holds both sides to it.

A case is a class, its configuration, the shapes of its inputs, of its outputs and of its weights.
The first axis is the batch.
"""

from typing import Any

Case = tuple[
    str, dict[str, Any], list[tuple[int, ...]], list[tuple[int, ...]], list[tuple[int, ...]]
]

_CONV = {"filters": 5, "kernel_size": 3}
_FIRST = {"data_format": "channels_first"}
_CELL = {"module": "keras.layers", "class_name": "LSTMCell", "config": {"units": 5}}
_GRU_CELL = {"module": "keras.layers", "class_name": "GRUCell", "config": {"units": 3}}
_SIMPLE_CELL = {"module": "keras.layers", "class_name": "SimpleRNNCell", "config": {"units": 3}}
_STACK = {
    "module": "keras.layers",
    "class_name": "StackedRNNCells",
    "config": {"cells": [_CELL, _GRU_CELL]},
}


def _inner(kind: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None}


CASES: list[Case] = [
    ("Dense", {"units": 7}, [(1, 4)], [(1, 7)], [(4, 7), (7,)]),
    ("Dense", {"units": 7, "use_bias": False}, [(1, 3, 4)], [(1, 3, 7)], [(4, 7)]),
    ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": [None, 6], "bias_axes": "d"}, [(1, 3, 4)], [(1, 3, 6)], [(4, 6), (6,)]),
    ("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 6}, [(1, 3, 3, 4)], [(1, 3, 3, 6)], [(4, 6)]),
    ("EinsumDense", {"equation": "ab,bcd->acd", "output_shape": [2, 3], "bias_axes": "cd"}, [(1, 4)], [(1, 2, 3)], [(4, 2, 3), (2, 3)]),
    ("EinsumDense", {"equation": "abc,cde->abde", "output_shape": [3, 2, 5], "bias_axes": "d"}, [(1, 3, 4)], [(1, 3, 2, 5)], [(4, 2, 5), (2, 1)]),
    ("EinsumDense", {"equation": "ab...,bc->ac...", "output_shape": [3], "bias_axes": "c"}, [(1, 4, 2)], [(1, 3, 2)], [(4, 3), (3, 1)]),
    ("Embedding", {"input_dim": 9, "output_dim": 3}, [(1, 5)], [(1, 5, 3)], [(9, 3)]),
    ("Conv1D", _CONV, [(1, 10, 2)], [(1, 8, 5)], [(3, 2, 5), (5,)]),
    ("Conv1D", {**_CONV, "padding": "causal", "strides": [2]}, [(1, 10, 2)], [(1, 5, 5)], [(3, 2, 5), (5,)]),
    ("Conv1D", {**_CONV, "dilation_rate": 2}, [(1, 10, 2)], [(1, 6, 5)], [(3, 2, 5), (5,)]),
    ("Conv2D", {**_CONV, "padding": "same", "strides": [2, 3]}, [(1, 10, 11, 2)], [(1, 5, 4, 5)], [(3, 3, 2, 5), (5,)]),
    ("Conv2D", {"filters": 6, "kernel_size": [3, 1], "groups": 2, "use_bias": False}, [(1, 10, 11, 4)], [(1, 8, 11, 6)], [(3, 1, 2, 6)]),
    ("Conv3D", _CONV, [(1, 5, 6, 7, 2)], [(1, 3, 4, 5, 5)], [(3, 3, 3, 2, 5), (5,)]),
    ("Conv1DTranspose", {**_CONV, "strides": 2}, [(1, 10, 2)], [(1, 21, 5)], [(3, 5, 2), (5,)]),
    ("Conv2DTranspose", {**_CONV, "strides": 2, "padding": "same"}, [(1, 5, 4, 2)], [(1, 10, 8, 5)], [(3, 3, 5, 2), (5,)]),
    ("Conv2DTranspose", {**_CONV, "strides": 2, "padding": "same", "output_padding": 1}, [(1, 5, 4, 2)], [(1, 10, 8, 5)], [(3, 3, 5, 2), (5,)]),
    ("Conv2DTranspose", {**_CONV, "strides": 2, "output_padding": [1, 0]}, [(1, 5, 4, 2)], [(1, 12, 9, 5)], [(3, 3, 5, 2), (5,)]),
    ("DepthwiseConv1D", {"kernel_size": 3}, [(1, 10, 2)], [(1, 8, 2)], [(3, 2, 1), (2,)]),
    ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2, "use_bias": False}, [(1, 10, 9, 2)], [(1, 8, 7, 4)], [(3, 3, 2, 2)]),
    ("SeparableConv1D", _CONV, [(1, 10, 2)], [(1, 8, 5)], [(3, 2, 1), (1, 2, 5), (5,)]),
    ("SeparableConv2D", {**_CONV, "depth_multiplier": 3, "padding": "same"}, [(1, 10, 9, 2)], [(1, 10, 9, 5)], [(3, 3, 2, 3), (1, 1, 6, 5), (5,)]),
    ("MaxPooling1D", {}, [(1, 10, 2)], [(1, 5, 2)], []),
    ("AveragePooling2D", {"pool_size": [3, 2], "padding": "same"}, [(1, 10, 9, 2)], [(1, 4, 5, 2)], []),
    ("MaxPooling3D", {"pool_size": 2, "strides": 1}, [(1, 5, 5, 5, 2)], [(1, 4, 4, 4, 2)], []),
    ("MaxPooling2D", {**_FIRST, "pool_size": 2}, [(1, 2, 10, 8)], [(1, 2, 5, 4)], []),
    ("GlobalMaxPooling1D", {}, [(1, 10, 2)], [(1, 2)], []),
    ("GlobalAveragePooling2D", {"keepdims": True}, [(1, 10, 8, 2)], [(1, 1, 1, 2)], []),
    ("GlobalAveragePooling2D", {**_FIRST, "keepdims": True}, [(1, 2, 10, 8)], [(1, 2, 1, 1)], []),
    ("AdaptiveAveragePooling2D", {"output_size": 3}, [(1, 10, 8, 2)], [(1, 3, 3, 2)], []),
    ("BatchNormalization", {}, [(1, 5, 4)], [(1, 5, 4)], [(4,)] * 4),
    ("BatchNormalization", {"axis": 1, "scale": False, "center": False}, [(1, 5, 4)], [(1, 5, 4)], [(5,)] * 2),
    ("LayerNormalization", {}, [(1, 5, 4)], [(1, 5, 4)], [(4,)] * 2),
    ("LayerNormalization", {"axis": [1, 2], "center": False}, [(1, 5, 4)], [(1, 5, 4)], [(5, 4)]),
    ("LayerNormalization", {"axis": [2, 1]}, [(1, 5, 4)], [(1, 5, 4)], [(5, 4)] * 2),
    ("GroupNormalization", {"groups": 2}, [(1, 5, 4)], [(1, 5, 4)], [(4,)] * 2),
    ("RMSNormalization", {}, [(1, 5, 4)], [(1, 5, 4)], [(4,)]),
    ("RMSNormalization", {"axis": [1, 2]}, [(1, 5, 4)], [(1, 5, 4)], [(5, 4)]),
    ("UnitNormalization", {}, [(1, 5, 4)], [(1, 5, 4)], []),
    ("Normalization", {}, [(1, 4)], [(1, 4)], [(4,), (4,), ()]),
    ("Normalization", {"axis": [2, 1]}, [(1, 5, 4)], [(1, 5, 4)], [(5, 4), (5, 4), ()]),
    ("Normalization", {"axis": None}, [(1, 4)], [(1, 4)], [(), (), ()]),
    ("Normalization", {"mean": [1.0] * 4, "variance": [1.0] * 4}, [(1, 4)], [(1, 4)], []),
    ("SpectralNormalization", {"layer": _inner("Dense", units=7)}, [(1, 4)], [(1, 7)], [(4, 7), (7,), (1, 7)]),
    ("PReLU", {"shared_axes": [1]}, [(1, 5, 4)], [(1, 5, 4)], [(1, 4)]),
    ("PReLU", {}, [(1, 5, 4)], [(1, 5, 4)], [(5, 4)]),
    ("Activation", {"activation": "relu"}, [(1, 4)], [(1, 4)], []),
    ("Softmax", {"axis": [1, 2]}, [(1, 5, 4)], [(1, 5, 4)], []),
    ("Rescaling", {"scale": 0.5, "offset": 1}, [(1, 4)], [(1, 4)], []),
    ("Rescaling", {"scale": [0.5, 1, 1, 2], "offset": [[0], [1], [1], [2], [2]]}, [(1, 5, 4)], [(1, 5, 4)], []),
    ("Flatten", {}, [(1, 5, 4)], [(1, 20)], []),
    ("Reshape", {"target_shape": [2, -1]}, [(1, 5, 4)], [(1, 2, 10)], []),
    ("Reshape", {"target_shape": [4, 5]}, [(1, 5, 4)], [(1, 4, 5)], []),
    ("Permute", {"dims": [2, 1]}, [(1, 5, 4)], [(1, 4, 5)], []),
    ("RepeatVector", {"n": 3}, [(1, 4)], [(1, 3, 4)], []),
    ("Cropping1D", {"cropping": [1, 2]}, [(1, 10, 2)], [(1, 7, 2)], []),
    ("Cropping2D", {"cropping": [[1, 2], [0, 3]]}, [(1, 10, 9, 2)], [(1, 7, 6, 2)], []),
    ("Cropping3D", {"cropping": 1}, [(1, 5, 5, 5, 2)], [(1, 3, 3, 3, 2)], []),
    ("ZeroPadding1D", {}, [(1, 10, 2)], [(1, 12, 2)], []),
    ("ZeroPadding2D", {"padding": [1, 2]}, [(1, 10, 9, 2)], [(1, 12, 13, 2)], []),
    ("UpSampling1D", {}, [(1, 10, 2)], [(1, 20, 2)], []),
    ("UpSampling2D", {"size": [2, 3]}, [(1, 10, 9, 2)], [(1, 20, 27, 2)], []),
    ("Resizing", {"height": 6, "width": 7}, [(1, 10, 9, 2)], [(1, 6, 7, 2)], []),
    ("CenterCrop", {"height": 6, "width": 7}, [(1, 10, 9, 2)], [(1, 6, 7, 2)], []),
    ("Add", {}, [(1, 5, 4), (1, 1, 4)], [(1, 5, 4)], []),
    ("Multiply", {}, [(1, 5, 4), (1, 5, 1), (1, 5, 4)], [(1, 5, 4)], []),
    ("Multiply", {}, [(1, 6, 5, 4), (1, 4)], [(1, 6, 5, 4)], []),
    ("Add", {}, [(1, 4), (1, 5, 4)], [(1, 5, 4)], []),
    ("Concatenate", {"axis": 1}, [(1, 5, 4), (1, 2, 4)], [(1, 7, 4)], []),
    ("Concatenate", {}, [(1, 5, 4), (1, 5, 3)], [(1, 5, 7)], []),
    ("Dot", {"axes": 1}, [(1, 4), (1, 4)], [(1, 1)], []),
    ("Dot", {"axes": [2, 1]}, [(1, 3, 4), (1, 4, 5)], [(1, 3, 5)], []),
    ("Attention", {"use_scale": True}, [(1, 5, 4), (1, 7, 4)], [(1, 5, 4)], [()]),
    ("Attention", {"score_mode": "concat"}, [(1, 5, 4), (1, 7, 4)], [(1, 5, 4)], [()]),
    ("AdditiveAttention", {}, [(1, 5, 4), (1, 7, 4)], [(1, 5, 4)], [(4,)]),
    ("LSTM", {"units": 3}, [(1, 5, 4)], [(1, 3)], [(4, 12), (3, 12), (12,)]),
    ("LSTM", {"units": 3, "return_sequences": True, "return_state": True}, [(1, 5, 4)], [(1, 5, 3), (1, 3), (1, 3)], [(4, 12), (3, 12), (12,)]),
    ("GRU", {"units": 3}, [(1, 5, 4)], [(1, 3)], [(4, 9), (3, 9), (2, 9)]),
    ("GRU", {"units": 3, "reset_after": False, "unroll": True}, [(1, 5, 4)], [(1, 3)], [(4, 9), (3, 9), (9,)]),
    ("SimpleRNN", {"units": 3, "use_bias": False}, [(1, 5, 4)], [(1, 3)], [(4, 3), (3, 3)]),
    ("RNN", {"cell": _CELL}, [(1, 6, 4)], [(1, 5)], [(4, 20), (5, 20), (20,)]),
    ("RNN", {"cell": _SIMPLE_CELL, "return_sequences": True}, [(1, 6, 4)], [(1, 6, 3)], [(4, 3), (3, 3), (3,)]),
    ("RNN", {"cell": _STACK}, [(1, 6, 4)], [(1, 3)], [(4, 20), (5, 20), (20,), (5, 9), (3, 9), (2, 9)]),
    ("ConvLSTM1D", {"filters": 2, "kernel_size": 3}, [(1, 4, 8, 1)], [(1, 6, 2)], [(3, 1, 8), (3, 2, 8), (8,)]),
    ("ConvLSTM2D", {"filters": 2, "kernel_size": 3, "padding": "same", "return_sequences": True}, [(1, 4, 8, 7, 1)], [(1, 4, 8, 7, 2)], [(3, 3, 1, 8), (3, 3, 2, 8), (8,)]),
    ("ConvLSTM2D", {"filters": 2, "kernel_size": 3, "return_state": True, "use_bias": False}, [(1, 4, 8, 7, 1)], [(1, 6, 5, 2)] * 3, [(3, 3, 1, 8), (3, 3, 2, 8)]),
    ("Bidirectional", {"layer": _inner("LSTM", units=3)}, [(1, 5, 4)], [(1, 6)], [(4, 12), (3, 12), (12,)] * 2),
    ("Bidirectional", {"layer": _inner("GRU", units=3), "merge_mode": "sum"}, [(1, 5, 4)], [(1, 3)], [(4, 9), (3, 9), (2, 9)] * 2),
    ("Bidirectional", {"layer": _inner("SimpleRNN", units=3), "merge_mode": None}, [(1, 5, 4)], [(1, 3), (1, 3)], [(4, 3), (3, 3), (3,)] * 2),
    ("Bidirectional", {"layer": _inner("LSTM", units=3), "backward_layer": _inner("LSTM", units=3, go_backwards=True), "merge_mode": "mul"}, [(1, 5, 4)], [(1, 3)], [(4, 12), (3, 12), (12,)] * 2),
    ("TimeDistributed", {"layer": _inner("Dense", units=3)}, [(1, 5, 4)], [(1, 5, 3)], [(4, 3), (3,)]),
    ("MelSpectrogram", {}, [(1, 16_000)], [(1, 128, 32)], []),
    ("STFTSpectrogram", {"frame_length": 256, "frame_step": 128, "fft_length": 512}, [(1, 16_000, 1)], [(1, 124, 257)], [(256, 1, 257)] * 2),
    ("STFTSpectrogram", {"frame_length": 256, "padding": "same", "mode": "real", "expand_dims": True}, [(1, 16_000, 2)], [(1, 125, 129, 2)], [(256, 1, 129)]),
    ("STFTSpectrogram", {"frame_length": 200, "mode": "stft"}, [(1, 16_000, 2)], [(1, 159, 516)], [(200, 1, 129)] * 2),
]  # fmt: skip
# on the query, the value and the key
HEADS: list[Case] = [
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "value_dim": None}, [(1, 5, 4), (1, 5, 4)], [(1, 5, 4)], [(4, 2, 3)] * 3 + [(2, 3)] * 3 + [(2, 3, 4), (4,)]),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, [(1, 5, 4), (1, 7, 6)], [(1, 5, 4)], [(4, 2, 3), (6, 2, 3), (6, 2, 3), (2, 3, 4), (2, 3), (2, 3), (2, 3), (4,)]),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "value_dim": 5, "output_shape": 8, "use_bias": False}, [(1, 5, 4), (1, 7, 6), (1, 7, 9)], [(1, 5, 8)], [(4, 2, 3), (9, 2, 3), (6, 2, 5), (2, 5, 8)]),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "attention_axes": [2], "use_bias": False}, [(1, 5, 4, 6), (1, 5, 4, 6)], [(1, 5, 4, 6)], [(6, 2, 3), (6, 2, 3), (6, 2, 3), (2, 3, 6)]),
]  # fmt: skip
# channels first, which Keras runs on graphics cards alone
FIRST: list[Case] = [
    ("Conv2D", {**_CONV, **_FIRST}, [(1, 2, 10, 9)], [(1, 5, 8, 7)], [(3, 3, 2, 5), (5,)]),
    ("ConvLSTM2D", {"filters": 2, "kernel_size": 3, **_FIRST}, [(1, 4, 1, 8, 7)], [(1, 2, 6, 5)], [(3, 3, 1, 8), (3, 3, 2, 8), (8,)]),
    ("STFTSpectrogram", {"frame_length": 256, **_FIRST}, [(1, 2, 16_000)], [(1, 258, 124)], [(256, 1, 129)] * 2),
    ("STFTSpectrogram", {"frame_length": 256, "expand_dims": True, **_FIRST}, [(1, 2, 16_000)], [(1, 2, 124, 129)], [(256, 1, 129)] * 2),
]  # fmt: skip
# operations of keras.ops: their class, configuration, inputs and output
OPERATIONS: list[Case] = [
    ("Add", {}, [(1, 5, 4), (4,)], [(1, 5, 4)], []),
    ("Matmul", {}, [(1, 5, 4), (1, 4, 3)], [(1, 5, 3)], []),
    ("Matmul", {}, [(1, 2, 5, 4), (4, 3)], [(1, 2, 5, 3)], []),
    ("Mean", {"axis": [1], "keepdims": True}, [(1, 5, 4)], [(1, 1, 4)], []),
    ("Mean", {"axis": 0, "keepdims": True}, [(1, 5, 4)], [(1, 5, 4)], []),
    ("Sum", {"axis": -1}, [(1, 5, 4)], [(1, 5)], []),
    ("Exp", {}, [(1, 4)], [(1, 4)], []),
    ("Relu", {}, [(1, 4)], [(1, 4)], []),
    ("Softmax", {"axis": -1}, [(1, 5, 4)], [(1, 5, 4)], []),
    ("LeakyRelu", {"negative_slope": 0.2}, [(1, 4)], [(1, 4)], []),
    ("Gelu", {"approximate": True}, [(1, 4)], [(1, 4)], []),
    ("Erf", {}, [(1, 4)], [(1, 4)], []),
    ("Round", {"decimals": 1}, [(1, 4)], [(1, 4)], []),
    ("Roll", {"shift": 1, "axis": 1}, [(1, 5, 4)], [(1, 5, 4)], []),
    ("Cumsum", {"axis": 1}, [(1, 5, 4)], [(1, 5, 4)], []),
    ("Sort", {}, [(1, 5, 4)], [(1, 5, 4)], []),
    ("ZerosLike", {}, [(1, 5, 4)], [(1, 5, 4)], []),
    ("OnesLike", {}, [(1, 5, 4)], [(1, 5, 4)], []),
    ("Argmax", {"axis": -1, "keepdims": True}, [(1, 5, 4)], [(1, 5, 1)], []),
    ("Any", {"axis": [1]}, [(1, 5, 4)], [(1, 4)], []),
    ("Logsumexp", {"axis": 1}, [(1, 5, 4)], [(1, 4)], []),
    ("Where", {}, [(1, 5, 4), (4,), (1, 1, 4)], [(1, 5, 4)], []),
    ("Arctan2", {}, [(1, 5, 4), (4,)], [(1, 5, 4)], []),
    ("Swapaxes", {"axis1": 1, "axis2": -1}, [(1, 5, 4)], [(1, 4, 5)], []),
    ("Clip", {"x_min": 0, "x_max": 1}, [(1, 4)], [(1, 4)], []),
    ("Reshape", {"newshape": [-1, 10, 2]}, [(1, 5, 4)], [(1, 10, 2)], []),
    ("Transpose", {"axes": [0, 2, 1]}, [(1, 5, 4)], [(1, 4, 5)], []),
    ("ExpandDims", {"axis": -1}, [(1, 5)], [(1, 5, 1)], []),
    ("ExpandDims", {"axis": [-2, -1]}, [(1, 5)], [(1, 5, 1, 1)], []),
    ("ExpandDims", {"axis": [1, -1]}, [(1, 5)], [(1, 1, 5, 1)], []),
    ("Squeeze", {"axis": 2}, [(1, 5, 1)], [(1, 5)], []),
    ("Concatenate", {"axis": 1}, [(1, 5), (1, 3)], [(1, 8)], []),
    ("Stack", {"axis": 1}, [(1, 5), (1, 5)], [(1, 2, 5)], []),
]  # fmt: skip
