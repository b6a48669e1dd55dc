"""A line to the server: requests sent, and sent again, and the steps of a call taken."""

import time
from typing import Any, TypeVar

import anyio
import httpx
from anyio import to_thread

from spectrogrampredictor.connection import options_of
from spectrogrampredictor.files import FileBody
from spectrogrampredictor.problem import Problem
from spectrogrampredictor.replies import problem_of
from spectrogrampredictor.retries import Retries
from spectrogrampredictor.steps import Ask, Pause, Step, Steps, Work

T = TypeVar("T")


class Line:
    """Takes the steps of calls, one after the other.

    Parameters
    ----------
    http : httpx.Client
        Sends.
    retries : Retries
        How long it goes on.
    """

    def __init__(self, http: httpx.Client, retries: Retries) -> None:
        self.http = http
        self._retries = retries

    def run(self, steps: Steps[T]) -> T:
        """Take every step of a call; return what it comes to."""
        try:
            step = next(steps)
            while True:
                try:
                    came = self._take(step)
                except (Problem, httpx.TransportError) as problem:
                    step = steps.throw(problem)
                else:
                    step = steps.send(came)
        except StopIteration as done:
            result: T = done.value
            return result

    def _take(self, step: Step) -> Any:
        match step:
            case Ask():
                return self._ask(step)
            case Pause(seconds):
                return time.sleep(seconds)
            case Work(function):
                return function()

    def _ask(self, ask: Ask) -> httpx.Response:
        began, tried = time.monotonic(), 0
        while True:
            tried += 1
            content = ask.body.pieces() if isinstance(ask.body, FileBody) else None
            try:
                response = self.http.request(ask.method, ask.path, **options_of(ask, content))
            except httpx.TransportError as error:
                spent_s = time.monotonic() - began
                pause_s = self._retries.pause_after_error(
                    error, tried, spent_s, may_repeat=ask.may_repeat
                )
                if pause_s is None:
                    raise
            else:
                if not response.is_error or response.status_code in ask.taken:
                    return response
                spent_s = time.monotonic() - began
                pause_s = self._retries.pause_after_answer(response, tried, spent_s)
                if pause_s is None:
                    raise problem_of(response)
            time.sleep(pause_s)


class AsyncLine:
    """Takes the steps of calls, and lets others go on meanwhile.

    Parameters
    ----------
    http : httpx.AsyncClient
        Sends.
    retries : Retries
        How long it goes on.
    """

    def __init__(self, http: httpx.AsyncClient, retries: Retries) -> None:
        self.http = http
        self._retries = retries

    async def run(self, steps: Steps[T]) -> T:
        """Take every step of a call; return what it comes to."""
        try:
            step = next(steps)
            while True:
                try:
                    came = await self._take(step)
                except (Problem, httpx.TransportError) as problem:
                    step = steps.throw(problem)
                else:
                    step = steps.send(came)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _take(self, step: Step) -> Any:
        match step:
            case Ask():
                return await self._ask(step)
            case Pause(seconds):
                return await anyio.sleep(seconds)
            case Work(function):
                return await to_thread.run_sync(function)

    async def _ask(self, ask: Ask) -> httpx.Response:
        began, tried = time.monotonic(), 0
        while True:
            tried += 1
            content = ask.body.apieces() if isinstance(ask.body, FileBody) else None
            try:
                response = await self.http.request(ask.method, ask.path, **options_of(ask, content))
            except httpx.TransportError as error:
                spent_s = time.monotonic() - began
                pause_s = self._retries.pause_after_error(
                    error, tried, spent_s, may_repeat=ask.may_repeat
                )
                if pause_s is None:
                    raise
            else:
                if not response.is_error or response.status_code in ask.taken:
                    return response
                spent_s = time.monotonic() - began
                pause_s = self._retries.pause_after_answer(response, tried, spent_s)
                if pause_s is None:
                    raise problem_of(response)
            await anyio.sleep(pause_s)
