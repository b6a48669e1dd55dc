"""server/inference/idle_watch.py on processes that compute and that do not."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from server.inference import idle_watch
from server.inference.idle_watch import IdleWatch
from server.inference.usage import usage
from tests.inference.odd_models import until

SPINS, WAITS = "while True: pass", "input()"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge after half a second, not after ten."""
    monkeypatch.setattr(idle_watch, "_SETTLE_S", 0.1)
    monkeypatch.setattr(idle_watch, "_LOOK_S", 0.1)
    monkeypatch.setattr(idle_watch, "_JUDGED_S", 0.5)


@pytest.fixture
def spinning() -> Iterator[subprocess.Popen[bytes]]:
    yield from process(SPINS)


@pytest.fixture
def waiting() -> Iterator[subprocess.Popen[bytes]]:
    yield from process(WAITS)


def process(code: str) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE)
    with started:
        yield started
        started.kill()


async def test_who_computes_beside_its_calls_is_ended(spinning: subprocess.Popen[bytes]) -> None:
    watch = IdleWatch(spinning.pid, spinning.kill)
    with watch:
        pass
    await until(lambda: watch.reason != "")
    await until(lambda: spinning.poll() is not None)
    watch.close()


async def test_calls_now_and_then_hide_nothing(spinning: subprocess.Popen[bytes]) -> None:
    watch = IdleWatch(spinning.pid, spinning.kill)
    async with asyncio.timeout(30):
        while not watch.reason:
            with watch:
                await asyncio.sleep(0)
            await asyncio.sleep(0.25)  # idle for less than is judged at once
    watch.close()


async def test_who_computes_in_a_call_is_left_alone(spinning: subprocess.Popen[bytes]) -> None:
    watch, began = IdleWatch(spinning.pid, spinning.kill), usage(spinning.pid).cpu_s
    with watch:
        with watch:  # a second call, which ends before the first
            pass
        await until(lambda: usage(spinning.pid).cpu_s > began + 1.0)
    watch.close()
    assert not watch.reason


async def test_who_computes_for_a_moment_after_each_call_is_left_alone(
    spinning: subprocess.Popen[bytes],
) -> None:
    watch, began = IdleWatch(spinning.pid, spinning.kill), usage(spinning.pid).cpu_s
    while usage(spinning.pid).cpu_s < began + 1.0:
        with watch:
            pass
        await asyncio.sleep(0.02)
    watch.close()
    assert not watch.reason


async def test_who_waits_is_left_alone(
    waiting: subprocess.Popen[bytes], spinning: subprocess.Popen[bytes]
) -> None:
    watch, clock = IdleWatch(waiting.pid, waiting.kill), IdleWatch(spinning.pid, spinning.kill)
    for each in (watch, clock):
        with each:
            pass
    await until(lambda: clock.reason != "")
    watch.close()
    clock.close()
    assert not watch.reason


async def test_nothing_is_looked_at_after_the_end(spinning: subprocess.Popen[bytes]) -> None:
    watch, began = IdleWatch(spinning.pid, spinning.kill), usage(spinning.pid).cpu_s
    with watch:
        watch.close()
    await until(lambda: usage(spinning.pid).cpu_s > began + 1.0)
    assert not watch.reason
