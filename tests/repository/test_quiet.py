"""server/repository/quiet.py: a name in staging is trusted with nothing."""

import errno
import os
from pathlib import Path

from server.repository.looks import Looks
from server.repository.quiet import Left, Quiet, drop_name, open_quiet, size_of
from tests.repository.conftest import House, digest_of
from tests.repository.disks import always

NAME = "0" * 32 + ".upload"


def put(house: House, name: str = NAME) -> Path:
    path = house.layout.uploads / name
    path.write_bytes(b"model")
    return path


def opened(house: House, name: str = NAME, looks: Looks | None = None) -> Quiet | Left:
    found = open_quiet(house.layout, name, looks or Looks())
    if isinstance(found, Quiet):
        os.close(found.fd)
    return found


async def test_a_file_that_nobody_writes_is_hashed(house: House) -> None:
    put(house)
    found = opened(house)
    assert isinstance(found, Quiet)
    assert found.digest == digest_of(b"model")


async def test_a_name_that_is_gone_is_told_as_such(house: House) -> None:
    assert opened(house) is Left.GONE


async def test_a_file_that_may_not_be_opened_is_told_as_such(house: House) -> None:
    put(house)
    house.disk.fails = always("open", errno.EACCES)
    assert opened(house) is Left.UNREADABLE


async def test_a_name_that_goes_while_it_is_looked_at_is_told_as_such(house: House) -> None:
    put(house)
    house.disk.fails = lambda act, _name: errno.EACCES if act in {"open", "status"} else 0
    assert opened(house) is Left.UNREADABLE


async def test_a_file_that_changes_while_it_is_hashed_is_busy(house: House) -> None:
    def look(act: str, name: Path) -> int:
        if act == "digest":
            with name.open("ab") as file:
                file.write(b"!")
        return 0

    put(house)
    house.disk.fails = look
    assert opened(house) is Left.BUSY


async def test_a_file_that_is_opened_for_writing_while_it_is_hashed_is_busy(house: House) -> None:
    writers: list[int] = []

    def look(act: str, name: Path) -> int:
        if act == "digest":
            writers.append(os.open(name, os.O_WRONLY))
        return 0

    put(house)
    house.disk.fails = look
    assert opened(house) is Left.BUSY
    os.close(writers[0])


async def test_without_leases_only_uploads_of_our_own_are_known_to_be_whole(house: House) -> None:
    put(house)
    put(house, "by-hand.h5")
    house.disk.fails = always("lease", errno.EINVAL)
    assert isinstance(opened(house), Quiet)
    assert opened(house, "by-hand.h5") is Left.BUSY


async def test_a_name_that_leads_to_another_file_now_stays(house: House) -> None:
    path = put(house)
    found = open_quiet(house.layout, NAME, Looks())
    assert isinstance(found, Quiet)
    path.rename(path.with_name("elsewhere"))
    put(house)
    drop_name(house.layout, NAME, found.status)
    assert path.exists()
    path.unlink()
    drop_name(house.layout, NAME, found.status)
    os.close(found.fd)


async def test_what_is_gone_has_no_size(house: House) -> None:
    put(house)
    assert size_of(house.layout, [NAME, "gone"]) == 5
