"""/v1/models over TLS: registered, uploaded as a body, looked through, switched, removed."""

import hashlib
import json
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.flows.conftest import TinyModels
from tests.flows.messages import deliver, key, send, sign, write_keys
from tests.flows.running import (
    TOKEN,
    Server,
    digest_of,
    fresh_copy,
    problem_of,
    sign_payload,
    wait_until,
)
from tests.flows.test_v1_predictions import head
from tests.signing.messages import Request, hmac_signer

pytestmark = pytest.mark.timeout(240)
ALL = hmac_signer("all")
FEW = hmac_signer("few")
Noise = Callable[[int], bytes]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    few = key("few", "read", "register", "admin", "upload", models="0*")
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("all"), few)
    return {"KEYS_FILE": str(path)}


def ask(
    server: Server, method: str, path: str, body: Any = b"", *, signer: Any = ALL, query: str = ""
) -> httpx.Response:
    return send(server, path, body, signer, method=method, query=query)


def put(server: Server, digest: str, body: bytes, **options: Any) -> httpx.Response:
    kind = "application/octet-stream"
    path = f"/v1/models/{digest}/file"
    return send(server, path, body, ALL, method="PUT", content_type=kind, **options)


def register(server: Server, digest: str, **fields: Any) -> httpx.Response:
    return ask(server, "POST", "/v1/models", {"digest": digest} | fields)


def host(server: Server, model: bytes) -> str:
    digest = digest_of(model)
    assert register(server, digest).status_code == 201
    assert put(server, digest, model).status_code == 201
    return digest


def state_of(server: Server, digest: str) -> str:
    state: str = ask(server, "GET", f"/v1/models/{digest}").json()["state"]
    return state


def test_a_model_from_its_registration_to_its_answer(
    server: Server, tiny: TinyModels, short_wav: bytes
) -> None:
    model = fresh_copy(tiny.path("two.h5"))
    digest = digest_of(model)
    new = register(server, digest)
    assert (new.status_code, new.headers["location"]) == (201, f"/v1/models/{digest}")
    assert new.json()["state"] == "registered"
    assert register(server, digest).status_code == 200
    assert ask(server, "HEAD", f"/v1/models/{digest}/file").status_code == 404
    stored = put(server, digest, model)
    assert (stored.status_code, stored.json()["bytes"]) == (201, len(model))
    assert server.predict(digest, short_wav).status_code == 200
    found = ask(server, "GET", f"/v1/models/{digest}").json()
    assert (found["state"], found["task"], found["precision"]) == ("ready", "genre", "float32")
    assert found["engine"].startswith("onnxruntime ")
    assert sorted(found["frontends"]) == ["gtzan-58@1", "kaggle-gtzan@1"]
    assert len(found["labels"]) == 10
    assert found["registered"] <= found["promoted"] <= found["ready"]
    held = ask(server, "HEAD", f"/v1/models/{digest}/file")
    assert (held.status_code, held.headers["model-bytes"]) == (200, str(len(model)))
    check_switching(server, digest, short_wav)


def check_switching(server: Server, digest: str, short_wav: bytes) -> None:
    """Switch a model that answers off and on again."""
    path = f"/v1/models/{digest}"
    off = ask(server, "PATCH", path, {"state": "disabled", "reason": "it hallucinates"})
    assert (off.status_code, off.json()["state"]) == (200, "disabled")
    refused = server.predict(digest, short_wav)
    assert problem_of(refused, 409) == "model-disabled"
    assert "it hallucinates" in refused.json()["detail"]
    assert ask(server, "PATCH", path, {"state": "disabled"}).status_code == 200
    assert ask(server, "PATCH", path, {"state": "enabled"}).json()["state"] == "ready"
    assert server.predict(digest, short_wav).status_code == 200
    entries = ask(server, "GET", "/v1/audit", query="limit=4").json()["entries"]
    switched = [(entry["action"], entry["by"]) for entry in entries if entry["model"] == digest]
    assert switched[:2] == [("enabled", "all"), ("disabled", "all")]


def test_a_model_that_is_here_is_not_sent_again(server: Server, noise: Noise) -> None:
    model = noise(300_000)
    digest = host(server, model)
    path = f"/v1/models/{digest}/file"
    lines = [
        f"PUT {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {len(model)}",
        f"Signed-Request: {head(path, model)}",
        "Expect: 100-continue",
        "\r\n",
    ]
    with server.connect() as connection:
        connection.sendall("\r\n".join(lines).encode())
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"100 Continue" not in answer
    assert put(server, digest, model).status_code == 200


def read_all(connection: ssl.SSLSocket) -> bytes:
    connection.settimeout(30)
    found = b""
    try:
        while piece := connection.recv(1 << 16):
            found += piece
    except (TimeoutError, ConnectionError):
        return found
    return found


