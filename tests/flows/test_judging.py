"""A process that judges a model file may die of it: alone, and with a verdict."""

import signal
from collections.abc import Callable

import pytest

from tests.flows.conftest import TinyModels
from tests.flows.running import Server, fresh_copy, probabilities, problem_of, wait_until

pytestmark = pytest.mark.timeout(300)


def test_a_file_that_its_library_dies_of_is_damaged(
    new_server: Callable[..., Server], tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server().start()
    digest = server.host(fresh_copy(tiny.path("row.h5")))

    def end_one() -> bool:
        for child in server.children("gate_child"):
            child.send_signal(signal.SIGSEGV)
            return True
        return False

    wait_until(end_one, "its outline is read")
    answer = server.predict(digest, short_wav)
    assert problem_of(answer, 422) == "model-rejected"
    assert answer.json()["reason"] == "damaged-file"


@pytest.mark.parametrize("module", ["gate_child", "intake_child"])
def test_a_judge_that_dies_rejects_the_model_and_harms_nobody(
    new_server: Callable[..., Server], tiny: TinyModels, short_wav: bytes, module: str
) -> None:
    server = new_server().start()
    good = server.host(tiny.path("row.h5").read_bytes())
    probabilities(server.predict(good, short_wav))
    killed: set[int] = set()

    def kill_one() -> bool:
        for child in server.children(module):
            if child.pid not in killed:
                killed.add(child.pid)
                child.kill()
                assert server.get("/test").status_code == 200
                return True
        return False

    digest = server.host(fresh_copy(tiny.path("row.h5")))
    for _ in range(2):  # one may die for lack of memory: it is tried a second time
        wait_until(kill_one, f"a {module} runs")
    answer = server.predict(digest, short_wav)
    assert problem_of(answer, 422) == "model-rejected"
    assert "took down the process" in answer.json()["detail"]
    probabilities(server.predict(good, short_wav))
    # declared again, it is judged again
    server.register(digest)
    probabilities(server.predict(digest, short_wav))
