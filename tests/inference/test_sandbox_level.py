"""How good the sandbox is (server/inference/sandbox_level.py), and what follows from it."""

from pathlib import Path

import pytest

from server.errors import SandboxMissing
from server.inference.process import Child
from server.inference.sandbox_level import OFF, Sandbox, find
from tests.inference.walls import HERE, MIB, needs_sandbox


@needs_sandbox
async def test_this_machine_has_the_level_that_its_kernel_allows(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    found = await find([tmp_path / "key", tmp_path / "nothing"], needs_landlock=False)
    assert (found.level, found.landlock, found.seccomp) == (HERE.level, HERE.landlock, True)
    assert found.allows_models
    assert found.describe().startswith(f"{HERE.level} (")


async def test_the_look_from_inside_sees_walls_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    child = await Child.start(
        "server.inference.sandbox_child",
        {"secrets": [str(tmp_path / "nothing"), str(tmp_path / "key")]},
        timeout_s=30,
        nice=0,
    )
    await child.end()
    assert set(child.ready["files"]) >= {"read a secret", "read /etc/passwd", "write a file"}
    assert set(child.ready["calls"]) >= {"open a socket", "start a process", "run a program"}


def test_without_a_sandbox_models_are_refused() -> None:
    sandbox = Sandbox("none", reason="no filter of system calls on plan9")
    with pytest.raises(SandboxMissing, match="plan9"):
        sandbox.check()


@pytest.mark.parametrize("sandbox", [OFF, Sandbox("full", 7, True), Sandbox("partial", 0, True)])
def test_models_are_run_behind_walls_or_by_word_of_an_operator(sandbox: Sandbox) -> None:
    sandbox.check()


def test_without_a_sandbox_children_get_no_rights() -> None:
    assert OFF.rights(memory_bytes=MIB) is None


def test_rights_name_what_a_child_may_read_and_write() -> None:
    rights = Sandbox("partial", 0, True).rights(
        memory_bytes=MIB, read=[Path("/models/a")], writes_bytes=9
    )
    assert rights is not None
    assert rights.describe() == {
        "memory_bytes": MIB,
        "read": ("/models/a",),
        "writes": True,
        "file_bytes": 9,
        "landlock": False,
        "seccomp": True,
        "keeps_writing": False,
    }


def test_a_job_may_write_what_was_opened_for_it_while_it_runs() -> None:
    rights = Sandbox("full", 7, True).rights(memory_bytes=MIB, artifact_bytes=9)
    assert rights is not None
    assert (rights.writes, rights.keeps_writing, rights.file_bytes) == (False, True, 9)


@pytest.mark.parametrize(
    ("sandbox", "said"),
    [
        (Sandbox("full", 7, True), "full (Landlock 7, seccomp)"),
        (Sandbox("partial", 0, True, reason="x"), "partial (no Landlock, seccomp)"),
        (Sandbox("none", 0, False, reason="no Linux"), "none (no Linux)"),
    ],
)
def test_the_level_is_said_with_what_it_is_made_of(sandbox: Sandbox, said: str) -> None:
    assert sandbox.describe() == said
