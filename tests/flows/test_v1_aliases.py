"""/v1/aliases over TLS: compare and set, rollback, and predictions by name."""

from typing import Any

import httpx
import pytest

from tests.flows.messages import deliver, key, sign, write_keys
from tests.flows.running import Server, problem_of
from tests.flows.test_v1_models import ask, register
from tests.signing.messages import Request, hmac_signer

pytestmark = pytest.mark.timeout(240)
ONE, TWO, OTHER, OWN = "1" * 64, "2" * 64, "a" * 64, "1" * 63 + "2"
FEW, LOOKS = hmac_signer("few"), hmac_signer("looks")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    few = key("few", "read", "admin", "predict", models="1*")
    looks = key("looks", scopes={"read": ["*"], "admin": ["1*"], "predict": ["1*"]})
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("all"), few, looks)
    return {"KEYS_FILE": str(path)}


@pytest.fixture(scope="module", autouse=True)
def models(server: Server) -> None:
    for digest in (ONE, TWO, OTHER, OWN):
        register(server, digest)


def change(
    server: Server,
    method: str,
    name: str,
    body: bytes = b"",
    signer: Any = None,
    **conditions: str,
) -> httpx.Response:
    """Send a change with conditions, which are not signed."""
    request = Request(method, "", f"/v1/aliases/{name}", "", body)
    signed = sign(server, request, signer or hmac_signer("all"))
    signed.headers |= {name.replace("_", "-"): value for name, value in conditions.items()}
    return deliver(server, signed)


def put(server: Server, name: str, digest: str, **options: Any) -> httpx.Response:
    return change(server, "PUT", name, f'{{"digest":"{digest}"}}'.encode(), **options)


def test_a_name_is_given_moved_led_back_and_taken_away(server: Server) -> None:
    new = put(server, "best", ONE, If_None_Match="*")
    assert new.status_code == 200, new.text
    assert (new.json()["digest"], new.json()["previous"]) == (ONE, None)
    first = new.headers["etag"]
    assert problem_of(put(server, "best", TWO, If_None_Match="*"), 412) == "precondition-failed"
    moved = put(server, "best", TWO, If_Match=first)
    assert (moved.json()["digest"], moved.json()["previous"]) == (TWO, ONE)
    assert problem_of(put(server, "best", ONE, If_Match=first), 412) == "precondition-failed"
    weak = put(server, "best", ONE, If_Match=f"W/{moved.headers['etag']}")
    assert problem_of(weak, 412) == "precondition-failed"
    assert problem_of(put(server, "best", ONE), 428) == "precondition-required"
    back = change(server, "POST", "best/rollback", b"{}")
    assert (back.json()["digest"], back.json()["previous"]) == (ONE, TWO)
    shown = ask(server, "GET", "/v1/aliases/best")
    assert (shown.json(), shown.headers["etag"]) == (back.json(), back.headers["etag"])
    assert ask(server, "GET", f"/v1/models/{ONE}").json()["aliases"] == ["best"]
    assert ask(server, "GET", "/v1/models/best").json()["digest"] == ONE
    assert problem_of(ask(server, "DELETE", f"/v1/models/{ONE}"), 409) == "model-in-use"
    assert problem_of(change(server, "DELETE", "best"), 428) == "precondition-required"
    gone = change(server, "DELETE", "best", If_Match=back.headers["etag"])
    assert (gone.status_code, gone.content) == (204, b"")
    assert problem_of(ask(server, "GET", "/v1/aliases/best"), 404) == "alias-not-found"
    assert problem_of(ask(server, "GET", "/v1/models/best"), 404) == "alias-not-found"


@pytest.mark.parametrize(
    "conditions",
    [
        {"If_None_Match": '"abc"'},
        {"If_None_Match": "*", "If_Match": "*"},
        {"If_Match": '"a", "b"'},
        {"If_Match": ""},
    ],
)
def test_a_condition_that_cannot_be(server: Server, conditions: dict[str, str]) -> None:
    assert problem_of(put(server, "odd", ONE, **conditions), 400) == "malformed-request"


@pytest.mark.parametrize(
    ("name", "digest", "status", "slug"),
    [
        ("UPPER", ONE, 400, "malformed-request"),
        ("fine", "f" * 64, 404, "model-not-found"),
        ("fine", "short", 400, "malformed-request"),
    ],
)
def test_a_name_that_cannot_be_given(
    server: Server, name: str, digest: str, status: int, slug: str
) -> None:
    assert problem_of(put(server, name, digest, If_Match="*"), status) == slug


