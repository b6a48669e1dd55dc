"""server/repository/fsops.py: names appear whole, and go for good."""

from pathlib import Path

import pytest

from server.repository import fsops
from server.repository.fsops import Disk

DISK = Disk()


def test_a_name_appears_whole_by_a_link(tmp_path: Path) -> None:
    file = fsops.NewFile(DISK, tmp_path)
    file.write([b"content"])
    assert list(tmp_path.iterdir()) == []
    assert file.link(tmp_path / "name")
    file.close()
    assert (tmp_path / "name").read_bytes() == b"content"


def test_a_name_that_is_taken_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"first")
    file = fsops.NewFile(DISK, tmp_path)
    file.write([b"second"])
    assert not file.link(tmp_path / "name")
    file.close()
    assert (tmp_path / "name").read_bytes() == b"first"


def test_without_unnamed_files_a_dotted_name_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.O_TMPFILE")
    file = fsops.NewFile(DISK, tmp_path)
    file.write([b"content"])
    (part,) = tmp_path.iterdir()
    assert part.name.startswith(".")
    file.link(tmp_path / "name")
    file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_a_stand_in_that_a_crash_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.O_TMPFILE")
    file = fsops.NewFile(DISK, tmp_path)
    fsops.remove_parts(DISK, tmp_path)
    assert list(tmp_path.iterdir()) == []
    file.close()


def test_a_stand_in_that_is_a_folder_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / ".part-a").mkdir()
    (tmp_path / ".part-b").write_bytes(b"half")
    fsops.remove_parts(DISK, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".part-a"]
