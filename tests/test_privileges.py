"""server/privileges.py: root is given up for good; needs root, which CI has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import os, sys
from pathlib import Path
from server import privileges
faults = privileges.drop(sys.argv[1], owned=[Path(sys.argv[2])])
assert not faults, faults
print(os.getresuid(), os.getresgid(), os.getgroups())
try:
    os.setuid(0)
except PermissionError:
    print("stays")
"""


def drop(run_as: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, run_as, str(folder)],
        cwd="/",
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give it up")


@needs_root
def test_root_becomes_the_user_for_good(tmp_path: Path) -> None:
    done = drop("10001:10001", tmp_path / "data")
    assert done.stdout.splitlines() == [
        "(10001, 10001, 10001) (10001, 10001, 10001) []",
        "stays",
    ], done.stderr
    assert (tmp_path / "data").stat().st_uid == 10001


@needs_root
@pytest.mark.parametrize("run_as", ["root", "0:0", "10001", "a:b", "-1:5"])
def test_a_user_that_is_none_is_refused(tmp_path: Path, run_as: str) -> None:
    assert "write uid:gid" in drop(run_as, tmp_path / "data").stderr


def test_an_empty_setting_changes_nothing(tmp_path: Path) -> None:
    assert str(os.geteuid()) in drop("", tmp_path).stdout
