"""Run a command on a kernel that lacks something: `python -m tests.flows.without WHAT COMMAND`.

WHAT is `landlock` or `seccomp`; a filter of ours makes their calls unknown, for the command
and all that it starts.
"""

import ctypes
import errno
import os
import sys

from server.inference.sandbox_calls import machine
from server.inference.sandbox_seccomp import ALLOW, Step, run_before_calls

_PR_SET_NO_NEW_PRIVS = 38


def main(what: str, command: list[str]) -> None:
    """Install the filter and become the command."""
    numbering = machine()
    if numbering is None:
        raise SystemExit("needs a machine whose system calls we know")
    missing = {"landlock": [444, 445, 446], "seccomp": [numbering.numbers["seccomp"]]}[what]
    unknown = Step(0x06, 0, 0, 0x00050000 | errno.ENOSYS)
    steps = [Step(0x20, 0, 0, 0)]
    for number in missing:
        steps += [Step(0x15, 0, 1, number), unknown]
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    run_before_calls([*steps, Step(0x06, 0, 0, ALLOW)], numbering)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
