"""The files that training reads: a CSV of features, an npz of everything, a manifest.

No numpy is needed to write them; the formats are those of `numpy.lib.format` and of the published
table ``features_30_sec.csv``.
"""

import csv
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from server.extraction.journal import Done, Recipe
from server.extraction.sources import label_of

CSV, NPZ, BAD, MANIFEST = "features.csv", "spectrograms.npz", "bad-files.csv", "manifest.json"
_ALIGNED = 64


def write_features(path: Path, rows: Sequence[Done], columns: Sequence[str]) -> None:
    """Write the table of features: ``filename``, the features, ``label``.

    Numbers are written so that reading them gives the same float64 again.
    """
    with _whole(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["filename", *columns, "label"])
        for done in rows:
            table.writerow([done.name, *map(repr, done.row), label_of(done.name)])


def write_bad(path: Path, bad: Sequence[Done]) -> None:
    """Write the table of bad files; remove that of an earlier run where there are none."""
    if not bad:
        path.unlink(missing_ok=True)
        return
    with _whole(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["filename", "problem", "detail"])
        table.writerows([done.name, done.problem, done.detail] for done in bad)


def write_manifest(path: Path, labels: Sequence[str], recipe: Recipe) -> None:
    """Write the manifest of a model with the inputs ``features`` and ``spectrogram``."""
    inputs = {
        "features": {"frontend": recipe.row},
        "spectrogram": {"frontend": recipe.picture},
    }
    manifest: dict[str, Any] = {"task": "genre", "inputs": inputs}
    if labels:
        manifest["labels"] = list(labels)
    with _whole(path) as file:
        json.dump(manifest, file, indent=2)
        file.write("\n")


def write_arrays(
    path: Path,
    rows: Sequence[Done],
    columns: Sequence[str],
    recipe: Recipe,
    picture: Callable[[int], bytes],
) -> None:
    """Write everything as numpy arrays, one picture in memory at a time.

    ============  =======================  ======================================================
    spectrograms  float32 (n, H, W, 1)     what the server feeds
    features      float32 (n, columns)     what the server feeds
    labels        text (n,)                the folders' names
    filenames     text (n,)                below the folder
    columns       text (columns,)          the features' names
    frontends     text (2,)                what made features and spectrograms
    ============  =======================  ======================================================
    """
    partial = path.with_name(path.name + ".part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        shape = (len(rows), recipe.height, recipe.width, 1)
        with _array(archive, "spectrograms", "<f4", shape) as file:
            for done in rows:
                file.write(picture(done.place))
        with _array(archive, "features", "<f4", (len(rows), len(columns))) as file:
            for done in rows:
                file.write(struct.pack(f"<{len(columns)}f", *done.row))
        _texts(archive, "labels", [label_of(done.name) for done in rows])
        _texts(archive, "filenames", [done.name for done in rows])
        _texts(archive, "columns", columns)
        _texts(archive, "frontends", [recipe.row, recipe.picture])
    partial.replace(path)


def _texts(archive: zipfile.ZipFile, name: str, texts: Sequence[str]) -> None:
    width = max((len(text) for text in texts), default=1) or 1
    with _array(archive, name, f"<U{width}", (len(texts),)) as file:
        for text in texts:
            file.write(text.encode("utf-32-le", "surrogatepass").ljust(4 * width, b"\0"))


@contextmanager
def _array(
    archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]
) -> Iterator[IO[bytes]]:
    """Begin an array of the format NPY 1.0; its values follow."""
    head = repr({"descr": dtype, "fortran_order": False, "shape": shape})
    fill = -(10 + len(head) + 1) % _ALIGNED
    # by name it is dated 1980: the same sounds give the same file
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        text = head.encode() + b" " * fill + b"\n"
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
        yield file


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """Write a file that appears whole."""
    partial = path.with_name(path.name + ".part")
    with io.TextIOWrapper(partial.open("wb"), "utf-8", "surrogateescape", newline="") as file:
        yield file
    partial.replace(path)
