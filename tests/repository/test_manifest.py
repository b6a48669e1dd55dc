"""server/repository/manifest.py: the form of a manifest."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import BadManifest
from server.repository.manifest import check_manifest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
DEMO = Path(__file__).parents[2] / "examples" / "demo" / "manifest.json"


def test_the_manifest_of_the_demo_model_is_valid() -> None:
    manifest = json.loads(DEMO.read_text())
    assert check_manifest(manifest) == manifest


def test_numbers_for_an_input_are_valid() -> None:
    manifest = {"inputs": {"x": {"mean": [0, 1.5], "scale": 2}}}
    assert check_manifest(manifest) == manifest


def test_numbers_for_an_output_are_valid() -> None:
    manifest = {"outputs": {"y": {"as": "mel", "mean": 127.5, "scale": 2}}}
    assert check_manifest(manifest) == manifest


def test_an_empty_manifest_is_valid() -> None:
    assert check_manifest({}) == {}


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ([], "object"),
        ({"tasks": "genre"}, "no member 'tasks'"),
        ({"task": ""}, "task"),
        ({"task": 1}, "task"),
        ({"labels": []}, "labels"),
        ({"labels": ["a", "a"]}, "twice"),
        ({"labels": ["a", 1]}, "labels"),
        ({"card": "x" * 8193}, "card"),
        ({"card": "\ud800"}, "surrogates"),
        ({"inputs": {}}, "inputs"),
        ({"inputs": {"x": []}}, "inputs.x"),
        ({"inputs": {"x": {"frontends": "y"}}}, "frontends"),
        ({"inputs": {"x": {"scale": 0}}}, "inputs.x.scale"),
        ({"inputs": {"x": {"scale": [1, 0]}}}, "inputs.x.scale"),
        ({"inputs": {"x": {"mean": "1"}}}, "inputs.x.mean"),
        ({"outputs": {"y": {"scale": 0}}}, "outputs.y.scale"),
        ({"outputs": {"y": {"columns": ["a"]}}}, "columns"),
        ({"inputs": {"x": {"mean": []}}}, "1 to"),
        ({"inputs": {"x": {"mean": True}}}, "inputs.x.mean"),
        ({"inputs": {"x": {"mean": 10**400}}}, "inputs.x.mean"),
        ({"inputs": {"x": {"columns": "length"}}}, "inputs.x.columns"),
    ],
)
def test_a_member_that_is_wrong_is_named(manifest: Any, says: str) -> None:
    with pytest.raises(BadManifest, match=says):
        check_manifest(manifest)


@given(JSON)
def test_no_json_raises_anything_but_a_bad_manifest(value: Any) -> None:
    try:
        checked = check_manifest(value)
    except BadManifest:
        return
    assert checked == value
