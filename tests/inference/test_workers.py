"""server/inference/workers.py with real child processes that take real memory."""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.digest import Digest
from server.errors import BadModel, MemoryShort, ModelNotReady, Overload, ServerError, WorkerFailed
from server.inference import idle_watch
from server.inference import residents as module
from server.inference.child_kind import Engine
from server.inference.frames import Part
from server.inference.residents import Budget
from server.inference.sandbox import Rights
from server.inference.workers import ModelWorkers
from tests.inference.odd_child import Mark
from tests.inference.odd_models import WATCHED, Gate, lines, odd_kind, row, until, values

MIB = 1 << 20
LARGE_MB = 150  # what a large model takes beside the 20 to 60 MiB of its process


def name_of(name: str) -> Digest:
    return Digest(hashlib.sha256(name.encode()).digest())


class Fleet:
    """Models by name, and what became of them.

    Parameters
    ----------
    folder : Path
        For pipes and logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engines: dict[Digest, Engine] = {}
        self._events = folder / "events"
        self._tasks: list[asyncio.Task[None]] = []
        self._gates = 0
        self.asked: list[Digest] = []
        self.crashes: list[Digest] = []
        self.recoveries: list[Digest] = []
        self.disabled_after = 1 << 30
        self.checks = 0
        self.is_damaged = False
        self.workers: ModelWorkers

    def build(
        self, *, memory_mb: int = 4000, models: int = 8, pinned: tuple[str, ...] = ()
    ) -> "Fleet":
        names = frozenset(map(name_of, pinned))
        self.workers = ModelWorkers(
            self._engine_of,
            Budget(memory_mb * MIB, models, names),
            spawn=self._spawn,
            on_crash=self._crashed,
            on_recovery=self._recovered,
            are_cores_wanted=lambda: False,
        )
        return self

    def model(
        self, name: str, *, expected_mb: int = 60, rights: Rights | None = None, **config: object
    ) -> Gate:
        """Add a model, or change it; return the gate at which its calls can be held."""
        gate = self._gate(name)
        told = {"gate": str(gate.path), "events": str(self._events), "name": name}
        kind = replace(odd_kind(told | config), check=self._check, rights=rights)
        self._engines[name_of(name)] = Engine(kind, 8, expected_mb * MIB)
        return gate

    def slow(self, name: str, *, expected_mb: int = 60, **config: object) -> tuple[Gate, Gate]:
        """Add a model; return the gate at which its load waits, and that of its calls."""
        start = self._gate(name)
        told = config | {"start_gate": str(start.path)}
        return start, self.model(name, expected_mb=expected_mb, rights=None, **told)

    def _gate(self, name: str) -> Gate:
        self._gates += 1
        return Gate(self._folder, f"{name}-{self._gates}")

    def ask(self, name: str, first: float = 1.0) -> asyncio.Task[list[Part]]:
        return asyncio.ensure_future(self.workers.predict(name_of(name), {}, row(first)))

    async def answer(self, name: str) -> float:
        async with asyncio.timeout(60):
            return values((await self.ask(name, 3.0))[0])[0]

    def events(self, event: str) -> list[str]:
        return [line["name"] for line in lines(self._events) if line["event"] == event]

    def order(self) -> list[tuple[str, str]]:
        return [(line["event"], line["name"]) for line in lines(self._events)]

    def pid(self, name: str) -> int:
        found = [line["pid"] for line in lines(self._events) if line["name"] == name]
        return int(found[-1])

    def runs(self, name: str) -> bool:
        """Tell whether the model's latest process is there."""
        try:
            os.kill(self.pid(name), 0)
        except ProcessLookupError:
            return False
        return True

    async def close(self) -> None:
        await self.workers.close()
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _check(self) -> None:
        self.checks += 1
        if self.is_damaged:
            raise ModelNotReady("a file is damaged", retry_after_s=5)

    async def _engine_of(self, digest: Digest, _record: Mapping[str, Any]) -> Engine:
        self.asked.append(digest)
        await asyncio.sleep(0)  # as a look at the disk would
        return self._engines[digest]

    async def _crashed(self, digest: Digest) -> None:
        self.crashes.append(digest)
        if len(self.crashes) >= self.disabled_after:
            await self.workers.evict(digest)

    async def _recovered(self, digest: Digest) -> None:
        self.recoveries.append(digest)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._tasks.append(asyncio.ensure_future(work))
        return self._tasks[-1]


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    new = Fleet(tmp_path)
    yield new
    await new.close()


