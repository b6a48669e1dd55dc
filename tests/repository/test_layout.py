"""server/repository/layout.py: folders that cannot serve are named at the start."""

import errno
from pathlib import Path

import pytest

from server.repository.layout import Layout
from tests.repository.disks import FailingDisk


def layout_of(folder: Path, disk: FailingDisk | None = None) -> Layout:
    return Layout(folder / "models", folder / "uploads", disk or FailingDisk())


def test_folders_are_made_for_good(tmp_path: Path) -> None:
    flushed: list[Path] = []

    def watch(act: str, name: Path) -> int:
        if act == "flush folder":
            flushed.append(name)
        return 0

    layout = layout_of(tmp_path / "a" / "b", FailingDisk(watch))
    assert layout.faults() == []
    assert flushed[:3] == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert list(layout.models.iterdir()) == list(layout.uploads.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("no folder")
    assert layout_of(tmp_path).faults() == [
        f"MODELS_DIR={tmp_path / 'models'}: cannot be written (File exists)"
    ]


def test_one_folder_for_both_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "uploads").symlink_to(tmp_path / "models")
    (fault,) = layout_of(tmp_path).faults()
    assert "must be two folders" in fault


def test_two_file_systems_are_refused(tmp_path: Path) -> None:
    def apart(act: str, name: Path) -> int:
        from_uploads = act == "link" and apart_from == [tmp_path / "uploads"]
        if act == "create":
            apart_from[:] = [name]
        return errno.EXDEV if from_uploads and name.parent == tmp_path / "models" else 0

    apart_from: list[Path] = []
    (fault,) = layout_of(tmp_path, FailingDisk(apart)).faults()
    assert "must be on one file system" in fault
    assert [*(tmp_path / "models").iterdir(), *(tmp_path / "uploads").iterdir()] == []


@pytest.mark.parametrize("name", ["a" * 64, f"{'b' * 64}.onnx"])
def test_only_names_of_models_are_models(tmp_path: Path, name: str) -> None:
    layout = layout_of(tmp_path)
    assert layout.faults() == []
    for other in (name, "README.md", f"{'c' * 63}", f"{'d' * 64}.onnx.bak", f"{'E' * 64}"):
        (layout.models / other).write_bytes(b"")
    assert len(layout.stored()) + len(layout.all_derived()) == 1


def test_the_lock_lies_beside_the_models(tmp_path: Path) -> None:
    assert layout_of(tmp_path).lock == tmp_path / "models" / ".lock"


def test_the_servers_own_key_lies_beside_the_models(tmp_path: Path) -> None:
    layout = layout_of(tmp_path)
    assert layout.identity == layout.models / "identity.key"
