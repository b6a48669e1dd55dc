"""What the server counts, for Prometheus.

::

    GET /metrics                 our names
    GET /metrics?names=triton    what every model has done, by the names of Triton

A key sees the models that it may read about; the rest is for those who may read about every model.
"""

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, cast

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from quart import Blueprint, Response, request

from server.digest import Digest
from server.errors import MalformedRequest
from server.inference.statistics import ModelStatistics, Spell, Statistics
from server.metrics import PREFIX, REGISTRY
from server.signing.payload import take_fields
from server.signing.principal import Scope
from server.web.connection import StreamedRequest
from server.web.signed import SignedBodies, query_fields

_GAUGES = {
    "ready": ("ready", "Whether it would be sent predictions."),
    "decoders": ("decoders", "Decoder processes that run."),
    "decoder_queue": ("decoder_queue_calls", "Calls that wait for a decoder."),
    "predictions": ("predictions_in_flight", "Predictions under way."),
    "models_loaded": ("models_loaded", "Models that are loaded or loading."),
    "models_running": ("models_running", "Models that run rows now."),
    "model_workers": ("model_workers", "Workers that have loaded their model."),
    "model_memory_bytes": ("model_memory_bytes", "What the loaded models take together."),
    "connections": ("connections", "Open connections."),
    "jobs_queued": ("jobs_queued", "Jobs that wait for their turn, or for another attempt."),
    "jobs_running": ("jobs_running", "Jobs that are being done."),
    "partial_uploads": ("partial_uploads", "Unfinished uploads that come in parts."),
}
_COUNTERS = {
    "saturated_answers": ("saturated_answers", "One-hot answers, as of unscaled inputs."),
    "turned_away": ("connections_turned_away", "Connections over a limit."),
}
_CACHE = {
    "hits": ("feature_cache_hits", "Values of frontends that were remembered."),
    "misses": ("feature_cache_misses", "Values of frontends that were computed."),
}
_SPELLS = {
    "input": ("model_input_duration_seconds", "Making tensors of sounds."),
    "queue": ("model_queue_duration_seconds", "Waiting for a batch."),
    "infer": ("model_compute_duration_seconds", "Running, counted for each row of a batch."),
    "output": ("model_output_duration_seconds", "Making answers of outputs."),
}


@dataclass(frozen=True, slots=True)
class MetricsAccess:
    """Who may read the metrics, besides keys with the scope `read`.

    Attributes
    ----------
    is_open : bool
        Everybody.
    token : str
        Whoever sends it as a bearer token; empty: nobody.
    """

    is_open: bool
    token: str


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at when the metrics are asked for.

    Attributes
    ----------
    state : callable
        How the parts are, as `/readyz` tells it.
    statistics : Statistics
        What the models have done.
    memory : callable
        Bytes that each loaded model takes.
    """

    state: Callable[[], Mapping[str, Any]]
    statistics: Statistics
    memory: Callable[[], Mapping[Digest, int]]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is shown to whoever asks.

    Attributes
    ----------
    of_model : callable
        Tells whether they are shown a model.
    is_all : bool
        Whether they are shown every model, and the server.
    """

    of_model: Callable[[Digest], bool]
    is_all: bool


def metrics_routes(watched: Watched, bodies: SignedBodies, access: MetricsAccess) -> Blueprint:
    """Build the route."""
    bp = Blueprint("metrics", __name__)

    @bp.get("/metrics")
    async def metrics() -> Response:
        asked = cast(StreamedRequest, request)
        shown = await shown_to(asked)
        fields = take_fields(query_fields(asked), required={}, optional={"names": str})
        if fields.get("names") not in (None, "triton"):
            raise MalformedRequest("`names` is `triton`, or left out")
        encode, content_type = choose_encoder("text/plain")
        told: list[Collector] = [_Models(watched, shown)]
        if "names" in fields:
            told = [_Tritons(watched.statistics, shown)]
        elif shown.is_all:
            told = [REGISTRY, _Server(watched), *told]
        return Response(b"".join(map(encode, told)), content_type=content_type)

    async def shown_to(asked: StreamedRequest) -> _Shown:
        if _is_let_in(asked, access):
            return _Shown(lambda _: True, is_all=True)
        async with bodies.open_raw(asked, 0, Scope.READ) as raw:
            principal = raw.principal
        is_all = principal.allows_every(Scope.READ)
        return _Shown(partial(principal.allows, Scope.READ), is_all=is_all)

    return bp


def _is_let_in(asked: StreamedRequest, access: MetricsAccess) -> bool:
    if access.is_open:
        return True
    scheme, _, token = asked.headers.get("Authorization", "").partition(" ")
    is_known = hmac.compare_digest(token.encode("utf-8", "replace"), access.token.encode())
    return bool(access.token) and scheme.lower() == "bearer" and is_known


