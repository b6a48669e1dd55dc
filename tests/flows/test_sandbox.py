"""The sandbox around a running server's children, and servers on machines that have none."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.flows.conftest import TinyModels
from tests.flows.running import ROOT, Server, probabilities, problem_of, sandbox, wait_until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(sandbox() == "off", reason="needs a kernel with seccomp"),
]
New = Callable[..., Server]
READ_SEARCH = 1 << 2


class Lacking(Server):
    """A server on a kernel that lacks something."""

    lacks = ""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.flows.without", self.lacks, *super().command]


@pytest.fixture
def lacking(tmp_path: Path, certificates: Path) -> Iterator[New]:
    """Return a maker of servers that lack something."""
    made: list[Server] = []

    def make(what: str, **settings: str) -> Server:
        server = Lacking(tmp_path, certificates, {"SANDBOX": "on"} | settings)
        server.lacks = what
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.close()


def level(server: Server) -> str:
    return str(server.get("/readyz").json()["sandbox"])


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_every_child_of_a_server_stands_behind_the_walls(
    server: Server, tiny: TinyModels, wav: bytes
) -> None:
    for name in ("two.h5", "half.keras"):  # one for each engine
        digest = server.host(tiny.path(name).read_bytes())
        probabilities(server.predict(digest, wav), tolerance=1e-2)
    for module in ("decoder_child", "onnx_child", "keras_child"):
        wait_until(partial(server.children, module), f"a {module} runs")
    for child in server.children():
        now = status(child.pid)
        assert (now["NoNewPrivs"], now["Seccomp"]) == ("1", "2"), child.cmdline()
        assert int(now["CapEff"], 16) & ~READ_SEARCH == 0


def test_the_level_stands_in_readyz_and_in_the_log(server: Server) -> None:
    assert level(server) in ("full", "partial")
    assert f"level={level(server)}" in server.log()


def test_without_filters_models_are_refused(
    lacking: New, tiny: TinyModels, short_wav: bytes
) -> None:
    server = lacking("seccomp")
    assert level(server) == "none"
    server.wait_for_log("models are refused")
    digest = server.host(tiny.path("row.h5").read_bytes())
    assert problem_of(server.predict(digest, short_wav), 503) == "no-sandbox"
    assert server.children("intake_child") == []


def test_a_model_that_was_refused_is_served_once_it_may_be(
    lacking: New, new_server: New, tiny: TinyModels, wav: bytes
) -> None:
    server = lacking("seccomp")
    digest = server.host(tiny.path("row.h5").read_bytes())
    server.stop()
    probabilities(new_server().start().predict(digest, wav))


def test_without_filters_models_run_where_an_operator_says_so(
    lacking: New, tiny: TinyModels, wav: bytes
) -> None:
    server = lacking("seccomp", SANDBOX="off")
    assert level(server) == "none"
    server.wait_for_log("runs with the rights of the server's user")
    probabilities(server.predict(server.host(tiny.path("row.h5").read_bytes()), wav))


def test_without_landlock_models_are_refused_and_sounds_are_read_behind_the_filter(
    lacking: New, tiny: TinyModels, short_wav: bytes
) -> None:
    server = lacking("landlock")
    assert level(server) == "none"
    server.wait_for_log("SANDBOX=partial runs them")
    digest = server.host(tiny.path("row.h5").read_bytes())
    refused = server.predict(digest, short_wav)
    assert problem_of(refused, 503) == "no-sandbox"
    assert "this kernel has no Landlock" in refused.json()["detail"]
    assert server.children("intake_child") == []
    assert [status(child.pid)["Seccomp"] for child in server.children("decoder_child")] == ["2"]


def test_without_landlock_models_run_where_an_operator_says_that_the_rest_will_do(
    lacking: New, tiny: TinyModels, wav: bytes
) -> None:
    server = lacking("landlock", SANDBOX="partial")
    assert level(server) == "partial"
    server.wait_for_log("no Landlock")
    for name in ("two.h5", "half.keras"):  # one for each engine
        digest = server.host(tiny.path(name).read_bytes())
        probabilities(server.predict(digest, wav), tolerance=1e-2)


@pytest.mark.parametrize("setting", ["on", "partial"])
def test_without_filters_less_than_off_is_not_enough(setting: str) -> None:
    said = command_without("seccomp", setting)
    assert said.returncode == 1
    assert said.stdout.startswith("sandbox: none (no filter of system calls")


@pytest.mark.parametrize(
    ("setting", "status", "said"),
    [("on", 1, "none (this kernel has no Landlock"), ("partial", 0, "partial (no Landlock")],
)
def test_without_landlock_the_command_says_what_the_server_would_do(
    setting: str, status: int, said: str
) -> None:
    done = command_without("landlock", setting)
    assert (done.returncode, done.stdout.startswith(f"sandbox: {said}")) == (status, True)


def command_without(what: str, setting: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server", "sandbox"]
    return subprocess.run(
        [sys.executable, "-m", "tests.flows.without", what, *command],
        cwd=ROOT,
        env=os.environ | {"SANDBOX": setting},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_says_what_there_is(new_server: New) -> None:
    said = new_server().run("sandbox")
    assert said.returncode == 0
    assert said.stdout.startswith(("sandbox: full (", "sandbox: partial ("))
