"""A server that remembers as many nonces as it can takes no more signed messages, and says so."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.flows.messages import deliver, key, sign, write_keys
from tests.flows.running import Server, digest_of, problem_of
from tests.signing.messages import Request, hmac_signer

pytestmark = pytest.mark.timeout(180)
MOST = 1_000_000
FILL = """
    WITH RECURSIVE row (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM row WHERE k < ?)
    INSERT INTO nonce SELECT CAST(printf('%032d', k) AS BLOB), ? FROM row
"""


def remember(server: Server, count: int, *, until: float) -> None:
    """Write what as many messages would have left, while no server runs."""
    with closing(sqlite3.connect(server.models / "registry.sqlite3")) as base, base:
        base.execute("DELETE FROM nonce")
        base.execute(FILL, (count, until))


def registration(server: Server, body: bytes) -> Request:
    return sign(server, Request(path="/registermodelhash", body=body), hmac_signer("all"))


def test_without_room_for_nonces_nothing_is_accepted_until_there_is_some(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    keys = write_keys(tmp_path / "keys.json", key("all"))
    server = new_server(KEYS_FILE=str(keys)).start()
    server.stop()
    remember(server, MOST, until=time.time() + 3600)
    server.start()
    digest = digest_of(b"a model")
    body = f'{{"hash": "{digest}"}}'.encode()
    for _ in range(2):
        answer = deliver(server, registration(server, body))
        assert problem_of(answer, 503) == "server-busy"
        assert 0 < int(answer.headers["Retry-After"]) <= 60
    fields = {"hash": digest, "_ts": time.time(), "_nonce": "never used"}
    assert problem_of(server.post_signed("/registermodelhash", fields), 503) == "server-busy"
    # what needs no nonce goes on, and nothing of the refused was done
    assert server.get("/test").status_code == 200
    assert server.upload(b"a model").status_code == 200
    assert server.sweep() == []

    server.stop()
    remember(server, MOST - 1, until=time.time() + 3600)
    server.start()
    first = registration(server, body)
    assert deliver(server, first).status_code == 200
    assert problem_of(deliver(server, registration(server, body)), 503) == "server-busy"
    # a replay is no better off
    assert deliver(server, first).status_code in (401, 503)
