"""How much memory a process takes, and how much this machine may give away."""

from pathlib import Path

_KIB = 1024
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def process_bytes(pid: int) -> int:
    """Return the proportional share of memory that a process holds; 0 when it has ended.

    Pages that several processes share, the code of libraries above all, count in each for its
    share only.

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
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except OSError:
        return 0
    fields = (line.split() for line in text.splitlines())
    return sum(int(line[1]) * _KIB for line in fields if line[0] == "Pss:")


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
