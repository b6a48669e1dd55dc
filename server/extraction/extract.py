"""Every sound through the decoders, as many at once as there are cores.

::

    FOLDER -> not done yet -> decoder x cores -> journal -> tables

The decoders are those of the server, asked for a model that takes one row and one picture; what
they answer is kept as it is.
"""

import asyncio
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from server.errors import MalformedRequest, ServerError, TooLarge, WorkerFailed
from server.extraction import tables
from server.extraction.journal import Done, Journal, Recipe
from server.extraction.sources import SoundFile, label_of
from server.inference.contracts import Contracts
from server.inference.frames import Message, Part
from server.inference.pool import ChildPool

MAX_BYTES = 1 << 29  # of one file; decoders take a frame of twice as much
_ROW, _PICTURE = "features", "spectrogram"
Told = Callable[[int, int, int], None]


class Extraction:
    """One run over the sounds of a folder.

    Parameters
    ----------
    decoders : ChildPool
        Decode and compute.
    journal : Journal
        Keeps what is done.
    contracts : Contracts
        What decoders said that they can do.
    progress : callable
        Told how many sounds are done, of how many, and how many of them were done before.

    Raises
    ------
    MalformedRequest
        If there are no such frontends, or no picture of that size.
    """

    def __init__(
        self, decoders: ChildPool, journal: Journal, contracts: Contracts, *, progress: Told
    ) -> None:
        self._decoders = decoders
        self._journal = journal
        self._progress = progress
        self._binding = _binding(journal.recipe, contracts)

    @property
    def columns(self) -> list[str]:
        """The names of the features."""
        names: list[str] = self._binding["inputs"][0]["columns"]
        return names

    async def run(self, sounds: Sequence[SoundFile], *, jobs: int) -> None:
        """Extract what is not done yet."""
        waiting = [sound for sound in sounds if not self._is_done(sound)]
        before = done = len(sounds) - len(waiting)
        turns = iter(waiting)

        async def work() -> None:
            nonlocal done
            for sound in turns:
                await self._extract(sound)
                done += 1
                self._progress(done, len(sounds), before)

        self._progress(done, len(sounds), before)
        async with asyncio.TaskGroup() as group:
            for _ in range(jobs + 1):  # one more than decoders: the next file is read meanwhile
                group.create_task(work())

    def write(self, folder: Path, sounds: Sequence[SoundFile]) -> tuple[int, list[Done]]:
        """Write the tables; return how many sounds are in them, and the bad files."""
        found = [self._journal.done[sound.name] for sound in sounds]
        rows, bad = [one for one in found if one.row], [one for one in found if not one.row]
        recipe, columns = self._journal.recipe, self.columns
        labels = sorted({label_of(one.name) for one in rows} - {""})
        tables.write_features(folder / tables.CSV, rows, columns)
        tables.write_arrays(folder / tables.NPZ, rows, columns, recipe, self._journal.picture)
        tables.write_manifest(folder / tables.MANIFEST, labels, recipe)
        tables.write_bad(folder / tables.BAD, bad)
        return len(rows), bad

    def _is_done(self, sound: SoundFile) -> bool:
        known = self._journal.done.get(sound.name)
        return known is not None and known.is_of(sound)

    async def _extract(self, sound: SoundFile) -> None:
        try:
            row, picture = await self._decode(sound)
        except ServerError as error:
            final = not isinstance(error, WorkerFailed)
            done = _bad(sound, error.slug, error.detail, is_final=final)
            await asyncio.to_thread(self._journal.add, done)
        except OSError as error:
            done = _bad(sound, "not-readable", error.strerror or "", is_final=False)
            await asyncio.to_thread(self._journal.add, done)
        else:
            done = Done(sound.name, sound.size, sound.mtime_ns, row)
            await asyncio.to_thread(self._journal.add, done, picture)

    async def _decode(self, sound: SoundFile) -> tuple[list[float], bytes | memoryview]:
        if sound.size > MAX_BYTES:
            raise TooLarge(f"the file has {sound.size} bytes; {MAX_BYTES} is the most")
        data = await asyncio.to_thread(sound.path.read_bytes)
        asked = {"op": "frontend", "binding": self._binding, "ext": None, "window": None}
        answer = await self._decoders.call(
            Message(asked, [Part("sound", data), Part("csv", b"")]),
        )
        recipe, count = self._journal.recipe, len(self.columns)
        row, picture = answer.part(f"value:{recipe.row}"), answer.part(_PICTURE)
        if (
            row is None
            or picture is None
            or (row.dtype, row.shape) != ("float64", (count,))
            or len(picture.data) != recipe.picture_bytes
        ):
            raise WorkerFailed("the process answered nonsense")
        return list(struct.unpack(f"<{count}d", row.data)), picture.data


def _bad(sound: SoundFile, problem: str, detail: str, *, is_final: bool) -> Done:
    return Done(
        *(sound.name, sound.size, sound.mtime_ns, []),
        problem=problem,
        detail=detail,
        is_final=is_final,
    )


def _binding(recipe: Recipe, contracts: Contracts) -> dict[str, Any]:
    """Bind a model of one row and one picture, as `server.tasks.genre.bind` would."""
    row = _frontend(contracts.frontends, recipe.row, "row")
    picture = _frontend(contracts.frontends, recipe.picture, "picture")
    for axis, size, (low, high) in (
        ("high", recipe.height, picture["heights"]),
        ("wide", recipe.width, picture["widths"]),
    ):
        if not low <= size <= high:
            allowed = f"{low}" if low == high else f"{low} to {high}"
            raise MalformedRequest(f"{recipe.picture} draws pictures {allowed} {axis}, not {size}")
    columns = list(row["names"])
    fed_row: dict[str, Any] = {"tensor": _ROW, "kind": "row", "frontend": recipe.row}
    fed_row |= {"value": recipe.row, "columns": columns, "shape": [1, len(columns)]}
    drawn: dict[str, Any] = {"tensor": _PICTURE, "kind": "picture", "frontend": recipe.picture}
    drawn |= {"height": recipe.height, "width": recipe.width}
    drawn |= {"value": f"{recipe.picture} {recipe.height}x{recipe.width}"}
    drawn |= {"shape": [1, recipe.height, recipe.width, 1]}
    return {"task": "genre", "inputs": [fed_row, drawn]}


def _frontend(known: Mapping[str, Mapping[str, Any]], name: str, kind: str) -> Mapping[str, Any]:
    found = known.get(name)
    if found is None or found["kind"] != kind:
        there = ", ".join(_of_kind(known, kind))
        raise MalformedRequest(f"there is no {kind} frontend {name}; there are {there}")
    return found


def _of_kind(known: Mapping[str, Mapping[str, Any]], kind: str) -> Iterator[str]:
    return (name for name, told in known.items() if told["kind"] == kind)
