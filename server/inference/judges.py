"""Who judges models on this machine: when one of them changes, every model is judged again.

A verdict is as good as who gave it: a newer gate refuses what an older one let through, and another
Keras or ONNX Runtime may read the same file otherwise.
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from server.gate.version import VERSION

_LIBRARIES = ("keras", "onnxruntime")


@cache
def judges() -> dict[str, str]:
    """Return the versions of the gate and of the libraries that run models.

    They are read from what is installed: this process imports none of them.
    """
    return {"gate": str(VERSION), **{name: _installed(name) for name in _LIBRARIES}}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
