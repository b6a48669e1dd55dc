"""Archives of a job's files, written while they are sent: nothing of them is kept."""

import io
import re
import tarfile
import zipfile
from collections.abc import AsyncGenerator, Callable, Sequence

from server.jobs.files import JobFiles
from server.jobs.job import Kept

_READ_BYTES = 1 << 18
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_BLOCK = 512
_MODE = 0o644
Archive = Callable[[JobFiles, Sequence[Kept]], AsyncGenerator[bytes, None]]


def safe_name(name: str) -> str:
    """Return a file name that means the same everywhere, and no folder anywhere."""
    return _UNSAFE.sub("_", name).lstrip(".") or "artifact"


async def zipped(files: JobFiles, kept: Sequence[Kept]) -> AsyncGenerator[bytes, None]:
    """Write a ZIP file."""
    sink = _Sink()
    # stored blocks of deflate: readers that cannot seek find the end of them, unlike of plain ones
    packed = zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=0)
    for item in kept:
        info = zipfile.ZipInfo(safe_name(item.name))
        info.file_size, info.external_attr = item.size, _MODE << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        info._compresslevel = 0  # type: ignore[attr-defined]  # public from 3.13 on
        with packed.open(info, "w") as entry:
            async for piece in _read(files, item):
                entry.write(piece)
                yield sink.take()
    packed.close()
    yield sink.take()


async def tarred(files: JobFiles, kept: Sequence[Kept]) -> AsyncGenerator[bytes, None]:
    """Write a tar file."""
    for item in kept:
        info = tarfile.TarInfo(safe_name(item.name))
        info.size, info.mode = item.size, _MODE
        yield info.tobuf(tarfile.PAX_FORMAT)
        async for piece in _read(files, item):
            yield piece
        yield bytes(-item.size % _BLOCK)
    yield bytes(2 * _BLOCK)


ARCHIVES: dict[str, Archive] = {"zip": zipped, "tar": tarred}


class _Sink(io.RawIOBase):
    """Takes what an archive writes until it is sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # of bytes alone
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole


async def _read(files: JobFiles, item: Kept) -> AsyncGenerator[bytes, None]:
    fd, at = await files.open(item.digest), 0
    try:
        while piece := await files.read(fd, _READ_BYTES, at):
            yield piece
            at += len(piece)
    finally:
        await files.close(fd)
