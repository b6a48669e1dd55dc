"""spectrogrampredictor as a distribution of its own: light, and without the server."""

import os
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from spectrogrampredictor import AsyncClient, Client, Problem

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "spectrogrampredictor"
MAX_BYTES = 15_000_000
HEAVY = ("tensorflow", "keras", "librosa", "numpy", "scipy", "pandas", "onnxruntime", "quart")
UNWANTED = ("server", *HEAVY, "msgspec", "sqlalchemy", "cryptography", "soundfile")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of a copy and lay it out as an installer would."""
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools 77 to build")
    folder = tmp_path_factory.mktemp("wheel")
    kept = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    shutil.copytree(PACKAGE, folder / "source", ignore=kept)
    command = "import setuptools.build_meta as b; print(b.build_wheel('..'))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", command],
        cwd=folder / "source",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, code: str) -> str:
    """Run a script far from the checkout."""
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=installed,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_the_wheel_holds_the_package_and_nothing_else(installed: Path) -> None:
    top = {path.name for path in installed.iterdir()}
    assert {re.sub(r"-.*\.", ".", name) for name in top} == {
        "spectrogrampredictor",
        "spectrogrampredictor.dist-info",
    }
    inside = installed / "spectrogrampredictor"
    assert {path.name for path in inside.iterdir() if path.name != "__pycache__"} == {
        path.name for path in PACKAGE.glob("*.py")
    } | {"py.typed"}


def test_it_is_imported_without_the_server_and_without_what_is_heavy(installed: Path) -> None:
    code = "import sys, spectrogrampredictor as s; print(s.__file__, *sys.modules)"
    where, *loaded = run(installed, code).split()
    assert where.startswith(str(installed))
    assert [name for name in UNWANTED if name in loaded] == []


def cpu_s(installed: Path, code: str) -> float:
    """Return the least processor time of three runs."""
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(installed, code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def test_importing_it_costs_little_more_than_httpx(installed: Path) -> None:
    run(installed, "import spectrogrampredictor")  # compiled once
    bare = cpu_s(installed, "import httpx, itsdangerous")
    assert cpu_s(installed, "import spectrogrampredictor") < 1.6 * bare


def closure(names: Iterable[str]) -> set[str]:
    """Return distributions with all that they need on this machine."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        waiting += here(metadata.requires(name) or ())
    return found


def here(lines: Iterable[str]) -> list[str]:
    """Return the names of those that are needed on this machine, without extras."""
    asked = map(Requirement, lines)
    return [one.name for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]


def test_all_that_it_needs_takes_less_than_15_mb(installed: Path) -> None:
    (told,) = metadata.distributions(path=[str(installed)])
    names = closure(here(told.requires or ()))
    assert names.isdisjoint(HEAVY)
    files = [file for name in names for file in metadata.files(name) or ()]
    size = sum(
        Path(str(file.locate())).stat().st_size
        for file in files
        if file.suffix != ".pyc" and Path(str(file.locate())).exists()
    )
    size += sum(path.stat().st_size for path in installed.rglob("*") if path.is_file())
    assert 1_000_000 < 2 * size < MAX_BYTES, sorted(names)  # as much again is compiled


def test_the_server_s_locks_hold_what_the_client_asks_for() -> None:
    """Hold setup.cfg's extra and the client's own metadata together."""
    text = (PACKAGE / "pyproject.toml").read_text()
    asked = set(re.findall(r'^    "([a-z]+) >=', text, re.M))
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/demo.txt").read_text(), re.M))
    assert asked <= locked


def test_the_docs_name_every_method_and_every_kind_of_problem() -> None:
    text = (ROOT / "docs" / "client.md").read_text()
    methods = {name for name in vars(Client) if not name.startswith("_")} - {"close", "from_env"}
    assert methods == {name for name in vars(AsyncClient) if not name.startswith("_")} - {
        "close",
        "from_env",
    }
    for name in methods:
        is_part = isinstance(vars(Client)[name], property)
        assert (f"`client.{name}`" if is_part else f"`{name}(") in text, name
    for kind in Problem.__subclasses__():
        assert f"`{kind.__name__}`" in text, kind
