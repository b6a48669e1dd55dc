"""server/gate/sniff.py: what people upload by mistake, each with its own sentence."""

import json
import pickle
from pathlib import Path

import pytest

from server.errors import BadModel
from server.gate.sniff import is_onnx, sniff
from tests.gate.files import h5_file, keras_file, zipped

OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
ONNX = b"\x08\x08\x12\x07pytorch"


@pytest.mark.parametrize(("data", "format_"), [(h5_file(), "h5"), (keras_file(), "keras")])
def test_a_model_file_is_told_by_its_first_bytes(tmp_path: Path, data: bytes, format_: str) -> None:
    (tmp_path / "m").write_bytes(data)
    assert sniff(tmp_path / "m") == format_


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty-file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-lfs-pointer"),
        (pickle.dumps({"a": 1}), "pickle"),
        (pickle.dumps({"a": 1}, protocol=0), "pickle"),
        (pickle.dumps({"val_loss": [1.0]}), "training-history"),
        (OLD_TORCH, "torch"),
        (b"\x1c\0\0\0TFL3" + bytes(64), "tflite"),
        (b"\x93NUMPY\x01\0", "weights-only"),
        (b"\x10\0\0\0\0\0\0\0{}", "weights-only"),
        (b"\x08\x01\x12\xe0\x10", "saved-model"),
        (b"\x0a\x14\x0a\x05input\x12", "saved-model"),
        (json.dumps({"loss": [0.5], "val_loss": [0.6]}).encode(), "training-history"),
        (b"epoch,accuracy,loss\n0,0.1,2.3\n", "training-history"),
        (json.dumps({"class_name": "Sequential", "config": {}}).encode(), "architecture-only"),
        (b"<html>", "unknown-format"),
        (bytes(64), "unknown-format"),
        (zipped({"archive/data.pkl": b"", "archive/version": b"3"}), "torch"),
        (zipped({"code/constants.pkl": b""}), "torch"),
        (zipped({"model/saved_model.pb": b""}), "saved-model"),
        (zipped({"arr_0.npy": b""}), "weights-only"),
    ],
)
def test_a_file_that_is_no_model_says_what_it_is(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(BadModel) as refused:
        sniff(tmp_path / "m")
    assert refused.value.members["reason"] == reason
    # an empty file tells what happened by itself; of every other the owner hears what to send
    assert reason == "empty-file" or "upload" in refused.value.detail


def test_an_onnx_file_is_told_from_others(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(ONNX)
    assert sniff(path) == "onnx"
    with path.open("rb") as file:
        assert is_onnx(file)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with path.open("rb") as file:
        assert not is_onnx(file)
