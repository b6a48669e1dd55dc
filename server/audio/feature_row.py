"""The feature row that a client sends as CSV, read by column name.

Scripts make it with pandas, whose ``to_csv`` puts the frame's index in front: the header begins
with an empty cell and the row with a number. So columns are found by name, in any order::

    ,length,chroma_stft_mean,...,mfcc20_var        an index column, then names
    992,661794,0.3504,...,28.34                    exactly one row

The index column, ``filename`` and ``label`` are dropped. The rest must be the model's columns; of
the canonical 58, those that the model does not use are dropped too.
"""

import csv
import io
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from server.audio.feature_names import FEATURE_NAMES
from server.sound_errors import BadFeatureRow

MAX_BYTES = 65_536
MAX_MAGNITUDE = 1e12
_NOT_FEATURES = {"filename", "label"}
_INDEX = re.compile(r"(Unnamed: \d+)?")
# What float() takes beyond plain decimals (1_000, nan, infinity, digits of other scripts) is
# refused.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NAMED = 10


def parse_feature_row(data: bytes, columns: Sequence[str]) -> NDArray[np.float32]:
    r"""Read one feature row.

    Parameters
    ----------
    data : bytes
        CSV with a header and exactly one row; UTF-8, at most 64 KiB.
    columns : sequence of str
        The model's feature names in the model's order.

    Returns
    -------
    np.ndarray, shape (len(columns),), float32
        The numbers, reordered.

    Raises
    ------
    BadFeatureRow
        If it is not that; names the columns, in ``missing`` and ``extra`` where names differ.

    Examples
    --------
    >>> parse_feature_row(b",tempo,length\n0,123.0,661794\n", ["length", "tempo"]).tolist()
    [661794.0, 123.0]
    """
    header, cells = _header_and_row(_text(data))
    found = _by_name(header, cells)
    _check_names(found, columns)
    return np.array([_number(found[name], name) for name in columns], np.float32)


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise BadFeatureRow(f"The CSV has {len(data)} bytes; {MAX_BYTES} is the most.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFeatureRow(f"The CSV is not UTF-8 (byte {error.start}).") from error


def _header_and_row(text: str) -> tuple[list[str], list[str]]:
    """Return the cells of the two lines, blank lines left out."""
    try:
        lines = [cells for cells in csv.reader(io.StringIO(text, newline=""), strict=True) if cells]
    except csv.Error as error:
        raise BadFeatureRow("The CSV has a quoting that cannot be read.") from error
    if len(lines) != 2:
        rows = max(0, len(lines) - 1)
        raise BadFeatureRow(
            f"The CSV must hold a header and exactly one row; it holds {rows} rows."
        )
    header, row = lines
    if len(header) != len(row):
        raise BadFeatureRow(f"The header has {len(header)} cells, the row {len(row)}.")
    return [name.strip() for name in header], row


def _by_name(header: list[str], cells: list[str]) -> dict[str, str]:
    """Return the cells by column name, without those that are no features."""
    pairs = list(zip(header, cells, strict=True))
    if _INDEX.fullmatch(header[0]):
        pairs = pairs[1:]
    found: dict[str, str] = {}
    for name, cell in pairs:
        if name in found:
            raise BadFeatureRow(f"The column {_quoted([name])} appears twice.")
        found[name] = cell
    return {name: cell for name, cell in found.items() if name not in _NOT_FEATURES}


def _check_names(found: dict[str, str], columns: Sequence[str]) -> None:
    """Refuse a row that lacks a wanted column or holds one that nobody knows."""
    missing = [name for name in columns if name not in found]
    known = {*columns, *FEATURE_NAMES}
    extra = [name for name in found if name not in known]
    if missing or extra:
        parts = [
            f"{what}: {_quoted(names)}"
            for what, names in (("missing", missing), ("not known", extra))
            if names
        ]
        raise BadFeatureRow(
            f"The columns are not those of the model; {'; '.join(parts)}.",
            missing=missing,
            extra=[name[:64] for name in extra],
        )


def _number(cell: str, name: str) -> float:
    text = cell.strip()
    if not _NUMBER.fullmatch(text):
        raise BadFeatureRow(f"The column {name} holds {text[:32]!r}, which is no finite number.")
    value = float(text)
    if not abs(value) < MAX_MAGNITUDE:
        raise BadFeatureRow(f"The column {name} holds {text[:32]}; 1e12 and more is refused.")
    return value


def _quoted(names: Sequence[str]) -> str:
    """List names for a sentence, the first ten of them, each cut to 64 characters."""
    listed = ", ".join(name[:64] or "(no name)" for name in names[:_NAMED])
    more = len(names) - _NAMED
    return f"{listed} and {more} more" if more > 0 else listed
