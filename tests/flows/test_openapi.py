"""/openapi.json and /docs: valid, complete, and true of what the server answers."""

import re
from typing import Any

import pytest
from jsonschema.validators import validator_for
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.flows.conftest import TinyModels
from tests.flows.messages import key, send, write_keys
from tests.flows.running import (
    FORM_TYPE,
    ROOT,
    Server,
    file_part,
    multipart,
    problem_of,
)
from tests.flows.test_v1_aliases import put
from tests.flows.test_v1_models import ask, register
from tests.signing.messages import hmac_signer

pytestmark = pytest.mark.timeout(240)
ALL = hmac_signer("all")
ROUTE = re.compile(r'@(?:bp|routes)\.(get|post|put|patch|delete)\("([^"]+)"[,)]')
HEAD = re.compile(r'@bp\.route\("([^"]+)", methods=\["HEAD"\]\)')
ORIGINAL = {"compat.py", "spec2spec.py"}
TUS = {
    "Tus-Resumable": "1.0.0",
    "Upload-Length": "5",
    "Upload-Offset": "0",
    "X-HTTP-Method-Override": "PATCH",
    "Content-Type": "application/offset+octet-stream",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("all"))
    return {"KEYS_FILE": str(path)}


@pytest.fixture(scope="module")
def described(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/openapi.json").json()
    return found


def operations(described: dict[str, Any]) -> set[tuple[str, str]]:
    return {(m, path) for path, methods in described["paths"].items() for m in methods}


def test_it_is_valid(described: dict[str, Any]) -> None:
    assert list(OpenAPIV31SpecValidator(described).iter_errors()) == []
    ids = [one["operationId"] for each in described["paths"].values() for one in each.values()]
    assert len(ids) == len(set(ids))


def test_what_links_lead_to_is_there(described: dict[str, Any]) -> None:
    """A link names an operation, and parameters of it; schemathesis goes by them."""
    parameters = {
        one["operationId"]: {each["name"] for each in one["parameters"]}
        for methods in described["paths"].values()
        for one in methods.values()
    }
    links = [
        link
        for methods in described["paths"].values()
        for one in methods.values()
        for answer in one["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) > 20
    for link in links:
        assert set(link["parameters"]) <= parameters[link["operationId"]], link


def test_every_route_is_described_and_nothing_else(described: dict[str, Any]) -> None:
    routes = set()
    for path in (ROOT / "server" / "web").rglob("*.py"):
        if path.name not in ORIGINAL and path.parent.name != "v2":
            text = path.read_text()
            routes |= {(method, rule) for method, rule in ROUTE.findall(text)}
            routes |= {("head", rule) for rule in HEAD.findall(text)}
    known = {(method, re.sub(r"<(\w+)>", r"{\1}", rule)) for method, rule in routes}
    known = {(method, rule) for method, rule in known if rule.startswith("/")}
    assert operations(described) == known


def test_what_must_be_signed_is_refused_without(server: Server, described: dict[str, Any]) -> None:
    with server.client() as http:
        for method, path in sorted(operations(described)):
            told = described["paths"][path][method]
            answer = http.request(method, re.sub(r"{\w+}", "0" * 64, path), headers=TUS)
            assert (answer.status_code == 401) is bool(told["security"]), (method, path)


def check(described: dict[str, Any], method: str, path: str, answer: Any) -> None:
    """Hold an answer to what is told of it."""
    told = described["paths"][path][method]["responses"][str(answer.status_code)]
    assert {name.lower() for name in told.get("headers", {})} <= set(answer.headers)
    content = told["content"][answer.headers["content-type"].partition(";")[0]]
    schema = {**content["schema"], "components": described["components"]}
    validator_for(schema)(schema).validate(answer.json())


def test_answers_are_as_they_are_described(
    server: Server, described: dict[str, Any], tiny: TinyModels, short_wav: bytes
) -> None:
    songs = server.host(tiny.path("two.h5").read_bytes())
    rows = server.host(tiny.path("two_rows.h5").read_bytes(), {"task": "tensors"})
    digest = "ab" * 32
    check(described, "post", "/v1/models", register(server, digest))
    put(server, "best", digest, If_None_Match="*")
    for path in ("/v1/models", "/v1/aliases", "/v1/audit", "/v1/frontends", "/livez", "/readyz"):
        check(described, "get", path, ask(server, "GET", path))
    check(described, "get", "/v1/models/{name}", ask(server, "GET", f"/v1/models/{songs}"))
    named = ask(server, "GET", "/v1/aliases/best")
    check(described, "get", "/v1/aliases/{name}", named)
    with_version = {"If_Match": named.headers["ETag"]}
    check(described, "put", "/v1/aliases/{name}", put(server, "best", digest, **with_version))
    check(described, "post", "/v1/sweeps", ask(server, "POST", "/v1/sweeps", {}))
    check(described, "post", "/v1/tokens", ask(server, "POST", "/v1/tokens", {"scopes": ["read"]}))
    inputs = {name: [0.5] * 58 for name in ("one", "two")}
    for model, body, kind in (
        (songs, short_wav, "audio/wav"),
        (rows, {"inputs": inputs}, "application/json"),
        (rows, {"inputs": {}}, "application/json"),
        ("f" * 64, short_wav, "audio/wav"),
    ):
        answer = send(server, f"/v1/models/{model}/predictions", body, ALL, content_type=kind)
        check(described, "post", "/v1/models/{digest}/predictions", answer)
    form = multipart(*(file_part(data, field="sound") for data in (short_wav, b"")))
    path = f"/v1/models/{songs}/predictions"
    answer = send(server, path, form, ALL, query="top=1&features=1", content_type=FORM_TYPE)
    check(described, "post", "/v1/models/{digest}/predictions", answer)
    schemas = described["components"]["schemas"]
    for entry, name in zip(
        answer.json()["predictions"], ("SoundPrediction", "SoundRefusal"), strict=True
    ):
        assert set(schemas[name]["required"]) <= set(entry)
    row = send(server, "/v1/frontends/gtzan-58@1", short_wav, ALL, content_type="audio/wav")
    check(described, "post", "/v1/frontends/{name}", row)
    job = send(server, "/v1/jobs", short_wav, ALL, query="task=midi", content_type="audio/wav")
    check(described, "post", "/v1/jobs", job)
    with server.client() as http:
        token = ask(server, "POST", "/v1/tokens", {"scopes": ["predict"]}).json()["token"]
        bearer = {"Authorization": f"Bearer {token}", "Prefer": "wait=60"}
        sent = {"content": short_wav, "params": {"task": "midi"}, "headers": bearer}
        done = http.post("/v1/jobs", **sent)  # type: ignore[arg-type]  # a mapping of several types
    assert done.json()["result"]["outputs"]
    check(described, "post", "/v1/jobs", done)
    check(described, "get", "/v1/jobs/{name}", ask(server, "GET", job.headers["location"]))
    check(described, "get", "/v1/jobs", ask(server, "GET", "/v1/jobs"))
    check(described, "get", "/v1/tasks", ask(server, "GET", "/v1/tasks"))
    known = ask(server, "GET", "/.well-known/spectrogrampredictor-receipts")
    check(described, "get", "/.well-known/spectrogrampredictor-receipts", known)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/uploads", {"Upload-Length": "0"}, 422),  # nothing is whole at once, and no model
        ("/v1/uploads/{upload}", {}, 405),
        ("/v1/uploads/{upload}", {"X-HTTP-Method-Override": "PATCH"}, 415),
        ("/v1/uploads/{upload}", {"X-HTTP-Method-Override": "DELETE"}, 404),
        ("/v1/uploads/{upload}", {"Tus-Resumable": "0.9"}, 412),
    ],
)
def test_refused_uploads_are_as_they_are_described(
    server: Server, described: dict[str, Any], path: str, headers: dict[str, str], status: int
) -> None:
    minted = ask(server, "POST", "/v1/tokens", {"scopes": ["upload"]}).json()["token"]
    bearer = {"Authorization": f"Bearer {minted}", "Tus-Resumable": "1.0.0"}
    with server.client() as http:
        answer = http.post(path.format(upload="none"), headers=bearer | headers)
    assert answer.status_code == status, answer.text
    check(described, "post", path, answer)


def test_the_page_shows_every_operation_and_loads_nothing(
    server: Server, described: dict[str, Any]
) -> None:
    answer = server.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for method, path in operations(described):
        assert f"<b>{method.upper()}</b> <code>{path}</code>" in answer.text
    links = set(re.findall(r'(?:href|src)="([^"]+)"', answer.text))
    targets = set(re.findall(r'id="([^"]+)"', answer.text))
    assert links - {"/openapi.json"} <= {f"#{name}" for name in targets}
    assert "<script" not in answer.text


def test_a_token_for_more_than_there_is(server: Server) -> None:
    assert ask(server, "POST", "/v1/tokens", {"scopes": ["read"], "ttl_s": 5.0}).status_code == 200
    refusable: list[dict[str, Any]] = [
        {"scopes": ["read"], "ttl_s": 5.5},
        {"scopes": ["read"], "ttl_s": 1e300},
        {"scopes": ["read"], "ttl_s": True},
        {"scopes": ["read"], "models": "c\u00e9"},
        {"scopes": []},
        {"scopes": ["fly"]},
        {"scopes": "read"},
        {"scopes": ["read"], "ttl_s": 0},
        {"scopes": ["read"], "ttl_s": 10**9},
        {"scopes": ["read"], "models": "x"},
        {"scopes": ["read"], "color": "red"},
    ]
    for fields in refusable:
        refused = ask(server, "POST", "/v1/tokens", fields)
        assert problem_of(refused, 400) == "malformed-request", fields
