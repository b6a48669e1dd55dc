"""The sandbox of this machine, for tests that start children as the server does."""

import pytest

from server.inference import sandbox_landlock, sandbox_seccomp
from server.inference.sandbox_level import Sandbox

LANDLOCK, SECCOMP = sandbox_landlock.version(), sandbox_seccomp.is_available()
HERE = Sandbox("none" if not SECCOMP else "full" if LANDLOCK >= 4 else "partial", LANDLOCK, SECCOMP)
MIB, GIB = 1 << 20, 1 << 30
needs_sandbox = pytest.mark.skipif(not SECCOMP, reason="needs a kernel that filters system calls")
