"""The operations of ``keras.ops`` that a functional model may have between its layers."""

_UNARY = (
    "Absolute Abs Negative Square Sqrt Exp Expm1 Log Log10 Log1p Log2 Sin Cos Tan Tanh Sign Floor "
    "Ceil Round Reciprocal Isnan Isfinite NanToNum LogicalNot Flip Roll Sort Cumsum Cumprod "
    "ZerosLike OnesLike"
)
_ACTIVATIONS = (
    "Relu Relu6 Sigmoid Silu Softplus Softsign Gelu LeakyRelu Elu Selu HardSigmoid HardSilu "
    "LogSigmoid Softmax LogSoftmax"
)
_OF_MATH = "Erf Rsqrt"
_BINARY = (
    "Add Subtract Multiply Divide TrueDivide DivideNoNan FloorDivide Power Maximum Minimum Mod "
    "Arctan2 Greater GreaterEqual Less LessEqual Equal NotEqual LogicalAnd LogicalOr Matmul"
)
_REDUCTIONS = "Mean Max Min Sum Prod Var Std Any All Argmax Argmin Logsumexp"
UNARY = frozenset(f"{_UNARY} {_ACTIVATIONS} {_OF_MATH}".split())
BINARY = frozenset(_BINARY.split())
REDUCTIONS = frozenset(_REDUCTIONS.split())
_KEYS = {
    **dict.fromkeys((*UNARY, *BINARY), ""),
    **dict.fromkeys(REDUCTIONS, "axis keepdims initial"),
    **dict.fromkeys(("Flip", "Sort", "Softmax", "LogSoftmax"), "axis"),
    **dict.fromkeys(("Cumsum", "Cumprod"), "axis"),
    "NanToNum": "nan posinf neginf",
    "Round": "decimals",
    "Roll": "shift axis",
    "Gelu": "approximate",
    "LeakyRelu": "negative_slope",
    "Elu": "alpha",
    "Clip": "x_min x_max",
    "Where": "",
    "Reshape": "newshape",
    "Transpose": "axes",
    "Swapaxes": "axis1 axis2",
    "ExpandDims": "axis",
    "Squeeze": "axis",
    "Concatenate": "axis",
    "Stack": "axis",
    "GetItem": "",
}
OPERATIONS = {
    name: frozenset({"name", "trainable", "dtype", *keys.split()}) for name, keys in _KEYS.items()
}
_MODULES = {
    **dict.fromkeys(_ACTIVATIONS.split(), "keras.src.ops.nn"),
    **dict.fromkeys((*_OF_MATH.split(), "Logsumexp"), "keras.src.ops.math"),
}
MODULE_OF = {name: _MODULES.get(name, "keras.src.ops.numpy") for name in OPERATIONS}
