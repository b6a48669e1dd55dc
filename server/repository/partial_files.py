"""Uploads that come in parts, on disk; every method blocks.

::

    .partial-<id>         the bytes so far: as many as were received
    .partial-<id>.json    {"owner", "length", "digest", "metadata", "done"}: written whole, replaced
                          once, when the upload has become a model
"""

import json
import logging
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from server.digest import Digest
from server.errors import BadDigest
from server.repository import fsops
from server.repository.layout import Layout

_MOST_NOTE_BYTES = 64 << 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of an upload before it is whole.

    Attributes
    ----------
    owner : str
        The id of the key that may go on with it.
    length : int
        How many bytes it will have.
    digest : str or None
        What it should hash to, 64 hexadecimal digits, where its owner said so.
    metadata : str
        As its owner sent it.
    done : bool
        Whether it has become a model; its bytes are gone then.
    """

    owner: str
    length: int
    digest: str | None
    metadata: str
    done: bool = False


@dataclass(slots=True)
class Partial:
    """An upload.

    Attributes
    ----------
    id : str
        32 hexadecimal digits that nobody can guess.
    note : Note
        Whose it is, and what it should become.
    offset : int
        How many bytes of it are here, or were when it was done.
    touched : float
        When somebody last went on with it, in seconds since 1970.
    """

    id: str
    note: Note
    offset: int
    touched: float

    @property
    def is_whole(self) -> bool:
        """Whether every byte is here, or was."""
        return self.offset == self.note.length


@dataclass(frozen=True, slots=True)
class Found:
    """An upload as it lies on disk.

    Attributes
    ----------
    note : Note
        What it says of itself.
    size : int
        How many bytes are there.
    touched : float
        When it was last written, in seconds since 1970.
    """

    note: Note
    size: int
    touched: float


class PartialFiles:
    """The files of such uploads.

    Parameters
    ----------
    layout : Layout
        Says where they lie.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._disk = layout.disk

    def found(self) -> dict[str, Found]:
        """Return every upload by its id; what is no whole upload any more is removed."""
        bare, noted = self._layout.partials()
        uploads: dict[str, Found] = {}
        for upload in sorted(bare | noted):
            try:
                found = self._look(upload, has_bytes=upload in bare, has_note=upload in noted)
            except OSError as error:
                # a folder under such a name, as a rule, which is not ours: it is in nobody's way
                fields = {"upload": upload, "reason": error.strerror}
                _log.warning("unfinished upload left alone", extra=fields)
                continue
            if found is not None:
                uploads[upload] = found
        return uploads

    def _look(self, upload: str, *, has_bytes: bool, has_note: bool) -> Found | None:
        note = self._note(upload) if has_note else None
        if note is None or not (has_bytes or note.done):
            self.remove(upload)
            return None
        if note.done and has_bytes:
            self._disk.unlink(self._layout.partial(upload))
        name = self._layout.partial_note(upload) if note.done else self._layout.partial(upload)
        status = self._disk.status(name)
        size = note.length if note.done else status.st_size
        if size > note.length or not stat.S_ISREG(status.st_mode):
            self.remove(upload)
            return None
        return Found(note, size, status.st_mtime)

    def create(self, upload: str, note: Note) -> None:
        """Begin an upload: its bytes first, so that a note without bytes is no upload."""
        self._disk.close(self._disk.open_growing(self._layout.partial(upload)))
        self._write(upload, note)

    def append(self, fd: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Append pieces to an open upload."""
        fsops.write_all(self._disk, fd, pieces)

    def open_growing(self, upload: str) -> int:
        """Open an upload to go on with it."""
        return self._disk.open_growing(self._layout.partial(upload))

    def cut(self, fd: int, size: int) -> None:
        """Forget what an open upload holds behind so many bytes."""
        self._disk.truncate(fd, size)

    def flush(self, fd: int) -> None:
        """Wait until an open upload is on disk."""
        self._disk.flush(fd)

    def close(self, fd: int) -> None:
        """Close an upload."""
        self._disk.close(fd)

    def open_whole(self, upload: str) -> tuple[fsops.NewFile, Digest]:
        """Open a whole upload, which nobody may write any more, flushed; return its digest too."""
        fd = self._disk.open(self._layout.partial(upload))
        try:
            self._disk.protect(fd)
            self._disk.flush(fd)
            return fsops.NewFile.of_open(self._disk, fd), self._disk.digest(fd)
        except BaseException:
            self._disk.close(fd)
            raise

    def finish(self, upload: str, note: Note) -> None:
        """Note that an upload is done, and give its bytes up."""
        self._write(upload, note)
        self._disk.unlink(self._layout.partial(upload))

    def remove(self, upload: str) -> None:
        """Forget an upload: the note first, so that bytes without it are none."""
        self._disk.unlink(self._layout.partial_note(upload))
        self._disk.unlink(self._layout.partial(upload))

    def _write(self, upload: str, note: Note) -> None:
        file = fsops.NewFile(self._disk, self._layout.uploads)
        try:
            file.write([json.dumps(asdict(note)).encode()])
            file.flush()
            file.replace(self._layout.partial_note(upload))
        finally:
            file.close()

    def _note(self, upload: str) -> Note | None:
        """Read a note; None when it is none of ours."""
        try:
            fd = self._disk.open(self._layout.partial_note(upload))
        except OSError:
            return None
        try:
            if not stat.S_ISREG(self._disk.status_of(fd).st_mode):
                return None
            return _read(self._disk.read(fd, _MOST_NOTE_BYTES, 0))
        finally:
            self._disk.close(fd)


def _read(text: bytes) -> Note | None:
    try:
        fields: Any = json.loads(text)
        note = Note(**fields)
        if note.digest is not None:
            Digest.parse(note.digest)
    except (ValueError, TypeError, RecursionError, BadDigest):
        return None
    kinds = (note.owner, str), (note.length, int), (note.metadata, str), (note.done, bool)
    return note if all(type(value) is kind for value, kind in kinds) else None
