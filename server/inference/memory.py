"""How much memory a process takes, and how much this machine may give away."""

import resource
from collections.abc import Iterator
from pathlib import Path

_KIB = 1024
_OWN = ("RssAnon:", "RssShmem:")
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


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
    """Return the memory of this machine, or of the container or service when that has less.

    Returns
    -------
    int
        In bytes.
    """
    text = Path("/proc/meminfo").read_text("ascii")
    least = int(text.split("MemTotal:")[1].split()[0]) * _KIB
    for path in _limits():
        try:
            limit = path.read_text("ascii").strip()
        except OSError:
            continue
        if limit.isdigit():
            least = min(least, int(limit))
    return least


def _limits() -> Iterator[Path]:
    """Yield where limits of this process may stand: its control group's, and of those around it.

    Lines of the list are `0::/path` of version 2, and `N:memory:/path` of version 1. In a container
    the path may be one outside of it: its own group is the root there.
    """
    roots = {"": (_GROUPS, "memory.max"), "memory": (_GROUPS / "memory", "memory.limit_in_bytes")}
    yield from (root / name for root, name in roots.values())
    try:
        lines = _OWN_GROUPS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, kind, path = line.split(":", 2)
        if kind in roots:
            root, name = roots[kind]
            group = Path(path.lstrip("/"))
            yield from (root / part / name for part in (group, *group.parents))
