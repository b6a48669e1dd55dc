"""The docs name every setting, problem and route, and nothing that does not exist."""

import re
from pathlib import Path

import itsdangerous
import pytest

from server.errors import every_error
from server.settings import table
from server.signing.keyring import KeyRing
from server.signing.payload import open_payload
from server.signing.stream import StreamUnsigner

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
README_LINES = 150
ROUTES = re.compile(r'@bp\.(get|post|put|delete)\("([^"]+)"\)')


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    rows = dict(
        re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", (DOCS / "settings.md").read_text(), re.M)
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
    text = (DOCS / "routes.md").read_text()
    for module in sorted((ROOT / "server" / "web").glob("*.py")):
        for method, path in ROUTES.findall(module.read_text()):
            assert f"`{method.upper()} {path}`" in text, path


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_docs_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readme_is_short_and_begins_with_a_command() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= README_LINES
    assert next(k for k, line in enumerate(lines) if line.startswith("$ ")) < 25
