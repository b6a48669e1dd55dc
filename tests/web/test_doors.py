"""server/web/doors.py: who counts as one caller, and how many come in."""

import asyncio

import pytest

from server.web.doors import Doors, caller_of


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_an_address_or_a_customers_network_is_one_caller(host: str, caller: str) -> None:
    assert caller_of(host) == caller


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_who_floods_waits_outside_for_a_moment_and_nobody_else() -> None:
    clock = Clock()
    doors = Doors(10, 5, clock=clock)
    assert doors.enter("a")
    doors.send_away("a")
    assert not doors.enter("a")
    assert doors.enter("b")
    clock.now += 0.9
    assert not doors.enter("a")
    clock.now += 0.2
    assert doors.enter("a")
    assert doors.turned_away == 2


def test_as_many_who_flooded_are_remembered_as_take_little_memory() -> None:
    doors = Doors(10_000, 5)
    for k in range(5000):
        doors.send_away(f"address {k}")
    assert doors.enter("address 0")
    assert not doors.enter("address 4999")


def test_a_caller_beyond_its_share_is_turned_away() -> None:
    doors = Doors(10, 2)
    assert [doors.enter("a") for _ in range(3)] == [True, True, False]
    assert doors.enter("b")
    assert (doors.inside, doors.turned_away) == (3, 1)
    doors.leave("a")
    assert doors.enter("a")


async def test_when_all_places_are_taken_the_next_is_accepted_later() -> None:
    doors = Doors(1, 1)
    await doors.wait_for_room()
    doors.enter("a")
    waiting = asyncio.ensure_future(doors.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    doors.leave("a")
    await asyncio.wait_for(waiting, 5)
