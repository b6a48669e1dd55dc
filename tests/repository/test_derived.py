"""server/repository/derived.py: converted models under their own digests."""

import os
import stat
from pathlib import Path

import pytest

from server.digest import Digest
from server.repository.derived import DerivedFiles
from server.repository.layout import Layout
from tests.repository.conftest import digest_of

DATA = b"a converted model"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "models", tmp_path / "uploads")
    assert made.faults() == []
    return made


@pytest.fixture
def derived(layout: Layout) -> DerivedFiles:
    return DerivedFiles(layout)


def kept(derived: DerivedFiles, data: bytes = DATA) -> Digest:
    """Keep bytes as a child does that fills an open file."""
    file = derived.new()
    try:
        with os.fdopen(os.dup(file.fd), "wb") as written:
            written.write(data)
        return derived.keep(file)
    finally:
        file.close()


def names(layout: Layout) -> list[str]:
    return sorted(path.name for path in layout.models.iterdir())


def test_a_kept_file_lies_under_the_digest_of_its_bytes(
    derived: DerivedFiles, layout: Layout
) -> None:
    digest = kept(derived)
    assert digest == digest_of(DATA)
    assert derived.path(digest).read_bytes() == DATA
    assert names(layout) == [f"{digest}.onnx"]
    assert derived.is_intact(digest)


def test_a_kept_file_is_read_only(derived: DerivedFiles) -> None:
    assert stat.S_IMODE(derived.path(kept(derived)).stat().st_mode) == 0o440


def test_a_file_that_is_closed_before_it_is_kept_leaves_nothing(
    derived: DerivedFiles, layout: Layout
) -> None:
    file = derived.new()
    file.write([DATA])
    file.close()
    assert names(layout) == []


def test_the_same_bytes_are_kept_once(derived: DerivedFiles, layout: Layout) -> None:
    assert kept(derived) == kept(derived)
    assert len(names(layout)) == 1


def _damage(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"a converted m0del")


def _cut(path: Path) -> None:
    path.unlink()
    path.write_bytes(DATA[:5])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


WRONGS = [Path.unlink, _damage, _cut, _folder, _pipe, _link]


@pytest.mark.parametrize("wrong", WRONGS)
def test_a_file_that_is_not_as_it_was_is_not_intact(derived: DerivedFiles, wrong: object) -> None:
    digest = kept(derived)
    assert callable(wrong)
    wrong(derived.path(digest))
    assert not derived.is_intact(digest)


@pytest.mark.parametrize("wrong", WRONGS)
def test_a_file_that_was_wrong_gives_way_to_the_right_one(
    derived: DerivedFiles, wrong: object
) -> None:
    digest = kept(derived)
    assert callable(wrong)
    wrong(derived.path(digest))
    assert kept(derived) == digest
    assert derived.is_intact(digest)


def test_files_that_no_model_uses_are_removed(derived: DerivedFiles, layout: Layout) -> None:
    used, unused = kept(derived), [kept(derived, b"%d" % k) for k in range(3)]
    assert derived.keep_only({used}) == len(unused)
    assert names(layout) == [f"{used}.onnx"]


def test_files_of_other_names_are_left_alone(derived: DerivedFiles, layout: Layout) -> None:
    digest = kept(derived)
    others = ["notes.onnx", f"{digest}.onnx.bak", f"{digest}", "registry.sqlite3", ".lock"]
    for name in others:
        (layout.models / name).write_bytes(b"mine")
    assert derived.keep_only(set()) == 1
    assert names(layout) == sorted(others)


def test_what_cannot_be_removed_keeps_nothing_else_from_going(
    derived: DerivedFiles, layout: Layout
) -> None:
    first, second = sorted([kept(derived), kept(derived, b"2")], key=str)
    _folder(derived.path(first))
    assert derived.keep_only(set()) == 1
    assert not derived.path(second).exists()
