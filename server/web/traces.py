"""The trace that a request belongs to: W3C Trace Context.

::

    traceparent:   00-<trace id: 32 hex>-<parent id: 16 hex>-<flags: 2 hex>     in
    traceresponse: 00-<the same trace id>-<our request id>-<the same flags>     out

What is malformed, or comes twice, is ignored as the standard asks: a trace is never a reason to
refuse. `tracestate` is for those whom a server asks in its turn; this one asks nobody.
"""

import re
from dataclasses import dataclass

from quart import Request

_HEADER = "traceparent"
# of a later version only the beginning is known; version ff is none
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_PARENT = "0" * 32, "0" * 16
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class Trace:
    """A caller's trace.

    Attributes
    ----------
    id : str
        32 hexadecimal digits.
    flags : str
        Two more: 01 when the caller records it.
    """

    id: str
    flags: str


def trace_of(asked: Request) -> Trace | None:
    """Return the trace that a request belongs to; None where it names none, or wrongly."""
    texts = asked.headers.getlist(_HEADER)
    return parse(texts[0]) if len(texts) == 1 else None


def parse(text: str) -> Trace | None:
    """Read a `traceparent`; None when it is malformed."""
    found = _FORM.fullmatch(text.strip(" \t")) if len(text) <= _LONGEST else None
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if trace == _NO_TRACE or parent == _NO_PARENT or (version == "00" and more is not None):
        return None
    return Trace(trace, flags if version == "00" else f"{int(flags, 16) & 1:02x}")


def traced(trace: Trace, request_id: str) -> str:
    """Return what an answer says of its trace."""
    return f"00-{trace.id}-{request_id}-{trace.flags}"