def test_a_key_moves_names_to_its_own_models_only(server: Server) -> None:
    assert put(server, "mine", OWN, signer=FEW, If_None_Match="*").status_code == 200
    assert put(server, "theirs", OTHER, If_None_Match="*").status_code == 200
    refused = put(server, "mine", OTHER, signer=FEW, If_Match="*")
    assert problem_of(refused, 403) == "scope-missing"
    for condition in ({"If_Match": "*"}, {"If_None_Match": "*"}):
        refused = put(server, "theirs", OWN, signer=FEW, **condition)
        assert problem_of(refused, 412) == "precondition-failed"
        refused = put(server, "theirs", OWN, signer=LOOKS, **condition)
        assert problem_of(refused, 403) == "scope-missing"
    refused = change(server, "DELETE", "theirs", signer=LOOKS, If_Match="*")
    assert problem_of(refused, 403) == "scope-missing"
    listed = ask(server, "GET", "/v1/aliases", signer=FEW).json()["aliases"]
    names = {one["name"] for one in listed}
    assert names & {"mine", "theirs"} == {"mine"}


def told(server: Server, method: str, path: str, signer: Any) -> tuple[int, dict[str, Any]]:
    """Ask about a name; return the answer without what differs with every request."""
    body = b"" if method in ("GET", "HEAD", "DELETE") else b"{}"
    if path.startswith("/v1/aliases") and method == "PUT":
        body = f'{{"digest":"{OWN}"}}'.encode()
    if path.startswith("/v1/models") and method == "PATCH":
        body = b'{"state":"enabled"}'
    path, _, query = path.partition("?")
    request = sign(server, Request(method, "", path, query, body), signer)
    request.headers |= {"if-match": '"seen"'}
    answer = deliver(server, request)
    return answer.status_code, answer.json() | {"instance": ""}


@pytest.mark.parametrize(
    "route",
    [
        "GET /v1/aliases/{}",
        "PUT /v1/aliases/{}",
        "DELETE /v1/aliases/{}",
        "POST /v1/aliases/{}/rollback",
        "GET /v1/models/{}",
        "PATCH /v1/models/{}",
        "DELETE /v1/models/{}",
        "POST /v1/models/{}/predictions",
        "POST /v1/jobs?task=genre&model={}",
        "GET /v2/models/{}",
        "GET /v2/models/{}/ready",
        "GET /v2/models/{}/config",
        "GET /v2/models/{}/versions/1/stats",
        "POST /v2/models/{}/infer",
        "POST /v2/repository/models/{}/load",
        "POST /v2/repository/models/{}/unload",
    ],
)
def test_a_name_of_others_is_as_if_nobody_had_given_it(server: Server, route: str) -> None:
    put(server, "hidden", OTHER, If_None_Match="*")
    method, path = route.split()
    status, answer = told(server, method, path.format("hidden"), FEW)
    absent = told(server, method, path.format("nobody"), FEW)
    assert absent[0] in (404, 412)
    assert (status, answer) == (absent[0], _renamed(absent[1], "nobody", "hidden"))
    nobody = hmac_signer("unknown")
    assert told(server, method, path.format("hidden"), nobody)[0] == 401
    assert told(server, method, path.format("nobody"), nobody)[0] == 401
    if method != "GET":
        assert told(server, method, path.format("hidden"), LOOKS)[1]["status"] == 403


def _renamed(answer: dict[str, Any], name: str, other: str) -> dict[str, Any]:
    return {
        member: text.replace(name, other) if isinstance(text, str) else text
        for member, text in answer.items()
    }


def test_the_model_before_is_shown_to_who_may_know_it(server: Server) -> None:
    put(server, "moved", OTHER, If_None_Match="*")
    put(server, "moved", OWN, If_Match="*")
    path = "/v1/aliases/moved"
    assert ask(server, "GET", path, signer=FEW).json()["previous"] is None
    assert ask(server, "GET", path, signer=LOOKS).json()["previous"] == OTHER
    (listed,) = [
        one
        for one in ask(server, "GET", "/v1/aliases", signer=FEW).json()["aliases"]
        if one["name"] == "moved"
    ]
    assert (listed["digest"], listed["previous"]) == (OWN, None)


def test_a_name_is_not_led_back_from_a_model_of_others(server: Server) -> None:
    put(server, "lent", OWN, If_None_Match="*")
    put(server, "lent", OTHER, If_Match="*")
    refused = change(server, "POST", "lent/rollback", b"{}", signer=LOOKS)
    assert problem_of(refused, 403) == "scope-missing"
    assert ask(server, "GET", "/v1/aliases/lent").json()["digest"] == OTHER


def test_a_name_stands_in_for_the_digest_of_a_prediction(server: Server) -> None:
    put(server, "soon", TWO, If_None_Match="*")
    answer = ask(server, "POST", "/v1/models/soon/predictions", {"inputs": {}})
    assert problem_of(answer, 409) == "model-not-uploaded"
    answer = ask(server, "POST", "/v1/models/nobody/predictions", {"inputs": {}})
    assert problem_of(answer, 404) == "alias-not-found"
