"""server/inference/intake.py: what it takes over from the gate's process is numbers only."""

from typing import Any

import pytest

from server.errors import WorkerFailed
from server.inference.verdicts import told_reading, told_verdict

TOLD = {"version": 1, "parameters": 15, "activations": 3, "largest": 3, "flops": 24, "layers": 2}


def test_the_numbers_of_a_verdict_are_kept() -> None:
    assert told_verdict({**TOLD, "more": "x" * 1000}) == TOLD


@pytest.mark.parametrize("told", [None, 5, [], {}, {**TOLD, "flops": "many"}, {"version": 1}])
def test_a_verdict_that_is_none_is_a_fault_of_the_process(told: Any) -> None:
    with pytest.raises(WorkerFailed):
        told_verdict(told)


def test_which_configuration_was_judged_is_taken_over() -> None:
    assert told_reading({"reading": "a" * 64}) == "a" * 64
    assert told_reading({"reading": None}) is None


@pytest.mark.parametrize("told", [None, [], {"reading": 5}, {"reading": "a" * 63}])
def test_what_is_no_digest_of_a_configuration_is_a_fault_of_the_process(told: Any) -> None:
    with pytest.raises(WorkerFailed):
        told_reading(told)
