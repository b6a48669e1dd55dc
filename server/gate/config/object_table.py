"""What layers are configured with: initializers, regularizers, constraints, activations, dtypes."""

_FUNCTIONS = (
    "relu leaky_relu relu6 softmax celu elu selu softplus softsign squareplus soft_shrink "
    "sparse_plus silu swish gelu tanh tanh_shrink sigmoid sparse_sigmoid exponential "
    "hard_sigmoid hard_silu hard_swish hard_tanh hard_shrink linear mish log_softmax "
    "log_sigmoid sparsemax"
)
ACTIVATIONS = frozenset(_FUNCTIONS.split())
ACTIVATION_MODULES = frozenset({"builtins", "keras.activations", "keras.src.activations"})
ACTIVATION_MODULES |= {"keras.src.activations.activations", "keras.activations.activations"}
ACTIVATION_LAYERS = frozenset({"ReLU", "LeakyReLU", "ELU", "Softmax", "Activation"})

_SEEDED = "seed dtype"
_AXES = f"{_SEEDED} input_axes output_axes"
INITIALIZERS = {
    name: frozenset(keys.split())
    for name, keys in {
        "Zeros": "dtype",
        "Ones": "dtype",
        "Constant": "value dtype",
        "Identity": "gain dtype",
        "IdentityInitializer": "gain dtype",
        "Orthogonal": f"gain {_SEEDED}",
        "OrthogonalInitializer": f"gain {_SEEDED}",
        "RandomNormal": f"mean stddev {_SEEDED}",
        "TruncatedNormal": f"mean stddev {_SEEDED}",
        "RandomUniform": f"minval maxval {_SEEDED}",
        "VarianceScaling": f"scale mode distribution {_AXES}",
        **dict.fromkeys(
            (
                *("GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal"),
                *("LecunUniform", "LecunNormal"),
            ),
            f"scale mode distribution {_AXES}",
        ),
    }.items()
}
REGULARIZERS = {
    "L1": frozenset({"l1"}),
    "L2": frozenset({"l2"}),
    "L1L2": frozenset({"l1", "l2"}),
    "OrthogonalRegularizer": frozenset({"factor", "mode"}),
}
CONSTRAINTS = {
    "MaxNorm": frozenset({"max_value", "axis"}),
    "MinMaxNorm": frozenset({"min_value", "max_value", "rate", "axis"}),
    "NonNeg": frozenset[str](),
    "UnitNorm": frozenset({"axis"}),
}


def _snake(name: str) -> str:
    letters = [f"_{c.lower()}" if c.isupper() and k else c.lower() for k, c in enumerate(name)]
    return "".join(letters)


def _texts(classes: dict[str, frozenset[str]], *more: str) -> frozenset[str]:
    return frozenset({*classes, *map(_snake, classes), *more})


# kind of object: its classes with their keys, the texts that stand for it, its modules
KINDS: dict[str, tuple[dict[str, frozenset[str]], frozenset[str], frozenset[str]]] = {
    "initializer": (
        INITIALIZERS,
        _texts(INITIALIZERS, "normal", "uniform", "one", "zero"),
        frozenset({"keras.initializers", "keras.src.initializers"}),
    ),
    "regularizer": (
        REGULARIZERS,
        _texts(REGULARIZERS, "l1_l2"),
        frozenset({"keras.regularizers", "keras.src.regularizers"}),
    ),
    "constraint": (
        CONSTRAINTS,
        _texts(CONSTRAINTS, "nonneg"),
        frozenset({"keras.constraints", "keras.src.constraints"}),
    ),
}

DTYPES = frozenset(
    {
        *("float16", "float32", "float64", "bfloat16", "bool"),
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    }
)
POLICIES = DTYPES | {"mixed_float16", "mixed_bfloat16"}
POLICY_CLASSES = frozenset({"DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"})
POLICY_MODULES = frozenset(
    {"keras", "keras.dtype_policies", "keras.mixed_precision", "keras.src.dtype_policies"}
)
