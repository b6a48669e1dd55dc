"""server/gate/sniff.py: what people upload by mistake, each with its own sentence."""

import io
import pickle
import zipfile
from pathlib import Path

import h5py
import pytest

from server.errors import BadModel
from server.gate.sniff import sniff


def h5(path: Path, *, attributes: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> bytes:
    with h5py.File(path, "w") as file:
        for name in attributes:
            file.attrs[name] = "{}"
        for name in groups:
            file.create_group(name)
    return path.read_bytes()


def archive(*members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for member in members:
            file.writestr(member, "{}")
    return buffer.getvalue()


KERAS = archive("metadata.json", "config.json", "model.weights.h5")


def test_an_h5_file_with_a_model_is_one(tmp_path: Path) -> None:
    h5(tmp_path / "m", attributes=("model_config",))
    assert sniff(tmp_path / "m") == "h5"


def test_a_keras_archive_is_one(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(KERAS)
    assert sniff(tmp_path / "m") == "keras"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty-file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-lfs-pointer"),
        (pickle.dumps({"a": 1}), "pickle"),
        (b"\x1c\0\0\0TFL3" + bytes(64), "tflite"),
        (b"<html>", "unknown-format"),
        (bytes(64), "unknown-format"),
        (KERAS[:-30], "damaged-file"),
        (archive("a.txt"), "no-model"),
        (b"\x89HDF\r\n\x1a\n" + bytes(500), "damaged-file"),
    ],
)
def test_a_file_that_is_no_model_says_what_it_is(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(BadModel) as refused:
        sniff(tmp_path / "m")
    assert refused.value.members["reason"] == reason


@pytest.mark.parametrize(
    ("attributes", "groups", "reason"),
    [
        (("layer_names",), (), "weights-only"),
        ((), ("layers",), "weights-only"),
        ((), ("table",), "no-model"),
    ],
)
def test_an_h5_file_without_a_model_says_what_it_is(
    tmp_path: Path, attributes: tuple[str, ...], groups: tuple[str, ...], reason: str
) -> None:
    h5(tmp_path / "m", attributes=attributes, groups=groups)
    with pytest.raises(BadModel) as refused:
        sniff(tmp_path / "m")
    assert refused.value.members["reason"] == reason


def test_a_cut_h5_file_is_damaged(tmp_path: Path) -> None:
    whole = h5(tmp_path / "whole", attributes=("model_config",))
    (tmp_path / "m").write_bytes(whole[:100])
    with pytest.raises(BadModel) as refused:
        sniff(tmp_path / "m")
    assert refused.value.members["reason"] == "damaged-file"
