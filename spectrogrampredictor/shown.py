"""Tables, bars and sizes on a terminal."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

Told = Callable[[int, int], None]
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_STEP = 1000


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns that are as wide as they must be."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def size_of(count: int | None) -> str:
    """Write a number of bytes as people do."""
    if count is None:
        return "-"
    value, unit = float(count), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def examples(*lines: str) -> str:
    """Return lines for the end of a command's help, laid out as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


@contextmanager
def bar(label: str, *, beside: TextIO | None = None) -> Iterator[Told]:
    """Draw how far something is on standard error, where that is a terminal.

    Parameters
    ----------
    label : str
        What it is.
    beside : TextIO, optional
        Where results are written meanwhile; a terminal that shows them shows no bar.
    """
    is_seen = sys.stderr.isatty() and not (beside is not None and beside.isatty())
    with click.progressbar(length=0, label=label, file=sys.stderr, hidden=not is_seen) as drawn:

        def show(done: int, total: int) -> None:
            drawn.length = total
            drawn.update(done - drawn.pos)

        yield show
