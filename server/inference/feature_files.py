"""Raw values of sounds in files, so that a restart does not compute them again.

::

    folder/<64 hexadecimal digits>    SHA-256 of the key; one value a file
        32 bytes                      SHA-256 of what follows
        a frame                       fields key and window, and one part: the value

    folder/.part-...                  a file being written; removed at the next start

A file becomes visible whole, by a rename, and says what it is: one that is damaged, or lies under a
name that is not its own, is removed when it is read. Nothing is flushed to disk, because what a
power cut destroys is only computed again. Other files in the folder are left alone. No failure of
the disk leaves this module: it is logged once, and the value counts as not there.

Every method blocks; call them in a thread. They may be called in several at once.
"""

import hashlib
import itertools
import logging
import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from server.inference import frames
from server.inference.frames import PREFIX_BYTES, BadFrame, Message, Part
from server.repository.fsops import Disk, remove_parts

MAX_FILES = 65_536
_SCANNED = 2 * MAX_FILES  # names looked at when the folder is read
_BLOCK_BYTES = 4096  # what a file system gives out
_MAX_VALUE = 64 << 20  # far above any value; a larger file is none of ours
_NAME = re.compile(r"[0-9a-f]{64}")
_DIGEST_BYTES = hashlib.sha256().digest_size
_log = logging.getLogger(__name__)


class FeatureFiles:
    """Values by key in one folder, the least recently used removed first.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    max_bytes : int
        Of all files together, each rounded up to whole blocks of 4096.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()  # least recently used first
        self._bytes = 0
        self._is_scanned = False
        self._has_told = False
        self._lock = threading.Lock()

    def read(self, key: str) -> tuple[dict[str, Any], Part] | None:
        """Return the window and the value of a key, or None."""
        name = _name_of(key)
        with self._lock:
            try:
                self._scan()
                if name not in self._sizes:
                    return None
                path = self._folder / name
                found = _parse(_content(path, self._sizes[name]), key)
                if found is None:
                    self._remove(name)
                    return None
                _touch(path)
                self._sizes.move_to_end(name)
            except FileNotFoundError:
                self._forget(name)
                return None
            except OSError as error:
                self._tell(error)
                self._forget(name)
                return None
            return found

    def write(self, key: str, window: dict[str, Any], value: Part) -> None:
        """Keep a value, if it is within the bound."""
        message = Message({"key": key, "window": window}, [value])
        content = b"".join(message.buffers())
        size = _DIGEST_BYTES + len(content)
        name = _name_of(key)
        with self._lock:
            try:
                self._scan()
                self._remove(name)
                if _cost(size) > min(self._max_bytes, _MAX_VALUE):
                    return
                self._evict(self._max_bytes - _cost(size), MAX_FILES - 1)
                self._place(name, hashlib.sha256(content).digest() + content)
            except OSError as error:
                self._tell(error)
            else:
                self._sizes[name] = size
                self._bytes += _cost(size)

    def _scan(self) -> None:
        """Learn once what an earlier run has left, oldest first."""
        if self._is_scanned:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_parts(Disk(), self._folder)
        found: list[tuple[int, str, int]] = []
        with os.scandir(self._folder) as entries:
            for entry in itertools.islice(entries, _SCANNED):
                if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, entry.name, status.st_size))
        self._sizes = OrderedDict((name, size) for _, name, size in sorted(found))
        self._bytes = sum(map(_cost, self._sizes.values()))
        self._is_scanned = True
        for name in [name for name, size in self._sizes.items() if size > _MAX_VALUE]:
            self._remove(name)
        self._evict(self._max_bytes, MAX_FILES)

    def _evict(self, max_bytes: int, max_files: int) -> None:
        while self._bytes > max_bytes or len(self._sizes) > max_files:
            self._remove(next(iter(self._sizes)))

    def _remove(self, name: str) -> None:
        if name in self._sizes:
            self._forget(name)
            (self._folder / name).unlink(missing_ok=True)

    def _forget(self, name: str) -> None:
        size = self._sizes.pop(name, None)
        if size is not None:
            self._bytes -= _cost(size)

    def _place(self, name: str, content: bytes) -> None:
        part = self._folder / f".part-{secrets.token_hex(8)}"
        try:
            with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(content)
            _touch(part)
            part.replace(self._folder / name)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def _tell(self, error: OSError) -> None:
        if not self._has_told:
            self._has_told = True
            _log.warning("feature cache goes on without its folder", extra={"why": error.strerror})


def _name_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _touch(path: Path) -> None:
    """Set the time by which the next run knows the order; the file system's own clock is coarse."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))


def _cost(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _content(path: Path, size: int) -> bytes:
    """Read a file that should have so many bytes; one byte more shows that it has grown."""
    # a pipe of that name must not stop us, a link not lead elsewhere
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as file:
        return file.read(size + 1)


def _parse(content: bytes, key: str) -> tuple[dict[str, Any], Part] | None:
    """Take a file apart; None if it is not what the key stands for."""
    stated, frame = content[:_DIGEST_BYTES], memoryview(content)[_DIGEST_BYTES:]
    if hashlib.sha256(frame).digest() != stated or len(frame) < PREFIX_BYTES:
        return None
    try:
        head, payload = frames.read_prefix(bytes(frame[:PREFIX_BYTES]), max_payload=len(frame))
        middle = PREFIX_BYTES + head
        message = frames.decode(bytes(frame[PREFIX_BYTES:middle]), frame[middle:])
    except BadFrame:
        return None
    window, parts = message.fields.get("window"), message.parts
    if not isinstance(window, dict) or len(parts) != 1 or len(frame) != middle + payload:
        return None
    if message.fields.get("key") != key:
        return None
    value = parts[0]
    return window, Part(value.name, bytes(value.data), value.dtype, value.shape)
