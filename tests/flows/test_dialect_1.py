"""Changes on /v1 in dialect 1: what was captured of a request does nothing a second time."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.flows.running import Server, digest_of, once_at, problem_of, sign_payload

pytestmark = pytest.mark.timeout(120)
Noise = Callable[[int], bytes]
Sent = Callable[[], httpx.Response]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"INTAKE_TIMEOUT_S": "0.1"}


def captured(
    server: Server,
    method: str,
    path: str,
    fields: dict[str, Any] | None = None,
    *,
    without: str = "",
    **headers: str,
) -> Sent:
    """Sign a request, with JSON or nothing for its body; return what sends these very bytes."""
    bound = {name: value for name, value in once_at(path).items() if name != without}
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    content = None
    if fields is None:
        told["Signed-Request"] = sign_payload({"sha256": digest_of(b"")} | bound)
    else:
        content = sign_payload(fields | bound)
        told |= JSON

    def send() -> httpx.Response:
        with server.client() as http:
            return http.request(method, path, content=content, headers=told)

    return send


def register(server: Server, noise: Noise) -> str:
    digest = digest_of(noise(16))
    body = {"digest": digest}
    assert captured(server, "POST", "/v1/models", body, without="_nonce")().status_code == 201
    return digest


def state_of(server: Server, path: str) -> int:
    return captured(server, "GET", path, without="_nonce")().status_code


@pytest.mark.parametrize("without", ["_nonce", "_ts", "_path"])
@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("PATCH", "/v1/models/" + "ab" * 32, {"state": "enabled"}),
        ("DELETE", "/v1/models/" + "ab" * 32, None),
        ("PUT", "/v1/aliases/some", {"digest": "ab" * 32}),
        ("POST", "/v1/aliases/some/rollback", {}),
        ("DELETE", "/v1/aliases/some", None),
        ("POST", "/v1/tokens", {"scopes": ["read"]}),
        ("DELETE", "/v1/jobs/" + "ab" * 16, None),
        ("DELETE", "/v1/uploads/" + "ab" * 16, None),
    ],
)
def test_a_change_that_could_be_repeated_is_refused(
    server: Server, method: str, path: str, fields: dict[str, Any] | None, without: str
) -> None:
    bare = captured(
        server, method, path, fields, without=without, If_Match="*", Tus_Resumable="1.0.0"
    )
    refused = bare()
    assert problem_of(refused, 400) == "malformed-request"
    assert without in refused.json()["detail"]


def test_a_change_counts_once(server: Server, noise: Noise) -> None:
    one, two = register(server, noise), register(server, noise)
    path = "/v1/aliases/once"

    def counts_once(send: Sent, status: int) -> httpx.Response:
        answer = send()
        assert answer.status_code == status, answer.text
        assert problem_of(send(), 401) == "bad-signature"
        return answer

    counts_once(captured(server, "PUT", path, {"digest": one}, If_Match="*"), 200)
    counts_once(captured(server, "PUT", path, {"digest": two}, If_Match="*"), 200)
    back = counts_once(captured(server, "POST", f"{path}/rollback", {}), 200)
    assert back.json()["digest"] == one
    assert captured(server, "GET", path)().json()["digest"] == one
    counts_once(captured(server, "POST", "/v1/tokens", {"scopes": ["read"]}), 200)
    counts_once(captured(server, "PATCH", f"/v1/models/{one}", {"state": "enabled"}), 200)
    counts_once(captured(server, "DELETE", path, If_Match="*"), 204)
    counts_once(captured(server, "DELETE", f"/v1/models/{two}"), 204)


@pytest.mark.parametrize("without", ["", "_nonce"])
def test_what_was_captured_of_a_look_removes_nothing(
    server: Server, noise: Noise, without: str
) -> None:
    path = f"/v1/models/{register(server, noise)}"
    bound = {name: value for name, value in once_at(path).items() if name != without}
    header = {"Signed-Request": sign_payload({"sha256": digest_of(b"")} | bound)}
    with server.client() as http:
        assert http.get(path, headers=header).status_code == 200
        assert http.delete(path, headers=header).status_code == (400 if without else 401)
    assert state_of(server, path) == 200


def test_what_changes_nothing_twice_needs_no_nonce(server: Server, noise: Noise) -> None:
    digest = register(server, noise)
    again = captured(server, "POST", "/v1/models", {"digest": digest}, without="_nonce")
    sweep = captured(server, "POST", "/v1/sweeps", {}, without="_nonce")
    for send in (again, again, sweep, sweep):
        answer = send()
        assert answer.status_code == 200, answer.text
    assert json.loads(answer.text)["promoted"] == []
