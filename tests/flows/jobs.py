"""A client of jobs: signed requests of several keys, and a reader of server-sent events."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from tests.flows.messages import sign
from tests.flows.running import Server, wait_until
from tests.signing.messages import Request, hmac_signer

JOBS = "/v1/jobs"
FILE = "application/octet-stream"
ENDED = ("done", "failed", "cancelled")


class Customer:
    """Asks for jobs under one key; its own `http` client may be handed in."""

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        self._signer = hmac_signer(key)

    def _signed(self, request: Request, headers: Mapping[str, str]) -> Request:
        sign(self.server, request, self._signer)
        request.headers |= dict(headers) | {"host": request.authority}
        return request

    def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str = FILE,
    ) -> httpx.Response:
        request = self._signed(Request(method, "", path, query, body, content_type), headers or {})
        url = self.server.api + path + (f"?{query}" if query else "")
        with self.server.client() as http:
            return http.request(method, url, content=body, headers=request.headers)

    def submit(self, sound: bytes, query: str = "task=midi", **headers: str) -> httpx.Response:
        """Post a sound; `Idempotency_Key="x"` is a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", JOBS, query, sound, headers=named)

    def job(self, name: str) -> dict[str, Any]:
        answer = self.ask("GET", f"{JOBS}/{name}")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def ended(self, name: str, *, deadline_s: float = 100.0) -> dict[str, Any]:
        """Wait for the end of a job; follow it, as clients should."""
        while (told := self.job(name))["state"] not in ENDED:
            self.follow(name, 0)
        return told

    @contextmanager
    def stream(self, name: str, after: int | None) -> Iterator[Iterator[str]]:
        """Open the stream of a job's events, as lines."""
        seen = {} if after is None else {"Last-Event-ID": str(after)}
        path = f"{JOBS}/{name}/events"
        request = self._signed(Request("GET", "", path, "", None), seen)
        with (
            self.server.client() as http,
            http.stream("GET", self.server.api + path, headers=request.headers) as answer,
        ):
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"] == "text/event-stream"
            lines = answer.iter_lines()
            assert next(lines).startswith(":"), "the first bytes come at once"
            yield lines

    def follow(self, name: str, after: int, *, at_most: int = 10_000) -> list[dict[str, Any]]:
        """Read events, with their ids, until the stream ends or so many have come."""
        found: list[dict[str, Any]] = []
        with self.stream(name, after) as lines:
            for event in read_events(lines):
                found.append(event)
                if len(found) == at_most:
                    break
        return found


def read_events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Read server-sent events, as far as they are used here."""
    fields: dict[str, str] = {}
    for line in lines:
        if line == "" and fields:
            told = json.loads(fields["data"])
            assert told["event"] == fields["event"]
            yield told | {"id": int(fields["id"])}
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def started(customer: Customer, job: str) -> None:
    wait_until(lambda: customer.job(job)["state"] == "running", "the job runs", deadline_s=60)
