"""What a client that waits holds on to: its connections."""

import os
from typing import Any, Self

import httpx

from spectrogrampredictor.connection import TIMEOUT, trust
from spectrogrampredictor.environment import read_settings
from spectrogrampredictor.line import Line
from spectrogrampredictor.retries import Retries


class Connected:
    """Opens a line to a server, and closes it at the end of a `with`.

    Parameters
    ----------
    url : str
        Of the server, such as https://models.example.
    auth : httpx.Auth, optional
        Who asks: `SigningToken`, `HmacKey`, `Ed25519Key` or `BearerToken`.
    ca_file : str or PathLike, optional
        The authority of the server's certificate; the usual ones where it is left out.
    retries : Retries
        How long it goes on where the server is busy or the line breaks.
    timeout : httpx.Timeout
        For one try.
    transport : httpx.BaseTransport, optional
        What sends instead of the network.
    """

    def __init__(
        self,
        url: str,
        auth: httpx.Auth | None = None,
        *,
        ca_file: str | os.PathLike[str] | None = None,
        retries: Retries = Retries(),  # noqa: B008  # it never changes
        timeout: httpx.Timeout = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        http = httpx.Client(
            auth=auth,
            base_url=url,
            verify=trust(ca_file),
            timeout=timeout,
            transport=transport,
        )
        self._line = Line(http, retries)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Ask the server that the environment names: see `spectrogrampredictor.environment`."""
        found = read_settings()
        return cls(found.url, found.auth, ca_file=found.ca_file, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._line.http.close()
