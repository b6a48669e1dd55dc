"""Logs as one line an event: a short fixed text, then fields, then the request that it belongs to.

::

    2026-11-20T18:00:00.123Z INFO  model promoted digest=3f2a9c... request=5d41402abc4b key=ci

A request that belongs to a caller's trace has its lines say so, with `trace=<32 hex>`.

No secret, no body and no whole digest of user content goes through here.
"""

import logging
import sys
import time
from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
TRACE_ID: ContextVar[str] = ContextVar("trace_id", default="")  # of the caller's trace
ACTOR: ContextVar[str] = ContextVar("actor", default="")  # the key id of whoever is verified
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """Writes an event as one line."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback where there is one."""
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z"
        fields = {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if request := REQUEST_ID.get():
            fields["request"] = request
        if trace := TRACE_ID.get():
            fields["trace"] = trace
        if key := ACTOR.get():
            fields["key"] = key
        tail = "".join(f" {name}={_quoted(value)}" for name, value in fields.items())
        line = f"{stamp} {record.levelname:<5} {record.getMessage()}{tail}"
        return line + "\n" + self.formatException(record.exc_info) if record.exc_info else line


def _quoted(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not any(c in text for c in " \"'=")
    return text if plain and text else ascii(text)


def configure_logging(level: str) -> None:
    """Send every log of this process to standard error, one line an event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it warns of every bad form
    for noisy in ("apscheduler", "alembic", "hypercorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
