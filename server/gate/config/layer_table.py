"""The layers that a model may be made of, and the keys that each may have.

What is not here is refused, whatever Keras would make of it. Keys of Keras 2 that
`server.inference.repair` takes out stand among them.
"""

MODELS = frozenset({"Sequential", "Functional", "Model"})
MODEL_MODULES = frozenset(
    {
        *("keras", "keras.models", "keras.src.models.functional", "keras.src.models.sequential"),
        *("keras.src.engine.functional", "keras.src.engine.sequential"),
        *("keras.engine.functional", "keras.engine.sequential"),
    }
)
LAYER_MODULE = "keras.layers"
# layers of the networks that Keras ships, outside of its public names
APPLICATIONS = {
    "LayerScale": "keras.src.applications.convnext",
    "StochasticDepth": "keras.src.applications.convnext",
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
}

COMMON = frozenset(
    {
        *("name", "trainable", "dtype", "autocast", "activity_regularizer"),
        *("batch_input_shape", "batch_shape"),
    }
)
MODEL_KEYS = frozenset(
    {
        *("name", "trainable", "dtype", "layers", "input_layers", "output_layers"),
        "build_input_shape",
    }
)


def _weight(*names: str) -> str:
    return " ".join(f"{name}_initializer {name}_regularizer {name}_constraint" for name in names)


_CONV = (
    "filters kernel_size strides padding data_format dilation_rate groups activation use_bias "
    f"lora_rank lora_alpha {_weight('kernel', 'bias')}"
)
_TRANSPOSED = f"{_CONV} output_padding"
_DEPTHWISE = (
    "kernel_size strides padding depth_multiplier data_format dilation_rate groups activation "
    f"use_bias {_weight('depthwise', 'bias')}"
)
_SEPARABLE = f"{_DEPTHWISE} filters {_weight('pointwise', 'kernel')}"
_POOL = "pool_size strides padding data_format"
_GLOBAL = "data_format keepdims"
_CELL = (
    "units activation recurrent_activation use_bias dropout recurrent_dropout seed implementation "
    f"{_weight('kernel', 'recurrent', 'bias')}"
)
_LOOP = (
    "return_sequences return_state go_backwards stateful unroll zero_output_for_mask use_cudnn "
    "time_major input_length"
)
_CONV_LSTM = f"{_CONV} {_CELL} {_LOOP} unit_forget_bias"
_NORM = f"axis epsilon center scale {_weight('beta', 'gamma')}"
_RANDOM = "factor seed data_format value_range fill_mode fill_value interpolation"

