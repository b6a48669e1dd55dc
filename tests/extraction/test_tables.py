"""server/extraction/tables.py: files that numpy and pandas read."""

import json
from pathlib import Path

import numpy as np
import pytest

from server.extraction.journal import Done, Recipe
from server.extraction.tables import (
    write_arrays,
    write_bad,
    write_features,
    write_manifest,
)
from server.repository.manifest import check_manifest

RECIPE = Recipe("gtzan-58@1", "mel-235x335@1", 2, 3)
COLUMNS = ["length", "tempo"]
ROWS = [
    Done('blues/ä, "b".wav', 1, 1, [661794.0, 1 / 3], place=1),
    Done("jazz/\U0001f3b7.wav", 1, 1, [-1e-300, 123.0], place=0),
    Done("top.wav", 1, 1, [0.1, 2.5e11], place=2),
]
PICTURES = np.random.default_rng(1).random((3, 2, 3, 1), np.float32)


def arrays(path: Path, rows: list[Done] = ROWS) -> dict[str, np.ndarray]:
    write_arrays(path, rows, COLUMNS, RECIPE, lambda place: PICTURES[place].tobytes())
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def test_numpy_reads_the_arrays(tmp_path: Path) -> None:
    read = arrays(tmp_path / "all.npz")
    assert np.array_equal(read["spectrograms"], PICTURES[[1, 0, 2]])
    assert read["features"].dtype == np.float32
    assert np.array_equal(read["features"], np.array([one.row for one in ROWS], np.float32))
    assert read["labels"].tolist() == ["blues", "jazz", ""]
    assert read["filenames"].tolist() == [one.name for one in ROWS]
    assert read["columns"].tolist() == COLUMNS
    assert read["frontends"].tolist() == ["gtzan-58@1", "mel-235x335@1"]


def test_no_sound_gives_empty_arrays(tmp_path: Path) -> None:
    read = arrays(tmp_path / "all.npz", [])
    assert read["spectrograms"].shape == (0, 2, 3, 1)
    assert read["labels"].shape == (0,)


def test_the_same_sounds_give_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        arrays(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_pandas_reads_the_very_numbers(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs the train extra")
    write_features(tmp_path / "features.csv", ROWS, COLUMNS)
    table = pandas.read_csv(tmp_path / "features.csv")
    assert list(table.columns) == ["filename", *COLUMNS, "label"]
    read = table[COLUMNS].to_numpy(np.float32)  # older ones read the last bit of a float64 wrong
    assert np.array_equal(read, np.array([one.row for one in ROWS], np.float32))
    assert table["filename"].tolist() == [one.name for one in ROWS]


def test_the_manifest_is_one_that_the_server_takes(tmp_path: Path) -> None:
    for labels in ([], ["blues", "jazz"]):
        write_manifest(tmp_path / "manifest.json", labels, RECIPE)
        manifest = check_manifest(json.loads((tmp_path / "manifest.json").read_text()))
        assert manifest.get("labels", []) == labels
        assert manifest["inputs"]["spectrogram"] == {"frontend": "mel-235x335@1"}


def test_the_table_of_bad_files_goes_when_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    write_bad(path, [Done("a.wav", 0, 0, [], problem="empty-sound", detail="it, is empty")])
    assert path.read_text() == 'filename,problem,detail\na.wav,empty-sound,"it, is empty"\n'
    write_bad(path, [])
    assert not path.exists()
