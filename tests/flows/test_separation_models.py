"""Songs taken apart by hosted graphs of the published signatures, and by the baseline as files."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from server.separation.stem_files import STEMS
from server.tasks.contract import Signature, TensorSpec
from server.tasks.separation import SEPARATION, bind
from server.tasks.task import Tensors
from tests.flows import sounds
from tests.flows.jobs import JOBS, Customer
from tests.flows.messages import key, write_keys
from tests.flows.running import Server
from tests.tasks.working import do

onnx = pytest.importorskip("onnx", reason="needs the keras extra")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the onnx extra")
pytestmark = pytest.mark.timeout(240)
RATE = 44_100
FLOAT = onnx.TensorProto.FLOAT
UMX = ["n", 2, 2049, 256]
UMX_MANIFEST = {"task": "separation", "outputs": {"target": {"as": "vocals"}}}
DEMUCS_MANIFEST = {"task": "separation", "order": ["drums", "bass", "other", "vocals"]}


def graph(nodes: list[Any], given: Any, answered: Any, **weights: NDArray[Any]) -> bytes:
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    kept = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    inputs = [helper.make_tensor_value_info(given[0], FLOAT, given[1])]
    outputs = [helper.make_tensor_value_info(answered[0], FLOAT, answered[1])]
    made = helper.make_graph(nodes, "graph", inputs, outputs, kept)
    model: Any = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def open_unmix() -> bytes:
    """Make the network of one stem: magnitudes times a mask, by an LSTM that looks both ways."""
    rng = np.random.default_rng(0)
    node = onnx.helper.make_node
    nodes = [
        node("Transpose", ["mixture"], ["t"], perm=[3, 0, 1, 2]),
        node("Reshape", ["t", "flat"], ["r"]),
        node("MatMul", ["r", "w1"], ["d"]),
        node("Tanh", ["d"], ["h"]),
        node("LSTM", ["h", "w", "u"], ["l"], direction="bidirectional", hidden_size=4),
        node("Transpose", ["l"], ["lt"], perm=[0, 2, 1, 3]),
        node("Reshape", ["lt", "both"], ["lr"]),
        node("MatMul", ["lr", "w2"], ["e"]),
        node("Sigmoid", ["e"], ["m"]),
        node("Reshape", ["m", "wide"], ["mr"]),
        node("Transpose", ["mr"], ["mask"], perm=[1, 2, 3, 0]),
        node("Mul", ["mixture", "mask"], ["target"]),
    ]

    def normal(*shape: int) -> NDArray[np.float32]:
        return (0.3 * rng.standard_normal(shape)).astype(np.float32)

    shapes = {"flat": [0, 0, 4098], "both": [0, 0, 8], "wide": [0, 0, 2, 2049]}
    return graph(
        nodes,
        ("mixture", UMX),
        ("target", UMX),
        w1=normal(4098, 8),
        w=normal(2, 16, 8),
        u=normal(2, 16, 4),
        w2=4 * normal(8, 4098),
        **{name: np.array(shape, np.int64) for name, shape in shapes.items()},
    )


def demucs() -> bytes:
    """Make a network of waveforms."""
    rng = np.random.default_rng(1)
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["mix", "w"], ["c"], kernel_shape=[5], pads=[2, 2]),
        node("Reshape", ["c", "shape"], ["stems"]),
    ]
    return graph(
        nodes,
        ("mix", [1, 2, 343_980]),
        ("stems", [1, 4, 2, 343_980]),
        w=(0.2 * rng.standard_normal((8, 2, 5))).astype(np.float32),
        shape=np.array([1, 4, 2, 343_980], np.int64),
    )


def signature(inputs: Any, outputs: Any) -> Signature:
    specs = [TensorSpec(name, tuple(shape), "float32") for name, shape in (inputs, outputs)]
    return Signature((specs[0],), (specs[1],))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("one"))
    return {"KEYS_FILE": str(path), "JOB_WORKERS": "1"}


@pytest.fixture(scope="module")
def one(server: Server) -> Customer:
    return Customer(server, "one")


@pytest.fixture(scope="module")
def song() -> NDArray[np.float32]:
    left = sounds.song(24.0)  # 12 s at the task's rate
    return np.stack([left, 0.5 * np.roll(left, 300)], axis=1)


def ask(one: Customer, song: NDArray[np.float32], query: str) -> tuple[Any, dict[str, Any]]:
    """Have a song taken apart; return the result, and the files by stem."""
    sound = sounds.encode(song, RATE, subtype="FLOAT")
    done = one.submit(sound, query, Prefer="wait=60").json()
    if done["state"] not in ("done", "failed"):
        done = one.ended(done["id"])
    assert done["state"] == "done", done["problem"]
    result = done["result"]
    files = {}
    for stem in STEMS:
        answer = one.ask("GET", result["artifacts"][stem]["href"])
        assert result["artifacts"][stem]["href"].startswith(f"{JOBS}/{done['id']}/")
        files[stem], rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
        assert rate == RATE
    return result, files


def in_process(data: bytes, names: Mapping[str, str]) -> Any:
    """Return a function that runs a graph; `names` are its tensors by those of the form."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (given, tensor), (answered, output) = names.items()

    def model(tensors: Tensors) -> Tensors:
        return {answered: session.run([output], {tensor: np.ascontiguousarray(tensors[given])})[0]}

    return model


