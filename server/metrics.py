"""What is counted as it happens, for `/metrics`; what can be looked up is looked up when asked.

Names follow Prometheus: a unit in the name, `_total` for what only grows. No label can take more
values than there are routes, ports or causes; what belongs to one model is kept with the models.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

PREFIX = "spectrogrampredictor"
REGISTRY = CollectorRegistry()
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32)

disable_created_metrics()  # type: ignore[no-untyped-call]


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, namespace=PREFIX, registry=REGISTRY)


REQUESTS = _counter(
    "http_requests", "Requests that were answered.", "port", "method", "route", "status"
)
REQUEST_SECONDS = Histogram(
    "http_request_duration_seconds",
    "From the head of a request to its answer.",
    ("port",),
    namespace=PREFIX,
    registry=REGISTRY,
    buckets=_SECONDS,
)
PREDICTION_SECONDS = Histogram(
    "prediction_duration_seconds",
    "From a place for a prediction to its numbers.",
    namespace=PREFIX,
    registry=REGISTRY,
    buckets=_SECONDS,
)
BATCH_ROWS = Histogram(
    "batch_rows",
    "Rows that a model ran at once.",
    namespace=PREFIX,
    registry=REGISTRY,
    buckets=_ROWS,
)
UPLOADS = _counter("uploads", "Uploads that began.", "outcome")
UPLOAD_BYTES = _counter("upload_bytes", "Bytes of model files that were received.")
SWEEPS = _counter("sweeps", "Passes over the staged uploads.")
SWEPT = _counter("swept_files", "Staged files that a sweep looked at.", "outcome")
VERDICTS = _counter("model_verdicts", "Models that were judged.", "verdict")
CHILD_FAILURES = _counter("child_failures", "Child processes that failed.", "child", "cause")
JOBS = _counter("jobs", "Jobs that have ended.", "outcome")
JOB_RETRIES = _counter("job_retries", "Attempts at a job that another one will follow.")
JOB_SECONDS = Histogram(
    "job_duration_seconds",
    "From the first attempt at a job to its result.",
    namespace=PREFIX,
    registry=REGISTRY,
    buckets=(*_SECONDS, 300.0, 1800.0),
)
_MOST_CODES = 256
_codes: set[str] = set()


def bounded(code: str) -> str:
    """Return a code of a refusal as a label; `other` when there are too many of them."""
    if code in _codes or len(_codes) < _MOST_CODES:
        _codes.add(code)
        return code
    return "other"


for _port in ("api", "uploads"):
    REQUEST_SECONDS.labels(_port)
for _outcome in ("received", "failed"):
    UPLOADS.labels(_outcome)
for _outcome in ("done", "failed", "cancelled"):
    JOBS.labels(_outcome)
for _outcome in ("promoted", "discarded", "left"):
    SWEPT.labels(_outcome)
