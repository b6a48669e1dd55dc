"""server/inference/selection.py and convert.py: which engine serves which layers."""

import ast
from pathlib import Path

import pytest

from tests.inference.conftest import Judged

pytestmark = pytest.mark.timeout(400)  # the first test of the run judges every model
SOURCE = ast.parse((Path(__file__).parent / "layer_families.py").read_text())
TABLE = next(node for node in SOURCE.body if isinstance(node, ast.AnnAssign))
assert isinstance(TABLE.value, ast.Dict)
NAMES = [ast.literal_eval(key) for key in TABLE.value.keys if key is not None]
KEPT = {
    "two-outputs": "an input and an output have one name",
    "half": "the model computes in float16",
    "double": "the model computes in float64",
}


@pytest.mark.parametrize("family", [name for name in NAMES if name not in KEPT])
def test_a_layer_family_is_converted_with_the_same_numbers(judged: Judged, family: str) -> None:
    record = judged.families[family]
    assert record["engine"]["name"] == "onnxruntime", record["engine"].get("why")
    assert record["engine"]["precision"] == "float32"
    assert record["conversion"]["max_abs_difference"] <= 1e-5
    assert record["conversion"]["inputs"] >= 32


@pytest.mark.parametrize("family", KEPT)
def test_what_cannot_be_converted_stays_with_keras(judged: Judged, family: str) -> None:
    record = judged.families[family]
    assert record["engine"]["name"] == "keras"
    assert record["engine"]["why"] == KEPT[family]
    assert "conversion" not in record


def test_the_record_says_the_precision_that_a_model_asked_for(judged: Judged) -> None:
    assert judged.families["half"]["engine"]["precision"] == "float16"


@pytest.mark.parametrize("family", ["over-the-batch", "batch-of-one"])
def test_rows_that_depend_on_each_other_are_run_alone(judged: Judged, family: str) -> None:
    assert judged.families[family]["max_batch"] == 1


def test_rows_that_do_not_are_run_together(judged: Judged) -> None:
    assert judged.families["conv2d"]["max_batch"] == 8


def test_axes_that_stay_open_are_compared_in_two_sizes(judged: Judged) -> None:
    assert judged.families["open-time"]["conversion"]["inputs"] >= 64
