"""Answers of the server as values, or as exceptions."""

import email.utils
import time
from collections.abc import Mapping
from typing import Any

import httpx

from spectrogrampredictor.problem import (
    BadRequest,
    Busy,
    Conflict,
    Forbidden,
    Problem,
    ServerFault,
    Unknown,
)

_PREFIX = "/problems/"
_SAID = {"type", "title", "status", "detail", "instance"}
_CLOCKS_S = 5  # how far apart the server lets clocks be
_KINDS: dict[int, type[Problem]] = {
    **dict.fromkeys((400, 405, 408, 413, 431), BadRequest),
    **dict.fromkeys((401, 403), Forbidden),
    **dict.fromkeys((404, 410), Unknown),
    **dict.fromkeys((409, 412, 428), Conflict),
    **dict.fromkeys((429, 503, 507), Busy),
    **dict.fromkeys((500, 502, 504), ServerFault),
}


def problem_of(response: httpx.Response) -> Problem:
    """Return what an answer that is no success says, as an exception.

    Parameters
    ----------
    response : httpx.Response
        Read to its end.
    """
    said = dict(_object(response))
    if response.status_code == httpx.codes.UNAUTHORIZED:
        said["detail"] = f"{said.get('detail') or said.get('title', '')}{_clocks(response)}"
    said["title"] = said.get("title") or response.reason_phrase
    return _problem(said, response.status_code, retry_after(response))


def problem_in(said: Mapping[str, Any]) -> Problem:
    """Return a problem that stands in an answer, in the place of one of several sounds."""
    told = dict(said)
    retry_after_s = told.pop("retry_after_s", None)
    return _problem(told, told["status"], retry_after_s)


def _problem(said: Mapping[str, Any], status: int, retry_after_s: float | None) -> Problem:
    slug = str(said.get("type", "")).removeprefix(_PREFIX)
    title, detail, instance = (str(said.get(name, "")) for name in ("title", "detail", "instance"))
    kind = _by_slug().get(slug) or _KINDS.get(status, Problem)
    return kind(
        *(status, slug, title, detail, instance),
        retry_after_s=retry_after_s,
        members={name: value for name, value in said.items() if name not in _SAID},
    )


def retry_after(response: httpx.Response) -> float | None:
    """Return when to come back, in seconds from now; None where the answer does not say."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    at = _instant(text)
    return None if at is None else max(0.0, at - time.time())


def _object(response: httpx.Response) -> Mapping[str, Any]:
    try:
        said = response.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _by_slug() -> dict[str, type[Problem]]:
    kinds = Problem.__subclasses__()
    return {one.slug: one for kind in kinds for one in kind.__subclasses__()}


def _clocks(response: httpx.Response) -> str:
    """Say how far the clocks are apart, where that alone spoils every signature."""
    at = _instant(response.headers.get("Date", ""))
    apart = 0.0 if at is None else time.time() - at
    if abs(apart) <= _CLOCKS_S + 1:
        return ""
    return f"; this machine's clock is {abs(apart):.0f} s {'ahead' if apart > 0 else 'behind'}"


def _instant(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
