"""Tell what a model file is by its outline, and refuse what is no whole Keras model.

Each kind of file that people upload by mistake gets its own sentence, which says what to do
instead.
"""

import os
import zipfile
from pathlib import Path
from typing import Literal

import h5py

from server.errors import BadModel

Format = Literal["h5", "keras"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_LFS = b"version https://git-lfs"
_KERAS_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
_HEAD_BYTES = 64


def sniff(path: Path) -> Format:
    """Return the format of a model file.

    Raises
    ------
    BadModel
        With a code in ``reason`` and a sentence that tells the owner what to do.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_HDF5):
        _check_h5(path)
        return "h5"
    if head.startswith(_ZIP):
        _check_keras(path)
        return "keras"
    raise _refusal(head, os.path.getsize(path))


def _refusal(head: bytes, size: int) -> BadModel:
    if size == 0:
        return BadModel("the file is empty", reason="empty-file")
    if head.startswith(_LFS):
        return BadModel(
            "this is a Git LFS pointer, not the model: run `git lfs pull`, then upload the file",
            reason="git-lfs-pointer",
        )
    if head[:2] in {b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}:
        return BadModel(
            "this is a pickle; pickles run code and are never loaded: save with model.save(...)",
            reason="pickle",
        )
    if head[4:8] == b"TFL3":
        return BadModel("TFLite files are not served: upload the Keras model", reason="tflite")
    return BadModel(
        "no Keras model begins like this: upload what model.save('name.keras') or '.h5' wrote",
        reason="unknown-format",
    )


def _check_h5(path: Path) -> None:
    try:
        with h5py.File(path, "r", locking=False) as file:
            if "model_config" in file.attrs:
                return
            weights = "layer_names" in file.attrs or "layers" in file
    except (OSError, RuntimeError, KeyError) as error:
        raise BadModel("the HDF5 file is damaged or cut short", reason="damaged-file") from error
    if weights:
        raise BadModel(
            "the file holds weights without a model: save with model.save(...), not save_weights",
            reason="weights-only",
        )
    raise BadModel("the HDF5 file holds no Keras model", reason="no-model")


def _check_keras(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise BadModel("the archive is damaged or cut short", reason="damaged-file") from error
    if missing := sorted(_KERAS_MEMBERS - members):
        raise BadModel(f"the archive is no Keras model: it lacks {missing}", reason="no-model")
