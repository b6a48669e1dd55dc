"""What frontends made of a sound, kept so that a second model on the same song pays nothing.

A key is the version of decoding, the sound's digest, the extension that its sender named (it
decides whether a sound is refused) and the name of the raw value; names carry the frontend's
version, so that nothing here is ever out of date. The bound counts all that an entry takes: the
value, its key and the objects around them.
"""

import asyncio
import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.digest import Digest
from server.inference.feature_files import FeatureFiles
from server.inference.frames import Part

# Of an entry beside what is counted by length; tracemalloc finds 350.
OVERHEAD_BYTES = 512
_DECODING = 2  # how sounds are decoded: files may be older than a mend
_MAX_WINDOW = 1024  # characters; whoever told more is not believed


@dataclass(frozen=True, slots=True)
class CachedValue:
    """A raw value, and the window of the sound that it was made of.

    Attributes
    ----------
    window : dict
        As the decoder told it.
    part : Part
        Bytes, dtype and shape.
    """

    window: dict[str, Any]
    part: Part


@dataclass(frozen=True, slots=True)
class _Entry:
    window: str
    part: Part
    cost: int


class FeatureCache:
    """Raw values of sounds in memory and, where a folder is given, in files.

    Parameters
    ----------
    max_bytes : int
        In memory, all counted; 0 keeps nothing there.
    folder : Path, optional
        Where values are kept beyond a restart.
    max_disk_bytes : int
        In the folder; 0 keeps nothing there.

    Attributes
    ----------
    hits, misses : int
        Of `get`; a value that was found in a file is a hit.
    disk_hits : int
        Those of `hits` that a file served.
    """

    def __init__(self, max_bytes: int, folder: Path | None = None, max_disk_bytes: int = 0) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._bytes = 0
        self._files: FeatureFiles | None = None
        if folder is not None and max_disk_bytes > 0:
            self._files = FeatureFiles(folder, max_bytes=max_disk_bytes)
        self.hits = self.misses = self.disk_hits = 0

    @property
    def bytes(self) -> int:
        """How much of the bound is taken."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, sound: Digest, ext: str | None, name: str) -> CachedValue | None:
        """Return a value, or None; without a pause where memory has it."""
        key = _key(sound, ext, name)
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            self.hits += 1
            return CachedValue(json.loads(entry.window), entry.part)
        found = await asyncio.to_thread(self._files.read, key) if self._files else None
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self.disk_hits += 1
        window, part = found
        self._keep(key, json.dumps(window), part)
        return CachedValue(window, part)

    async def put(self, sound: Digest, ext: str | None, name: str, value: CachedValue) -> None:
        """Keep a value, in memory at once, then in a file; one over a bound is not kept there."""
        window = json.dumps(value.window)
        if len(window) > _MAX_WINDOW:
            return
        key = _key(sound, ext, name)
        # bytes of our own: a view would hold the whole frame that it came with
        part = Part(name, bytes(value.part.data), value.part.dtype, value.part.shape)
        self._keep(key, window, part)
        if self._files:
            await asyncio.to_thread(self._files.write, key, value.window, part)

    def _keep(self, key: str, window: str, part: Part) -> None:
        self._drop(key)
        cost = OVERHEAD_BYTES + len(key) + len(window) + len(part.data)
        if cost > self._max_bytes:
            return
        self._entries[key] = _Entry(window, part, cost)
        self._bytes += cost
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.cost


def _key(sound: Digest, ext: str | None, name: str) -> str:
    return json.dumps([_DECODING, sound.hex, ext, name])
