"""What a child process finds around it: a clean environment and an empty folder of its own."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import server

_FOLDER = "spectrogrampredictor-"
_STALE = re.compile(re.escape(_FOLDER) + r"([0-9]{1,10})-[a-z0-9_]{8}")
_ROOT = Path(server.__file__).parent.parent
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "VIRTUAL_ENV")
_ENVIRONMENT = {
    "PYTHONPATH": str(_ROOT),
    "OPENBLAS_NUM_THREADS": "1",  # two spinning BLAS threads cost four times the CPU
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "ORT_DISABLE_TELEMETRY": "1",
}


def new_folder() -> Path:
    """Make the folder that a child works in."""
    return Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a child, in which nothing of ours stands but what it needs.

    Parameters
    ----------
    folder : Path
        The child's.
    """
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    private = dict.fromkeys(("HOME", "TMPDIR", "KERAS_HOME"), str(folder))
    return kept | _ENVIRONMENT | private


def remove_stale_folders() -> None:
    """Remove the children's folders that a killed server left; before the first child starts."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        named = _STALE.fullmatch(folder.name)
        if named is None or folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            continue
        # in a container every server has the same process id
        if int(named[1]) == os.getpid() or not Path(f"/proc/{named[1]}").exists():
            shutil.rmtree(folder, ignore_errors=True)
