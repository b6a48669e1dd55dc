"""The filters of system calls (sandbox_seccomp.py, sandbox_calls.py), run as the kernel would."""

import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from server.inference.sandbox_calls import (
    LOADING,
    MACHINES,
    READING,
    RUNNING,
    UNKNOWN,
    Machine,
    conditions,
)
from server.inference.sandbox_seccomp import ALLOW, KILL, MISSING, REFUSE, Step, program

PID = 4711
CONDITIONS, OF_READER = conditions(PID, writes=True), conditions(PID, writes=False)
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
NEVER = {
    "x86_64": {"socket": 41, "fork": 57, "vfork": 58, "execve": 59, "kill": 62, "ptrace": 101},
    "aarch64": {"socket": 198, "execve": 221, "kill": 129, "tkill": 130, "ptrace": 117},
}
CLONE_THREAD, CLONE_VM, CLONE_NEWUSER, SIGCHLD = 0x10000, 0x100, 0x10000000, 17

both = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
OPENING = [  # ARM has the newer one alone
    pytest.param(machine, call, id=f"{name}-{call}")
    for name, machine in MACHINES.items()
    for call in ("open", "openat")
    if call in machine.numbers
]
lists = pytest.mark.parametrize("allowed", [LOADING, RUNNING], ids=["loading", "running"])


def verdict(
    steps: Sequence[Step], number: int, machine: Machine, arguments: Sequence[int] = ()
) -> int:
    """Run a program on one call, by the rules of linux/filter.h."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    call = struct.pack("<IIQ6Q", number, machine.audit, 0, *padded)
    accumulator = place = 0
    while True:
        code, if_true, if_false, constant = steps[place]
        place += 1
        if code == 0x06:
            return constant
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", call, constant)
            continue
        holds = {
            0x15: accumulator == constant,
            0x35: accumulator >= constant,
            0x45: bool(accumulator & constant),
        }[code]
        place += if_true if holds else if_false


def assembled(machine: Machine, allowed: frozenset[str] = LOADING) -> list[Step]:
    return program(allowed, CONDITIONS, machine)


@both
@lists
def test_what_stands_in_the_list_is_allowed(machine: Machine, allowed: frozenset[str]) -> None:
    steps = assembled(machine, allowed)
    for name in (allowed & set(machine.numbers)) - set(CONDITIONS) - UNKNOWN:
        assert verdict(steps, machine.numbers[name], machine) == ALLOW, name


@both
@lists
def test_every_other_number_is_refused(machine: Machine, allowed: frozenset[str]) -> None:
    steps = assembled(machine, allowed)
    known = {machine.numbers[name] for name in allowed | UNKNOWN if name in machine.numbers}
    for number in [*range(600), 4000, 0x3FFFFFFF]:
        if number not in known:
            assert verdict(steps, number, machine) == REFUSE, number


@pytest.mark.parametrize("name", MACHINES)
@lists
def test_the_calls_of_the_worst_are_refused(name: str, allowed: frozenset[str]) -> None:
    machine = MACHINES[name]
    steps = assembled(machine, allowed)
    for call, number in NEVER[name].items():
        assert verdict(steps, number, machine) == REFUSE, call


@both
def test_the_call_whose_flags_no_filter_sees_is_not_there(machine: Machine) -> None:
    assert verdict(assembled(machine), machine.numbers["clone3"], machine) == MISSING


def test_another_numbering_ends_the_process() -> None:
    x86_64, aarch64 = MACHINES["x86_64"], MACHINES["aarch64"]
    assert verdict(assembled(x86_64), 0, aarch64) == KILL
    assert verdict(assembled(aarch64), 63, x86_64) == KILL
    assert verdict(assembled(x86_64), 0x40000000, x86_64) == KILL


@both
@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("clone", [CLONE_THREAD | CLONE_VM], ALLOW),
        ("clone", [SIGCHLD], REFUSE),
        ("clone", [CLONE_VM | SIGCHLD], REFUSE),
        ("clone", [CLONE_THREAD | CLONE_NEWUSER], REFUSE),
        ("tgkill", [PID, 1, 6], ALLOW),
        ("tgkill", [PID + 1, 1, 9], REFUSE),
        ("tgkill", [0, 1, 9], REFUSE),
        ("tgkill", [2**32 - 1, 1, 9], REFUSE),
        ("prlimit64", [0], ALLOW),
        ("prlimit64", [PID], ALLOW),
        ("prlimit64", [1], REFUSE),
        ("prctl", [15], ALLOW),
        ("prctl", [4, 1], REFUSE),
        ("prctl", [1, 0], REFUSE),
        ("ioctl", [0, 0x5401], ALLOW),
        ("ioctl", [0, 0x5412], REFUSE),
        ("fcntl", [0, 1], ALLOW),
        ("fcntl", [0, 8], REFUSE),
        ("sched_setaffinity", [1], REFUSE),
    ],
)
def test_an_argument_decides(
    machine: Machine, call: str, arguments: list[int], expected: int
) -> None:
    assert verdict(assembled(machine), machine.numbers[call], machine, arguments) == expected


@pytest.mark.parametrize(("machine", "call"), OPENING)
def test_a_child_that_does_not_write_opens_files_to_read_only(machine: Machine, call: str) -> None:
    number, before = machine.numbers[call], [0] if call == "open" else [0, 0]
    reads, may_write = program(READING, OF_READER, machine), assembled(machine)
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY):
        assert verdict(reads, number, machine, [*before, flags]) == ALLOW
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_CREAT, os.O_RDONLY | os.O_TRUNC):
        assert verdict(reads, number, machine, [*before, flags]) == REFUSE
        assert verdict(may_write, number, machine, [*before, flags]) == ALLOW


@both
def test_a_running_child_signals_only_itself(machine: Machine) -> None:
    steps = assembled(machine, RUNNING)
    assert verdict(steps, machine.numbers["tgkill"], machine, [PID]) == ALLOW
    assert verdict(steps, machine.numbers["tgkill"], machine, [PID + 1]) == REFUSE
    assert verdict(steps, machine.numbers["clone"], machine, [CLONE_THREAD]) == REFUSE


@both
def test_every_jump_stays_inside_and_every_path_ends(machine: Machine) -> None:
    steps = assembled(machine)
    assert steps[-1] == Step(0x06, 0, 0, REFUSE)
    for place, step in enumerate(steps):
        assert max(step.if_true, step.if_false) < 256
        assert place + 1 + max(step.if_true, step.if_false) <= len(steps)
    assert len(steps) < 4096


def test_every_call_of_the_lists_has_a_number() -> None:
    named = set().union(*(machine.numbers for machine in MACHINES.values()))
    assert LOADING | UNKNOWN | set(CONDITIONS) == named


@pytest.mark.parametrize("name", HEADERS)
def test_the_numbers_are_those_of_the_kernel(name: str) -> None:
    if not HEADERS[name].exists():
        pytest.skip(f"needs {HEADERS[name]} of the kernel's headers")
    text = HEADERS[name].read_text()
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)
    numbers = {call: int(number) for call, number in defined}
    renamed = {"newfstatat": "fstatat"} if name == "aarch64" else {}
    for call, number in MACHINES[name].numbers.items():
        assert numbers[renamed.get(call, call)] == number, call