def test_another_file_than_the_one_that_was_named_is_refused(server: Server, noise: Noise) -> None:
    digest, other = digest_of(noise(50)), noise(5000)
    assert problem_of(put(server, digest, other), 404) == "model-not-found"
    register(server, digest)
    assert problem_of(put(server, digest, other), 422) == "digest-mismatch"
    assert state_of(server, digest) == "registered"
    path = f"/v1/models/{digest}/file"
    signed = {"Signed-Request": head(path, other)}
    with server.client() as http:
        assert problem_of(http.put(path, content=other, headers=signed), 422) == "digest-mismatch"
        lied = {"Signed-Request": head(path, b"something else")}
        assert problem_of(http.put(path, content=other, headers=lied), 422) == "digest-mismatch"
        assert problem_of(http.put(path, content=other), 401) == "bad-signature"


def test_bytes_that_are_altered_on_their_way_are_refused(server: Server, noise: Noise) -> None:
    model = noise(5000)
    digest = digest_of(model)
    register(server, digest)
    path = f"/v1/models/{digest}/file"
    with server.client() as http:
        signed = {"Signed-Request": head(path, model)}
        answer = http.put(path, content=bytes([model[0] ^ 1]) + model[1:], headers=signed)
    assert problem_of(answer, 401) == "bad-signature"
    assert state_of(server, digest) == "registered"


def test_what_was_never_uploaded_cannot_be_switched_off(server: Server, noise: Noise) -> None:
    digest = digest_of(noise(40))
    register(server, digest)
    refused = ask(server, "PATCH", f"/v1/models/{digest}", {"state": "disabled"})
    assert problem_of(refused, 409) == "model-not-uploaded"


def test_a_removed_model_is_gone_with_its_files(
    server: Server, tiny: TinyModels, short_wav: bytes
) -> None:
    model = fresh_copy(tiny.path("two.h5"))
    digest = host(server, model)
    assert server.predict(digest, short_wav).status_code == 200
    loaded = server.get("/readyz").json()["models_loaded"]
    assert ask(server, "DELETE", f"/v1/models/{digest}").status_code == 204
    assert digest not in server.stored()
    assert problem_of(server.predict(digest, short_wav), 404) == "model-not-found"
    assert problem_of(ask(server, "DELETE", f"/v1/models/{digest}"), 404) == "model-not-found"
    wait_until(
        lambda: server.get("/readyz").json()["models_loaded"] == loaded - 1, "it is unloaded"
    )
    assert register(server, digest).status_code == 201


def test_pages_hold_every_model_once(server: Server, noise: Noise) -> None:
    mine = {digest_of(noise(30)) for _ in range(7)}
    for digest in mine:
        register(server, digest)
    seen: list[str] = []
    query = "limit=3&state=registered"
    while query:
        page = ask(server, "GET", "/v1/models", query=query).json()
        seen += [model["digest"] for model in page["models"]]
        query = f"limit=3&state=registered&after={page['next']}" if page["next"] else ""
    assert seen == sorted(seen)
    assert mine <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "after=zz", "state=odd", "color=red", "limit="]
)
def test_a_page_that_cannot_be(server: Server, query: str) -> None:
    answer = ask(server, "GET", "/v1/models", query=query)
    assert problem_of(answer, 400) in {"malformed-request", "bad-digest"}


def test_a_model_that_has_not_changed_is_not_sent_again(server: Server, noise: Noise) -> None:
    digest = digest_of(noise(30))
    tag = register(server, digest).headers["etag"]
    path = f"/v1/models/{digest}"
    with server.client() as http:
        signed = {"Signed-Request": head(path, b"")}
        same = http.get(path, headers=signed | {"If-None-Match": tag})
        signed = {"Signed-Request": head(path, b"")}
        weak = http.get(path, headers=signed | {"If-None-Match": f"W/{tag}"})  # of a proxy
        for one in (same, weak):
            assert (one.status_code, one.content, one.headers["etag"]) == (304, b"", tag)
        register(server, digest, manifest={"task": "tensors"})
        signed = {"Signed-Request": head(path, b"")}
        other = http.get(path, headers=signed | {"If-None-Match": tag})
    assert (other.status_code, other.json()["manifest"]) == (200, {"task": "tensors"})


@pytest.mark.parametrize(
    ("fields", "slug"),
    [
        ({}, "malformed-request"),
        ({"digest": "abc"}, "malformed-request"),
        ({"digest": 5}, "malformed-request"),
        ({"digest": "0" * 64, "manifest": None}, "malformed-request"),
        ({"digest": "0" * 64, "manifest": []}, "malformed-request"),
        ({"digest": "0" * 64, "color": "red"}, "malformed-request"),
    ],
)
def test_a_registration_that_cannot_be(server: Server, fields: Any, slug: str) -> None:
    assert problem_of(ask(server, "POST", "/v1/models", fields), 400) == slug


def test_a_manifest_that_is_none_is_refused(server: Server) -> None:
    answer = register(server, "0" * 64, manifest={"task": "flying"})
    assert problem_of(answer, 422) == "bad-manifest"


