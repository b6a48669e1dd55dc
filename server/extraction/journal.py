"""What has been extracted so far, so that a run that was stopped goes on where it was.

::

    OUT/.extract/journal.jsonl      one line says what is extracted, then one line a file
    OUT/.extract/spectrograms.f32   float32, one after the other; a line names its place

A picture is on disk before the line that names it. What stands behind the last whole line was not
finished, and is cut off at the next start. A file that was changed since is read again.
"""

import fcntl
import io
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from server.extraction.sources import SoundFile

FOLDER = ".extract"
_FORMAT = 1


class JournalInUse(Exception):
    """Another run writes to the same folder."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is extracted from every sound.

    Attributes
    ----------
    row, picture : str
        Ids of the frontends.
    height, width : int
        Of the picture.
    """

    row: str
    picture: str
    height: int
    width: int

    @property
    def picture_bytes(self) -> int:
        """How long a picture is in float32."""
        return 4 * self.height * self.width


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a file.

    Attributes
    ----------
    name : str
        As `SoundFile.name`.
    size, mtime_ns : int
        Of the file that was read.
    row : list of float
        Its features; empty for a bad file.
    place : int
        Of its picture; -1 for a bad file.
    problem, detail : str
        What is wrong with it.
    is_final : bool
        Whether the same file would give the same again.
    """

    name: str
    size: int
    mtime_ns: int
    row: list[float]
    place: int = -1
    problem: str = ""
    detail: str = ""
    is_final: bool = True

    def is_of(self, sound: SoundFile) -> bool:
        """Tell whether this need not be done again for a file."""
        same = (sound.size, sound.mtime_ns) == (self.size, self.mtime_ns)
        return same and self.is_final


class Journal:
    """The files of one output folder.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    recipe : Recipe
        What earlier runs must have extracted, else they count for nothing.

    Attributes
    ----------
    done : dict of str to Done
        By name.

    Raises
    ------
    JournalInUse
        If another run writes there.
    OSError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.recipe = recipe
        self.done: dict[str, Done] = {}
        self._turn = threading.Lock()
        folder = folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._lines = (folder / "journal.jsonl").open("a+b")
        try:
            fcntl.flock(self._lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lines.close()
            raise JournalInUse(str(folder)) from error
        self._pictures = (folder / "spectrograms.f32").open("a+b")
        self._take_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pictures.close()
        self._lines.close()

    def add(self, done: Done, picture: bytes | memoryview = b"") -> None:
        """Keep what became of a file, in any thread; `place` is filled in for a picture."""
        with self._turn:
            if picture:
                done = replace(done, place=self._places)
                self._pictures.write(picture)
                self._pictures.flush()
                os.fdatasync(self._pictures.fileno())
                self._places += 1
            self._lines.write(_line(asdict(done)))
            self._lines.flush()
            self.done[done.name] = done

    def picture(self, place: int) -> bytes:
        """Return a picture."""
        size = self.recipe.picture_bytes
        return os.pread(self._pictures.fileno(), size, place * size)

    def _take_up(self) -> None:
        """Read what there is, and cut off what is not whole."""
        self._pictures.seek(0, io.SEEK_END)
        self._places = self._pictures.tell() // self.recipe.picture_bytes
        self._lines.seek(0)
        head = _line({"format": _FORMAT, **asdict(self.recipe)})
        end = len(head)
        if self._lines.readline() == head:
            for line, done in self._whole_lines():
                end += len(line)
                self.done[done.name] = done
            self._lines.truncate(end)
            self._places = 1 + max((done.place for done in self.done.values()), default=-1)
        else:
            self._lines.truncate(0)
            self._lines.write(head)
            self._lines.flush()
            self._places = 0
        self._pictures.truncate(self._places * self.recipe.picture_bytes)

    def _whole_lines(self) -> Iterator[tuple[bytes, Done]]:
        for line in self._lines:
            try:
                done = Done(**json.loads(line))
            except (ValueError, TypeError):
                return
            if not line.endswith(b"\n") or done.place >= self._places:
                return
            yield line, done


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"
