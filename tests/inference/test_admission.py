"""server/inference/admission.py: places, and the shares that nobody can take from others."""

from contextlib import ExitStack

import pytest

from server.digest import Digest
from server.errors import Overload, TooManyRequests
from server.inference.admission import Admission, Asker

MODELS = [Digest(bytes([k]) * 32) for k in range(4)]


def test_more_than_all_places_are_refused() -> None:
    admission = Admission(4)
    with ExitStack() as stack:
        for k in range(4):
            stack.enter_context(admission.place(MODELS[k], Asker(f"caller {k}")))
        with pytest.raises(Overload, match="4 predictions are in flight") as refused:
            admission.check(Asker("another"))
        assert refused.value.status == 503
        with pytest.raises(Overload):
            stack.enter_context(admission.place(MODELS[0], Asker("another")))
    admission.check(Asker("another"))


def test_one_caller_leaves_places_to_others() -> None:
    admission = Admission(4)
    with ExitStack() as stack:
        for k in range(3):
            stack.enter_context(admission.place(MODELS[k], Asker("greedy")))
        with pytest.raises(TooManyRequests) as refused:
            admission.check(Asker("greedy"))
        assert refused.value.status == 429
        stack.enter_context(admission.place(MODELS[3], Asker("modest")))


def test_one_model_leaves_places_to_others() -> None:
    admission = Admission(4)
    with ExitStack() as stack:
        for k in range(3):
            stack.enter_context(admission.place(MODELS[0], Asker(f"caller {k}")))
        with pytest.raises(Overload, match="of this model"):
            stack.enter_context(admission.place(MODELS[0], Asker("another")))
        stack.enter_context(admission.place(MODELS[1], Asker("another")))


def test_a_call_that_fails_gives_its_place_back() -> None:
    admission = Admission(1)
    for _ in range(3):
        with (
            pytest.raises(ValueError, match="it failed"),
            admission.place(MODELS[0], Asker("caller")),
        ):
            raise ValueError("it failed")
    admission.check(Asker("caller"))


def test_one_key_leaves_places_to_others_from_wherever_it_asks() -> None:
    admission = Admission(4)
    with ExitStack() as stack:
        for k in range(3):
            stack.enter_context(admission.place(MODELS[k], Asker(f"address {k}", "greedy")))
        with pytest.raises(TooManyRequests, match="3 predictions of one key"):
            stack.enter_context(admission.place(MODELS[3], Asker("address 3", "greedy")))
        stack.enter_context(admission.place(MODELS[3], Asker("address 3", "modest")))
    admission.check(Asker("address 0", "greedy"))


def test_an_address_and_a_key_of_one_name_are_two() -> None:
    admission = Admission(4)
    with ExitStack() as stack:
        for k in range(3):
            stack.enter_context(admission.place(MODELS[k], Asker("one", f"key {k}")))
        stack.enter_context(admission.place(MODELS[3], Asker("two", "one")))


def test_a_model_that_has_its_share_is_refused_before_it_is_asked() -> None:
    admission = Admission(4)
    with ExitStack() as stack:
        for k in range(3):
            stack.enter_context(admission.place(MODELS[0], Asker(f"caller {k}")))
        with pytest.raises(Overload, match="3 predictions of this model"):
            admission.check(Asker("another"), MODELS[0])
        admission.check(Asker("another"), MODELS[1])
        admission.check(Asker("another"))