async def settled(*asked: asyncio.Task[list[Part]]) -> list[list[Part] | BaseException]:
    async with asyncio.timeout(60):
        return await asyncio.gather(*asked, return_exceptions=True)


# loading


async def test_a_cold_model_answers(fleet: Fleet) -> None:
    fleet.build().model("a")
    assert await fleet.answer("a") == 6.0


async def test_a_model_is_loaded_once_however_many_ask(fleet: Fleet) -> None:
    fleet.build()
    gate, _ = fleet.slow("a")
    asked = [fleet.ask("a") for _ in range(20)]
    await gate.reached()
    gate.open()
    assert not [answer for answer in await settled(*asked) if isinstance(answer, BaseException)]
    assert fleet.events("start") == ["a"]


async def test_a_models_files_are_looked_at_once_however_many_ask(fleet: Fleet) -> None:
    fleet.build().model("a")
    await settled(*(fleet.ask("a") for _ in range(20)))
    assert len(fleet.asked) == 1


async def test_two_cold_models_load_side_by_side(fleet: Fleet) -> None:
    fleet.build()
    gates = [fleet.slow(name)[0] for name in ("a", "b")]
    asked = [fleet.ask(name) for name in ("a", "b")]
    for gate in gates:
        await gate.reached()  # neither has been let go yet
    for gate in gates:
        gate.open()
    assert not [answer for answer in await settled(*asked) if isinstance(answer, BaseException)]


async def test_a_model_that_does_not_load_takes_no_place(fleet: Fleet) -> None:
    fleet.build().model("a", refuse=True)
    with pytest.raises(BadModel):
        await fleet.answer("a")
    assert (fleet.workers.loaded, fleet.workers.memory_bytes) == (0, 0)
    fleet.model("a")
    assert await fleet.answer("a") == 6.0


async def test_a_model_that_does_not_load_tells_everybody_who_waits(fleet: Fleet) -> None:
    fleet.build()
    gate, _ = fleet.slow("a", refuse=True)
    asked = [fleet.ask("a") for _ in range(3)]
    await gate.reached()
    gate.open()
    assert [type(answer) for answer in await settled(*asked)] == [BadModel] * 3


async def test_a_failed_look_at_the_files_is_told_to_everybody(fleet: Fleet) -> None:
    fleet.build()
    answers = await settled(*(fleet.ask("unknown") for _ in range(3)))
    assert [type(answer) for answer in answers] == [KeyError] * 3
    assert fleet.workers.loaded == 0


async def test_a_model_counts_as_running_while_its_worker_has_rows(fleet: Fleet) -> None:
    gate = fleet.build().model("a")
    held = fleet.ask("a", Mark.HOLD)
    await gate.reached()
    assert fleet.workers.running == 1
    gate.open()
    await settled(held)
    assert fleet.workers.running == 0


async def test_a_models_file_is_looked_at_before_every_start_of_its_worker(fleet: Fleet) -> None:
    fleet.build().model("a")
    await fleet.answer("a")
    assert fleet.checks == 1
    await settled(fleet.ask("a", Mark.DIE))
    await fleet.answer("a")
    assert fleet.checks == 2


