"""docs/attacks.md: every attack is proved by tests that there are."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(
    r"^\| (?!attack|---)(.*?) \| (.*?) \| (.*) \|$",
    (ROOT / "docs" / "attacks.md").read_text(),
    re.MULTILINE,
)


@cache
def names_in(path: Path) -> set[str]:
    """Return the names of a module's tests."""
    tree = ast.parse(path.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions)}


def test_no_attack_is_left_out() -> None:
    assert len(ROWS) >= 29


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_an_attack_is_proved_by_tests_that_there_are(row: tuple[str, str, str]) -> None:
    _, _, proofs = row
    named = re.findall(r"`(\S+?\.py)::(test_\w+)`", proofs)
    assert named
    assert proofs == ", ".join(f"`{path}::{name}`" for path, name in named)
    for path, name in named:
        assert name in names_in(ROOT / "tests" / path)
