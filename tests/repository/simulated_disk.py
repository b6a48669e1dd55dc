"""A disk that forgets at a crash what was not flushed, whole or in part.

The real parts of the repository work through it on real folders, while it writes a journal: bytes
that were written, files and folders that were flushed, names that were given and taken, commits of
the database, and what was acknowledged to whom. A crash is a point in the journal and a choice:
what was flushed before the point is there, and of the rest any part may be.

::

    write a | write a | flush a | link a to x | flush folder | commit | write b | ...
                                              ^ crash here: a is whole; x may be there or not

The unit of bytes is a page, the unit of names a step: a rename takes the old name and gives the
new one at once. A flush that failed has lost the bytes for good, though they can still be read: a
second flush would succeed and save nothing. SQLite's own files are trusted: a commit that has
returned is durable.
"""

import errno
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os import fstat
from pathlib import Path
from typing import Any

from server.repository.fsops import Disk

PAGE = 512
_MOST_SUBSETS = 16
Rows = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Wrote:
    """A page, or less, that is in memory only."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Named:
    """Names that changed in one step, in memory only; None takes one away."""

    changes: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Flushed:
    """All bytes of a file are on disk."""

    file: int


@dataclass(frozen=True, slots=True)
class Spoiled:
    """The bytes of a file that were in memory only will never be on disk."""

    file: int


@dataclass(frozen=True, slots=True)
class FolderFlushed:
    """All names in a folder are on disk."""

    folder: str


@dataclass(frozen=True, slots=True)
class Rotted:
    """The disk has changed a file's bytes by itself."""

    file: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """The database holds these rows, durably."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class Said:
    """Something was acknowledged."""

    what: str
    digest: bytes


Event = Wrote | Named | Flushed | Spoiled | FolderFlushed | Rotted | Committed | Said


@dataclass(frozen=True, slots=True)
class Remains:
    """What a crash leaves: file contents by path below the root, and the database's rows."""

    files: dict[str, bytes]
    rows: Rows


@dataclass(slots=True)
class _State:
    """The disk at a point of the journal."""

    contents: dict[int, bytes] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    rows: Rows = ()
    writes: list[Wrote] = field(default_factory=list)
    steps: list[Named] = field(default_factory=list)

    def apply(self, event: Event) -> None:
        match event:
            case Wrote():
                self.contents.setdefault(event.file, b"")
                self.writes.append(event)
            case Named():
                self.steps.append(event)
            case Flushed(file):
                for write in [write for write in self.writes if write.file == file]:
                    self._write(write)
                self.writes = [write for write in self.writes if write.file != file]
            case Spoiled(file):
                self.writes = [write for write in self.writes if write.file != file]
            case FolderFlushed(folder):
                done = [step for step in self.steps if _folder(step) == folder]
                for step in done:
                    self._name(step)
                self.steps = [step for step in self.steps if step not in done]
            case Rotted(file, data):
                self.contents[file] = data
            case Committed(rows):
                self.rows = rows

    def _write(self, write: Wrote) -> None:
        old = self.contents.get(write.file, b"")
        end = write.offset + len(write.data)
        old = old.ljust(write.offset, b"\0")
        self.contents[write.file] = old[: write.offset] + write.data + old[end:]

    def _name(self, step: Named) -> None:
        for name, file in step.changes:
            if file is None:
                self.names.pop(name, None)
            else:
                self.names[name] = file

    def with_some(self, chosen: Sequence[Wrote | Named]) -> Remains:
        """Say what is there when so much of what was not flushed has reached the disk."""
        state = _State(dict(self.contents), dict(self.names))
        for event in chosen:
            if isinstance(event, Wrote):
                state._write(event)
            else:
                state._name(event)
        files = {name: state.contents.get(file, b"") for name, file in state.names.items()}
        return Remains(files, self.rows)


def _folder(step: Named) -> str:
    return step.changes[0][0].rpartition("/")[0]


