"""server/inference/mailbox.py: both sides of a box, and what a hostile side cannot do."""

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from server.inference.mailbox import HALF_BYTES, LEAST_BYTES, Mailbox

Make = Callable[[bool], Mailbox]


@pytest.fixture
def make() -> Iterator[Make]:
    with ExitStack() as stack:

        def new(child_writes: bool) -> Mailbox:
            box = Mailbox.make(child_writes=child_writes)
            if box is None:
                pytest.skip("this system has no memory that can be sealed")
            stack.callback(box.close)
            return box

        yield new


def other_side(box: Mailbox, *, writes: bool) -> Mailbox:
    return Mailbox.open(os.dup(box.fd), writes=writes)


def test_what_the_parent_puts_in_the_child_finds(make: Make) -> None:
    inbox = make(False)
    child = other_side(inbox, writes=False)
    half = inbox.put([b"a" * LEAST_BYTES, memoryview(b"bc")])
    assert half is not None
    assert bytes(child.get(half, LEAST_BYTES + 2)) == b"a" * LEAST_BYTES + b"bc"


def test_what_the_child_puts_in_the_parent_finds(make: Make) -> None:
    outbox = make(True)
    child = other_side(outbox, writes=True)
    half = child.put([b"x" * LEAST_BYTES])
    assert half is not None
    assert bytes(outbox.get(half, LEAST_BYTES)) == b"x" * LEAST_BYTES


def test_a_payload_stays_until_the_last_but_one_after_it(make: Make) -> None:
    inbox = make(False)
    halves = [inbox.put([letter * LEAST_BYTES]) for letter in (b"a", b"b", b"c")]
    assert halves[0] == halves[2] != halves[1]
    assert bytes(inbox.get(halves[1] or 0, 1)) == b"b"
    assert bytes(inbox.get(halves[2] or 0, 1)) == b"c"


@pytest.mark.parametrize("size", [0, LEAST_BYTES - 1, HALF_BYTES + 1])
def test_small_and_large_payloads_are_left_to_the_socket(make: Make, size: int) -> None:
    assert make(False).put([bytes(size)]) is None


def test_the_largest_payload_fits(make: Make) -> None:
    inbox = make(False)
    data = os.urandom(1 << 20) * (HALF_BYTES >> 20)
    for _ in range(2):
        half = inbox.put([data])
        assert half is not None
        assert inbox.get(half, HALF_BYTES) == data


@pytest.mark.parametrize("half", [0, 1])
def test_nothing_beyond_a_half_is_given(make: Make, half: int) -> None:
    assert len(make(True).get(half, 3 * HALF_BYTES)) == HALF_BYTES


def test_a_child_cannot_write_what_its_parent_wrote(make: Make) -> None:
    inbox = make(False)
    with pytest.raises(PermissionError):
        mmap.mmap(inbox.fd, HALF_BYTES)
    with pytest.raises(PermissionError):
        os.pwrite(inbox.fd, b"x", 0)


@pytest.mark.parametrize("child_writes", [False, True])
@pytest.mark.parametrize("size", [0, 4 * HALF_BYTES])
def test_a_child_cannot_resize_a_box(make: Make, child_writes: bool, size: int) -> None:
    box = make(child_writes)
    with pytest.raises(PermissionError):
        os.ftruncate(box.fd, size)
