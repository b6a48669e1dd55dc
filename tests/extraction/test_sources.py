"""server/extraction/sources.py: the sounds of a labelled folder."""

import os
from pathlib import Path

import pytest

from server.audio import sniff
from server.extraction.sources import EXTENSIONS, find_sounds, label_of


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")


def test_the_extensions_are_those_that_the_decoder_reads() -> None:
    assert set(sniff.EXTENSIONS) == EXTENSIONS


def test_sounds_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    put(tmp_path, "jazz/b.WAV", "jazz/a.mp3", "blues/live/x.flac", "top.ogg", "blues/a b.opus")
    found = [sound.name for sound in find_sounds(tmp_path)]
    assert found == ["blues/a b.opus", "blues/live/x.flac", "jazz/a.mp3", "jazz/b.WAV", "top.ogg"]


def test_what_is_hidden_or_no_sound_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "jazz/._a.wav", ".cache/a.wav", "jazz/cover.jpg", "jazz/wav", "jazz/a.wav.part")
    assert find_sounds(tmp_path) == []


def test_a_folder_that_is_linked_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "set", "jazz/a.wav")
    os.symlink(tmp_path / "set", tmp_path / "set" / "round")
    assert [sound.name for sound in find_sounds(tmp_path / "set")] == ["jazz/a.wav"]


def test_a_link_that_leads_nowhere_is_a_sound_that_cannot_be_read(tmp_path: Path) -> None:
    os.symlink(tmp_path / "gone.wav", tmp_path / "a.wav")
    assert [sound.size for sound in find_sounds(tmp_path)] == [-1]


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_sounds(tmp_path / "gone")


@pytest.mark.parametrize(
    ("name", "label"), [("jazz/a.wav", "jazz"), ("jazz/live/a.wav", "jazz"), ("a.wav", "")]
)
def test_the_label_is_the_topmost_folder(name: str, label: str) -> None:
    assert label_of(name) == label
