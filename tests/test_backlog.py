"""server/backlog.py: the wait that it tells is the wait that there is."""

import heapq
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.backlog import Backlog, share_of_one


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 64), st.floats(0.05, 4), st.integers(1, 8))
def test_after_the_told_wait_the_work_is_done(amount: int, unit_s: float, workers: int) -> None:
    clock = Clock()
    backlog = Backlog(clock)
    for _ in range(40):  # work that is measured, by several workers at a time
        backlog.begin(workers)
        for _ in range(workers):
            clock.now += unit_s / workers
            backlog.end()
        clock.now += 100  # idleness is not measured
    backlog.begin(amount)
    true_s = amount * unit_s / workers
    assert true_s * 0.99 <= backlog.refuse() <= max(1, true_s * 1.01 + 1)


def test_work_that_stalls_is_told_as_long_as_it_stalls() -> None:
    clock = Clock()
    backlog = Backlog(clock)
    backlog.begin()
    clock.now += 0.1
    backlog.end()
    backlog.begin(3)
    assert backlog.refuse() == 1
    clock.now += 40
    assert backlog.refuse() == 40


def test_nothing_measured_is_told_as_a_second() -> None:
    backlog = Backlog(Clock())
    backlog.begin(64)
    assert backlog.refuse() == 1


def test_a_wait_is_never_told_as_endless() -> None:
    clock = Clock()
    backlog = Backlog(clock)
    backlog.begin()
    clock.now += 1e6
    assert backlog.refuse() == 300


@given(st.integers(1, 8), st.integers(1, 4), st.floats(0.01, 4), st.integers(1, 70))
def test_who_comes_back_when_it_was_told_finds_room(
    places: int, workers: int, unit_s: float, crowd: int
) -> None:
    workers = min(workers, max(1, places // 2))  # as here: more wait than are worked on
    clock = Clock()
    backlog = Backlog(clock)
    for _ in range(40):
        backlog.begin()
        clock.now += unit_s / workers
        backlog.end()
    start = clock.now
    arrivals = sorted((start, k) for k in range(min(crowd, places * 4)))
    free_at = [start] * workers  # when each worker has done what it was given
    ends: list[float] = []
    again: Counter[int] = Counter()
    while arrivals:
        now, k = arrivals.pop(0)
        for end in sorted(end for end in ends if end <= now):
            clock.now = end
            backlog.end()
        ends = [end for end in ends if end > now]
        clock.now = now
        if backlog.amount == places:
            again[k] += now > start  # it came when it was told
            heapq.heappush(arrivals, (now + backlog.refuse(), k))
            continue
        backlog.begin()
        ends.append(max(now, heapq.heappop(free_at)) + unit_s)
        heapq.heappush(free_at, ends[-1])
    # the mean does not know that work ends by twos and threes: so few may be told once more
    assert again.total() <= 3 * workers
    assert max(again.values(), default=0) <= 2


def test_who_never_comes_back_does_not_delay_others_for_long() -> None:
    clock = Clock()
    backlog = Backlog(clock)
    for _ in range(40):
        backlog.begin()
        clock.now += 1
        backlog.end()
    backlog.begin(2)
    assert max(backlog.refuse() for _ in range(10_000)) <= 18
    clock.now += 18
    backlog.end(2)
    backlog.begin(2)
    assert backlog.refuse() <= 18


def test_bytes_are_measured_as_well() -> None:
    clock = Clock()
    backlog = Backlog(clock)
    for _ in range(40):
        backlog.begin(1 << 20)
        clock.now += 0.5
        backlog.end(1 << 20)
    backlog.begin(8 << 20)
    assert backlog.refuse() == 4


@pytest.mark.parametrize(("most", "share"), [(1, 1), (2, 2), (3, 3), (4, 3), (16, 12), (64, 48)])
def test_the_share_of_one_leaves_a_quarter_to_others(most: int, share: int) -> None:
    assert share_of_one(most) == share


@pytest.mark.parametrize("apart_s", [0.0, 1e-6, 0.0005, 0.005])
def test_who_is_refused_a_moment_later_is_told_a_later_time(apart_s: float) -> None:
    clock = Clock()
    backlog = Backlog(clock)
    backlog.begin(6)
    for _ in range(20):
        clock.now += 0.13
        backlog.end()
        backlog.begin()
    told = []
    for _ in range(54):
        told.append(backlog.refuse())
        clock.now += apart_s
    assert max(told.count(wait) for wait in told) <= 12
