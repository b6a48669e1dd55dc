"""What a server costs: CPU seconds by role, and memory in which shared pages count once."""

from collections import defaultdict
from collections.abc import Sequence

import psutil

FAMILY = "BENCHMARK_FAMILY"  # in the environment of processes that belong together
ENDED = "ended"
_CHILD = "_child"


def family(root: psutil.Process, name: str = "") -> list[psutil.Process]:
    """Return a process, its descendants, and those whose environment names the same family."""
    found = {root.pid: root} | {child.pid: child for child in root.children(recursive=True)}
    if name:
        found |= {process.pid: process for process in members(name)}
    return list(found.values())


def members(name: str) -> list[psutil.Process]:
    """Return the processes whose environment names a family."""
    return [process for process in psutil.process_iter() if _is(process, name)]


def _is(process: psutil.Process, name: str) -> bool:
    try:
        return process.environ().get(FAMILY) == name
    except psutil.Error:
        return False


def pss_mb(processes: Sequence[psutil.Process]) -> float:
    """Return the memory of processes in MB, pages that several share divided between them."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it has ended meanwhile
            continue
    return total / 1e6


def cpu_s(root: psutil.Process, name: str = "") -> dict[str, float]:
    """Return the CPU seconds that the members of a family have taken so far, by role."""
    spent: dict[str, float] = defaultdict(float)
    for (role, _), seconds in _by_process(root, name).items():
        spent[role] += seconds
    return dict(spent)


class Cpu:
    """The CPU seconds of a family of processes since this object was made.

    A process that ends meanwhile is not lost: its time is that of the role `ENDED`.

    Parameters
    ----------
    root : psutil.Process
        The process that was started.
    name : str
        The name of its family, if some members are no descendants of it.
    """

    def __init__(self, root: psutil.Process, name: str = "") -> None:
        self._root = root
        self._name = name
        self._before = _by_process(root, name)

    def since(self) -> dict[str, float]:
        """Return CPU seconds by role: ``web`` is the root, children go by the module they run."""
        now = _by_process(self._root, self._name)
        spent: dict[str, float] = defaultdict(float)
        for (role, pid), seconds in now.items():
            spent[role] += seconds - self._before.get((role, pid), 0.0)
        for (role, pid), seconds in self._before.items():
            if (role, pid) not in now:  # its parent has inherited all of its time
                spent[ENDED] -= seconds
        return dict(spent)


def _by_process(root: psutil.Process, name: str) -> dict[tuple[str, int], float]:
    seconds = {}
    for process in family(root, name):
        try:
            times = process.cpu_times()
            role = "web" if process.pid == root.pid else _role(process)
        except psutil.Error:  # it has ended meanwhile
            continue
        seconds[role, process.pid] = times.user + times.system
        seconds[ENDED, process.pid] = times.children_user + times.children_system
    return seconds


def _role(process: psutil.Process) -> str:
    """Return the module that a child of our server was started with, else the program's name."""
    for word in process.cmdline():
        if word.startswith("server.") and word.endswith(_CHILD):
            return word.rsplit(".", 1)[-1].removesuffix(_CHILD)
    return process.name()
