"""The child refuses every attack of `hostile.py` with its code, fast and in little memory."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gate.hostile import ATTACKS

ROOT = Path(__file__).parents[2]
CPU_S = 1.0
RSS_MIB = 256


@dataclass(frozen=True, slots=True)
class Measured:
    """What the child said, and what it took.

    Attributes
    ----------
    reason : str or None
        The code of the refusal.
    cpu_s, rss_mib : float
        Of the child, after its start.
    """

    reason: str | None
    cpu_s: float
    rss_mib: float


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measured]:
    """Judge every attack."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = []
    for number, (make, _) in enumerate(ATTACKS.values()):
        paths.append(folder / str(number))
        paths[-1].write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-m", "tests.gate.measured", *map(str, paths * 3)],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    # each three times, and the least counts: what others do on the machine makes it longer
    count = len(ATTACKS)
    return {
        name: Measured(
            told[k]["reason"],
            min(one["cpu_s"] for one in told[k::count]),
            max(one["rss_mib"] for one in told[k::count]),
        )
        for k, name in enumerate(ATTACKS)
    }


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_with_its_code(measured: dict[str, Measured], name: str) -> None:
    assert measured[name].reason == ATTACKS[name][1]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_takes_little(measured: dict[str, Measured], name: str) -> None:
    assert measured[name].cpu_s < CPU_S
    assert measured[name].rss_mib < RSS_MIB
