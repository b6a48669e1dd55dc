"""When a request is sent again, and when it is given up."""

import random
from dataclasses import dataclass

import httpx

from spectrogrampredictor.replies import retry_after

_LATER = {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE, 507}
_FIRST_S, _MOST_S = 0.25, 10.0
# of a request that arrived perhaps: only for what may be done twice
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ReadTimeout, httpx.WriteTimeout)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Retries:
    """How long a client goes on.

    An answer that says when to come back (429, 503, 507 with `Retry-After`) is taken at its word.
    Where the line broke, the pause doubles from a quarter of a second to ten, half of it by chance.
    Each try is signed anew.

    Attributes
    ----------
    tries : int
        At most, the first included.
    budget_s : float
        No pause is begun that would end later than this after the first try.
    """

    tries: int = 6
    budget_s: float = 120.0

    def pause_after_answer(
        self, response: httpx.Response, tried: int, spent_s: float
    ) -> float | None:
        """Return how long to wait before the next try; None where the answer stands."""
        if response.status_code not in _LATER:
            return None
        said = retry_after(response)
        return self._within(doubled(tried) if said is None else said, tried, spent_s)

    def pause_after_error(
        self, error: httpx.TransportError, tried: int, spent_s: float, *, may_repeat: bool
    ) -> float | None:
        """Return how long to wait before the next try; None where the error stands."""
        known = _NOT_SENT + _BROKEN if may_repeat else _NOT_SENT
        if not isinstance(error, known) or _is_certificate(error):
            return None
        return self._within(doubled(tried), tried, spent_s)

    def _within(self, pause_s: float, tried: int, spent_s: float) -> float | None:
        return pause_s if tried < self.tries and spent_s + pause_s <= self.budget_s else None


def may_pass(error: httpx.TransportError) -> bool:
    """Tell whether it may go better next time."""
    return isinstance(error, _NOT_SENT + _BROKEN) and not _is_certificate(error)


def doubled(tried: int) -> float:
    """Return a pause after so many tries that failed, in seconds."""
    most: float = min(_MOST_S, _FIRST_S * 2 ** (tried - 1))
    return most * random.uniform(0.5, 1)  # noqa: S311  # it only keeps clients apart


def _is_certificate(error: httpx.TransportError) -> bool:
    """Tell whether the server's certificate is not trusted, which no pause changes."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)