async def test_a_worker_whose_file_was_damaged_meanwhile_is_not_started_again(
    fleet: Fleet,
) -> None:
    gate = fleet.build().model("a")
    held = fleet.ask("a", Mark.HOLD)
    await gate.reached()
    asked = [fleet.ask("a", first) for first in (1.0, float(Mark.DIE), 2.0)]
    for _ in range(10):
        await asyncio.sleep(0)
    fleet.is_damaged = True
    gate.open()
    answers = await settled(held, *asked)
    assert [type(answer) for answer in answers[1:]] == [ModelNotReady] * 3
    assert fleet.events("start") == ["a"]
    assert fleet.crashes == []
    fleet.is_damaged = False
    assert await fleet.answer("a") == 6.0


async def test_a_caller_that_leaves_while_it_loads_does_not_stop_the_load(fleet: Fleet) -> None:
    fleet.build()
    gate, _ = fleet.slow("a")
    first, second = fleet.ask("a"), fleet.ask("a", 2.0)
    await gate.reached()
    first.cancel()
    await asyncio.wait([first])
    gate.open()
    (answer,) = await settled(second)
    assert not isinstance(answer, BaseException)
    assert fleet.events("start") == ["a"]


async def test_a_load_that_fails_with_nobody_waiting_takes_no_place(fleet: Fleet) -> None:
    fleet.build()
    gate, _ = fleet.slow("a", refuse=True)
    asked = fleet.ask("a")
    await gate.reached()
    asked.cancel()
    await asyncio.wait([asked])
    gate.open()
    await until(lambda: fleet.workers.loaded == 0)


async def test_warming_loads_a_model(fleet: Fleet) -> None:
    fleet.build().model("a")
    await fleet.workers.warm(name_of("a"), {})
    assert fleet.workers.loaded == 1
    assert fleet.runs("a")


# the budget


async def test_the_least_recently_used_model_goes_when_a_new_one_has_been_measured(
    fleet: Fleet,
) -> None:
    fleet.build(memory_mb=2 * LARGE_MB + 150)
    for name in ("a", "b", "c"):
        fleet.model(name, allocate_mb=LARGE_MB)
    for name in ("a", "b", "a", "c"):
        await fleet.answer(name)
    assert [fleet.runs(name) for name in ("a", "b", "c")] == [True, False, True]
    assert 2 * LARGE_MB * MIB < fleet.workers.memory_bytes <= (2 * LARGE_MB + 150) * MIB


async def test_a_model_whose_estimate_does_not_fit_waits_for_no_measure(fleet: Fleet) -> None:
    fleet.build(memory_mb=500)
    fleet.model("a", allocate_mb=LARGE_MB)
    fleet.model("b", expected_mb=450)
    await fleet.answer("a")
    gate, _ = fleet.slow("b", expected_mb=450)
    asked = fleet.ask("b")
    await gate.reached()
    assert not fleet.runs("a")
    gate.open()
    await settled(asked)


async def test_a_small_model_drives_nobody_out(fleet: Fleet) -> None:
    fleet.build(memory_mb=1000)
    for name in ("a", "b", "c"):
        fleet.model(name)
        await fleet.answer(name)
    assert fleet.workers.loaded == 3


async def test_no_more_models_are_loaded_than_allowed(fleet: Fleet) -> None:
    fleet.build(models=2)
    for name in ("a", "b", "c"):
        fleet.model(name)
        await fleet.answer(name)
    assert [fleet.runs(name) for name in ("a", "b", "c")] == [False, True, True]


async def test_a_model_that_went_is_loaded_again(fleet: Fleet) -> None:
    fleet.build(models=1)
    for name in ("a", "b"):
        fleet.model(name)
    assert [await fleet.answer(name) for name in ("a", "b", "a")] == [6.0] * 3
    assert fleet.events("start") == ["a", "b", "a"]


async def test_a_pinned_model_never_goes(fleet: Fleet) -> None:
    fleet.build(models=2, pinned=("a",))
    for name in ("a", "b", "c"):
        fleet.model(name)
        await fleet.answer(name)
    assert [fleet.runs(name) for name in ("a", "b", "c")] == [True, False, True]


