"""Jobs by models that are hosted: which one answers, whose it is, and what happens when it dies."""

import json
import signal
from typing import Any

import numpy as np
import pytest

from tests.flows import sounds
from tests.flows.conftest import TinyModels
from tests.flows.jobs import FILE, JOBS, Customer
from tests.flows.messages import key, with_token, write_keys
from tests.flows.running import Server, problem_of, wait_until

onnx = pytest.importorskip("onnx", reason="needs the keras extra")
pytestmark = pytest.mark.timeout(240)
WIDTHS = {"a": 88, "b": 88, "c": 264}
AS = {"a": "note", "b": "onset", "c": "contour"}
MANIFEST = {"task": "midi", "outputs": {name: {"as": output} for name, output in AS.items()}}


def listener() -> bytes:
    """Make a model of the MIDI contract: how loud a window is, on every key and frame."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes = [
        helper.make_node("Abs", ["x"], ["loud"]),
        helper.make_node("ReduceMean", ["loud"], ["level"], axes=[1], keepdims=1),
    ]
    weights, outputs = [], []
    for name, width in WIDTHS.items():
        pattern = np.zeros((1, 172, width), np.float32)
        frames = slice(60, 61) if AS[name] == "onset" else slice(60, 100)
        pattern[0, frames, width // 2] = 100.0
        weights.append(numpy_helper.from_array(pattern, f"w{name}"))
        nodes += [
            helper.make_node("Mul", ["level", f"w{name}"], [f"m{name}"]),
            helper.make_node("Tanh", [f"m{name}"], [name]),
        ]
        shape = ["n", 172, width]
        outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 43844, 1])]
    graph = helper.make_graph(nodes, "listener", inputs, outputs, weights)
    made: Any = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    data: bytes = made.SerializeToString()
    return data


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("one"))
    return {"KEYS_FILE": str(path), "JOB_WORKERS": "1"}


@pytest.fixture(scope="module")
def one(server: Server) -> Customer:
    return Customer(server, "one")


@pytest.fixture(scope="module")
def hosted(server: Server) -> str:
    return server.host(listener(), MANIFEST)


@pytest.fixture(scope="module")
def tune() -> bytes:
    return sounds.encode(sounds.song(4.0))


def test_the_model_that_is_named_answers(one: Customer, hosted: str, tune: bytes) -> None:
    done = one.submit(tune, f"model={hosted}&end=dropped", Prefer="wait=60").json()
    assert (done["state"], done["task"]) == ("done", "midi"), done["problem"]
    assert (done["model"], done["baseline"]) == (hosted, None)
    result = done["result"]
    assert result["model"] == hosted
    assert "baseline" not in result
    assert {note["pitch"] for note in result["outputs"]["notes"]} == {21 + 44}
    by_baseline = one.submit(tune, "task=midi&end=dropped", Prefer="wait=60").json()
    assert by_baseline["id"] != done["id"]
    assert by_baseline["result"]["baseline"] == "salience-baseline"
    assert one.submit(tune, f"task=midi&model={hosted}&end=dropped").json()["id"] == done["id"]


def test_a_model_is_heard_as_its_package_hears_unless_the_end_is_wanted(
    one: Customer, hosted: str, tune: bytes
) -> None:
    def notes(query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = one.ended(one.submit(tune, query).json()["id"])["result"][
            "outputs"
        ]["notes"]
        return found

    by_itself = notes(f"model={hosted}")
    assert by_itself == notes(f"model={hosted}&end=dropped")
    assert by_itself != notes(f"model={hosted}&end=heard")
    assert notes("task=midi") == notes("task=midi&end=heard")


def test_a_model_of_another_task_is_refused(
    one: Customer, server: Server, tiny: TinyModels, tune: bytes
) -> None:
    genre = server.host(tiny.path("two.h5").read_bytes())
    answer = one.submit(tune, f"task=midi&model={genre}")
    assert problem_of(answer, 422) == "unusable-input"
    assert "'genre'" in answer.json()["detail"]


def test_a_token_for_another_model_does_not_see_the_job(
    one: Customer, server: Server, hosted: str, tune: bytes
) -> None:
    job = one.submit(tune, f"model={hosted}", Prefer="wait=60").json()
    asked = {"scopes": ["predict", "read"], "models": "0*" if hosted[0] != "0" else "1*"}
    minted = one.ask(
        "POST", "/v1/tokens", "", json.dumps(asked).encode(), content_type="application/json"
    )
    token = minted.json()["token"]
    path = f"{JOBS}/{job['id']}"
    assert problem_of(with_token(server, token, path), 404) == "job-not-found"
    assert job["id"] not in with_token(server, token, JOBS).text
    refused = with_token(server, token, f"{JOBS}?model={hosted}", tune, content_type=FILE)
    assert problem_of(refused, 403) == "scope-missing"


def test_a_model_that_dies_costs_no_job(one: Customer, server: Server, hosted: str) -> None:
    sound = sounds.encode(sounds.song(200.0))
    undisturbed = one.submit(sound, f"model={hosted}&program=1", Prefer="wait=60").json()
    job = one.submit(sound, f"model={hosted}&program=2").json()["id"]
    wait_until(lambda: one.job(job)["progress"], "it is at work", deadline_s=60)
    for worker in server.children("onnx_child"):
        worker.send_signal(signal.SIGKILL)
    told = one.ended(job)
    assert told["state"] == "done"
    assert told["result"]["outputs"] == undisturbed["result"]["outputs"]


def test_another_manifest_is_another_job(
    one: Customer, server: Server, hosted: str, tune: bytes
) -> None:
    query = f"model={hosted}&program=3"
    first = one.submit(tune, query, Prefer="wait=60").json()
    assert first["state"] == "done"
    server.register(hosted, MANIFEST | {"card": "the same file, declared anew"})
    second = one.submit(tune, query, Prefer="wait=60").json()
    assert second["id"] != first["id"]
    assert second["result"]["outputs"] == first["result"]["outputs"]
