"""The sounds of a labelled folder.

::

    FOLDER/blues/one.wav            label `blues`
    FOLDER/blues/live/two.mp3       label `blues`
    FOLDER/three.flac               no label
    FOLDER/blues/cover.jpg          no sound: left out
    FOLDER/.cache/four.wav          hidden: left out, and so are linked folders
"""

import os
from dataclasses import dataclass
from pathlib import Path

# As `server.audio.sniff.EXTENSIONS`, which is for child processes; a test holds them together.
EXTENSIONS = frozenset(
    ("wav", "wave", "aif", "aiff", "au", "snd", "flac", "ogg", "oga", "opus", "mp3")
)


@dataclass(frozen=True, slots=True)
class SoundFile:
    """A file that should hold a sound.

    Attributes
    ----------
    name : str
        Its path below the folder, with `/`.
    path : Path
        Where it lies.
    size : int
        Bytes.
    mtime_ns : int
        When it was last changed.
    """

    name: str
    path: Path
    size: int
    mtime_ns: int


def label_of(name: str) -> str:
    """Return the label of a file: the topmost folder in its name; empty where there is none."""
    first, slash, _ = name.partition("/")
    return first if slash else ""


def find_sounds(folder: Path) -> list[SoundFile]:
    """Return the sounds of a folder and of those below it, in the order of their names.

    Raises
    ------
    OSError
        If a folder cannot be read.
    """
    found = []
    for at, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(at, name)
            if not name.startswith(".") and path.suffix[1:].lower() in EXTENSIONS:
                found.append(_of(folder, path))
    return sorted(found, key=lambda sound: sound.name)


def _of(folder: Path, path: Path) -> SoundFile:
    name = path.relative_to(folder).as_posix()
    try:
        status = path.stat()
    except OSError:  # a link that leads nowhere: reading it will say so
        return SoundFile(name, path, -1, 0)
    return SoundFile(name, path, status.st_size, status.st_mtime_ns)


def _raise(error: OSError) -> None:
    raise error
