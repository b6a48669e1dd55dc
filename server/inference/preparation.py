"""From a sound to a model's tensors: what is known of it already, and a decoder for the rest.

::

    sound, csv --> raw values known? --all--> decoder scales them --------> tensors
                        `--no--> decoder decodes, computes, scales --+--> tensors
                                                                     `--> values kept
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from server.digest import Digest
from server.errors import WorkerFailed
from server.inference.feature_cache import CachedValue, FeatureCache
from server.inference.frames import Message, Part
from server.inference.pool import ChildPool, Spawn

_KNOWN, _VALUE = "known:", "value:"
_SOURCES = (None, "client", "derived")
_WINDOWS_AT_ONCE = 8  # as many rows as one batch has; bounds what a long sound takes
_MOST_WINDOWS = 1000  # of the longest sound there are 120
Source = Literal["client", "derived"] | None


@dataclass(frozen=True, slots=True)
class Sound:
    """A caller's song.

    Attributes
    ----------
    data : bytes or memoryview
        A sound file.
    ext : str or None
        The format that the caller named.
    csv : bytes
        A feature row; empty to have it computed.
    digest : Digest or None
        Of `data`, where it is known already.
    """

    data: bytes | memoryview
    ext: str | None
    csv: bytes
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model's tensors, and how they were made.

    Attributes
    ----------
    tensors : sequence of Part
        Every input of the binding, in its order.
    window : str
        Which part of the sound was used.
    features : str or None
        Where the feature row came from: ``client`` or ``derived``.
    row : mapping of str to float, or None
        The row by name, where it is told.
    """

    tensors: Sequence[Part]
    window: str
    features: Source
    row: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class PreparedWindows:
    """A model's tensors of some windows of a sound.

    Attributes
    ----------
    rows : list of list of Part
        For each window every input of the binding, in its order.
    count : int
        Windows of the whole sound.
    window : str
        The part of the sound that all of them cover.
    features : str or None
        Where the feature rows came from.
    """

    rows: list[list[Part]]
    count: int
    window: str
    features: Source


class Preparation:
    """Makes tensors of sounds.

    Parameters
    ----------
    decoders : ChildPool
        Decode sounds and compute frontends.
    cache : FeatureCache or None
        Keeps what they computed.
    spawn : callable
        Starts a task in the task group of the application.
    """

    def __init__(self, decoders: ChildPool, cache: FeatureCache | None, *, spawn: Spawn) -> None:
        self._decoders = decoders
        self._cache = cache
        self._spawn = spawn

    async def prepare(self, sound: Sound, binding: Mapping[str, Any]) -> Prepared:
        """Make the tensors that a model is fed with.

        Raises
        ------
        ServerError
            What is wrong with the sound or the row, or why there is no decoder for it.
        """
        digest = await self._digest(sound)
        known = await self._known(digest, sound, binding)
        window = next((value.window for value in known.values()), None)
        asked = {"op": "frontend", "binding": binding, "ext": sound.ext, "window": window}
        parts = [Part("csv", sound.csv), *_renamed(known)]
        if window is None or len(known) < len(_needed(binding, sound)):
            parts.append(Part("sound", sound.data))
        made = await self._decoders.call(Message(asked, parts))
        prepared = _checked(made, binding)
        if self._cache is not None and digest is not None:
            for name, value in _values(made, binding).items():
                self._spawn(self._cache.put(digest, sound.ext, name, value))
        return prepared

    async def prepare_windows(
        self, sound: Sound, binding: Mapping[str, Any], first: int
    ) -> PreparedWindows:
        """Make the tensors of up to eight windows of a sound, from the one numbered `first` on.

        Nothing is kept for the next call.

        Raises
        ------
        ServerError
            As `prepare`.
        """
        which = {"first": first, "most": _WINDOWS_AT_ONCE}
        asked = {"op": "windows", "binding": binding, "ext": sound.ext, **which}
        made = await self._decoders.call(Message(asked, [Part("sound", sound.data)]))
        return _checked_windows(made, binding, first)

    async def _digest(self, sound: Sound) -> Digest | None:
        if self._cache is None or sound.digest is not None:
            return sound.digest
        sha256 = await asyncio.to_thread(hashlib.sha256, sound.data)
        return Digest(sha256.digest())

    async def _known(
        self, digest: Digest | None, sound: Sound, binding: Mapping[str, Any]
    ) -> dict[str, CachedValue]:
        if self._cache is None or digest is None:
            return {}
        asked = {
            name: await self._cache.get(digest, sound.ext, name) for name in _needed(binding, sound)
        }
        return {name: value for name, value in asked.items() if value is not None}


