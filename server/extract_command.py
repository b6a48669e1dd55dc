"""`python -m server extract FOLDER`: the numbers that the server will feed, for training."""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from server import parts, settings
from server.errors import ServerError
from server.extraction import tables
from server.extraction.extract import Extraction
from server.extraction.journal import Done, Journal, JournalInUse, Recipe
from server.extraction.sources import SoundFile, find_sounds, label_of
from server.inference.contracts import Contracts
from server.inference.pool import ChildPool
from server.progress import Progress
from server.settings import Settings
from server.telemetry import configure_logging

_ROW = "gtzan-58@1"
_CORES = len(os.sched_getaffinity(0))
_SHOWN = 5
_MAX_JOBS = 256
_STOPPED = 130  # as a shell says of what Ctrl-C has ended
_DESCRIPTION = f"""\
Compute features and spectrograms of every sound in FOLDER, whose subfolders are the labels, by the
very code that the server feeds models with: what a model is trained on is what it will be given.

  genres/blues/one.wav      genres-features/{tables.CSV}    filename, 58 features, label
  genres/blues/two.mp3  ->  genres-features/{tables.NPZ}    all as numpy arrays
  genres/jazz/three.flac    genres-features/{tables.MANIFEST}     to register a model with
                            genres-features/{tables.BAD}     what could not be read, and why

A run that was stopped goes on where it was, and a later one reads only files that are new or were
changed; what it needs for that lies in the folder .extract of the output."""
_EPILOG = """\
exit status:
  0    every sound is in the tables
  1    some could not be read; the others are in the tables
  2    it could not be done
  130  it was stopped; the same command goes on"""


def add_command(commands: Any) -> None:
    """Add `extract` to the commands of a parser."""
    parser = commands.add_parser(
        "extract",
        help="compute features and spectrograms of a labelled folder, for training",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="holds a folder of sounds for each label")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: FOLDER-features")
    parser.add_argument(
        "--picture",
        default="kaggle-gtzan@1",
        metavar="ID",
        help="frontend of the spectrogram (default: %(default)s, which models get without a "
        "manifest; new ones may take mel-235x335@1)",
    )
    parser.add_argument(
        "--size", type=_size, default=(235, 335), metavar="HxW", help="default: 235x335"
    )
    parser.add_argument(
        "--jobs",
        type=_jobs,
        default=_CORES,
        metavar="N",
        help=f"processes (default: one for each core, {_CORES})",
    )
    parser.set_defaults(command=extract)


def extract(options: argparse.Namespace) -> int:
    """Run the command."""
    chosen, _ = settings.read_settings(os.environ)  # it signs nothing: it needs no token
    configure_logging("CRITICAL")  # what goes wrong with a sound is in its table
    folder: Path = options.folder.resolve()
    out: Path = options.out or folder.with_name(f"{folder.name}-features")
    height, width = options.size
    recipe = Recipe(_ROW, options.picture, height, width)
    try:
        sounds = find_sounds(folder)
        if not sounds:
            return _complain(f"{folder}: there is no sound in it or in the folders below")
        with Journal(out, recipe) as journal:
            told = asyncio.run(_run(chosen, journal, sounds, out, jobs=options.jobs))
    except OSError as error:
        return _complain(f"{error.filename or out}: {error.strerror}")
    except JournalInUse:
        return _complain(f"{out}: another run is writing there")
    except ServerError as error:
        return _complain(error.detail)
    except (KeyboardInterrupt, asyncio.CancelledError):
        _complain("stopped; the same command goes on from here")
        return _STOPPED
    return _report(told, sounds, out)


@dataclass(frozen=True, slots=True)
class _Told:
    good: int
    bad: list[Done]


async def _run(
    chosen: Settings, journal: Journal, sounds: Sequence[SoundFile], out: Path, *, jobs: int
) -> _Told:
    """Extract, and raise one failure for all that came of it."""
    try:
        return await _extract(chosen, journal, sounds, out, jobs=jobs)
    except ExceptionGroup as group:
        first: Exception = group
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        raise first from group


async def _extract(
    chosen: Settings, journal: Journal, sounds: Sequence[SoundFile], out: Path, *, jobs: int
) -> _Told:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _task().cancel)
    kind = parts.decoder_kind(chosen, await parts.find_sandbox(chosen))
    progress = _SoundsProgress()
    async with asyncio.TaskGroup() as group:
        decoders = ChildPool(
            replace(kind, keeps_trying=False, nice=0),
            size=jobs,
            max_queue=2 * jobs + 2,
            spawn=group.create_task,
        )
        try:
            contracts = Contracts.of(await decoders.ready())
            extraction = Extraction(decoders, journal, contracts, progress=progress.show)
            await extraction.run(sounds, jobs=jobs)
        finally:
            progress.clear()
            await decoders.close()
    return _Told(*await asyncio.to_thread(extraction.write, out, sounds))


def _task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("called outside of a task")
    return task


class _SoundsProgress:
    """A bar of sounds, with the time that the others will take."""

    def __init__(self) -> None:
        self._bar = Progress(told=self._say)
        self._started = time.monotonic()
        self._before = 0

    def show(self, done: int, total: int, before: int) -> None:
        if done == before:
            self._started = time.monotonic()
        self._before = before
        self._bar.show(done, total)

    def clear(self) -> None:
        self._bar.clear()

    def _say(self, done: int, total: int) -> str:
        text = f"{done:,} of {total:,} sounds"
        if done == self._before:
            return text
        each_s = (time.monotonic() - self._started) / (done - self._before)
        minutes, seconds = divmod(round(each_s * (total - done)), 60)
        return f"{text}, {minutes}:{seconds:02} left"


def _report(told: _Told, sounds: Sequence[SoundFile], out: Path) -> int:
    labels = Counter(label_of(sound.name) for sound in sounds)
    named = len(labels) - ("" in labels)
    print(
        f"{len(sounds):,} sounds with {named} labels: {told.good:,} extracted, {len(told.bad)} bad"
    )
    for one in told.bad[:_SHOWN]:
        print(f"  bad: {one.name}: {one.detail}")
    if len(told.bad) > _SHOWN:
        print(f"  and {len(told.bad) - _SHOWN} more")
    if labels[""]:
        print(f"  {labels['']} of them lie in no subfolder and have no label")
    wrote = [tables.CSV, tables.NPZ, tables.MANIFEST, *([tables.BAD] if told.bad else [])]
    print(f"wrote {', '.join(wrote)} in {out}")
    return 1 if told.bad else 0


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
        raise argparse.ArgumentTypeError("height and width in pixels, such as 235x335")
    return int(height), int(width)


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_JOBS):
        raise argparse.ArgumentTypeError(f"a number from 1 to {_MAX_JOBS}")
    return int(text)


def _complain(text: str) -> int:
    print(text, file=sys.stderr)
    return 2
