"""How many connections are open at once: of all clients, and of one address.

An address is what one customer of a network has: an IPv4 address, or 64 bits of an IPv6 address.
A connection counts from its first packet, before TLS, because half a handshake takes room too.
"""

import asyncio
import functools
import ipaddress
from collections import Counter


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
    """

    def __init__(self, most: int, most_of_one: int) -> None:
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
        """Count a connection; False when its caller has too many."""
        if self._inside[caller] >= self._most_of_one:
            self.turned_away += 1
            return False
        self._inside[caller] += 1
        self._open += 1
        return True

    def leave(self, caller: str) -> None:
        """Count a connection that has ended."""
        self._open -= 1
        self._inside[caller] -= 1
        if not self._inside[caller]:
            del self._inside[caller]
        self._room.set()
