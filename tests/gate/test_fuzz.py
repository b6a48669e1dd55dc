"""The gate on honest models that were altered at random: it refuses, or lets through; no more."""

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import BadModel
from server.gate.config import json_text
from server.gate.config.reader import ConfigReader
from server.gate.cost.cost import count
from tests.gate import rule_cases
from tests.gate.files import Config, called, functional, layer, sequential, tensor
from tests.gate.files import given as given_shape
from tests.gate.hostile import CODE, LAMBDA

STACKS = [
    sequential(given_shape(*inputs[0][1:]), layer(kind, "it", **config))
    for kind, config, inputs, _, _ in rule_cases.CASES
    if len(inputs) == 1
]
GRAPHS = [
    functional(
        *(given_shape(*shape[1:], name=f"i{k}") for k, shape in enumerate(inputs)),
        called(layer(kind, "it", **config), [tensor(f"i{k}") for k in range(len(inputs))]),
        inputs=[[f"i{k}", 0, 0] for k in range(len(inputs))],
        outputs=["it", 0, 0],
    )
    for kind, config, inputs, _, _ in rule_cases.CASES
    if len(inputs) > 1
]
NESTED = functional(
    given_shape(4, name="i0"),
    called(sequential(given_shape(4), layer("Dense", "d", units=3), name="in"), tensor("i0")),
    called(
        functional(
            given_shape(4),
            called(layer("ReLU", "r"), tensor("given")),
            outputs=["r", 0, 0],
            name="f",
        ),
        tensor("i0"),
    ),
    called(layer("Concatenate", "it"), [tensor("in"), tensor("f")]),
    inputs=["i0", 0, 0],
    outputs={"b": ["it", 0, 0]},
)
HONEST = [*STACKS, *GRAPHS, NESTED]
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1, 2, 2**31, 2**53, 0.5, -0.0, 1e300, "", "valid", "same", "x"),
        *([], {}, [None], [[]], [0], [-1, 2], ["x", 0, 0], {"class_name": "Dense"}),
        *(CODE, LAMBDA, {"class_name": "__slice__", "config": {}}, {"class_name": "__tuple__"}),
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a configuration."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(found for key, item in inner for found in places(item, (*path, key)))]


def altered(config: Config, data: st.DataObject) -> Any:
    """Change a configuration in a few places."""
    config = copy.deepcopy(config)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(config)))
        if not path:
            continue
        parent: Any = config
        for key in path[:-1]:
            parent = parent[key]
        action = data.draw(st.sampled_from(["set", "remove", "add", "copy"]))
        if action == "set":
            parent[path[-1]] = copy.deepcopy(data.draw(ODD))
        elif action == "remove":
            del parent[path[-1]]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]] if action == "copy" else data.draw(ODD)))
        else:
            parent[data.draw(st.sampled_from(["axis", "units", "layer", "layers", "odd"]))] = (
                copy.deepcopy(data.draw(ODD))
            )
    return config


def looked_at(config: Any, *, is_old: bool) -> None:
    """Judge a configuration; only a refusal may come out."""
    with contextlib.suppress(BadModel):
        text = json.dumps(config).encode()
        layer_ = ConfigReader(is_old=is_old).model(json_text.load(text, where="it"))
        cost, weights, _ = count(layer_)
        assert all(axis >= 0 for shape in weights for axis in shape)
        assert cost.flops >= 0


@pytest.mark.parametrize("config", HONEST, ids=lambda config: json.dumps(config)[-40:])
def test_the_honest_ones_are_let_through(config: Config) -> None:
    count(ConfigReader(is_old=False).model(config))


@given(st.data())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_an_altered_configuration_is_let_through_or_refused(data: st.DataObject) -> None:
    config = data.draw(st.sampled_from(HONEST))
    looked_at(altered(config, data), is_old=data.draw(st.booleans()))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(st.data())
@settings(
    max_examples=100_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_a_hundred_thousand_of_them_are_too(data: st.DataObject) -> None:
    config = data.draw(st.sampled_from(HONEST))
    looked_at(altered(config, data), is_old=data.draw(st.booleans()))


@given(
    st.recursive(
        ODD,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["class_name", "config", "layers", "name", "module"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_configuration_is_refused(config: Any) -> None:
    looked_at(config, is_old=False)
