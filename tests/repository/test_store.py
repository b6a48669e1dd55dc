"""server/repository/store.py: what lies under a digest has that digest."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from server.repository import fsops
from server.repository.layout import Layout
from server.repository.store import ModelStore
from tests.repository.conftest import digest_of

DATA = b"model"
DIGEST = digest_of(DATA)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "models", tmp_path / "uploads")
    assert layout.faults() == []
    return layout


@pytest.fixture
def store(layout: Layout) -> ModelStore:
    return ModelStore(layout)


def adopt_named(store: ModelStore, layout: Layout) -> bool:
    name = layout.uploads / "upload"
    name.write_bytes(DATA)
    fd = os.open(name, os.O_RDONLY)
    layout.disk.protect(fd)  # as a sweep does, before it flushes
    try:
        return store.adopt(fd, DIGEST)
    finally:
        os.close(fd)


def adopt_unnamed(store: ModelStore, layout: Layout) -> bool:
    file = fsops.NewFile(layout.disk, layout.uploads)
    try:
        file.write([DATA])
        return store.adopt_new(file, DIGEST)
    finally:
        file.close()


def other_bytes(name: Path) -> None:
    name.write_bytes(b"mode!")


def link_to_the_right_bytes(name: Path) -> None:
    (name.parent / "elsewhere").write_bytes(DATA)
    name.symlink_to(name.parent / "elsewhere")


def full_folder(name: Path) -> None:
    (name / "kept").mkdir(parents=True)


GARBAGE = [other_bytes, link_to_the_right_bytes, os.mkfifo, os.mkdir]
Adopt = Callable[[ModelStore, Layout], bool]
ADOPT = pytest.mark.parametrize("adopt", [adopt_named, adopt_unnamed])


@ADOPT
def test_the_first_bytes_go_in(adopt: Adopt, store: ModelStore, layout: Layout) -> None:
    assert adopt(store, layout)
    assert store.verify(DIGEST) == len(DATA)


@ADOPT
def test_an_intact_file_stays(adopt: Adopt, store: ModelStore, layout: Layout) -> None:
    store.path(DIGEST).write_bytes(DATA)
    before = store.path(DIGEST).stat().st_ino
    assert not adopt(store, layout)
    assert store.path(DIGEST).stat().st_ino == before


@ADOPT
@pytest.mark.parametrize("make", GARBAGE)
def test_what_is_wrong_gives_way(
    adopt: Adopt, make: Callable[[Path], None], store: ModelStore, layout: Layout
) -> None:
    make(store.path(DIGEST))
    assert store.verify(DIGEST) is None
    assert adopt(store, layout)
    status = store.path(DIGEST).lstat()
    assert (stat.S_ISREG(status.st_mode), status.st_mode & 0o777) == (True, 0o440)
    assert store.path(DIGEST).read_bytes() == DATA


@ADOPT
@pytest.mark.parametrize("make", [*GARBAGE, full_folder])
def test_no_stand_in_remains(
    adopt: Adopt, make: Callable[[Path], None], store: ModelStore, layout: Layout
) -> None:
    make(store.path(DIGEST))
    try:
        adopt(store, layout)
    except OSError:
        assert make is full_folder
    assert list(layout.models.glob(".part-*")) == []


@ADOPT
def test_a_folder_with_something_in_it_stays(
    adopt: Adopt, store: ModelStore, layout: Layout
) -> None:
    full_folder(store.path(DIGEST))
    with pytest.raises(OSError, match="not empty"):
        adopt(store, layout)
    assert (store.path(DIGEST) / "kept").is_dir()


def test_without_unnamed_files_a_wrong_file_gives_way(
    store: ModelStore, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.O_TMPFILE")
    other_bytes(store.path(DIGEST))
    assert adopt_unnamed(store, layout)
    assert store.verify(DIGEST) == len(DATA)
    assert list(layout.uploads.iterdir()) == []


def test_the_very_file_that_lies_there_is_no_news(store: ModelStore, layout: Layout) -> None:
    store.path(DIGEST).write_bytes(DATA)
    os.link(store.path(DIGEST), layout.uploads / "upload")
    fd = os.open(layout.uploads / "upload", os.O_RDONLY)
    assert not store.adopt(fd, DIGEST)
    os.close(fd)


def test_a_missing_file_is_not_verified(store: ModelStore) -> None:
    assert store.verify(DIGEST) is None
