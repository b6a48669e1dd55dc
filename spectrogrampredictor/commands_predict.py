"""The command `predict`: many sounds at once, as a table, JSON or CSV."""

import csv
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import httpx

from spectrogrampredictor.answers import Prediction
from spectrogrampredictor.calls import Windows
from spectrogrampredictor.client import Client
from spectrogrampredictor.command_errors import Failed, said_of
from spectrogrampredictor.many import Answered
from spectrogrampredictor.model_names import digest_or_name
from spectrogrampredictor.problem import BadRequest, BadSound, ServerFault
from spectrogrampredictor.shown import Told, bar, examples

_SOUNDS = {"wav", "wave", "aif", "aiff", "au", "snd", "flac", "ogg", "oga", "opus", "mp3"}
_MOST_WIDTH = 60
_SOUNDS_A_REQUEST = 8  # few enough that rows come while others are still worked on
# what else goes wrong is the model's or the caller's, and would for every sound
_OF_ONE = (BadSound, BadRequest, ServerFault, httpx.TransportError, OSError)
_EXAMPLES_PREDICT = examples(
    "spectrogrampredictor predict best song.mp3",
    "spectrogrampredictor predict best album/ --format csv > album.csv",
    "spectrogrampredictor predict best symphony.flac --windows mean",
    "spectrogrampredictor predict best song.mp3 --receipts receipts/",
)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one sound."""

    path: Path
    prediction: Prediction | None
    error: str = ""


@click.command(epilog=_EXAMPLES_PREDICT, short_help="Ask a model about sounds.")
@click.argument("model")
@click.argument("sounds", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="json is one object a line.",
)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Labels a row.")
@click.option(
    "--features",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A CSV with the feature row; it is computed where it is left out.",
)
@click.option(
    "--windows",
    type=click.Choice(["middle", "mean"]),
    help="Of sounds longer than 30 s: their middle, or the mean over all their windows.",
)
@click.option(
    "--receipts",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder: the server signs what it says, and each answer is kept there with its receipt.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Requests at once; several sounds are sent as forms of up to 8.",
)
def predict(
    *,
    model: str,
    sounds: tuple[Path, ...],
    form: str,
    top: int,
    features: Path | None,
    windows: Windows | None,
    receipts: Path | None,
    jobs: int,
) -> None:
    """Ask MODEL, a digest, a name or its file, about SOUNDS: files, or folders of them.

    A sound that cannot be answered is told, and the others are answered all the same.
    """
    paths = _paths(sounds)
    if not paths:
        raise Failed("there is no sound in that folder")
    if receipts is not None:
        receipts.mkdir(parents=True, exist_ok=True)

    asked = digest_or_name(model)
    alone = receipts is not None or features is not None
    size = 1 if alone else _SOUNDS_A_REQUEST
    groups = [paths[first : first + size] for first in range(0, len(paths), size)]

    def ask(group: Sequence[Path]) -> list[_Outcome]:
        if alone:
            return [ask_alone(path) for path in group]
        try:
            found = list(client.predict_many(asked, group, windows=windows))
        except _OF_ONE:  # of one among them perhaps
            return [ask_alone(path) for path in group]
        return [_outcome(path, one) for path, one in zip(group, found, strict=True)]

    def ask_alone(path: Path) -> _Outcome:
        try:
            found = client.predict(
                asked, path, csv=features, receipt=receipts is not None, windows=windows
            )
        except _OF_ONE as error:
            return _Outcome(path, None, said_of(error))
        if receipts is not None:
            _keep(receipts, path, found)
        return _Outcome(path, found)

    with Client.from_env() as client, bar("predict", beside=sys.stdout) as told:
        pool = ThreadPoolExecutor(jobs)
        try:
            found = itertools.chain.from_iterable(pool.map(ask, groups))
            outcomes = _counted(found, len(paths), told)
            failed = _WRITERS[form](outcomes, top, max(len(str(path)) for path in paths))
        finally:
            pool.shutdown(cancel_futures=True)
    if failed:
        raise Failed(f"{failed} of {len(paths)} sounds could not be answered")


def _outcome(path: Path, one: Answered) -> _Outcome:
    return _Outcome(path, one.prediction, said_of(one.problem) if one.problem else "")


def _paths(sounds: Sequence[Path]) -> list[Path]:
    """Return files as they are, and the sounds of folders in the order of their names."""
    found: list[Path] = []
    for path in sounds:
        if path.is_dir():
            inside = sorted(path.rglob("*"))
            found += [one for one in inside if one.is_file() and one.suffix[1:].lower() in _SOUNDS]
        else:
            found.append(path)
    return found


def _counted(outcomes: Iterator[_Outcome], total: int, told: Told) -> Iterator[_Outcome]:
    for done, outcome in enumerate(outcomes, 1):
        told(done, total)
        yield outcome


def _keep(folder: Path, path: Path, found: Prediction) -> None:
    name = "-".join(path.with_suffix("").parts).strip("/-")
    (folder / f"{name}.answer.json").write_bytes(found.body)
    (folder / f"{name}.receipt").write_text(f"{found.receipt}\n", "ascii")


def _table(outcomes: Iterator[_Outcome], top: int, longest: int) -> int:
    """Print each row as it comes; return how many have failed."""
    failed, width = 0, min(longest, _MOST_WIDTH)
    for outcome in outcomes:
        name = _shortened(str(outcome.path), width)
        if outcome.prediction is None:
            failed += 1
            click.echo(f"{name:<{width}}  ! {outcome.error}")
            continue
        labels = outcome.prediction.top(top)
        told = "  ".join(f"{one.label} {one.probability:.4f}" for one in labels)
        click.echo(f"{name:<{width}}  {told}")
    return failed


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else f"...{name[3 - width :]}"


def _json(outcomes: Iterator[_Outcome], top: int, _longest: int) -> int:
    failed = 0
    for outcome in outcomes:
        said: dict[str, object] = {"file": str(outcome.path)}
        found = outcome.prediction
        if found is None:
            failed += 1
            said["error"] = outcome.error
        else:
            labels = [
                {"label": one.label, "probability": one.probability} for one in found.top(top)
            ]
            said |= {"model": found.model, "top": labels, "window": found.window}
            said |= {"probabilities": dict(zip(found.labels, found.probabilities, strict=True))}
        click.echo(json.dumps(said))
    return failed


def _csv(outcomes: Iterator[_Outcome], _top: int, _longest: int) -> int:
    """Write a column for each label; what has failed is told on standard error."""
    failed, table, columns = 0, csv.writer(sys.stdout, lineterminator="\n"), None
    for outcome in outcomes:
        found = outcome.prediction
        if found is None:
            failed += 1
            click.echo(f"{outcome.path}: {outcome.error}", err=True)
            continue
        if columns is None:
            columns = found.labels
            table.writerow(["file", "model", "best", *columns])
        numbers = map(repr, found.probabilities)
        table.writerow([str(outcome.path), found.model, found.best.label, *numbers])
    return failed


_WRITERS = {"table": _table, "json": _json, "csv": _csv}
