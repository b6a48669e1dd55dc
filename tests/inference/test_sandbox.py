"""The sandbox (server/inference/sandbox*.py) from inside: every forbidden act is tried."""

import os
import platform
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from server.errors import BadModel, WorkerFailed
from server.inference.frames import Message
from server.inference.memory import process_bytes
from server.inference.process import Child
from server.inference.sandbox import Rights
from tests.inference.odd_models import row, values
from tests.inference.walls import HERE, LANDLOCK, MIB, needs_sandbox

CHILD = "tests.inference.hostile_child"
FIRST = {"start a thread", "import something new"}

pytestmark = needs_sandbox
needs_landlock = pytest.mark.skipif(not LANDLOCK, reason="needs a kernel with Landlock")


@pytest.fixture
def secrets(tmp_path: Path) -> list[str]:
    """Make files that only the server may read."""
    paths = [tmp_path / "server.key", tmp_path / "program"]
    for path in paths:
        path.write_text("secret")
        path.chmod(0o700)
    return [str(path) for path in paths]


def rights(*, memory_mb: int = 512, writes_bytes: int = 0) -> Rights:
    found = HERE.rights(memory_bytes=memory_mb * MIB, writes_bytes=writes_bytes)
    assert found is not None
    return found


@asynccontextmanager
async def started(
    secrets: list[str], given: Rights, *, early: bool = False, act: str = ""
) -> AsyncIterator[Child]:
    folder = str(Path(secrets[0]).parent)
    config = {"files": secrets, "elsewhere": folder, "program": secrets[1]}
    told = config | {"early": early, "act": act}
    child = await Child.start(CHILD, told, timeout_s=30, nice=0, rights=given)
    try:
        yield child
    finally:
        await child.end()


async def attempt(child: Child) -> dict[str, str]:
    answer = await child.call(Message({"op": "try"}), timeout_s=30)
    said: dict[str, str] = answer.fields["said"]
    return said


def done(said: Mapping[str, str]) -> set[str]:
    return {act for act, answer in said.items() if answer == "done"}


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# the matrix


async def test_a_running_child_can_do_none_of_it(secrets: list[str]) -> None:
    async with started(secrets, rights()) as child:
        said = await attempt(child)
    assert done(said) == set()
    assert len(said) > 60


@needs_landlock
async def test_a_loading_child_can_start_threads_and_read_libraries_only(
    secrets: list[str],
) -> None:
    async with started(secrets, rights(), early=True) as child:
        said = child.ready["said"]
    assert done(said) == FIRST


async def test_without_landlock_a_loading_child_reads_but_changes_nothing(
    secrets: list[str],
) -> None:
    filtered = replace(rights(), landlock=False)
    async with started(secrets, filtered, early=True) as child:
        said = child.ready["said"]
    others = {"list /", "list the models"} | FIRST
    assert {act for act in done(said) if not act.startswith("read ")} == others
    assert f"read {secrets[0]}" in done(said)


@needs_landlock
async def test_a_child_that_may_write_does_so_in_its_own_folder_only(secrets: list[str]) -> None:
    async with started(secrets, rights(writes_bytes=MIB), early=True) as child:
        said = child.ready["said"]
    own = {"write in its folder", "make a temporary file"}
    assert done(said) == FIRST | own