async def test_a_model_in_use_never_goes(fleet: Fleet) -> None:
    fleet.build(models=1)
    gate = fleet.model("a")
    fleet.model("b")
    held = fleet.ask("a", Mark.HOLD)
    await gate.reached()
    waits = fleet.ask("b")
    await until(lambda: name_of("b") in fleet.asked)
    gate.open()
    answers = await settled(held, waits)
    assert not [answer for answer in answers if isinstance(answer, BaseException)]
    assert fleet.order() == [("start", "a"), ("released", "a"), ("start", "b")]


async def test_a_model_gets_in_beside_one_in_use_that_takes_less_than_was_thought(
    fleet: Fleet,
) -> None:
    fleet.build(memory_mb=500)
    start, gate = fleet.slow("a", expected_mb=450)
    fleet.model("b")
    held = fleet.ask("a", Mark.HOLD)
    await start.reached()
    asked = fleet.ask("b")
    await until(lambda: name_of("b") in fleet.asked)
    start.open()
    await gate.reached()
    (answer,) = await settled(asked)  # while the first is still in use
    assert not isinstance(answer, BaseException)
    gate.open()
    await settled(held)


async def test_when_every_model_is_busy_for_long_another_is_told_to_come_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAIT_FOR_ROOM_S", 0.1)
    fleet.build(models=1)
    gate = fleet.model("a")
    fleet.model("b")
    held = fleet.ask("a", Mark.HOLD)
    await gate.reached()
    answers = await settled(fleet.ask("b"), fleet.ask("b"))
    assert [type(answer) for answer in answers] == [Overload] * 2
    gate.open()
    await settled(held)
    assert await fleet.answer("b") == 6.0