class SimulatedDisk(Disk):
    """Folders below a root, whose journal says what a crash may leave of them.

    Parameters
    ----------
    root : Path
        An empty folder.
    remains : Remains
        What is on disk at the start.
    has_unnamed : bool
        Whether the file system knows files without a name.

    Attributes
    ----------
    trouble : callable
        Told of every act that changes something, before it is done; what it raises is what comes of
        the act.
    journal : list of Event
        What has happened so far.
    """

    def __init__(self, root: Path, remains: Remains, *, has_unnamed: bool = True) -> None:
        self._root = root
        self._has_unnamed = has_unnamed
        self._lock = threading.RLock()
        self._count = itertools.count()
        self._numbers: dict[int, int] = {}  # by inode: a file that is gone may leave its own behind
        self._sizes: dict[int, int] = {}
        self._start = _State(rows=remains.rows)
        self.trouble: Callable[[str], None] = lambda _act: None
        self.journal: list[Event] = []
        for name, data in remains.files.items():
            path = root / name
            path.write_bytes(data)
            number = self._number(path.stat().st_ino, len(data))
            self._start.contents[number] = data
            self._start.names[name] = number

    # acts that change something

    def create_unnamed(self, folder: Path) -> int:
        if not self._has_unnamed:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        self.trouble("create")
        with self._lock:
            fd = super().create_unnamed(folder)
            self._number(fstat(fd).st_ino)
            return fd

    def create(self, name: Path) -> int:
        self.trouble("create")
        with self._lock:
            fd = super().create(name)
            self._named((name, self._number(fstat(fd).st_ino)))
            return fd

    def write(self, fd: int, pieces: Sequence[bytes | memoryview]) -> int:
        self.trouble("write")
        with self._lock:
            written = super().write(fd, pieces)
            self._wrote(self._numbers[fstat(fd).st_ino], b"".join(pieces)[:written])
            return written

    def flush(self, fd: int) -> None:
        number = self._numbers[fstat(fd).st_ino]
        try:
            self.trouble("flush")
        except OSError:
            self._say(Spoiled(number))
            raise
        self._say(Flushed(number))

    def flush_folder(self, folder: Path) -> None:
        self.trouble("flush folder")
        self._say(FolderFlushed(self._relative(folder)))

    def link(self, fd: int, name: Path) -> None:
        self.trouble("link")
        with self._lock:
            super().link(fd, name)
            self._named((name, self._numbers[fstat(fd).st_ino]))

    def rename(self, old: Path, new: Path) -> None:
        self.trouble("rename")
        with self._lock:
            number = self._numbers[old.lstat().st_ino]
            super().rename(old, new)
            if not old.exists():  # two names of one file stay two names
                self._named((old, None), (new, number))

    def unlink(self, name: Path) -> None:
        self.trouble("unlink")
        with self._lock:
            was_there = name.exists()
            super().unlink(name)
            if was_there:
                self._named((name, None))

    # what others do

    def put_by_hand(self, name: Path, data: bytes) -> None:
        """Write a file as somebody does who knows nothing of flushing."""
        with self._lock:
            name.write_bytes(data)
            number = self._number(name.stat().st_ino)
            self._named((name, number))
            self._wrote(number, data)

    def rot(self, name: Path) -> None:
        """Flip a bit of a stored file."""
        with self._lock:
            status, data = name.stat(), bytearray(name.read_bytes())
            data[len(data) // 2] ^= 1
            name.chmod(0o640)
            name.write_bytes(data)
            self._say(Rotted(self._numbers[status.st_ino], bytes(data)))

    def commit(self, rows: Rows) -> None:
        """Note what the database holds now."""
        self._say(Committed(rows))

    def say(self, what: str, digest: bytes) -> None:
        """Note an acknowledgement."""
        self._say(Said(what, digest))

    def _say(self, event: Event) -> None:
        with self._lock:
            self.journal.append(event)

    def _number(self, inode: int, size: int = 0) -> int:
        number = self._numbers[inode] = next(self._count)
        self._sizes[number] = size
        return number

    def _wrote(self, number: int, data: bytes) -> None:
        offset = self._sizes[number]
        self._sizes[number] += len(data)
        for start in range(0, len(data), PAGE):
            self._say(Wrote(number, offset + start, data[start : start + PAGE]))

    def _named(self, *changes: tuple[Path, int | None]) -> None:
        self._say(Named(tuple((self._relative(name), file) for name, file in changes)))

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._root))

    # what a crash leaves

    def crashes(self, rng: random.Random) -> Iterator[tuple[int, Remains]]:
        """Yield what crashes leave: the length of the journal before each, and the remains."""
        state = _State(dict(self._start.contents), dict(self._start.names), self._start.rows)
        for point, event in enumerate([None, *self.journal]):
            if event is not None:
                state.apply(event)
            loose: list[Wrote | Named] = [*state.writes, *state.steps]
            for chosen in _subsets(loose, rng):
                yield point, state.with_some(chosen)


def _subsets(loose: list[Wrote | Named], rng: random.Random) -> Iterator[list[Wrote | Named]]:
    """Yield all subsets where there are few, else none, all, and some at random."""
    if 1 << len(loose) <= _MOST_SUBSETS:
        masks = list(itertools.product([False, True], repeat=len(loose)))
    else:
        masks = [(False,) * len(loose), (True,) * len(loose)]
        for _ in range(_MOST_SUBSETS - 2):
            share = rng.random()
            masks.append(tuple(rng.random() < share for _ in loose))
    for mask in masks:
        yield list(itertools.compress(loose, mask))