async def test_what_was_tried_left_no_trace(secrets: list[str], tmp_path: Path) -> None:
    async with started(secrets, rights(), early=bool(LANDLOCK)) as child:
        await attempt(child)
    assert sorted(map(str, tmp_path.iterdir())) == sorted(secrets)
    assert {Path(path).read_text() for path in secrets} == {"secret"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs the two numberings of x86")
async def test_a_call_by_another_numbering_ends_the_child(secrets: list[str]) -> None:
    async with started(secrets, rights(), act="call by the numbers of x32") as child:
        with pytest.raises(WorkerFailed, match="ended before it answered"):
            await child.call(Message({"op": "predict"}, row(-1.0)), timeout_s=30)
    assert child.cause == "sandbox"


async def test_without_walls_the_same_acts_succeed(secrets: list[str]) -> None:
    """The matrix must be able to fail: here is what it would look like."""
    unwalled = replace(rights(), landlock=False, seccomp=False)
    async with started(secrets, unwalled) as child:
        can = done(await attempt(child))
    assert can >= {f"read {secrets[0]}", "open a UDP socket", "fork", "run a program beside"}


async def test_every_right_that_root_has_is_gone(secrets: list[str]) -> None:
    async with started(secrets, rights()) as child:
        now = status(child.pid)
    assert now["NoNewPrivs"] == "1"
    assert now["Seccomp"] == "2"
    assert int(now["CapEff"], 16) & ~(1 << 2) == 0
    assert now["CapPrm"] == now["CapEff"]
    assert (now["CapInh"], now["CapAmb"]) == ("0" * 16, "0" * 16)


async def test_the_narrow_filter_stands_behind_the_wide_one(secrets: list[str]) -> None:
    async with started(secrets, rights()) as child:
        now = status(child.pid)
    # a container engine may have put one of its own around both
    assert int(now["Seccomp_filters"]) == int(status(os.getpid())["Seccomp_filters"]) + 2


async def test_a_child_holds_no_descriptor_but_its_socket_its_words_and_its_mailboxes(
    secrets: list[str],
) -> None:
    read, write = os.pipe()  # something of the server's, open while the child starts
    try:
        async with started(secrets, rights()) as child:
            found = descriptors(child.pid)
            others = [os.readlink(f"/proc/{child.pid}/fd/{number}") for number in found[4:]]
    finally:
        os.close(read)
        os.close(write)
    assert found[:4] == [0, 1, 2, 3]
    assert [name.split(" ")[0] for name in others] == ["/memfd:mailbox"] * 2


def descriptors(pid: int) -> list[int]:
    try:
        return sorted(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        pytest.skip("needs root: nobody else may look into a child that gives no dumps")


async def test_threads_before_the_walls_are_refused(secrets: list[str]) -> None:
    with pytest.raises(WorkerFailed):
        await Child.start(
            "tests.inference.threaded_child", {}, timeout_s=30, nice=0, rights=rights()
        )


# memory and time


async def test_a_call_that_asks_for_10_gib_fails_alone(secrets: list[str]) -> None:
    async with started(secrets, rights(), act="take 10 GiB") as child:
        message = Message({"op": "predict"}, row(-1.0))
        with pytest.raises(BadModel, match="MemoryError"):
            await child.call(message, timeout_s=30)
        answer = await child.call(Message({"op": "predict"}, row(4.0)), timeout_s=30)
    assert values(answer.parts[0]) == [8.0]


async def test_a_child_that_holds_too_much_is_ended(secrets: list[str]) -> None:
    async with started(secrets, rights(memory_mb=100), act="hold 90 MiB") as child:
        with pytest.raises(WorkerFailed, match="more than 100 MiB"):
            await child.call(Message({"op": "predict"}, row(-1.0)), timeout_s=60)


async def test_an_endless_loop_ends_with_its_time(secrets: list[str]) -> None:
    async with started(secrets, rights(), act="loop") as child:
        with pytest.raises(WorkerFailed, match="no answer within"):
            await child.call(Message({"op": "predict"}, row(-1.0)), timeout_s=0.5)


async def test_the_memory_of_a_child_can_still_be_measured(secrets: list[str]) -> None:
    async with started(secrets, rights()) as child:
        measured = process_bytes(child.pid)
    assert 5 * MIB < measured < 200 * MIB


@needs_landlock
@pytest.mark.timeout(300)
async def test_a_graph_of_tensorflow_reads_and_writes_no_file(
    secrets: list[str], tmp_path: Path
) -> None:
    written = tmp_path / "written"
    child = await Child.start(
        "tests.inference.tensorflow_child",
        {"read": secrets[0], "written": str(written)},
        timeout_s=120,
        nice=0,
        rights=rights(memory_mb=2048),
    )
    try:
        running = (await child.call(Message({"op": "try"}), timeout_s=30)).fields["said"]
    finally:
        await child.end()
    assert child.ready["said"] == ["PermissionDeniedError", "PermissionDeniedError"]
    assert running == ["PermissionDeniedError"]
    assert not written.exists()
