"""server/gate/judge.py: the whole gate, its limits, and its codes in the docs."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import BadModel
from server.gate import judge as gate
from server.gate.config.keras_version import is_before_3
from server.gate.config.layer_table import CUSTOM, OPERATION_IN_H5, TOLD
from server.gate.config.object_table import KINDS
from server.gate.cost.cost import Cost
from server.gate.refusals import refused, shown
from tests.gate.files import h5_file, judged, keras_file, members, reason, zipped
from tests.gate.hostile import ATTACKS

ROOT = Path(__file__).parents[2]
LITERAL = re.compile(r'refused\(\s*"([a-z0-9-]+)"|^ {8}"([a-z]+-[a-z-]+)",$', re.MULTILINE)


def keras_versioned(version: str) -> bytes:
    told = json.dumps({"keras_version": version}).encode()
    return zipped(members() | {"metadata.json": told})


def h5_versioned(version: str) -> bytes:
    return h5_file(version=version)


def test_every_code_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "model-files.md").read_text()
    told = set(re.findall(r"`([a-z0-9-]+)`", text))
    used = {CUSTOM[0], OPERATION_IN_H5[0], *KINDS, *(entry[0] for entry in TOLD.values())}
    used |= {f"cost-{name}" for name in ("parameters", "tensor", "activations", "flops")}
    for module in (ROOT / "server" / "gate").glob("*.py"):
        used |= {one or two for one, two in LITERAL.findall(module.read_text())}
    assert used <= told
    assert {code for _, code in ATTACKS.values()} <= told


def test_a_file_over_its_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(keras_file())
    os.truncate(path, gate.MAX_FILE + 1)  # a hole: it takes no room
    with pytest.raises(BadModel) as refused:
        gate.judge(path)
    assert refused.value.members["reason"] == "file-size"


def test_the_demo_model_passes() -> None:
    verdict = gate.judge(ROOT / "examples" / "demo" / "genre.h5")
    assert verdict.cost == Cost(
        parameters=299_425, activations=3_576_524, largest=191_808, flops=234_474_747, layers=96
    )


@pytest.mark.parametrize(
    "name",
    [
        *("lumenalux_genre_58features.h5", "musikalkemist_speech_commands.h5"),
        *("sahi08960_genre_58features.h5", "sriram49_genre_mfcc.h5"),
        *("two_input_gtzan_seed1.h5", "two_input_gtzan_seed1.keras"),
    ],
)
def test_models_of_others_pass(shared: Callable[[str], Path], name: str) -> None:
    assert gate.judge(shared(f"models/{name}")).cost.parameters > 30_000


def test_a_place_in_a_file_is_shown_in_plain_letters() -> None:
    assert shown("a\nb\x1b[0m\u202e") == "a?b?[0m\\u202e"
    assert len(shown("é" * 1000)) == 200
    told = refused("code", "a sentence", where="x\n")
    assert told.members == {"reason": "code", "where": "x?"}
    assert told.detail == "a sentence (at x?)"
    assert isinstance(told, BadModel)


def test_a_verdict_tells_who_wrote_the_file(tmp_path: Path) -> None:
    assert judged(tmp_path, keras_file()).keras_version == "3.15.1"


@pytest.mark.parametrize(
    "version", ["\u00b2", "\u00b2.0", "9" * 64, "", "three", "2.15.0", "0x3", "-3.0", "\u0663.0"]
)
@pytest.mark.parametrize("make", [keras_versioned, h5_versioned])
def test_who_wrote_a_file_may_be_any_text(
    tmp_path: Path, version: str, make: Callable[[str], bytes]
) -> None:
    assert judged(tmp_path, make(version)).keras_version == version
    assert is_before_3(version)


def test_a_file_of_keras_3_is_one_of_4_too() -> None:
    assert not any(map(is_before_3, ("3", "3.0.0", "3.15.1", "4.0")))
    assert is_before_3(None)


@pytest.mark.parametrize("version", ["9" * 65, "3.\x1b[31m", "3\n"])
@pytest.mark.parametrize("make", [keras_versioned, h5_versioned])
def test_a_version_that_is_none_is_refused(
    tmp_path: Path, make: Callable[[str], bytes], version: str
) -> None:
    assert reason(tmp_path, make(version)) == "bad-value"
