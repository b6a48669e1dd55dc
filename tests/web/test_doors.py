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
