"""What a process takes of the processor, as the kernel counts it and the process cannot deny."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process takes; nothing when it has gone.

    Attributes
    ----------
    cpu_s : float
        Processor time of all its threads since it began, in seconds.
    threads : int
        How many it has.
    is_headless : bool
        Whether its first thread ended alone: what the others hold, the kernel then tells nobody.
    """

    cpu_s: float = 0.0
    threads: int = 0
    is_headless: bool = False


def usage(pid: int) -> Usage:
    """Return what a process takes, quickly.

    Parameters
    ----------
    pid : int
        One of our children.
    """
    try:
        line = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return Usage()
    # a process may give itself any name, with spaces and brackets; see proc_pid_stat(5)
    fields = line.rpartition(")")[2].split()
    threads = int(fields[17])
    is_headless = fields[0] == "Z" and threads > 1
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, threads, is_headless)
