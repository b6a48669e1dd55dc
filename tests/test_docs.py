"""The docs name every setting, problem and route, and nothing that does not exist."""

import base64
import hmac
import re
import time
from pathlib import Path
from typing import Any

import itsdangerous
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server import job_errors, model_errors, sound_errors, upload_errors  # noqa: F401  # branches of the tree
from server.errors import every_error
from server.settings import table
from server.signing.keyring import Algorithm, Key, KeyRing
from server.signing.message import Message, open_message
from server.signing.payload import open_payload
from server.signing.principal import Scope
from server.signing.stream import StreamUnsigner
from server.web.v1.operations import OPERATIONS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted(DOCS.rglob("*.md"))]
README_LINES = 150
ROUTES = re.compile(r'@(?:bp|routes)\.(get|post|put|patch|delete|head)\("([^"]+)"\)')


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    rows = dict(
        re.findall(r"^\| `([A-Z0-9_]+)` \| (.*?) \|", (DOCS / "settings.md").read_text(), re.M)
    )
    assert list(rows) == [row.env for row in table()]
    for row in table():
        assert row.default in rows[row.env].replace("-", "") or row.default in rows[row.env]


def test_every_setting_of_the_readme_exists() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", (ROOT / "README.md").read_text()))
    assert named <= {row.env for row in table()}


def test_every_problem_has_its_section() -> None:
    sections = re.findall(r"^### (\S+)\n(\d+)\.", (DOCS / "problems.md").read_text(), re.M)
    known = {slug: kind.status for slug, kind in every_error().items()}
    assert {slug: int(status) for slug, status in sections} == known


def test_every_route_is_documented() -> None:
    text = (DOCS / "routes.md").read_text() + (DOCS / "open-inference.md").read_text()
    text = re.sub(r"<\w+>", "<>", text)  # the docs say what a name stands for
    for module in sorted((ROOT / "server" / "web").rglob("*.py")):
        for method, path in ROUTES.findall(module.read_text()):
            assert f"`{method.upper()} {re.sub(r'<[a-z]+>', '<>', path)}`" in text, path


def test_every_described_operation_is_documented() -> None:
    text = re.sub(r"<\w+>", "<>", (DOCS / "routes.md").read_text())
    for one in OPERATIONS:
        assert f"`{one.method} {re.sub(r'{.*?}', '<>', one.path)}`" in text, one


def test_every_scope_names_what_it_allows() -> None:
    text = re.sub(r"<\w+>", "<>", (DOCS / "signing.md").read_text())
    rows = dict(re.findall(r"^\| `([a-z]+)` \| (.*) \|$", text, re.M))
    assert set(Scope) <= set(rows)
    for one in OPERATIONS:
        path = re.sub(r"{.*?}", "<>", one.path)
        below = re.match(r"/v1/(uploads|jobs)", path)
        if one.scope is not None:
            named = below[0] if below else f"`{one.method} {path}`"
            assert named in rows[one.scope], one


def test_the_test_vectors_of_the_signatures_hold() -> None:
    text = (DOCS / "signing.md").read_text()
    token = re.findall(r"Token `(.*)`", text)[0]
    payload = re.findall(r"\| payload \| .* \| `(.*)` \|", text)[0]
    file = re.findall(r"\| file \| `model bytes` \| `(.*)` \|", text)[0]
    assert itsdangerous.Serializer(token).dumps({"hash": "00"}) == payload
    assert itsdangerous.Signer(token).sign(b"model bytes").decode() == file
    opened = open_payload(payload.encode(), KeyRing([token]), path="/", now=0, max_age_s=1)
    assert opened.fields == {"hash": "00"}
    unsigner = StreamUnsigner(KeyRing([token]))
    assert b"".join(unsigner.feed(file.encode())) == b"model bytes"
    unsigner.finish()


def test_the_test_vectors_of_signed_messages_hold() -> None:
    text = (DOCS / "signing.md").read_text()
    bases = re.findall(r'^("@method": .*?)\n```', text, re.M | re.S)
    secret, private = bytes(range(32)), bytes(range(32, 64))
    for base, said in zip(
        bases, re.findall(r"(?:`hmac-sha256` \| |secret: )`(.*)`", text), strict=True
    ):
        assert base64.b64encode(hmac.digest(secret, base.encode(), "sha256")).decode() == said
    base = bases[0].replace('"shared"', '"pair"').replace("hmac-sha256", "ed25519")
    signature = Ed25519PrivateKey.from_private_bytes(private).sign(base.encode())
    assert f"`{base64.b64encode(signature).decode()}`" in text
    fields = dict(re.findall(r'^"(content-[a-z]+)": (.*)$', bases[0], re.M))
    params = bases[0].rpartition('"@signature-params": ')[2]
    said = re.findall(r"`hmac-sha256` \| `(.*)`", text)[0]
    fields |= {"signature-input": f"sig={params}", "signature": f"sig=:{said}:"}
    message = Message("POST", "models.example:8443", "/registermodelhash", "", fields)
    keys = KeyRing(keys=[Key("shared", Algorithm.HMAC_SHA256, secret)])
    assert open_message(message, keys, now=1_800_000_000, max_age_s=300).key.id == "shared"


def test_the_client_that_the_docs_show_is_understood() -> None:
    text = (DOCS / "signing.md").read_text()
    code = re.findall(r"```python\n(def sign.*?)```", text, re.S)[0]
    names = ("base64", "hashlib", "hmac", "secrets", "time", "urllib.parse")
    space: dict[str, Any] = {}
    exec("".join(f"import {name}\n" for name in names) + code, space)
    url = "https://Models.example:443/v1/models/x/predictions?receipt=1"
    secret = bytes(range(32))
    headers = space["sign"]("POST", url, b"a song", "audio/wav", key_id="a", secret=secret)
    fields = {name.lower(): value for name, value in headers.items()}
    message = Message("POST", "models.example", "/v1/models/x/predictions", "receipt=1", fields)
    keys = KeyRing(keys=[Key("a", Algorithm.HMAC_SHA256, secret)])
    assert open_message(message, keys, now=time.time(), max_age_s=300).key.id == "a"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_docs_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readme_is_short_and_begins_with_a_command() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= README_LINES
    assert next(k for k, line in enumerate(lines) if line.startswith("$ ")) < 25


def test_every_page_is_reached_from_the_first_one() -> None:
    reached, waiting = set(), [DOCS / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in reached or not page.is_relative_to(DOCS):
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)#]+\.md)(?:#[^)]*)?\)", page.read_text())
        waiting += [page.parent / target for target in targets if not target.startswith("http")]
    assert {page.resolve() for page in DOCS.rglob("*.md")} - reached == set()
