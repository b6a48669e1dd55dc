"""How many connections are open at once: of all clients, and of one address.

An address is what one customer of a network has: an IPv4 address, or 64 bits of an IPv6 address.
A connection counts from its first packet, before TLS, because half a handshake takes room too.
An address that has flooded a connection is not let in again for a moment: each new connection
would cost a handshake, and bring another allowance.
"""

import asyncio
import functools
import ipaddress
import time
from collections import Counter
from collections.abc import Callable

_AWAY_S = 1.0
_MOST_AWAY = 1024  # addresses that are remembered


@functools.lru_cache(maxsize=4096)
def caller_of(host: str) -> str:
    """Return the address, or the network of one customer, that a host belongs to."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


class Doors:
    """Lets connections in, on every port that shares it.

    Parameters
    ----------
    most : int
        Open at once; more wait to be accepted.
    most_of_one : int
        Of one caller; more are closed.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self, most: int, most_of_one: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._away: dict[str, float] = {}  # until when, the latest last
        self._most = most
        self._most_of_one = most_of_one
        self._inside: Counter[str] = Counter()
        self._open = 0
        self._room = asyncio.Event()
        self._room.set()
        self.turned_away = 0

    @property
    def inside(self) -> int:
        """How many are open."""
        return self._open

    async def wait_for_room(self) -> None:
        """Return as soon as another connection may be accepted."""
        while self.inside >= self._most:
            self._room.clear()
            await self._room.wait()

    def enter(self, caller: str) -> bool:
        """Count a connection; False when its caller has too many, or was just sent away."""
        if self._inside[caller] >= self._most_of_one or self._is_away(caller):
            self.turned_away += 1
            return False
        self._inside[caller] += 1
        self._open += 1
        return True

    def send_away(self, caller: str) -> None:
        """Let nobody in from here for a moment: a connection was flooded."""
        self._away.pop(caller, None)
        self._away[caller] = self._clock() + _AWAY_S
        while len(self._away) > _MOST_AWAY:
            del self._away[next(iter(self._away))]

    def _is_away(self, caller: str) -> bool:
        until = self._away.get(caller)
        if until is not None and self._clock() >= until:
            del self._away[caller]
            return False
        return until is not None

    def leave(self, caller: str) -> None:
        """Count a connection that has ended."""
        self._open -= 1
        self._inside[caller] -= 1
        if not self._inside[caller]:
            del self._inside[caller]
        self._room.set()
