"""Filters of system calls, as programs that the kernel runs before each call.

A program looks at the numbering of the call, at its number, and for a few calls at an argument.
What it does not allow is refused with EPERM. Once installed it can be made tighter by another,
never wider. Source: linux/filter.h, linux/seccomp.h, linux/audit.h.
"""

import ctypes
import os
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from server.inference.sandbox_calls import UNKNOWN, Condition, Machine, conditions, machine

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _AUDIT, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; 8 bytes an argument
ALLOW, KILL, REFUSE, MISSING = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
_SET_MODE_FILTER, _IS_KNOWN, _FOR_ALL_THREADS = 1, 2, 1


class Step(NamedTuple):
    """One instruction: what to do, how many to skip if it holds or does not, its constant."""

    code: int
    if_true: int
    if_false: int
    constant: int


def program(
    allowed: frozenset[str], allowed_if: Mapping[str, Condition], numbering: Machine
) -> list[Step]:
    """Assemble the filter that allows some calls and refuses all others.

    Parameters
    ----------
    allowed : frozenset of str
        Calls by name; those that the numbering lacks are left out.
    allowed_if : mapping of str to Condition
        Which of them depend on an argument.
    numbering : Machine
        Of the calls.

    Returns
    -------
    list of Step
        Every path ends with a verdict.
    """
    steps = [
        Step(_LOAD, 0, 0, _AUDIT),
        Step(_EQUAL, 1, 0, numbering.audit),
        Step(_RETURN, 0, 0, KILL),
        Step(_LOAD, 0, 0, _NUMBER),
    ]
    if numbering.first_foreign:
        steps += _on(_AT_LEAST, numbering.first_foreign, [Step(_RETURN, 0, 0, KILL)])
    for name, number in numbering.numbers.items():
        if name in UNKNOWN:
            steps += _on(_EQUAL, number, [Step(_RETURN, 0, 0, MISSING)])
        elif name in allowed:
            condition = allowed_if.get(name)
            verdict = _judge(condition) if condition else [Step(_RETURN, 0, 0, ALLOW)]
            steps += _on(_EQUAL, number, verdict)
    return [*steps, Step(_RETURN, 0, 0, REFUSE)]


def _on(test: int, constant: int, block: list[Step]) -> list[Step]:
    """Run a block that ends with a verdict where a test holds."""
    return [Step(test, 0, len(block), constant), *block]


def _judge(condition: Condition) -> list[Step]:
    allow, refuse = Step(_RETURN, 0, 0, ALLOW), Step(_RETURN, 0, 0, REFUSE)
    steps = [Step(_LOAD, 0, 0, _ARGUMENTS + 8 * condition.argument)]  # little-endian: the low half
    if condition.equals:
        for value in condition.equals:
            steps += _on(_EQUAL, value, [allow])
    else:
        steps += _on(_ANY_BIT, condition.never, [refuse])
        if not condition.needs:
            return [*steps, allow]
        steps += _on(_ANY_BIT, condition.needs, [allow])
    return [*steps, refuse]


def is_available() -> bool:
    """Tell whether this machine takes filters that refuse, and we know its calls."""
    if (numbering := machine()) is None:
        return False
    asked, number = ctypes.c_uint32(REFUSE & ~0xFFFF), numbering.numbers["seccomp"]
    return bool(ctypes.CDLL(None).syscall(number, _IS_KNOWN, 0, ctypes.byref(asked)) == 0)


def install(allowed: frozenset[str], *, writes: bool) -> None:
    """Let every thread of this process make some system calls only, for good.

    Parameters
    ----------
    allowed : frozenset of str
        Calls by name.
    writes : bool
        Whether they may open files for more than reading.

    Raises
    ------
    OSError
        If the kernel does not take the filter.
    """
    if (numbering := machine()) is None:
        raise OSError("no table of system calls for this machine")
    run_before_calls(program(allowed, conditions(os.getpid(), writes=writes), numbering), numbering)


def run_before_calls(steps: Sequence[Step], numbering: Machine) -> None:
    """Have the kernel run a program before every call of every thread of this process, for good.

    Raises
    ------
    OSError
        If the kernel does not take it; it needs a process that gets no new rights.
    """
    packed = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    told = _Program(len(steps), ctypes.addressof(packed))
    libc = ctypes.CDLL(None, use_errno=True)
    number = numbering.numbers["seccomp"]
    if libc.syscall(number, _SET_MODE_FILTER, _FOR_ALL_THREADS, ctypes.byref(told)) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refused the filter of system calls")


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]  # struct sock_fprog
