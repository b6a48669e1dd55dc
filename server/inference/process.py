"""One child process, seen from the web process: start it, call it, end it."""

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import socket
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from server.errors import (
    BadModel,
    MalformedRequest,
    ServerError,
    UnusableInput,
    WorkerFailed,
    every_error,
)
from server.inference import surroundings
from server.inference.call_watch import CallWatch
from server.inference.channel import Channel
from server.inference.frames import SOCKET_FD, BatchMessage, Message
from server.inference.idle_watch import IdleWatch
from server.inference.mailbox import Mailbox
from server.inference.sandbox import Rights
from server.inference.spawning import Output, connect, spawn
from server.metrics import CHILD_FAILURES
from server.shielding import run_to_end
from server.sound_errors import UnreadableSound

_log = logging.getLogger(__name__)
_WORDS_LINES = 20
# what a child may say of a client's input; anything else from it is a fault of ours
_TOLD = (MalformedRequest, UnreadableSound, UnusableInput, BadModel)
_ERRORS = every_error()
_OURS = {"self", "detail", "type", "title", "status", "instance", "msg"}


class Child:
    """A running child process that answers one call at a time.

    Attributes
    ----------
    ready : dict
        What the child said when it had started.
    failure : str
        Why it must be ended; empty: it has not failed.
    """

    def __init__(
        self,
        module: str,
        process: tuple[asyncio.SubprocessTransport, Output],
        channel: Channel,
        folder: Path,
    ) -> None:
        self._module = module
        self._transport, self._output = process
        self._channel = channel
        self._folder = folder
        self._max_bytes: int | None = None
        self._excess = ""  # what it took too much of
        self._is_over = False
        self.pid = self._transport.get_pid()
        self._idle = IdleWatch(self.pid, self._kill)
        self.ready: dict[str, Any] = {}
        self.failure = ""

    @classmethod
    async def start(
        cls,
        module: str,
        config: dict[str, Any],
        *,
        timeout_s: float,
        nice: int,
        files: Mapping[str, int] = MappingProxyType({}),
        rights: Rights | None = None,
    ) -> Self:
        """Start `python -m module`, send it its configuration and wait until it is ready.

        Parameters
        ----------
        module : str
            Of this package.
        config : dict
            What the child is told first.
        timeout_s : float
            Longest start.
        nice : int
            How much lower its priority is.
        files : mapping of str to int
            Open files that the child is given; it finds the number of `x` as `x_fd`.
        rights : Rights or None
            What the child may use; None: there are no walls around it.

        Raises
        ------
        ServerError
            The problem that the child found, or `WorkerFailed`.
        """
        try:
            child, written = await cls._launch(module, nice=nice, files=files)
        except OSError as error:
            # no descriptors, no disk, no temporary folder: perhaps only for now
            _log.error("child could not be started", extra={"child": module, "why": error})
            raise WorkerFailed("the process could not be started") from error
        try:
            first = Message(config | written | child._confine(rights))
            child.ready = (await child.call(first, timeout_s=timeout_s)).fields
        except WorkerFailed as error:
            await child.end()
            error.cause = child.cause
            raise
        except BaseException:
            await child.end()
            raise
        return child

    @classmethod
    async def _launch(
        cls, module: str, *, nice: int, files: Mapping[str, int]
    ) -> tuple[Self, dict[str, Any]]:
        with ExitStack() as undo, ExitStack() as inherited:
            folder = surroundings.new_folder()
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            boxes = [Mailbox.make(child_writes=writes) for writes in (False, True)]
            given: dict[str, int] = {}
            fds = {f"{name}_fd": fd for name, fd in files.items()}
            for name, box in zip(("inbox_fd", "outbox_fd"), boxes, strict=True):
                if box is not None:
                    undo.callback(box.close)
                    fds[name] = box.fd
            for name, fd in fds.items():  # above the number that the socket moves to
                given[name] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, SOCKET_FD + 1)
                inherited.callback(os.close, given[name])
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            with theirs:
                process = await spawn(
                    module, theirs.fileno(), folder, nice=nice, given=list(given.values())
                )
            channel = Channel(*await connect(ours, process), *boxes)
            undo.pop_all()
        return cls(module, process, channel, folder), dict(given)

    def _confine(self, rights: Rights | None) -> dict[str, Any]:
        """Hold the child to what it may use; return what it is told of that."""
        if rights is None:
            return {}
        self._max_bytes = rights.memory_bytes
        return {"sandbox": rights.describe()}

    async def call(self, message: Message | BatchMessage, *, timeout_s: float) -> Message:
        """Send a message and return the answer; after `WorkerFailed` the child must be ended.

        A second call may be made meanwhile.

        Raises
        ------
        ServerError
            The problem that the child found in the input.
        WorkerFailed
            If the child died, answered nonsense, took too long, or too much memory or threads.
        """
        watch = CallWatch(self.pid, self._max_bytes, self._kill)
        try:
            with self._called(), watch:
                answer = await self._channel.ask(message, timeout_s=timeout_s)
            if (problem := answer.fields.get("problem")) is not None:
                raise _told(problem)
        except WorkerFailed as error:
            self._excess = self._excess or watch.cause
            detail = watch.reason or self._idle.reason or error.detail
            self.failure = self.failure or detail
            raise WorkerFailed(detail) from error
        return answer

    def _called(self) -> AbstractContextManager[object]:
        """Count no processor time while the block runs; without walls, never."""
        return nullcontext() if self._max_bytes is None else self._idle

    @property
    def has_hung_up(self) -> bool:
        """Whether it has gone, or closed its end, before it was asked anything more."""
        return self._channel.has_hung_up

    def _kill(self) -> None:
        # not by the transport: it would take the status of one that has just died, and lose it
        if not self._output.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> None:
        """Return when the process has ended."""
        await self._output.ended.wait()

    async def end(self) -> None:
        """End the process at once, remove its folder and, where it has failed, log and count it."""
        await run_to_end(self._end())

    async def _end(self) -> None:
        is_first, self._is_over = not self._is_over, True
        if is_first and (self._output.ended.is_set() or self.has_hung_up):
            self.failure = self.failure or self._idle.reason or "it died while idle"
        self._idle.close()
        self._channel.close()
        self._kill()
        await self._output.ended.wait()
        self._transport.close()
        if is_first and self.failure:
            self._report()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def cause(self) -> str:
        """Why it has ended, in a word: a forbidden system call is `sandbox`."""
        status = self._transport.get_returncode()
        if self._excess or self._idle.reason:
            return self._excess or "cpu"
        if status == -signal.SIGSYS:
            return "sandbox"
        if status == -signal.SIGKILL:
            return "killed"  # by us, as a rule: it took too long or answered nonsense
        return "exit" if status is None or status >= 0 else "signal"

    def _report(self) -> None:
        told = {"child": self._module, "pid": self.pid}
        _log.error("child failed", extra=told | {"cause": self.cause, "reason": self.failure})
        CHILD_FAILURES.labels(self._module.rpartition(".")[2], self.cause).inc()
        for line in self._output.said.decode("utf-8", "replace").splitlines()[-_WORDS_LINES:]:
            _log.error("child said", extra=told | {"line": line[:400]})


def _told(problem: Any) -> ServerError:
    """Turn a child's problem into the error that it names, trusting neither."""
    if isinstance(problem, dict):
        slug, detail, members = (problem.get(key) for key in ("slug", "detail", "members"))
        kind = _ERRORS.get(slug) if isinstance(slug, str) else None
        if kind is not None and issubclass(kind, _TOLD) and isinstance(detail, str):
            named = members if isinstance(members, dict) else {}
            return kind(detail[:2000], **{k: v for k, v in named.items() if k not in _OURS})
    return WorkerFailed("the process answered nonsense")
