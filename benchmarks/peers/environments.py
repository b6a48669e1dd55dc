"""The peers' environments: one virtual environment each, made once with pip, by public names.

Together they take about 2.4 GB.
"""

import subprocess
import sysconfig
import venv
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_MADE = "made"


class Unavailable(Exception):
    """A peer that cannot be measured here; the text says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a peer needs.

    Attributes
    ----------
    name : str
        Of its folder.
    requirements : tuple of str
        For pip; what has a version has it for a reason.
    megabytes : int
        About what it takes on disk.
    sees_ours : bool
        Whether it may also import what our own environment has, after its own packages.
    """

    name: str
    requirements: tuple[str, ...]
    megabytes: int
    sees_ours: bool = False

    def make(self, folder: Path) -> Path:
        """Return the environment's folder of programs, making it where it is missing.

        Raises
        ------
        Unavailable
            With pip's reason.
        """
        home = folder / self.name
        made = home / _MADE
        if not made.exists():
            print(f"making {home}, about {self.megabytes} MB ...", flush=True)
            venv.create(home, with_pip=True, symlinks=True)
            _install(home / "bin" / "python", self.requirements)
            if self.sees_ours:
                ours = sysconfig.get_path("purelib")
                packages = home / "lib" / f"python{sysconfig.get_python_version()}"
                (packages / "site-packages" / "ours.pth").write_text(f"{ours}\n")
            made.touch()
        return home / "bin"


def _install(python: Path, requirements: tuple[str, ...]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", *requirements]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        raise Unavailable(f"pip could not install it: {(lines or ['no reason given'])[-1]}")


# as in our own environment: the same engine
_ENGINE = f"onnxruntime=={version('onnxruntime')}"

ORIGINAL = Environment(
    # NumPy as in ours, which librosa and TensorFlow are taken from
    "original",
    ("matplotlib", f"numpy=={version('numpy')}"),
    200,
    sees_ours=True,
)
MOSEC = Environment("mosec", (_ENGINE, "mosec"), 185)
FASTAPI = Environment("fastapi", (_ENGINE, "fastapi", "uvicorn[standard]"), 210)
LITSERVE = Environment("litserve", (_ENGINE, "litserve"), 215)
BENTOML = Environment("bentoml", (_ENGINE, "bentoml"), 260)
# the workers of MLServer 1.7 die with a newer uvloop
MLSERVER = Environment("mlserver", (_ENGINE, "mlserver", "uvloop<0.22"), 395)
RAY = Environment("ray", (_ENGINE, "ray[serve]"), 560)
TRITON = Environment("triton", (_ENGINE, "nvidia-pytriton"), 440)
