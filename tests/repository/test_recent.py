"""server/repository/recent.py: bounded, the least recently asked for goes first."""

from server.repository.recent import Recent


def test_the_least_recently_asked_for_goes_first() -> None:
    recent: Recent[str] = Recent(most=2, most_bytes=100)
    recent.keep(b"a", "A", weight=1)
    recent.keep(b"b", "B", weight=1)
    assert recent.get(b"a") == "A"
    recent.keep(b"c", "C", weight=1)
    assert [recent.get(key) for key in (b"a", b"b", b"c")] == ["A", None, "C"]


def test_heavy_entries_drive_others_out() -> None:
    recent: Recent[int] = Recent(most=100, most_bytes=10)
    for number in range(5):
        recent.keep(bytes([number]), number, weight=4)
    assert [recent.get(bytes([number])) for number in range(5)] == [None, None, None, 3, 4]


def test_what_is_heavier_than_all_room_is_not_remembered() -> None:
    recent: Recent[str] = Recent(most=100, most_bytes=10)
    recent.keep(b"a", "A", weight=11)
    assert recent.get(b"a") is None
    recent.keep(b"b", "B", weight=10)
    assert recent.get(b"b") == "B"


def test_an_entry_that_is_kept_again_weighs_once() -> None:
    recent: Recent[int] = Recent(most=100, most_bytes=10)
    recent.keep(b"other", 0, weight=2)
    for number in range(100):
        recent.keep(b"a", number, weight=8)
    assert (recent.get(b"a"), recent.get(b"other")) == (99, 0)


def test_what_is_forgotten_makes_room() -> None:
    recent: Recent[str] = Recent(most=100, most_bytes=10)
    recent.keep(b"a", "A", weight=6)
    recent.forget(b"a")
    recent.forget(b"never kept")
    recent.keep(b"b", "B", weight=6)
    recent.keep(b"c", "C", weight=4)
    assert (len(recent), recent.get(b"a"), recent.get(b"b")) == (2, None, "B")


def test_without_places_nothing_is_remembered() -> None:
    recent: Recent[str] = Recent(most=0, most_bytes=10)
    recent.keep(b"a", "A", weight=1)
    assert recent.get(b"a") is None