def test_open_unmix_of_one_stem(
    one: Customer, server: Server, song: NDArray[np.float32], tmp_path: Path
) -> None:
    data = open_unmix()
    digest = server.host(data, UMX_MANIFEST)
    result, files = ask(one, song, f"model={digest}")
    assert result["model"] == digest
    bound = bind(signature(("mixture", UMX), ("target", UMX)), UMX_MANIFEST)
    model = in_process(data, {"mixture": "mixture", "vocals": "target"})
    do(SEPARATION, sounds.encode(song, RATE, subtype="FLOAT"), tmp_path, model=model, binding=bound)
    expected, _ = soundfile.read(tmp_path / "vocals.wav", dtype="float32")
    np.testing.assert_allclose(files["vocals"], expected, atol=1e-5)
    np.testing.assert_allclose(files["vocals"] + files["other"], song, atol=1e-4)
    assert np.abs(files["vocals"]).max() > 0.01
    assert np.abs(files["other"]).max() > 0.01


def test_demucs(one: Customer, server: Server, song: NDArray[np.float32], tmp_path: Path) -> None:
    data = demucs()
    digest = server.host(data, DEMUCS_MANIFEST)
    _, files = ask(one, song, f"model={digest}&format=flac")
    shapes = ("mix", [1, 2, 343_980]), ("stems", [1, 4, 2, 343_980])
    model = in_process(data, {"mix": "mix", "stems": "stems"})
    do(
        SEPARATION,
        sounds.encode(song, RATE, subtype="FLOAT"),
        tmp_path,
        model=model,
        binding=bind(signature(*shapes), DEMUCS_MANIFEST),
        form="waveform",
    )
    for stem in STEMS:
        expected, _ = soundfile.read(tmp_path / f"{stem}.wav", dtype="float32")
        np.testing.assert_allclose(files[stem], expected, atol=1e-5)
    np.testing.assert_allclose(sum(files.values()), song, atol=1e-4)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
def test_the_baseline_writes_every_format_behind_the_walls(
    one: Customer, song: NDArray[np.float32], ending: str
) -> None:
    result, files = ask(one, song, f"task=separation&format={ending}")
    assert result["baseline"] == "dsp-baseline"
    if ending != "mp3":
        np.testing.assert_allclose(sum(files.values()), song, atol=1e-4)
        return
    for stem in STEMS:  # an encoder adds silence before and behind
        assert len(song) <= len(files[stem]) <= len(song) + 4 * 1152
        rms = float(np.sqrt(np.mean(np.square(files[stem]))))
        assert rms == pytest.approx(result["outputs"]["stems"][stem]["rms"], rel=0.1, abs=1e-3)