@pytest.mark.parametrize(
    "fields", [{}, {"state": "off"}, {"state": "enabled", "reason": "x" * 501}]
)
def test_a_change_that_cannot_be(server: Server, fields: Any) -> None:
    answer = ask(server, "PATCH", f"/v1/models/{'0' * 64}", fields)
    assert problem_of(answer, 400) == "malformed-request"


def test_a_key_reaches_the_models_that_it_is_good_for(server: Server, noise: Noise) -> None:
    other = next(d for k in range(99) if (d := digest_of(noise(20 + k)))[0] != "0")
    register(server, other)
    path = f"/v1/models/{other}"
    for method, body in (("GET", b""), ("PATCH", {"state": "enabled"}), ("DELETE", b"")):
        answer = ask(server, method, path, body, signer=FEW)
        assert problem_of(answer, 403) == "scope-missing", method
    refused = ask(server, "POST", "/v1/models", {"digest": other}, signer=FEW)
    assert problem_of(refused, 403) == "scope-missing"
    listed = ask(server, "GET", "/v1/models", query="limit=1000", signer=FEW).json()["models"]
    assert all(model["digest"].startswith("0") for model in listed)
    assert state_of(server, other) == "registered"


def test_a_sweep_that_is_asked_for(server: Server, noise: Noise) -> None:
    model = noise(2000)
    register(server, digest_of(model))
    server.upload(model, noise(100))
    swept = ask(server, "POST", "/v1/sweeps", {}).json()
    assert swept == {"promoted": [digest_of(model)], "discarded": 1, "left": 0}
    assert problem_of(ask(server, "POST", "/v1/sweeps", {}, signer=FEW), 403) == "scope-missing"


def test_dialect_1_lists_and_registers_too(server: Server, noise: Noise) -> None:
    digest = hashlib.sha256(noise(20)).hexdigest()
    with server.client() as http:
        signed = {"Signed-Request": head("/v1/models", b"", token=TOKEN)}
        assert http.get("/v1/models", headers=signed).status_code == 200
        assert problem_of(http.get("/v1/models"), 401) == "bad-signature"
        body = sign_payload({"digest": digest, "_path": "/v1/models", "_ts": time.time()})
        kind = {"Content-Type": "application/json"}
        assert http.post("/v1/models", content=body, headers=kind).status_code == 201


def once(server: Server, path: str, fields: dict[str, Any], name: str) -> httpx.Response:
    """Send a request with an idempotency key, which is not signed."""
    request = Request("POST", "", path, "", json.dumps(fields).encode())
    signed = sign(server, request, ALL)
    signed.headers["Idempotency-Key"] = name
    return deliver(server, signed)


def test_a_registration_that_comes_again_is_answered_as_before(
    server: Server, noise: Noise
) -> None:
    digest = digest_of(noise(30))
    first = once(server, "/v1/models", {"digest": digest}, digest)
    again = once(server, "/v1/models", {"digest": digest}, digest)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"] == f"/v1/models/{digest}"
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    other = once(server, "/v1/models", {"digest": digest_of(noise(30))}, digest)
    assert problem_of(other, 422) == "idempotency-conflict"


def test_a_token_that_is_asked_for_again_is_the_same_token(server: Server, noise: Noise) -> None:
    name = digest_of(noise(8))
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: once(server, "/v1/tokens", {"scopes": ["read"]}, name), range(8))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["token"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1


def test_a_rollback_that_comes_again_leads_back_once(server: Server, noise: Noise) -> None:
    one, two = (digest_of(noise(30)) for _ in range(2))
    for digest in (one, two):
        register(server, digest)
        request = Request("PUT", "", "/v1/aliases/turned", "", b'{"digest":"%s"}' % digest.encode())
        signed = sign(server, request, ALL)
        signed.headers["If-Match" if digest == two else "If-None-Match"] = "*"
        assert deliver(server, signed).status_code == 200
    name = digest_of(noise(8))
    back = [once(server, "/v1/aliases/turned/rollback", {}, name).json() for _ in range(2)]
    assert [answer["digest"] for answer in back] == [one, one]


def test_what_was_refused_is_tried_again(server: Server, noise: Noise) -> None:
    name = digest_of(noise(8))
    refused = once(server, "/v1/tokens", {"scopes": []}, name)
    assert problem_of(refused, 400) == "malformed-request"
    assert once(server, "/v1/tokens", {"scopes": ["read"]}, name).status_code == 200


@pytest.mark.parametrize("name", ["", "a b", "x" * 256])
def test_an_idempotency_key_that_is_none_is_refused(server: Server, name: str) -> None:
    assert problem_of(once(server, "/v1/sweeps", {}, name), 400) == "malformed-request"


def test_a_sweep_that_is_asked_for_again_is_not_made_again(server: Server, noise: Noise) -> None:
    model, name = noise(2000), digest_of(noise(8))
    register(server, digest_of(model))
    first = once(server, "/v1/sweeps", {}, name)
    server.upload(model)
    assert once(server, "/v1/sweeps", {}, name).json() == first.json()
    assert digest_of(model) not in server.stored()
    assert digest_of(model) in once(server, "/v1/sweeps", {}, name + "x").json()["promoted"]
