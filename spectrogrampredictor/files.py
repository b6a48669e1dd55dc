"""Files on their way: their digests, and their bytes piece by piece."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

_PIECE = 1 << 18
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FileBody:
    """A file, or a part of one, as the body of a request.

    Attributes
    ----------
    path : Path
        Where it lies.
    start, size : int
        Where the part begins, and how many bytes it has.
    whole : int
        How many the file has.
    sha256 : str
        Of the part, in hexadecimal digits.
    progress : callable or None
        Told how many bytes of the file are sent, and of how many.
    """

    path: Path
    start: int
    size: int
    whole: int
    sha256: str
    progress: Progress | None = None

    @classmethod
    def of(cls, path: str | os.PathLike[str], progress: Progress | None = None) -> "FileBody":
        """Look at a file and hash it.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        hashed = hashlib.sha256()
        size = 0
        with Path(path).open("rb") as file:
            while piece := file.read(_PIECE):
                hashed.update(piece)
                size += len(piece)
        return cls(Path(path), 0, size, size, hashed.hexdigest(), progress)

    def part(self, start: int, size: int) -> "FileBody":
        """Hash a part of it; less where the file ends before."""
        size = min(size, self.whole - start)
        hashed = hashlib.sha256()
        for piece in self._read(start, size):
            hashed.update(piece)
        return FileBody(self.path, start, size, self.whole, hashed.hexdigest(), self.progress)

    def pieces(self) -> Generator[bytes, None, None]:
        """Read it from its start."""
        sent = self.start
        self.tell(sent)
        for piece in self._read(self.start, self.size):
            yield piece
            sent += len(piece)
            self.tell(sent)

    async def apieces(self) -> AsyncIterator[bytes]:
        """Read it from its start, off the event loop."""
        with closing(self.pieces()) as pieces:
            while piece := await to_thread.run_sync(next, pieces, b""):
                yield piece

    def tell(self, sent: int) -> None:
        """Say how many bytes of the file are sent."""
        if self.progress is not None:
            self.progress(sent, self.whole)

    def _read(self, start: int, size: int) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(start)
            while piece := file.read(min(_PIECE, size)):
                yield piece
                size -= len(piece)
