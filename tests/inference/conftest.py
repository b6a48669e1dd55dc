"""Small models, judged once for the run in a process of their own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Judged:
    """What `judging.py` found.

    Attributes
    ----------
    folder : Path
        Holds the models.
    families, old : dict
        Records by family, and by the name of an old file.
    """

    folder: Path
    families: dict[str, Any]
    old: dict[str, Any]


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Build and judge the models."""
    pytest.importorskip("keras", reason="needs the keras extra")
    pytest.importorskip("tf2onnx", reason="needs the keras extra")
    folder = tmp_path_factory.mktemp("judged")
    quiet = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.inference.judging", str(folder)],
        cwd=ROOT,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Judged(folder, **json.loads((folder / "judged.json").read_text()))
