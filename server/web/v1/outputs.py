"""Answers of predictions as they are sent."""

import heapq
import json
from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from server.errors import BadModel
from server.inference.frames import Part
from server.inference.prediction import Prediction
from server.inference.predictor import ReadyModel
from server.web.v1.numbers import numbers_of
from server.web.v1.options import Options
from server.web.v1.schemas import Answering, LabelProbability, SoundPrediction


def told(
    model: ReadyModel, prediction: Prediction, options: Options, *, name: str | None = None
) -> SoundPrediction:
    """Say what was predicted of a sound."""
    (row,) = prediction.array
    features = prediction.features
    return SoundPrediction(
        name=UNSET if name is None else name,
        model=Answering(**model.describe()),
        labels=prediction.labels,
        probabilities=row,
        top=UNSET if options.top is None else _top(prediction.labels, row, options.top),
        frontends=prediction.frontends,
        window=prediction.window,
        windows=UNSET if prediction.windows is None else prediction.windows,
        features=features,
        feature_values=UNSET if prediction.row is None else dict(prediction.row),
        saturated=prediction.saturated,
    )


def _top(labels: Sequence[str], row: Sequence[float], most: int) -> list[LabelProbability]:
    best = heapq.nlargest(most, zip(row, labels, strict=True), key=lambda pair: pair[0])
    return [LabelProbability(label=label, probability=value) for value, label in best]


async def outputs_text(model: ReadyModel, outputs: Sequence[Part]) -> bytes:
    """Write the outputs of a model that takes tensors, in the form of `TensorPrediction`.

    Raises
    ------
    BadModel
        If one of their numbers is not finite.
    """
    encode = msgspec.json.encode
    written = []
    for part in outputs:
        refusal = BadModel(f"the model answered numbers in {part.name!r} that are not finite")
        numbers = await numbers_of(part, otherwise=refusal)
        head = b'%s:{"shape":%s' % (json.dumps(part.name).encode(), encode(part.shape))
        written.append(b'%s,"data":[%s]}' % (head, numbers))
    text = b'{"model":%s,"outputs":{%s}' % (encode(model.describe()), b",".join(written))
    labels = model.binding.get("labels")
    return text + (b',"labels":%s}' % encode(labels) if labels else b"}")