def _needed(binding: Mapping[str, Any], sound: Sound) -> set[str]:
    """Return the raw values that a call cannot do without."""
    has_row = bool(sound.csv.strip())
    return {item["value"] for item in binding["inputs"] if not (has_row and item["kind"] == "row")}


def _renamed(known: Mapping[str, CachedValue]) -> list[Part]:
    return [
        Part(_KNOWN + name, value.part.data, value.part.dtype, value.part.shape)
        for name, value in known.items()
    ]


def _checked(made: Message, binding: Mapping[str, Any]) -> Prepared:
    """Take over a decoder's answer; it may be hostile."""
    told: Any = made.fields.get("told")
    try:
        pairs = zip(_tensors(made, binding), binding["inputs"], strict=True)
        tensors = [_tensor(part, item) for part, item in pairs]
        return Prepared(tensors, *_checked_told(told))
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerFailed("the process answered nonsense") from error


def _checked_windows(made: Message, binding: Mapping[str, Any], first: int) -> PreparedWindows:
    """Take over a decoder's answer about windows; it may be hostile."""
    told: Any = made.fields.get("told")
    try:
        count = int(told["count"])
        size = min(_WINDOWS_AT_ONCE, count - first)
        if not 0 < count <= _MOST_WINDOWS or size < 1:
            raise ValueError(count)
        pairs = zip(made.parts, binding["inputs"], strict=True)
        columns = [_cut(part, item, size) for part, item in pairs]
        rows = [list(row) for row in zip(*columns, strict=True)]
        return PreparedWindows(rows, count, *_checked_told(told))
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerFailed("the process answered nonsense") from error


def _checked_told(told: Any) -> tuple[str, Source]:
    """Return the window as a text, and where the row came from."""
    window = {key: float(told["window"][key]) for key in ("start_s", "stop_s", "of_s")}
    span = "{start_s:g}-{stop_s:g} s of {of_s:g} s".format(**window)
    features: Source = told.get("features")
    if features not in _SOURCES:
        raise ValueError(features)
    return span + (", repeated" if told["window"]["repeated"] else ""), features


def _cut(part: Part, item: Mapping[str, Any], size: int) -> list[Part]:
    """Cut a tensor of several windows into one for each."""
    shape: list[int] = item["shape"]
    whole = _tensor(part, {**item, "shape": [size, *shape[1:]]})
    data, step = memoryview(whole.data), len(whole.data) // size
    pieces = [data[k * step : (k + 1) * step] for k in range(size)]
    return [Part(part.name, piece, part.dtype, tuple(shape)) for piece in pieces]


def _tensors(made: Message, binding: Mapping[str, Any]) -> Sequence[Part]:
    """Return the parts that are tensors: the first ones, whatever the model calls its inputs."""
    return made.parts[: len(binding["inputs"])]


def _tensor(part: Part, item: Mapping[str, Any]) -> Part:
    fits = part.dtype == "float32" and list(part.shape) == item["shape"]
    if part.name != item["tensor"] or not fits:
        raise ValueError(item["tensor"])
    return part


def _values(made: Message, binding: Mapping[str, Any]) -> dict[str, CachedValue]:
    """Return the raw values that a decoder answered for keeping."""
    window = dict(made.fields["told"]["window"])
    tensors = {part.name: part for part in _tensors(made, binding)}
    values = {
        part.name.removeprefix(_VALUE): part
        for part in made.parts[len(tensors) :]
        if part.name.startswith(_VALUE)
    }
    same = made.fields.get("same")
    for name, tensor in same.items() if isinstance(same, dict) else ():
        if isinstance(tensor, str) and tensor in tensors:
            values[name] = tensors[tensor]
    known = {item["value"] for item in binding["inputs"]}
    return {
        name: CachedValue(window, part)
        for name, part in values.items()
        if name in known and part.dtype
    }
