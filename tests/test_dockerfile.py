"""The Dockerfile takes away only what its lock has installed: else the build would fail."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCKED = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/server.txt").read_text(), re.M))
_OF = {"tensorflow": "tensorflow-cpu", "pip": None}  # what a folder belongs to; pip is venv's own


def removed() -> list[str]:
    """Return what is taken away: distributions, and folders of packages."""
    (uninstalled,) = re.findall(r"pip uninstall --yes --quiet ([a-z ]+?) *\\", DOCKERFILE)
    (searched,) = re.findall(r"find ([a-z0-9 ]+) -type d", DOCKERFILE)
    folders = re.findall(r"rm -rf ([a-z0-9]+)/", DOCKERFILE)
    return [*uninstalled.split(), *searched.split(), *folders]


@pytest.mark.parametrize("name", removed())
def test_what_is_taken_away_was_installed(name: str) -> None:
    owner = _OF.get(name, name)
    assert owner is None or owner in LOCKED