_KEYS = {
    "InputLayer": "shape batch_size sparse ragged optional input_tensor",
    "Dense": f"units activation use_bias lora_rank lora_alpha quantization_config "
    f"{_weight('kernel', 'bias')}",
    "EinsumDense": "equation output_shape activation bias_axes lora_rank lora_alpha "
    f"quantization_config gptq_unpacked_column_size {_weight('kernel', 'bias')}",
    "Embedding": "input_dim output_dim mask_zero input_length weights lora_rank lora_alpha "
    f"quantization_config {_weight('embeddings')}",
    "Identity": "",
    "Masking": "mask_value",
    "Activation": "activation",
    "ELU": "alpha",
    "LeakyReLU": "negative_slope alpha",
    "PReLU": f"shared_axes {_weight('alpha')}",
    "ReLU": "max_value negative_slope threshold",
    "Softmax": "axis",
    **{f"Conv{rank}D": _CONV for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": _TRANSPOSED for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": _DEPTHWISE for rank in (1, 2)},
    **{f"SeparableConv{rank}D": _SEPARABLE for rank in (1, 2)},
    **{f"{kind}Pooling{rank}D": _POOL for kind in ("Max", "Average") for rank in (1, 2, 3)},
    **{f"Global{kind}Pooling{rank}D": _GLOBAL for kind in ("Max", "Average") for rank in (1, 2, 3)},
    **{
        f"Adaptive{kind}Pooling{rank}D": "output_size data_format"
        for kind in ("Max", "Average")
        for rank in (1, 2, 3)
    },
    "BatchNormalization": f"{_NORM} momentum renorm renorm_clipping renorm_momentum synchronized "
    f"fused virtual_batch_size {_weight('moving_mean', 'moving_variance')}",
    "LayerNormalization": f"{_NORM} rms_scaling",
    "GroupNormalization": f"{_NORM} groups",
    "RMSNormalization": "axis epsilon",
    "UnitNormalization": "axis",
    "SpectralNormalization": "layer power_iterations",
    "Normalization": "axis mean variance invert",
    "Rescaling": "scale offset",
    "Resizing": "height width interpolation crop_to_aspect_ratio pad_to_aspect_ratio fill_mode "
    "fill_value antialias data_format",
    "CenterCrop": "height width data_format",
    "RandomCrop": "height width seed data_format",
    "RandomFlip": "mode seed data_format",
    **{f"Random{kind}": _RANDOM for kind in ("Rotation", "Contrast", "Brightness")},
    **{
        f"Random{kind}": f"{_RANDOM} height_factor width_factor" for kind in ("Zoom", "Translation")
    },
    "MelSpectrogram": "fft_length sequence_stride sequence_length window sampling_rate "
    "num_mel_bins min_freq max_freq power_to_db top_db mag_exp min_power ref_power",
    "STFTSpectrogram": "mode frame_length frame_step fft_length window periodic scaling padding "
    "expand_dims data_format",
    "Dropout": "rate noise_shape seed",
    "AlphaDropout": "rate noise_shape seed",
    **{f"SpatialDropout{rank}D": "rate noise_shape seed data_format" for rank in (1, 2, 3)},
    "GaussianDropout": "rate seed",
    "GaussianNoise": "stddev seed",
    "ActivityRegularization": "l1 l2",
    **{f"Cropping{rank}D": "cropping data_format" for rank in (1, 2, 3)},
    **{f"ZeroPadding{rank}D": "padding data_format" for rank in (1, 2, 3)},
    **{f"UpSampling{rank}D": "size data_format interpolation" for rank in (1, 2, 3)},
    "Flatten": "data_format",
    "Permute": "dims",
    "RepeatVector": "n",
    "Reshape": "target_shape",
    **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"), ""),
    "Concatenate": "axis",
    "Dot": "axes normalize",
    "Attention": "use_scale score_mode dropout seed causal",
    "AdditiveAttention": "use_scale dropout seed causal",
    "MultiHeadAttention": "num_heads key_dim value_dim dropout use_bias output_shape "
    "attention_axes sliding_window flash_attention use_gate seed query_shape key_shape value_shape "
    f"{_weight('kernel', 'bias')}",
    "LSTM": f"{_CELL} {_LOOP} unit_forget_bias",
    "GRU": f"{_CELL} {_LOOP} reset_after",
    "SimpleRNN": f"{_CELL} {_LOOP}",
    "LSTMCell": f"{_CELL} unit_forget_bias",
    "GRUCell": f"{_CELL} reset_after",
    "SimpleRNNCell": _CELL,
    "RNN": f"{_LOOP} cell",
    "StackedRNNCells": "cells",
    **{f"ConvLSTM{rank}D": _CONV_LSTM for rank in (1, 2, 3)},
    "Bidirectional": "layer backward_layer merge_mode weights",
    "TimeDistributed": "layer",
    "LayerScale": "init_values projection_dim",
    "StochasticDepth": "drop_path_rate",
    "CustomScaleLayer": "scale",
}
LAYERS = {name: COMMON | frozenset(keys.split()) for name, keys in _KEYS.items()}

# what people save without knowing that it is code; the sentence says what to do instead
TOLD: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("Lambda",),
        (
            "lambda",
            "it holds a Lambda layer, which is code: use a layer of Keras (Rescaling, Reshape, "
            "Activation) or keras.ops in a functional model, and save it again",
        ),
    ),
    **dict.fromkeys(
        ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod"),
        (
            "tensorflow-operation",
            "it holds an operation of TensorFlow between its layers: use a layer of Keras or "
            "keras.ops instead, and save it again with Keras 3",
        ),
    ),
    **dict.fromkeys(
        ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "HubKerasLayer", "KerasLayer"),
        (
            "foreign-layer",
            "it wraps a model of another library: build it of Keras layers and save that",
        ),
    ),
    **dict.fromkeys(
        (
            *("StringLookup", "IntegerLookup", "IndexLookup", "TextVectorization", "Hashing"),
            *("HashedCrossing", "FeatureSpace", "Discretization", "CategoryEncoding"),
        ),
        (
            "lookup-layer",
            "it turns texts or categories into numbers, which callers do themselves: save the "
            "model from its first layer of numbers on",
        ),
    ),
}
CUSTOM = (
    "custom-layer",
    "it is no layer that this server knows: code of your own does not travel with a model; build "
    "the model of Keras layers and save it again",
)
UNSERVED = (
    "unserved-layer",
    "Keras has it, but it is not served: build the model of other layers and save it again",
)
OPERATION_IN_H5 = (
    "operation-in-h5",
    "the .h5 format cannot keep operations between layers: save the model as .keras",
)
