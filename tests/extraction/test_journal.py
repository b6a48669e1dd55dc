"""server/extraction/journal.py: a run that was stopped goes on."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.extraction.journal import FOLDER, Done, Journal, JournalInUse, Recipe
from server.extraction.sources import SoundFile

RECIPE = Recipe("row@1", "picture@1", 2, 3)
PICTURES = [bytes([k]) * 24 for k in range(4)]


def done(k: int) -> Done:
    return Done(f"jazz/{k}.wav", 10, 20, [k / 3, 1e-300])


def fill(folder: Path, count: int = 3) -> None:
    with Journal(folder, RECIPE) as journal:
        for k in range(count):
            journal.add(done(k), PICTURES[k])


def found(folder: Path, recipe: Recipe = RECIPE) -> dict[str, tuple[list[float], bytes]]:
    with Journal(folder, recipe) as journal:
        return {name: (one.row, journal.picture(one.place)) for name, one in journal.done.items()}


WHOLE = {done(k).name: (done(k).row, PICTURES[k]) for k in range(3)}


def test_what_was_done_is_there_again(tmp_path: Path) -> None:
    fill(tmp_path)
    assert found(tmp_path) == WHOLE


def test_a_bad_file_is_kept_with_its_reason(tmp_path: Path) -> None:
    bad = Done("a.wav", 1, 2, [], problem="empty-sound", detail="The sound has 0 bytes.")
    with Journal(tmp_path, RECIPE) as journal:
        journal.add(bad)
    with Journal(tmp_path, RECIPE) as journal:
        assert journal.done == {"a.wav": bad}


@given(data=st.data())
def test_wherever_it_was_cut_off_what_is_left_is_true(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    fill(folder)
    for name in ("journal.jsonl", "spectrograms.f32"):
        path = folder / FOLDER / name
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    left = found(folder)
    assert left.items() <= WHOLE.items()
    with Journal(folder, RECIPE) as journal:
        journal.add(done(3), PICTURES[3])
    assert found(folder) == left | {done(3).name: (done(3).row, PICTURES[3])}


def test_zeros_of_a_power_cut_are_cut_off(tmp_path: Path) -> None:
    fill(tmp_path)
    with (tmp_path / FOLDER / "journal.jsonl").open("ab") as file:
        file.write(b"\0" * 100)
    assert found(tmp_path) == WHOLE


@pytest.mark.parametrize(
    "other",
    [
        Recipe("row@2", "picture@1", 2, 3),
        Recipe("row@1", "picture@2", 2, 3),
        Recipe("row@1", "picture@1", 3, 2),
    ],
)
def test_another_recipe_begins_anew(tmp_path: Path, other: Recipe) -> None:
    fill(tmp_path)
    assert found(tmp_path, other) == {}
    assert found(tmp_path) == {}


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with Journal(tmp_path, RECIPE), pytest.raises(JournalInUse):
        Journal(tmp_path, RECIPE)


@pytest.mark.parametrize(
    ("size", "mtime", "same"), [(10, 20, True), (11, 20, False), (10, 21, False)]
)
def test_a_file_that_was_changed_is_not_done(size: int, mtime: int, same: bool) -> None:
    assert done(0).is_of(SoundFile("jazz/0.wav", Path("x"), size, mtime)) is same


def test_what_may_go_better_next_time_is_not_done() -> None:
    failed = Done("a.wav", 10, 20, [], problem="worker-failed", is_final=False)
    assert not failed.is_of(SoundFile("a.wav", Path("x"), 10, 20))
