"""server/inference/admission.py: places, and the shares that nobody can take from others."""

from contextlib import ExitStack

import pytest

from server.digest import Digest
from server.errors import Overload, TooManyRequests
from server.inference.admission import Admission

MODELS = [Digest(bytes([k]) * 32) for k in range(4)]


def test_more_than_all_places_are_refused() -> None:
    admission = Admission(4)
    with ExitStack() as stack:
        for k in range(4):
            stack.enter_context(admission.place(MODELS[k], f"caller {k}"))
        with pytest.raises(Overload, match="4 predictions are in flight") as refused:
            admission.check("another")
        assert refused.value.status == 503
        with pytest.raises(Overload):
            stack.enter_context(admission.place(MODELS[0], "another"))
    admission.check("another")


def test_one_caller_leaves_places_to_others() -> None:
    admission = Admission(4)
    with ExitStack() as stack:
        for k in range(3):
            stack.enter_context(admission.place(MODELS[k], "greedy"))
        with pytest.raises(TooManyRequests) as refused:
            admission.check("greedy")
        assert refused.value.status == 429
        stack.enter_context(admission.place(MODELS[3], "modest"))


def test_one_model_leaves_places_to_others() -> None:
    admission = Admission(4)
    with ExitStack() as stack:
        for k in range(3):
            stack.enter_context(admission.place(MODELS[0], f"caller {k}"))
        with pytest.raises(Overload, match="of this model"):
            stack.enter_context(admission.place(MODELS[0], "another"))
        stack.enter_context(admission.place(MODELS[1], "another"))


def test_a_call_that_fails_gives_its_place_back() -> None:
    admission = Admission(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="it failed"), admission.place(MODELS[0], "caller"):
            raise ValueError("it failed")
    admission.check("caller")
