"""How much memory a process takes, and how much this machine may give away."""

import resource
from pathlib import Path

_KIB = 1024
_OWN = ("RssAnon:", "RssShmem:")
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def process_bytes(pid: int) -> int:
    """Return the proportional share of memory that a process holds; 0 when it has ended.

    Pages that several processes share, the code of libraries above all, count in each for its
    share only. A sandboxed child lets nobody but root see its pages: of it, what it holds for
    itself is told.

    Parameters
    ----------
    pid : int
        One of our children.

    Returns
    -------
    int
        In bytes.
    """
    try:
        return _sum(Path(f"/proc/{pid}/smaps_rollup"), ("Pss:",))
    except PermissionError:
        return _sum_while_there(Path(f"/proc/{pid}/status"), _OWN)
    except OSError:
        return 0


def private_bytes(pid: int) -> int:
    """Return what a process holds for itself, quickly; 0 when it has ended.

    Parameters
    ----------
    pid : int
        One of our children.

    Returns
    -------
    int
        In bytes, without the pages of files and of shared memory.
    """
    try:
        fields = Path(f"/proc/{pid}/statm").read_text("ascii").split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * resource.getpagesize()


def _sum_while_there(path: Path, names: tuple[str, ...]) -> int:
    try:
        return _sum(path, names)
    except OSError:
        return 0


def _sum(path: Path, names: tuple[str, ...]) -> int:
    fields = (line.split() for line in path.read_text("ascii", "replace").splitlines())
    return sum(int(line[1]) * _KIB for line in fields if line and line[0] in names)


def machine_bytes() -> int:
    """Return the memory of this machine, or of the container when that has less.

    Returns
    -------
    int
        In bytes.
    """
    text = Path("/proc/meminfo").read_text("ascii")
    least = int(text.split("MemTotal:")[1].split()[0]) * _KIB
    for path in _LIMITS:
        try:
            limit = path.read_text("ascii").strip()
        except OSError:
            continue
        if limit.isdigit():
            least = min(least, int(limit))
    return least
