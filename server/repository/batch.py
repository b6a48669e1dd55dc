"""What a sweep does to the disk: many staged files at a time, in threads, never in the event loop.

::

    names --open_some--> open and hashed --adopt--> in models/, on disk --drop--> gone from staging

Each file has an outcome of its own: an error with one of them is nobody else's.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from stat import S_IMODE
from typing import TypeVar, TypeVarTuple

from server.digest import Digest
from server.repository.fsops import READ_ONLY, Disk, NewFile
from server.repository.layout import UPLOAD_NAME, Layout
from server.repository.looks import Looks
from server.repository.quiet import Left, Quiet, drop_name, is_still_quiet, open_quiet
from server.repository.store import ModelStore

MAX_FILES = 64
_MAX_BYTES = 64 << 20  # small files need not wait until many large ones have been hashed
_THREADS = 4
_COPY_BYTES = 1 << 20
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Batches:
    """Opens, stores, drops and closes staged files by the batch; every method blocks.

    Parameters
    ----------
    layout : Layout
        Says where things lie.
    store : ModelStore
        Takes what is promoted.
    looks : Looks
        What was seen of files that no lease tells of.
    """

    def __init__(self, layout: Layout, store: ModelStore, looks: Looks) -> None:
        self._layout = layout
        self._store = store
        self._looks = looks
        # of its own: uploads must not wait for a thread until a sweep is over
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sweep")
        # nobody may close a file that another thread is about to link
        self._using = threading.Lock()

    def open_some(self, names: Sequence[str]) -> dict[str, Quiet | Left | OSError]:
        """Open and hash the first of some names, as many as make a batch.

        Returns
        -------
        dict
            By name, in their order: an open file, why it is left, or why the disk cannot read it.
        """
        batch = names[: self._count(names)]
        opened = self._threads.map(lambda name: _tried(self._open, name), batch)
        return dict(zip(batch, opened, strict=True))

    def adopt(self, files: Mapping[str, Quiet]) -> dict[str, bool | Left | OSError]:
        """Store files; returns when all are on disk under their digests.

        A file that cannot be flushed is abandoned: the kernel has forgotten the pages, and a second
        flush would succeed.

        Returns
        -------
        dict
            By name: whether these bytes had to go in, why the file is left, or why it could not be
            stored.
        """
        with self._using:
            flushed = self._threads.map(lambda name: _tried(self._flush, name, files[name]), files)
            outcomes: dict[str, bool | Left | OSError] = {}
            for (name, file), failure in zip(files.items(), flushed, strict=True):
                if failure is None:
                    outcomes[name] = _tried(self._adopt, name, file)
                else:
                    outcomes[name] = failure
                    _tried(drop_name, self._layout, name, file.status)
            failure = _tried(self._store.flush)
        return outcomes if failure is None else dict.fromkeys(files, failure)

    def drop(self, files: Mapping[str, Quiet]) -> dict[str, OSError | None]:
        """Remove files from staging.

        Returns
        -------
        dict
            By name: why it could not be removed, if so.
        """
        with self._using:
            return {
                name: _tried(drop_name, self._layout, name, file.status)
                for name, file in files.items()
            }

    def close(self, files: Mapping[str, Quiet]) -> None:
        """Close files; the disk frees those that have lost their last name."""
        with self._using:
            for file in files.values():
                self._layout.disk.close(file.fd)

    def _count(self, names: Sequence[str]) -> int:
        size = 0
        for count, name in enumerate(names[:MAX_FILES]):
            if size >= _MAX_BYTES:
                return count
            try:
                size += self._layout.disk.status(self._layout.uploads / name).st_size
            except OSError:
                continue  # what is wrong with it is found when it is opened
        return min(len(names), MAX_FILES)

    def _open(self, name: str) -> Quiet | Left:
        file = open_quiet(self._layout, name, self._looks)
        if not isinstance(file, Quiet) or file.status.st_nlink == 1:
            return file
        if self._store.is_file_of(file.digest, file.status):
            return file
        self._layout.disk.close(file.fd)
        return Left.LINKS

    def _flush(self, name: str, file: Quiet) -> None:
        # what staging wrote itself was flushed before it got its name
        is_flushed = UPLOAD_NAME.fullmatch(name) and S_IMODE(file.status.st_mode) == READ_ONLY
        if file.is_ours and not is_flushed:
            self._layout.disk.protect(file.fd)
            self._layout.disk.flush(file.fd)

    def _adopt(self, name: str, file: Quiet) -> bool | Left:
        if not is_still_quiet(self._layout.disk, file, name):
            return Left.BUSY  # somebody began to write it while the others were hashed
        if file.is_ours:
            return self._store.adopt(file.fd, file.digest)
        return self._adopt_copy(file)

    def _adopt_copy(self, file: Quiet) -> bool | Left:
        copy = NewFile(self._layout.disk, self._layout.uploads)
        try:
            if _copied(self._layout.disk, file.fd, copy) != file.digest:
                return Left.BUSY
            copy.flush()
            return self._store.adopt_new(copy, file.digest)
        finally:
            copy.close()


def _copied(disk: Disk, fd: int, file: NewFile) -> Digest:
    """Append an open file to a new one; return the digest of what was copied."""
    sha256, offset = hashlib.sha256(), 0
    while piece := disk.read(fd, _COPY_BYTES, offset):
        sha256.update(piece)
        file.write([piece])
        offset += len(piece)
    return Digest(sha256.digest())


def _tried(work: Callable[[*Ts], T], *arguments: *Ts) -> T | OSError:
    try:
        return work(*arguments)
    except OSError as error:
        return error
