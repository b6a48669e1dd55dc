"""Run an example as its reader would."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def said_by(
    command: Sequence[str | Path], environment: Mapping[str, str], *, cwd: Path | None = None
) -> str:
    """Return what a command printed; it must end well."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
