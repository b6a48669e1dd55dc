"""How good the walls of this machine are: found once, when the server starts, by trying them.

::

    full      Landlock 4 or later and seccomp: nothing that was tried could be done
    partial   seccomp and an older Landlock; or seccomp alone, where an operator has said that this
              will do: running models can do nothing, but a file that is judged or loaded may read
              other files of the server's user
    none      no seccomp, no Landlock, or something could be done that must not: models are refused

Children stand behind what walls there are also where models are refused: sounds are decoded there.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from server.errors import SandboxMissing, ServerError
from server.inference import sandbox_landlock, sandbox_seccomp
from server.inference.frames import Message
from server.inference.process import Child
from server.inference.sandbox import Rights

Level = Literal["full", "partial", "none"]
_FULL_SINCE = 4  # the first Landlock that knows of TCP
_START_S, _CALL_S = 20.0, 10.0
_MEMORY_BYTES = 256 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The walls around every child process of this server.

    Attributes
    ----------
    level : str
        ``full``, ``partial`` or ``none``.
    landlock : int
        Its version in this kernel; 0: there is none.
    seccomp : bool
        Whether the kernel filters the system calls of children; False: they have no walls at all.
    wanted : bool
        False: an operator has said that models run without.
    reason : str
        Why it is not full.
    """

    level: Level
    landlock: int = 0
    seccomp: bool = False
    wanted: bool = True
    reason: str = ""

    @property
    def allows_models(self) -> bool:
        """Whether files of others may be loaded here."""
        return self.level != "none" or not self.wanted

    def check(self) -> None:
        """Refuse to load what others made where nothing holds it.

        Raises
        ------
        SandboxMissing
            If there is no sandbox and nobody has said that there need not be one.
        """
        if not self.allows_models:
            raise SandboxMissing(f"models are not run here: {self.reason}")

    def rights(
        self,
        *,
        memory_bytes: int,
        read: Sequence[Path] = (),
        writes_bytes: int = 0,
        artifact_bytes: int = 0,
    ) -> Rights | None:
        """Return what one child may use; None where it has no walls.

        Parameters
        ----------
        memory_bytes : int
            What it may take for itself.
        read : sequence of Path
            Files that it may read while it starts.
        writes_bytes : int
            The largest file that it may write in its folder while it starts; 0: none.
        artifact_bytes : int
            The largest that a file may become which the parent opened for it; 0: it writes none.
        """
        if not self.seccomp:
            return None
        return Rights(
            memory_bytes,
            read=tuple(map(str, read)),
            writes=writes_bytes > 0,
            file_bytes=max(writes_bytes, artifact_bytes),
            landlock=self.landlock > 0,
            seccomp=self.seccomp,
            keeps_writing=artifact_bytes > 0,
        )

    def describe(self) -> str:
        """Return the level and what it is made of, for people."""
        if self.level == "none":
            return f"none ({self.reason})"
        files = f"Landlock {self.landlock}" if self.landlock else "no Landlock"
        return f"{self.level} ({files}, seccomp)"


OFF = Sandbox("none", wanted=False, reason="SANDBOX=off")


async def find(secrets: Sequence[Path], *, needs_landlock: bool = True) -> Sandbox:
    """Try the walls of this machine from inside a child process.

    Parameters
    ----------
    secrets : sequence of Path
        Files that the server can read and no child may.
    needs_landlock : bool
        False: an operator has said that the other walls will do.
    """
    landlock, seccomp = sandbox_landlock.version(), sandbox_seccomp.is_available()
    if not seccomp:
        return Sandbox("none", landlock, reason=f"no filter of system calls on {sys.platform}")
    rights = Rights(_MEMORY_BYTES, landlock=landlock > 0, seccomp=seccomp)
    try:
        done, read = await _try(rights, secrets)
    except ServerError as error:
        return Sandbox("none", reason=f"it does not start: {error.detail}")
    could = f"a process inside could {', '.join(sorted(done | read))}"
    if landlock == 0:
        level: Level = "none" if done or needs_landlock else "partial"
        return Sandbox(level, 0, seccomp, reason=f"this kernel has no Landlock: {could}")
    if done or read:
        return Sandbox("none", landlock, seccomp, reason=could)
    if landlock >= _FULL_SINCE:
        return Sandbox("full", landlock, seccomp)
    return Sandbox("partial", landlock, seccomp, reason=f"this kernel has Landlock {landlock}")


async def _try(rights: Rights, secrets: Sequence[Path]) -> tuple[set[str], set[str]]:
    """Return what a child behind these walls could do, and what it could read while it loaded."""
    config = {"secrets": [str(path.resolve()) for path in secrets]}
    child = await Child.start(
        "server.inference.sandbox_child", config, timeout_s=_START_S, nice=0, rights=rights
    )
    try:
        running = await child.call(Message({"op": "try"}), timeout_s=_CALL_S)
    finally:
        await child.end()
    loading, done = child.ready, {*running.fields["files"], *running.fields["calls"]}
    files = set(loading["files"])
    read = {act for act in files if act.startswith("read ")}
    return done.union(loading["calls"], files - read), read


def report(sandbox: Sandbox) -> None:
    """Log what there is, as loudly as it deserves."""
    fields = {"level": sandbox.level, "landlock": sandbox.landlock, "seccomp": sandbox.seccomp}
    if sandbox.level == "full":
        _log.info("sandbox", extra=fields)
    elif sandbox.level == "partial":
        _log.warning("sandbox is not whole", extra=fields | {"reason": sandbox.reason})
    elif sandbox.wanted:
        _log.error(
            "no sandbox: models are refused; SANDBOX=%s runs them without",
            "partial" if sandbox.seccomp and not sandbox.landlock else "off",
            extra=fields | {"reason": sandbox.reason},
        )
    else:
        _log.warning("SANDBOX=off: a model file runs with the rights of the server's user")