class _Server(Collector):
    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def collect(self) -> Iterator[Metric]:
        state = self._watched.state()
        for member, (name, text) in _GAUGES.items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=float(state[member]))
        for member, (name, text) in _COUNTERS.items():
            yield CounterMetricFamily(f"{PREFIX}_{name}", text, value=state[member])
        for member, (name, text) in _CACHE.items():
            value = (state["feature_cache"] or {}).get(member, 0)
            yield CounterMetricFamily(f"{PREFIX}_{name}", text, value=value)
        yield from _certificate(state)
        text = "1 when the file of keys cannot be used and the keys of before are kept."
        failed = float(state["keys"]["fault"] is not None)
        yield GaugeMetricFamily(f"{PREFIX}_keys_reload_failed", text, value=failed)
        walls = GaugeMetricFamily(
            f"{PREFIX}_sandbox", "1 at how good the sandbox is.", labels=["level"]
        )
        walls.add_metric([str(state["sandbox"])], 1)
        yield walls


def _certificate(state: Mapping[str, Any]) -> Iterator[Metric]:
    end = datetime.fromisoformat(state["cert_not_after"]).timestamp()
    name = f"{PREFIX}_certificate_expiry_timestamp_seconds"
    yield GaugeMetricFamily(name, "When the certificate in use ends.", value=end)
    text = "1 when the certificate on disk is broken and the one before is kept."
    failed = float(state["cert_reload"] != "ok")
    yield GaugeMetricFamily(f"{PREFIX}_certificate_reload_failed", text, value=failed)


class _Models(Collector):
    def __init__(self, watched: Watched, shown: _Shown) -> None:
        self._watched = watched
        self._shown = shown

    def collect(self) -> Iterator[Metric]:
        seen, memory = self._watched.statistics, self._watched.memory()
        is_shown = self._shown.of_model
        yield from _models(
            [(digest, one) for digest, one in seen if is_shown(digest)],
            {digest: taken for digest, taken in memory.items() if is_shown(digest)},
        )


def _models(
    statistics: Sequence[tuple[Digest, ModelStatistics]], taken: Mapping[Digest, int]
) -> Iterator[Metric]:
    calls = SummaryMetricFamily(
        f"{PREFIX}_model_prediction_duration_seconds",
        "Predictions of a model.",
        labels=["model", "outcome"],
    )
    parts = {
        part: SummaryMetricFamily(f"{PREFIX}_{name}", text, labels=["model"])
        for part, (name, text) in _SPELLS.items()
    }
    batches = CounterMetricFamily(
        f"{PREFIX}_model_batches", "Batches of so many rows.", labels=["model", "rows"]
    )
    memory = GaugeMetricFamily(
        f"{PREFIX}_model_worker_memory_bytes", "What a loaded model takes.", labels=["model"]
    )
    for digest, seen in statistics:
        for outcome, spell in (("success", seen.success), ("failure", seen.failure)):
            calls.add_metric([digest.hex, outcome], spell.count, spell.ns / 1e9)
        for part, spell in _spells(seen).items():
            parts[part].add_metric([digest.hex], spell.count, spell.ns / 1e9)
        for rows, spell in sorted(seen.batches.items()):
            batches.add_metric([digest.hex, str(rows)], spell.count)
    for digest, size in taken.items():
        memory.add_metric([digest.hex], size)
    yield from [calls, *parts.values(), batches, memory]


def _spells(seen: ModelStatistics) -> dict[str, Spell]:
    return {
        "input": seen.inputs,
        "queue": seen.queue,
        "infer": seen.infer,
        "output": seen.outputs,
    }


class _Tritons(Collector):
    def __init__(self, statistics: Statistics, shown: _Shown) -> None:
        self._statistics = statistics
        self._shown = shown

    def collect(self) -> Iterator[Metric]:
        counts: dict[str, Callable[[ModelStatistics], float]] = {
            "nv_inference_request_success": lambda seen: seen.success.count,
            "nv_inference_request_failure": lambda seen: seen.failure.count,
            "nv_inference_count": lambda seen: seen.infer.count,
            "nv_inference_exec_count": lambda seen: seen.runs,
            "nv_inference_request_duration_us": lambda seen: _us(seen.success) + _us(seen.failure),
            "nv_inference_queue_duration_us": lambda seen: _us(seen.queue),
            "nv_inference_compute_input_duration_us": lambda seen: _us(seen.inputs),
            "nv_inference_compute_infer_duration_us": lambda seen: _us(seen.infer),
            "nv_inference_compute_output_duration_us": lambda seen: _us(seen.outputs),
        }
        for name, count in counts.items():
            metric = Metric(name, "As Triton counts it.", "unknown")  # its names have no _total
            for digest, seen in self._statistics:
                if self._shown.of_model(digest):
                    metric.add_sample(name, {"model": digest.hex, "version": "1"}, count(seen))
            yield metric


def _us(spell: Spell) -> int:
    return spell.ns // 1000
