"""The operations that take sounds and tensors."""

from typing import Any

from server.audio.sniff import EXTENSIONS
from server.errors import (
    AliasNotFound,
    BadModel,
    DeadlinePassed,
    FrontendNotFound,
    ModelDisabled,
    ModelNotFound,
    ModelNotReady,
    ModelState,
    NotAcceptable,
    TooLarge,
    UnusableInput,
    WorkerFailed,
)
from server.model_errors import UnservedFormat
from server.signing.principal import Scope
from server.sound_errors import UnreadableSound
from server.web.v1.forms import MAX_SOUNDS
from server.web.v1.frontends import CSV, MAX_SIDE, NPY
from server.web.v1.operation import FILE, WHOLE, Operation, Parameter
from server.web.v1.options import MAX_TOP, WINDOWS_VALUES
from server.web.v1.schemas import (
    FrontendList,
    FrontendTensor,
    SoundPrediction,
    SoundPredictions,
    SoundRefusal,
    TensorCall,
    TensorPrediction,
)

_FLAG: dict[str, Any] = {"type": "string", "enum": ["0", "1"]}
_EXT: dict[str, Any] = {"type": "string", "enum": [*EXTENSIONS]}
_TOP = WHOLE | {"maximum": MAX_TOP}
_SIDE = WHOLE | {"maximum": MAX_SIDE}
_WINDOWS_TEXT = (
    "`mean`: the mean over all windows of a long sound, not its middle alone; dialect 2 and bearer "
    "tokens, in dialect 1 a field of `Signed-Request`."
)
_BYTES: dict[str, Any] = {"type": "string", "contentMediaType": "application/octet-stream"}
_SOUNDS: dict[str, Any] = {
    "type": "object",
    "description": "Each `csv` is the feature row of the sound before it.",
    "properties": {
        "sound": {"type": "array", "items": _BYTES, "minItems": 1, "maxItems": MAX_SOUNDS},
        "csv": {"type": "array", "items": _BYTES},
    },
    "required": ["sound"],
}

SOUND_OPERATIONS = (
    Operation(
        "POST",
        "/v1/models/{digest}/predictions",
        "Predict from a sound, a form of several, raw tensors, or tensors in JSON.",
        Scope.PREDICT,
        body=TensorCall,
        media=("audio/*", FILE),
        form=_SOUNDS,
        answers={200: (SoundPrediction, SoundPredictions, TensorPrediction)},
        lines=(SoundPrediction, SoundRefusal),
        problems=(
            *(ModelNotFound, AliasNotFound, ModelState, ModelDisabled, BadModel, UnservedFormat),
            *(
                ModelNotReady,
                UnusableInput,
                UnreadableSound,
                TooLarge,
                WorkerFailed,
                DeadlinePassed,
            ),
        ),
        parameters=(
            Parameter("receipt", "`1`: with a receipt.", _FLAG),
            Parameter("top", "With so many of the most probable labels.", _TOP),
            Parameter("features", "`1`: with the feature row.", _FLAG),
            Parameter("windows", _WINDOWS_TEXT, {"type": "string", "enum": [*WINDOWS_VALUES]}),
            Parameter("ext", "The format of the sound; dialect 2 and bearer tokens.", _EXT),
            Parameter("csv", "The feature row; dialect 2 and bearer tokens."),
        ),
    ),
    Operation(
        "GET",
        "/v1/frontends",
        "List what models may be fed with.",
        Scope.READ,
        answers={200: FrontendList},
    ),
    Operation(
        "POST",
        "/v1/frontends/{name}",
        "Compute what a model would be fed with.",
        Scope.PREDICT,
        media=("audio/*", FILE),
        answers={200: FrontendTensor},
        forms=(NPY, CSV),
        problems=(
            *(FrontendNotFound, NotAcceptable, UnusableInput, UnreadableSound, TooLarge),
            *(WorkerFailed, DeadlinePassed),
        ),
        parameters=(
            Parameter("height", "Of a picture.", _SIDE),
            Parameter("width", "Of a picture.", _SIDE),
            Parameter("ext", "The format of the sound.", _EXT),
        ),
    ),
)
