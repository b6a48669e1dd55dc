"""What a fuzzer found worth keeping, and the good inputs that it began with."""

from pathlib import Path

import pytest

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

KEPT = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_kept_input_is_taken_or_refused(target: str) -> None:
    kept = sorted((KEPT / target).iterdir())
    assert kept, f"tests/fuzz/corpus/{target} is empty"
    for path in kept:
        TARGETS[target](path.read_bytes())


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_good_input_is_taken_or_refused(target: str) -> None:
    for seed in seeds(target):
        TARGETS[target](seed)
