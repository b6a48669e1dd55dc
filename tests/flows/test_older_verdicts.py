"""Verdicts of other judges: they are worth nothing at the next start, and are given anew."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.flows.conftest import TinyModels
from tests.flows.running import Server, difference, probabilities, problem_of

pytestmark = pytest.mark.timeout(300)
New = Callable[..., Server]


def record_of(server: Server, digest: str) -> dict[str, Any]:
    with closing(sqlite3.connect(server.models / "registry.sqlite3")) as base:
        query = "SELECT record FROM model WHERE digest = ?"
        (text,) = base.execute(query, (bytes.fromhex(digest),)).fetchone()
    found: dict[str, Any] = json.loads(text)
    return found


def make_ready(server: Server, digest: str, record: dict[str, Any]) -> None:
    """Write what another server would have found, while none runs."""
    with closing(sqlite3.connect(server.models / "registry.sqlite3")) as base, base:
        change = "UPDATE model SET state = 'ready', reason = NULL, record = ? WHERE digest = ?"
        assert base.execute(change, (json.dumps(record), bytes.fromhex(digest))).rowcount == 1


def test_what_others_judged_is_judged_again_at_the_start(
    new_server: New, tiny: TinyModels, wav: bytes
) -> None:
    server = new_server().start()
    names = ("row.h5", "labels_8.h5", "lambda.keras")
    good, same, bad = [server.host(tiny.path(name).read_bytes()) for name in names]
    manifest = {"labels": [f"genre {k}" for k in range(8)]}
    server.register(same, manifest)
    assert server.predict(good, wav).status_code == server.predict(same, wav).status_code == 200
    assert problem_of(server.predict(bad, wav), 422) == "model-rejected"
    server.stop()

    found, untouched = record_of(server, good), record_of(server, same)
    assert set(found["judges"]) == {"gate", "keras", "onnxruntime"}
    # an older Keras judged one; an older gate let the other one through
    make_ready(server, good, found | {"judges": found["judges"] | {"keras": "3.0.0"}})
    make_ready(server, bad, found | {"judges": found["judges"] | {"gate": "0"}})
    server.start()
    answer = probabilities(server.predict(good, wav))
    assert difference(answer, tiny.answers["row"]) < 1e-5
    assert problem_of(server.predict(bad, wav), 422) == "model-rejected"
    assert server.predict(same, wav).status_code == 200
    again = [line for line in server.log().splitlines() if "model judged again" in line]
    assert len(again) == 2
    assert sum("keras 3.0.0 -> " in line for line in again) == 1
    assert sum("gate 0 -> " in line for line in again) == 1
    server.stop()
    assert record_of(server, good)["judges"] == found["judges"]
    assert record_of(server, same) == untouched
