"""server/inference/batcher.py with a real worker, which says what batches it saw."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from server.errors import BadModel, Overload, ServerError, WorkerFailed
from server.inference.batcher import Batcher
from server.inference.frames import PREDICT, SPARING, Part
from server.inference.pool import ChildPool
from server.inference.statistics import ModelStatistics
from tests.inference.odd_child import Mark
from tests.inference.odd_models import Gate, lines, odd_kind, row, until, values


class House:
    """A batcher, its worker, the gate at which a batch can be held, and the worker's log."""

    def __init__(self, folder: Path) -> None:
        self.gate = Gate(folder)
        self.log = folder / "log"
        self.pool: ChildPool
        self.batcher: Batcher
        self.tasks: list[asyncio.Task[None]] = []
        self.cores_are_wanted = False
        self.statistics = ModelStatistics()

    def ask(self, *given: float, dtype: str = "float32") -> asyncio.Task[list[Part]]:
        return asyncio.ensure_future(self.batcher.run(row(*given, dtype=dtype)))

    async def hold(self) -> asyncio.Task[list[Part]]:
        """Have the worker hold a batch of one row."""
        held = self.ask(Mark.HOLD)
        await self.gate.reached()
        return held

    async def asked(self, count: int) -> None:
        """Return when so many rows wait."""
        await until(lambda: self.batcher.waiting == count)

    @property
    def sizes(self) -> list[int]:
        return [line["rows"] for line in lines(self.log)]

    @property
    def firsts(self) -> list[list[float]]:
        return [line["firsts"] for line in lines(self.log)]


Make = Callable[..., House]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[House] = []

    def new(
        *,
        max_batch: int = 8,
        max_waiting: int = 64,
        call_timeout_s: float = 30.0,
        in_flight: int = 1,
    ) -> House:
        house = House(tmp_path)

        def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            house.tasks.append(asyncio.ensure_future(work))
            return house.tasks[-1]

        config = {"gate": str(house.gate.path), "log": str(house.log)}
        kind = odd_kind(config, call_timeout_s=call_timeout_s, in_flight=in_flight)
        house.pool = ChildPool(kind, size=1, max_queue=64, spawn=spawn)
        house.batcher = Batcher(
            house.pool,
            max_batch=max_batch,
            max_waiting=max_waiting,
            spawn=spawn,
            are_cores_wanted=lambda: house.cores_are_wanted,
            statistics=house.statistics,
        )
        made.append(house)
        return house

    yield new
    for house in made:
        await house.pool.close()


async def answers(*asked: asyncio.Task[list[Part]]) -> list[list[Part] | BaseException]:
    async with asyncio.timeout(60):
        return await asyncio.gather(*asked, return_exceptions=True)


def first(answer: list[Part] | BaseException) -> float:
    assert not isinstance(answer, BaseException), answer
    return values(answer[0])[0]


async def test_a_row_is_answered_with_every_output_of_its_own(make: Make) -> None:
    (answer,) = await answers(make().ask(1.0, 2.0))
    assert not isinstance(answer, BaseException)
    assert [(part.name, part.dtype, part.shape) for part in answer] == [
        ("y", "float32", (1, 2)),
        ("sum", "float32", (1,)),
    ]
    assert [values(part) for part in answer] == [[2.0, 4.0], [6.0]]


async def test_rows_that_come_while_a_batch_runs_form_the_next_ones(make: Make) -> None:
    house = make()
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(1, 12)]
    await house.asked(11)
    house.gate.open()
    given = await answers(held, *asked)
    assert house.sizes == [1, 8, 3]
    assert [first(answer) for answer in given[1:]] == [2.0 * k for k in range(1, 12)]


@pytest.mark.parametrize("max_batch", [1, 3])
async def test_a_batch_is_no_larger_than_allowed(make: Make, max_batch: int) -> None:
    house = make(max_batch=max_batch)
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(6)]
    await house.asked(6)
    house.gate.open()
    await answers(held, *asked)
    assert house.sizes == [1] + [max_batch] * (6 // max_batch)


async def test_rows_run_in_the_order_in_which_they_came(make: Make) -> None:
    house = make(max_batch=2)
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(6)]
    await house.asked(6)
    house.gate.open()
    await answers(held, *asked)
    assert house.firsts[1:] == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


