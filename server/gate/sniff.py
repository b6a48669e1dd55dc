"""Tell what a file is by its first bytes, and refuse what is no model that is served.

The content decides, never a name, and only the content at the very beginning. Each kind of file
that people upload by mistake gets its own sentence, which says what to do instead.
"""

import os
import re
from pathlib import Path
from typing import BinaryIO, Literal

from server.errors import BadModel
from server.gate.hdf5.superblock import SIGNATURE
from server.gate.refusals import refused

Format = Literal["h5", "keras", "onnx"]

_ZIP = b"PK\x03\x04"
_PICKLE = re.compile(rb"\x80[\x02-\x05]|\(dp|ccopy_reg|c__")
_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # the number that torch.save wrote before its zips
# ir_version from 3 on, then a producer, an opset or the graph; a SavedModel begins with 1
_ONNX = re.compile(rb"\x08[\x03-\x1f][\x12\x1a\x22\x28\x2a\x32\x3a\x42]")
_GRAPH_DEF = re.compile(rb"\x08\x01\x12|\x0a.{0,2}\x0a.{1,2}[A-Za-z_]", re.DOTALL)
_HISTORY = (b"val_loss", b"val_accuracy", b'"loss"', b"epoch,")
_HEAD_BYTES = 4096
_TAIL_BYTES = 128 << 10
_SAVE = "upload what model.save('name.keras') or '.h5' wrote"
_TOLD = (
    (
        re.compile(rb"version https://git-lfs"),
        "git-lfs-pointer",
        "this is a Git LFS pointer, not the model: run `git lfs pull`, then upload the file",
    ),
    (
        re.compile(rb".{4}TFL3", re.DOTALL),
        "tflite",
        "TFLite files are not served: upload the Keras model",
    ),
    (
        re.compile(rb"\x93NUMPY|.{6}\0\0\{", re.DOTALL),  # an array, and safetensors
        "weights-only",
        f"this is a file of weights without a model: {_SAVE}",
    ),
)


def sniff(path: Path) -> Format:
    """Return the format of a model file.

    Raises
    ------
    BadModel
        With a code in ``reason`` and a sentence that tells the owner what to do.
    """
    with open(path, "rb") as file:
        return kind(file, os.fstat(file.fileno()).st_size)


def kind(file: BinaryIO, size: int) -> Format:
    """Return the format of an open model file; raises as `sniff` does."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if head.startswith(SIGNATURE):
        return "h5"
    if head.startswith(_ZIP):
        file.seek(max(size - _TAIL_BYTES, 0))
        _check_zip(file.read(_TAIL_BYTES))
        return "keras"
    if _ONNX.match(head):
        return "onnx"
    raise _refusal(head, size)


def is_onnx(file: BinaryIO) -> bool:
    """Return whether an open file begins as an ONNX model does."""
    file.seek(0)
    return bool(_ONNX.match(file.read(_HEAD_BYTES)))


def _check_zip(tail: bytes) -> None:
    """Refuse archives of other libraries, by the names in their list."""
    if b"config.json" in tail:
        return
    if b"saved_model.pb" in tail:
        raise _saved_model()
    if b"data.pkl" in tail or b"constants.pkl" in tail:
        raise _torch()
    if b".npy" in tail:
        raise refused("weights-only", f"this is a NumPy archive of arrays, no model: {_SAVE}")


def _saved_model() -> BadModel:
    return refused(
        "saved-model",
        "this is a SavedModel or a graph of TensorFlow, which can read and write files: load it "
        f"in Keras and {_SAVE}",
    )


def _torch() -> BadModel:
    return refused(
        "torch",
        "this is a PyTorch file, which runs code when it is loaded: build the model in Keras and "
        f"{_SAVE}",
    )


def _refusal(head: bytes, size: int) -> BadModel:
    if size == 0:
        return refused("empty-file", "the file is empty")
    if _PICKLE.match(head):
        return _pickle(head)
    if _GRAPH_DEF.match(head):
        return _saved_model()
    for pattern, reason, sentence in _TOLD:
        if pattern.match(head):
            return refused(reason, sentence)
    return _text(head)


def _pickle(head: bytes) -> BadModel:
    if _TORCH in head[:32]:
        return _torch()
    if any(word in head for word in _HISTORY):
        return _history()
    return refused("pickle", f"this is a pickle; pickles run code and are never loaded: {_SAVE}")


def _text(head: bytes) -> BadModel:
    if any(word in head for word in _HISTORY):
        return _history()
    if head.lstrip().startswith(b"{") and b'"class_name"' in head:
        return refused(
            "architecture-only",
            f"this is a model's configuration without its weights: {_SAVE}",
        )
    return refused("unknown-format", f"no Keras model begins like this: {_SAVE}")


def _history() -> BadModel:
    return refused("training-history", f"this is the history of a training, not its model: {_SAVE}")
