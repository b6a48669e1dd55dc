"""Files of which no lease tells whether somebody writes them: held against an earlier look.

A lease is given on files of our own only, and not by every file system. Size, times and inode that
are the same a minute later are what else there is to know of a writer; a slow one that pauses for
longer has its file judged before it is whole, as with any tool that watches a folder.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

from server.repository.fsops import Status, is_same_file, is_unchanged


@dataclass(frozen=True, slots=True)
class _Look:
    status: Status
    at_s: float


class Looks:
    """When names in staging were first seen as they are.

    Parameters
    ----------
    apart_s : float
        Seconds that must lie between two looks.
    """

    def __init__(self, apart_s: float = 60.0) -> None:
        self._apart_s = apart_s
        self._first: dict[str, _Look] = {}

    def is_settled(self, name: str, status: Status) -> bool:
        """Tell whether a file was the same long enough ago; the first look only remembers it."""
        now_s = time.monotonic()
        first = self._first.get(name)
        if first is None or not is_untouched(first.status, status):
            self._first[name] = _Look(status, now_s)
            return False
        return now_s - first.at_s >= self._apart_s

    def keep_only(self, names: Collection[str]) -> None:
        """Forget every name that is not in staging any more."""
        for name in self._first.keys() - names:
            del self._first[name]


def is_untouched(before: Status, after: Status) -> bool:
    """Tell whether two looks were at one file of which nothing has changed, its names included."""
    is_same = is_same_file(before, after) and is_unchanged(before, after)
    return is_same and before.st_ctime_ns == after.st_ctime_ns