async def test_only_rows_of_one_shape_go_together(make: Make) -> None:
    house = make()
    held = await house.hold()
    given = [(1.0,), (2.0, 2.0), (3.0,), (4.0, 4.0), (5.0,)]
    asked = [house.ask(*row) for row in given]
    await house.asked(5)
    house.gate.open()
    got = await answers(held, *asked)
    assert house.firsts[1:] == [[1.0, 3.0, 5.0], [2.0, 4.0]]
    assert [first(answer) for answer in got[1:]] == [2.0, 4.0, 6.0, 8.0, 10.0]


async def test_only_rows_of_one_dtype_go_together(make: Make) -> None:
    house = make()
    held = await house.hold()
    asked = [house.ask(1.0), house.ask(2.0, dtype="float64"), house.ask(3.0)]
    await house.asked(3)
    house.gate.open()
    got = await answers(held, *asked)
    assert [line["dtype"] for line in lines(house.log)[1:]] == ["float32", "float64"]
    assert [first(answer) for answer in got[1:]] == [2.0, 4.0, 6.0]


async def test_an_idle_worker_takes_a_row_at_once(make: Make) -> None:
    house = make()
    await answers(house.ask(1.0))
    await answers(house.ask(2.0))
    assert house.sizes == [1, 1]


async def test_a_caller_that_left_is_skipped(make: Make) -> None:
    house = make()
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(3)]
    await house.asked(3)
    asked[1].cancel()
    await asyncio.wait([asked[1]])
    house.gate.open()
    got = await answers(held, asked[0], asked[2])
    assert house.firsts[1:] == [[0.0, 2.0]]
    assert [first(answer) for answer in got[1:]] == [0.0, 4.0]


async def test_when_every_caller_has_left_nothing_runs(make: Make) -> None:
    house = make()
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(3)]
    await house.asked(3)
    for task in asked:
        task.cancel()
    await asyncio.wait(asked)
    house.gate.open()
    await answers(held)
    await answers(house.ask(9.0))
    assert house.firsts == [[Mark.HOLD], [9.0]]


async def test_a_caller_that_leaves_its_batch_takes_no_answer_from_the_others(make: Make) -> None:
    house = make()
    held = await house.hold()
    held.cancel()
    after = house.ask(1.0)
    house.gate.open()
    assert first((await answers(after))[0]) == 2.0


async def test_a_full_batch_is_given_to_a_worker_that_has_one(make: Make) -> None:
    house = make(max_batch=2, in_flight=2)
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(5)]
    await house.asked(3)  # two are with the worker already
    house.gate.open()
    got = await answers(held, *asked)
    assert house.firsts[1:] == [[0.0, 1.0], [2.0, 3.0], [4.0]]
    assert [first(answer) for answer in got[1:]] == [2.0 * k for k in range(5)]


async def test_rows_that_fill_no_batch_wait_for_more(make: Make) -> None:
    house = make(max_batch=3, in_flight=2)
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(2)]
    await house.asked(2)
    asked.append(house.ask(2.0))
    await house.asked(0)
    house.gate.open()
    await answers(held, *asked)
    assert house.firsts[1:] == [[0.0, 1.0, 2.0]]


@pytest.mark.parametrize("mark", [Mark.DIE, Mark.RAISE])
@pytest.mark.parametrize("max_batch", [1, 2])
async def test_rows_behind_one_that_takes_the_worker_down_are_answered(
    make: Make, mark: Mark, max_batch: int
) -> None:
    house = make(max_batch=max_batch, in_flight=2)
    held = await house.hold()
    asked = [house.ask(value) for value in (1.0, float(mark), 2.0, 3.0, 4.0)]
    house.gate.open()
    got = await answers(held, *asked)
    assert isinstance(got[2], WorkerFailed)
    assert [first(got[k]) for k in (1, 3, 4, 5)] == [2.0, 4.0, 6.0, 8.0]


async def test_a_stop_answers_everybody_of_two_batches(make: Make) -> None:
    house = make(max_batch=2, in_flight=2)
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(5)]
    await house.asked(3)
    await house.pool.close()
    got = await answers(held, *asked)
    assert [type(answer) for answer in got] == [Overload] * 6


async def test_a_row_is_run_on_one_core_while_others_want_them(make: Make) -> None:
    house = make()
    await answers(house.ask(1.0))
    house.cores_are_wanted = True
    await answers(house.ask(2.0))
    assert [line["op"] for line in lines(house.log)] == [PREDICT, SPARING]


