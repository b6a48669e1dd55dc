"""server/inference/call_watch.py on a process that hides what it holds."""

import subprocess
import sys

from server.inference.call_watch import CallWatch
from server.inference.usage import Usage, usage
from tests.inference.odd_models import until

EXIT = 60
# its first thread ends alone; another one holds the memory, of which the kernel tells nothing then
HEADLESS = f"""
import ctypes, sys, threading
held = bytearray(64 << 20)
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).syscall({EXIT}, 0)
"""


async def test_a_process_whose_first_thread_ended_alone_is_ended() -> None:
    command = [sys.executable, "-S", "-c", HEADLESS]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            with CallWatch(process.pid, 1 << 30, process.kill) as watch:
                await until(lambda: bool(watch.reason))
        finally:
            process.kill()
    assert (watch.cause, watch.reason) == ("threads", "its first thread ended by itself")


def test_of_a_process_that_is_gone_nothing_is_told() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
    assert usage(process.pid) == Usage()
