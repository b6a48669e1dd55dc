"""Which check each key of a layer's configuration goes through."""

from typing import Any

from server.gate.config import values
from server.gate.config.layer_table import LAYER_MODULE, LAYERS
from server.gate.config.object_table import ACTIVATION_LAYERS
from server.gate.config.values import Check, bad_value, unknown_key
from server.gate.refusals import refused

WRAPPED = frozenset({"layer", "backward_layer", "cell", "cells"})  # layers, which are parsed


def _activation(value: Any, where: str) -> Any:
    """Return an activation: a function's name, or the class of a layer without weights."""
    kind = value.get("class_name") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in ACTIVATION_LAYERS:
        if isinstance(value, dict) and value.get("module") == LAYER_MODULE:
            sentence = "this layer is no activation here: put it behind, as a layer of its own"
            raise refused("activation", sentence, where=where)
        return values.activation(value, where)
    values.check_envelope(value, frozenset({LAYER_MODULE}), where)
    check_keys(kind, value.get("config"), LAYERS[kind], where)
    return kind


_WHOLE = (
    "units filters kernel_size strides dilation_rate groups pool_size output_size axis axes dims n "
    "target_shape newshape size cropping height width input_dim output_dim input_length num_heads "
    "key_dim value_dim output_shape attention_axes shared_axes noise_shape batch_size "
    "depth_multiplier output_padding fft_length sequence_stride sequence_length num_mel_bins "
    "frame_length frame_step query_shape key_shape value_shape batch_shape batch_input_shape shape "
    "power_iterations build_input_shape projection_dim axis1 axis2 shift decimals"
)
_WORDS = "data_format interpolation merge_mode score_mode mode fill_mode scaling"
_NOTHING = (
    "lora_rank quantization_config gptq_unpacked_column_size weights input_tensor sparse ragged "
    "stateful renorm renorm_clipping use_gate sliding_window"
)
_FEW = "factor height_factor width_factor value_range fill_value"
_CHECKS: dict[str, Check] = {
    **dict.fromkeys(_WHOLE.split(), values.whole),
    **dict.fromkeys(_WORDS.split(), values.word),
    **dict.fromkeys(_NOTHING.split(), values.nothing),
    "padding": values.word_or_whole,
    "window": values.word,
    "seed": values.seed,
    **dict.fromkeys(("mean", "variance"), values.plain),
    **dict.fromkeys(_FEW.split(), values.few),
    "equation": values.equation,
    "bias_axes": values.axis_letters,
    "name": values.name,
    "dtype": values.dtype,
    "activation": _activation,
    "recurrent_activation": _activation,
}
_ENDINGS = {
    f"_{kind}": values.described(kind) for kind in ("initializer", "regularizer", "constraint")
}
_ENDINGS["activity_regularizer"] = values.described("regularizer")


def check_keys(kind: str, config: Any, known: frozenset[str], where: str) -> dict[str, Any]:
    """Return a configuration of which every key is known and every value fits.

    Parameters
    ----------
    kind : str
        The class.
    config : Any
        Its configuration.
    known : frozenset of str
        The keys that it may have.
    where : str
        The path.
    """
    if not isinstance(config, dict):
        raise bad_value(config, where)
    checked: dict[str, Any] = {}
    for key, value in config.items():
        if key not in known:
            raise unknown_key(key, f"{where} ({kind})")
        if key not in WRAPPED:
            checked[key] = _check(kind, key)(value, f"{where}.{key}")
    return checked


def _check(kind: str, key: str) -> Check:
    if kind == "InputLayer" and key == "dtype":
        return values.input_dtype
    if kind != "InputLayer" and key in ("batch_shape", "batch_input_shape"):
        return values.shape
    if kind == "Rescaling" and key in ("scale", "offset"):
        return values.plain
    if found := _CHECKS.get(key):
        return found
    return next((check for end, check in _ENDINGS.items() if key.endswith(end)), values.number)


def missing_key(key: str, where: str) -> Exception:
    """Build the refusal of a layer without a key that it cannot do without."""
    return refused("missing-key", f"the key {key!r} is missing", where=where)