async def test_rows_beyond_the_bound_are_refused_at_once(make: Make) -> None:
    house = make(max_waiting=2)
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(2)]
    await house.asked(2)
    with pytest.raises(Overload, match="wait for this model"):
        await house.batcher.run(row(3.0))
    house.gate.open()
    assert [first(answer) for answer in await answers(held, *asked)][1:] == [0.0, 2.0]


async def test_a_caller_that_left_makes_room_for_another(make: Make) -> None:
    house = make(max_waiting=2)
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(2)]
    await house.asked(2)
    asked[0].cancel()
    await asyncio.wait([asked[0]])
    other = house.ask(2.0)
    await house.asked(2)
    house.gate.open()
    assert [first(answer) for answer in await answers(held, asked[1], other)][1:] == [2.0, 4.0]


async def test_a_bad_row_fails_alone(make: Make) -> None:
    house = make()
    held = await house.hold()
    asked = [house.ask(value) for value in (1.0, float(Mark.REFUSE), 2.0, 3.0)]
    await house.asked(4)
    house.gate.open()
    got = await answers(held, *asked)
    assert isinstance(got[2], BadModel)
    assert [first(got[k]) for k in (1, 3, 4)] == [2.0, 4.0, 6.0]
    assert house.sizes == [1, 4, 1, 1, 1, 1]


async def test_rows_that_come_while_others_run_alone_are_batched_again(make: Make) -> None:
    house = make()
    held = await house.hold()
    # the last of those that run alone is held, while new rows come
    asked = [house.ask(value) for value in (float(Mark.REFUSE), float(Mark.HOLD))]
    await house.asked(2)
    house.gate.open()
    await house.gate.reached()  # both together
    house.gate.open()
    await house.gate.reached()  # alone
    later = [house.ask(float(k)) for k in range(3)]
    await house.asked(3)
    house.gate.open()
    await answers(held, *asked, *later)
    assert house.sizes == [1, 2, 1, 1, 3]


@pytest.mark.parametrize("mark", [Mark.DIE, Mark.RAISE])
async def test_a_row_that_takes_the_worker_down_fails_alone(make: Make, mark: Mark) -> None:
    house = make()
    held = await house.hold()
    asked = [house.ask(value) for value in (1.0, float(mark), 2.0)]
    await house.asked(3)
    house.gate.open()
    got = await answers(held, *asked)
    assert isinstance(got[2], WorkerFailed)
    assert [first(got[1]), first(got[3])] == [2.0, 4.0]


async def test_a_row_that_takes_too_long_fails_alone(make: Make) -> None:
    house = make(call_timeout_s=1.0)
    await house.pool.ready()
    held = house.ask(Mark.HOLD)
    await house.gate.reached()
    asked = [house.ask(float(Mark.HOLD)), house.ask(1.0)]
    got = await answers(held, *asked)
    assert [type(answer) for answer in got[:2]] == [WorkerFailed, WorkerFailed]
    assert first(got[2]) == 2.0


@pytest.mark.parametrize("mark", [Mark.SHORT, Mark.WIDE, Mark.NOTHING, Mark.FLAT, Mark.TWICE])
async def test_outputs_that_cannot_be_a_models_are_no_answer(make: Make, mark: Mark) -> None:
    house = make()
    got = await answers(house.ask(float(mark)))
    assert isinstance(got[0], WorkerFailed)
    assert first((await answers(house.ask(1.0)))[0]) == 2.0


async def test_a_stop_answers_everybody(make: Make) -> None:
    house = make(max_batch=2)
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(5)]
    await house.asked(5)
    await house.pool.close()
    got = await answers(held, *asked)
    assert [type(answer) for answer in got] == [Overload] * 6


async def test_the_end_of_the_task_that_batches_answers_everybody(make: Make) -> None:
    house = make(max_batch=2)
    held = await house.hold()
    asked = [house.ask(float(k)) for k in range(3)]
    await house.asked(3)
    house.tasks[-1].cancel()
    got = await answers(held, *asked)
    assert all(isinstance(answer, ServerError) for answer in got)


async def test_after_a_stop_a_row_is_refused(make: Make) -> None:
    house = make()
    await house.pool.ready()
    await house.pool.close()
    assert isinstance((await answers(house.ask(1.0)))[0], Overload)
