"""Ask a model about a folder, many songs at once: `python examples/batch.py MODEL FOLDER`.

MODEL is a digest or a name. It prints a table; what stands in that of an earlier run, given as a
third argument, is not asked again. The server, and who asks, are named by the environment.
"""

import csv
import sys
from functools import partial
from pathlib import Path

import anyio

from spectrogrampredictor import AsyncClient, problems

AT_ONCE = 8
ENDINGS = {".wav", ".aif", ".aiff", ".flac", ".ogg", ".opus", ".mp3"}


def read_done(known: Path) -> set[str]:
    """Return the songs of an earlier table."""
    with known.open(newline="") as file:
        return {row["file"] for row in csv.DictReader(file)}


async def main(model: str, songs: list[Path], *, with_header: bool) -> None:
    """Write a row for each song as it is answered."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    if with_header:
        table.writerow(["file", "label", "probability", "model", "problem"])
    turns = anyio.Semaphore(AT_ONCE)

    async with AsyncClient.from_env() as client, anyio.create_task_group() as group:

        async def ask(song: Path) -> None:
            async with turns:
                try:
                    answer = await client.predict(model, song)
                except problems.BadSound as problem:
                    table.writerow([song, "", "", "", problem.slug])
                else:
                    best = answer.best
                    table.writerow([song, best.label, best.probability, answer.model, ""])

        for song in songs:
            group.start_soon(ask, song)


if __name__ == "__main__":
    _, model, folder, *earlier = sys.argv
    done = read_done(Path(earlier[0])) if earlier else set()
    found = [path for path in sorted(Path(folder).rglob("*")) if path.suffix.lower() in ENDINGS]
    anyio.run(
        partial(
            main, model, [path for path in found if str(path) not in done], with_header=not done
        )
    )
