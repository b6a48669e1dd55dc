"""Options and fixtures that every test may use."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Two processes that add to one cache of numba's give one name to two compiled functions, and
# the next that loads it ends by a segmentation fault: each worker compiles librosa for itself.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "numba" / _WORKER)


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Return a finder of shared test data that skips the test when a file is not there."""
    root = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"needs {name} in the folder that SHARED_DATA names")
        return root / name

    return find


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority and a server certificate for this run."""
    folder = tmp_path_factory.mktemp("certs")
    subprocess.run(
        [sys.executable, "-m", "server", "devcert", str(folder)],
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    return folder
