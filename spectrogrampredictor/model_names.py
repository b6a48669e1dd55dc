"""How a person names a model on the command line: by its digest, a name, or its file."""

import re
from pathlib import Path

from spectrogrampredictor.files import FileBody

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_ENDINGS = {".h5", ".hdf5", ".keras", ".onnx"}


def is_digest(text: str) -> bool:
    """Tell whether a text is the SHA-256 of a file."""
    return _DIGEST.fullmatch(text) is not None


def digest_or_name(text: str) -> str:
    """Return what the server knows a model by; a model's file stands for its digest.

    Raises
    ------
    OSError
        If it is the name of a model's file that cannot be read.
    """
    if Path(text).suffix.lower() in _ENDINGS and not is_digest(text):
        return FileBody.of(text).sha256
    return text
