"""How a model's file is sent, step by step: see `calls`.

A small file is the body of one request. A larger one goes in parts (tus 1.0.0), so that a line that
breaks costs no more than what was under way; and where an upload is remembered, one that was
stopped goes on too.
"""

import base64
import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from spectrogrampredictor.files import FileBody
from spectrogrampredictor.problem import BadModel
from spectrogrampredictor.problems import UploadNotFound, UploadTakenOver, WrongOffset
from spectrogrampredictor.retries import doubled, may_pass
from spectrogrampredictor.steps import Ask, Pause, Steps, Work

BYTES = "application/octet-stream"
PART_BYTES = 32 << 20
_TUS = {"Tus-Resumable": "1.0.0"}
_PART = "application/offset+octet-stream"
_MOST_TRIES = 8  # without a byte more
_FORBIDDEN, _NOT_FOUND = 403, 404


@dataclass(frozen=True, slots=True)
class Memory:
    """Where uploads that are under way are written down.

    Attributes
    ----------
    folder : Path
        Holds a small file for each.
    server : str
        Whose they are.
    """

    folder: Path
    server: str

    def find(self, digest: str) -> str | None:
        """Return the path of an upload that was begun."""
        try:
            return self._file(digest).read_text("ascii")
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def keep(self, digest: str, path: str) -> None:
        """Write down that an upload was begun."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(digest)
        written = file.with_suffix(f".{os.getpid()}")
        written.write_text(path, "ascii")
        written.replace(file)

    def forget(self, digest: str) -> None:
        """Forget an upload that is over."""
        self._file(digest).unlink(missing_ok=True)

    def _file(self, digest: str) -> Path:
        return self.folder / hashlib.sha256(f"{self.server}\n{digest}".encode()).hexdigest()[:40]


def is_held(digest: str) -> Steps[bool]:
    """Ask whether the server has a file; a key that may not ask says no."""
    where = f"/v1/models/{digest}/file"
    answer = yield Ask("HEAD", where, taken=(_FORBIDDEN, _NOT_FOUND))
    held: bool = answer.is_success
    return held


def send(file: FileBody, memory: Memory | None) -> Steps[None]:
    """Send a file whose digest is registered."""
    if file.size <= PART_BYTES:
        where = f"/v1/models/{file.sha256}/file"
        yield Ask("PUT", where, body=file, headers={"Content-Type": BYTES})
        return
    try:
        yield from _Parts(file, memory).send()
    except BadModel:
        yield from _forget(file, memory)  # of the whole: there is nothing to go on with
        raise
    yield from _forget(file, memory)


class _Parts:
    """An upload in parts: where it is, and how far."""

    def __init__(self, file: FileBody, memory: Memory | None) -> None:
        self._file = file
        self._memory = memory
        self._where: str | None = None
        self._offset: int | None = None  # None: the server knows
        self._most = self._tried = 0
        self._is_over = False

    def send(self) -> Steps[None]:
        """Take step after step until the server has it."""
        if self._memory is not None:
            self._where = yield Work(partial(self._memory.find, self._file.sha256))
        while not self._is_over:
            try:
                yield from self._step()
            except (UploadNotFound, WrongOffset, UploadTakenOver) as problem:
                if isinstance(problem, UploadNotFound):
                    self._where = None
                    # perhaps the answer to the last part was lost
                    self._is_over = yield from is_held(self._file.sha256)
                yield from self._again(problem)
            except httpx.TransportError as error:
                if not may_pass(error):
                    raise
                yield from self._again(error)

    def _again(self, error: Exception) -> Steps[None]:
        """Pause before the server is asked how far it is; give up after too many times."""
        self._offset = None
        self._tried += 1
        if self._tried >= _MOST_TRIES:
            raise error
        if not self._is_over:
            yield Pause(doubled(self._tried))

    def _stands_at(self, offset: int) -> None:
        if offset > self._most:
            self._tried, self._most = 0, offset
        self._offset = offset
        self._is_over = offset >= self._file.size
        self._file.tell(offset)

    def _step(self) -> Steps[None]:
        """Begin, ask how far it is, or send a part."""
        if self._where is None:
            self._where = yield from self._begin()
            self._offset = 0
        elif self._offset is None:
            said = yield Ask("HEAD", self._where, headers=_TUS)
            self._stands_at(int(said.headers["Upload-Offset"]))
        else:
            part = yield Work(partial(self._file.part, self._offset, PART_BYTES))
            headers = _TUS | {"Content-Type": _PART, "Upload-Offset": str(self._offset)}
            said = yield Ask("PATCH", self._where, body=part, headers=headers, may_repeat=False)
            self._stands_at(int(said.headers["Upload-Offset"]))

    def _begin(self) -> Steps[str]:
        file = self._file
        said = yield Ask(
            *("POST", "/v1/uploads"),
            body=b"",
            headers=_TUS
            | {"Content-Type": BYTES, "Upload-Length": str(file.size)}
            | {"Upload-Metadata": f"sha256 {base64.b64encode(file.sha256.encode()).decode()}"},
        )
        where: str = said.headers["Location"]
        if self._memory is not None:
            yield Work(partial(self._memory.keep, file.sha256, where))
        return where


def _forget(file: FileBody, memory: Memory | None) -> Steps[None]:
    if memory is not None:
        yield Work(partial(memory.forget, file.sha256))