async def test_where_pinned_models_leave_no_room_memory_is_short(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAIT_FOR_ROOM_S", 0.1)
    fleet.build(memory_mb=400, pinned=("a",))
    fleet.model("a", allocate_mb=LARGE_MB)
    fleet.model("b", expected_mb=390)
    await fleet.answer("a")
    with pytest.raises(MemoryShort, match="pinned"):
        await fleet.answer("b")
    assert fleet.runs("a")


async def test_a_model_over_the_budget_alone_is_refused(fleet: Fleet) -> None:
    fleet.build(memory_mb=100).model("a", allocate_mb=LARGE_MB)
    with pytest.raises(MemoryShort, match="MiB"):
        await fleet.answer("a")
    assert fleet.workers.loaded == 0
    assert not fleet.runs("a")


async def test_a_model_over_the_budget_alone_is_not_loaded_again_to_be_refused(
    fleet: Fleet,
) -> None:
    fleet.build(memory_mb=100).model("a", allocate_mb=LARGE_MB)
    for _ in range(3):
        with pytest.raises(MemoryShort, match="MiB"):
            await fleet.answer("a")
    assert fleet.events("start") == ["a"]


async def test_a_model_is_expected_to_take_what_it_took(fleet: Fleet) -> None:
    fleet.build(memory_mb=400)
    for name in ("a", "b"):
        fleet.model(name, expected_mb=300)  # far too much
    await fleet.answer("a")
    await fleet.workers.evict(name_of("a"))
    for name in ("b", "a"):
        await fleet.answer(name)
    assert fleet.workers.loaded == 2


async def test_a_model_is_not_sent_away_before_those_who_waited_for_it_have_come(
    fleet: Fleet,
) -> None:
    fleet.build(models=1)
    for name in ("a", "b"):
        fleet.model(name)
    asked = [fleet.ask(name, 1.0) for name in ("a", "b", "a", "b", "a")]
    answers = await settled(*asked)
    assert not [answer for answer in answers if isinstance(answer, BaseException)]
    assert sorted(fleet.events("start")) == ["a", "b"]


async def test_models_that_grew_too_large_in_use_go_as_soon_as_they_are_idle(fleet: Fleet) -> None:
    fleet.build(memory_mb=LARGE_MB + 130)
    gates = [fleet.model(name, allocate_mb=LARGE_MB) for name in ("a", "b")]
    held = [fleet.ask(name, Mark.HOLD) for name in ("a", "b")]
    for gate in gates:
        await gate.reached()
    assert fleet.workers.memory_bytes > (LARGE_MB + 130) * MIB  # nobody may be sent away
    for gate in gates:
        gate.open()
    assert not [answer for answer in await settled(*held) if isinstance(answer, BaseException)]
    await until(lambda: fleet.workers.loaded == 1)
    assert fleet.workers.memory_bytes <= (LARGE_MB + 130) * MIB


async def test_a_worker_that_is_down_is_not_thought_to_take_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MEASURE_S", 0.0)
    fleet.build().model("a", allocate_mb=LARGE_MB)
    await fleet.answer("a")
    os.kill(fleet.pid("a"), signal.SIGKILL)
    await until(lambda: not fleet.runs("a"))
    await fleet.answer("a")
    assert fleet.workers.memory_bytes > LARGE_MB * MIB


# crashes and the end


async def test_a_crash_is_counted_until_the_model_answers_again(fleet: Fleet) -> None:
    fleet.build().model("a")
    (failed,) = await settled(fleet.ask("a", Mark.DIE))
    assert isinstance(failed, WorkerFailed)
    assert (fleet.crashes, fleet.recoveries) == ([name_of("a")], [])
    for _ in range(2):
        assert await fleet.answer("a") == 6.0
    assert (len(fleet.crashes), len(fleet.recoveries)) == (1, 1)


async def test_a_refused_row_is_no_crash(fleet: Fleet) -> None:
    fleet.build().model("a")
    (failed,) = await settled(fleet.ask("a", Mark.REFUSE))
    assert isinstance(failed, BadModel)
    assert fleet.crashes == []


async def test_rows_behind_those_that_disabled_their_model_are_answered(fleet: Fleet) -> None:
    fleet.disabled_after = 3
    gate = fleet.build().model("a")
    held = fleet.ask("a", Mark.HOLD)
    await gate.reached()
    asked = [fleet.ask("a", Mark.DIE) for _ in range(3)] + [fleet.ask("a") for _ in range(9)]
    for _ in range(10):
        await asyncio.sleep(0)
    gate.open()
    answers = await settled(held, *asked)
    assert [type(answer) for answer in answers[1:4]] == [WorkerFailed] * 3
    assert all(isinstance(answer, ServerError | list) for answer in answers)


async def test_evicting_ends_the_process(fleet: Fleet) -> None:
    fleet.build().model("a")
    await fleet.answer("a")
    await fleet.workers.evict(name_of("a"))
    assert not fleet.runs("a")
    assert fleet.workers.loaded == 0


async def test_closing_answers_those_in_use_and_those_who_wait_for_room(fleet: Fleet) -> None:
    fleet.build(models=1)
    gate = fleet.model("a")
    fleet.model("b")
    held = fleet.ask("a", Mark.HOLD)
    await gate.reached()
    waits = fleet.ask("b")
    await until(lambda: name_of("b") in fleet.asked)
    await fleet.workers.close()
    answers = await settled(held, waits)
    assert [type(answer) for answer in answers] == [Overload] * 2
    assert fleet.events("start") == ["a"]


async def test_after_closing_nothing_is_loaded(fleet: Fleet) -> None:
    fleet.build().model("a")
    await fleet.workers.close()
    (refused,) = await settled(fleet.ask("a"))
    assert isinstance(refused, Overload)
    assert fleet.events("start") == []


async def test_a_model_that_computes_while_nobody_asks_goes_until_it_is_asked(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_watch, "_LOOK_S", 0.1)
    monkeypatch.setattr(idle_watch, "_JUDGED_S", 0.5)
    fleet.build()
    fleet.model("a", rights=WATCHED, spin=True)
    assert await fleet.answer("a") == 6.0
    await until(lambda: fleet.crashes == [name_of("a")] and fleet.workers.loaded == 0)
    assert not fleet.workers.are_lost
    assert await fleet.answer("a") == 6.0
    assert fleet.recoveries == []
