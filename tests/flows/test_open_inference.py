"""`/v2` over TLS, asked by the stock client of Triton: every call that it can make here."""

import asyncio
import base64
import gzip
import json
import os
import signal
import struct
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from server.audio.feature_names import FEATURE_NAMES
from tests.flows.conftest import TinyModels
from tests.flows.messages import with_token
from tests.flows.running import Server, difference, once_at, sign_payload, wait_until
from tests.flows.tensors import TOKENS

gevent_ssl = pytest.importorskip("gevent.ssl", reason="needs the test extra")
triton = pytest.importorskip("tritonclient.http", reason="needs the test extra")
aio = pytest.importorskip("tritonclient.http.aio", reason="needs the test extra")
from tritonclient.utils import InferenceServerException  # noqa: E402  # only where it is installed

pytestmark = pytest.mark.timeout(240)
MAX_BYTES = 8 << 20
TENSORS = {"task": "tensors"}
HEADER = "Inference-Header-Content-Length"
BAD_OUTPUTS: list[Any] = [5, [5], [{"name": 5}], [{}]]
Headers = dict[str, str]
Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"RESIDENT_MODELS": "8", "MAX_PREDICTION_BYTES": str(MAX_BYTES)}


@pytest.fixture(scope="module")
def genre(server: Server, tiny: TinyModels) -> str:
    return server.host(tiny.path("row.h5").read_bytes())


@pytest.fixture(scope="module")
def tokens(server: Server, tiny: TinyModels) -> str:
    """Return a model that takes whole numbers."""
    return server.host(tiny.path("tokens.h5").read_bytes(), TENSORS)


@pytest.fixture(scope="module")
def rows(server: Server, tiny: TinyModels) -> str:
    """Return a model of two inputs that takes tensors."""
    return server.host(tiny.path("two_rows.h5").read_bytes(), TENSORS)


def mint(server: Server, *scopes: str, **more: Any) -> Headers:
    fields = {"scopes": list(scopes)} | once_at("/v1/tokens") | more
    answer = server.post("/v1/tokens", sign_payload(fields))
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


@pytest.fixture(scope="module")
def bearer(server: Server) -> Headers:
    return mint(server, "predict", "read", "admin")


def address(server: Server) -> str:
    return server.api.removeprefix("https://")


@pytest.fixture
def client(server: Server) -> Any:
    with triton.InferenceServerClient(
        address(server),
        ssl=True,
        ssl_options={"ca_certs": str(server.ca)},
        ssl_context_factory=gevent_ssl.create_default_context,
        network_timeout=110.0,
    ) as made:
        yield made


def two(value: float = 0.5, count: int = 1) -> list[Any]:
    """Return the inputs of the model of two rows."""
    made = []
    for name, offset in (("one", 0.0), ("two", 1.0)):
        numbers = np.full((count, 58), value + offset, np.float32) * np.linspace(0, 1, 58)
        given = triton.InferInput(name, [count, 58], "FP32")
        given.set_data_from_numpy(numbers.astype(np.float32))
        made.append(given)
    return made


def song(sound: bytes, *more: bytes) -> Any:
    given = triton.InferInput("audio", [1 + len(more), 1], "BYTES")
    given.set_data_from_numpy(np.array([[each] for each in (sound, *more)], dtype=np.object_))
    return given


# the stock client: it writes into the headers that it is given, so each call gets its own


def test_the_server_and_a_model_are_live_and_ready(client: Any, rows: str, bearer: Headers) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    told = client.get_server_metadata()
    assert told["name"] == "spectrogrampredictor"
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(told["extensions"])
    client.load_model(rows, headers={**bearer})
    assert client.is_model_ready(rows, headers={**bearer})
    assert client.is_model_ready(rows, "1", headers={**bearer})
    assert not client.is_model_ready(rows, "2", headers={**bearer})
    assert not client.is_model_ready("0" * 64, headers={**bearer})


def test_metadata_and_configuration_name_the_tensors(
    client: Any, rows: str, genre: str, bearer: Headers
) -> None:
    told = client.get_model_metadata(rows, headers={**bearer})
    assert told["name"] == rows
    assert told["versions"] == ["1"]
    assert told["inputs"][0] == {"name": "one", "datatype": "FP32", "shape": [-1, 58]}
    assert [output["datatype"] for output in told["outputs"]] == ["FP32"]
    config = client.get_model_config(rows, "1", headers={**bearer})
    assert config["input"][1] == {"name": "two", "data_type": "TYPE_FP32", "dims": [58]}
    assert config["max_batch_size"] == 32
    of_song = client.get_model_metadata(genre, headers={**bearer})
    names = [item["name"] for item in of_song["inputs"]]
    assert names[:2] == ["audio", "csv"]
    assert of_song["inputs"][0]["datatype"] == "BYTES"
    config = client.get_model_config(genre, headers={**bearer})
    assert json.loads(config["parameters"]["labels"]["string_value"])[0] == "blues"
    assert config["input"][0] == {
        "name": "audio",
        "data_type": "TYPE_STRING",
        "dims": [1],
        "optional": True,
    }


def test_the_repository_is_listed_loaded_and_unloaded(
    server: Server, client: Any, tokens: str, bearer: Headers
) -> None:
    client.load_model(tokens, headers={**bearer})
    listed = {item["name"]: item for item in client.get_model_repository_index(headers={**bearer})}
    assert listed[tokens] == {"name": tokens, "version": "1", "state": "READY", "reason": ""}
    client.unload_model(tokens, headers={**bearer})
    assert not client.is_model_ready(tokens, headers={**bearer})
    listed = {item["name"]: item for item in client.get_model_repository_index(headers={**bearer})}
    assert listed[tokens]["state"] == "UNAVAILABLE"
    assert listed[tokens]["reason"].startswith("unloaded")
    ready = with_bearer(server, bearer, "/v2/repository/index", b'{"ready": true}').json()
    assert tokens not in {item["name"] for item in ready}
    given = triton.InferInput("tokens", [1, 8], "INT32")
    given.set_data_from_numpy(TOKENS[None])
    client.infer(tokens, [given], headers={**bearer})  # it may still be used, which loads it
    assert client.is_model_ready(tokens, headers={**bearer})


def test_an_unloaded_model_gives_its_memory_back(
    server: Server, client: Any, rows: str, bearer: Headers
) -> None:
    client.load_model(rows, headers={**bearer})
    before = len(server.children("onnx_child"))
    client.unload_model(rows, headers={**bearer})
    wait_until(lambda: len(server.children("onnx_child")) < before, "its worker has ended")


def test_numbers_are_the_same_in_every_form(client: Any, rows: str, bearer: Headers) -> None:
    (name,) = [o["name"] for o in client.get_model_metadata(rows, headers={**bearer})["outputs"]]

    def ask(inputs: list[Any], **more: Any) -> Any:
        return client.infer(rows, inputs, headers={**bearer}, **more)

    binary = ask(two(), request_id="one").as_numpy(name)
    assert binary.shape == (1, 10)
    as_json = two()
    for given in as_json:
        numbers = np.frombuffer(given._get_binary_data(), np.float32).reshape(1, 58)
        given.set_data_from_numpy(numbers, binary_data=False)
    named = [triton.InferRequestedOutput(name, binary_data=False)]
    answer = ask(as_json, outputs=named)
    assert answer.get_response()["parameters"]["digest"] == rows
    assert np.allclose(answer.as_numpy(name), binary, atol=1e-6)
    bytes_of = [triton.InferRequestedOutput(name, binary_data=True)]
    assert np.array_equal(ask(two(), outputs=bytes_of).as_numpy(name), binary)
    for algorithm in ("gzip", "deflate"):
        packed = {"request_compression_algorithm": algorithm}
        packed |= {"response_compression_algorithm": algorithm}
        assert np.array_equal(ask(two(), **packed).as_numpy(name), binary)
    later = client.async_infer(rows, two(), headers={**bearer})
    assert np.array_equal(later.get_result().as_numpy(name), binary)


def test_an_answer_repeats_the_id_of_its_call(client: Any, rows: str, bearer: Headers) -> None:
    answer = client.infer(rows, two(), request_id="a call", headers={**bearer}).get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a call", rows, "1")


def test_rows_of_one_call_get_the_numbers_of_each_alone(
    client: Any, rows: str, bearer: Headers
) -> None:
    (name,) = [o["name"] for o in client.get_model_metadata(rows, headers={**bearer})["outputs"]]
    together = client.infer(rows, two(0.25, 20), headers={**bearer}).as_numpy(name)
    alone = client.infer(rows, two(0.25), headers={**bearer}).as_numpy(name)
    assert together.shape == (20, 10)
    assert np.abs(together - alone).max() < 1e-5


def test_a_song_is_sent_as_it_is(
    client: Any, genre: str, bearer: Headers, wav: bytes, tiny: TinyModels
) -> None:
    (name,) = [o["name"] for o in client.get_model_metadata(genre, headers={**bearer})["outputs"]]
    answer = client.infer(genre, [song(wav)], headers={**bearer})
    assert difference(answer.as_numpy(name)[0].tolist(), tiny.answers["row"]) < 1e-5
    parameters = answer.get_response()["parameters"]
    assert parameters["window"] == "0-30 s of 30 s"
    assert parameters["frontends"] == "gtzan-58@1"
    both = client.infer(genre, [song(wav, wav)], headers={**bearer}).as_numpy(name)
    assert both.shape == (2, 10)
    assert np.array_equal(both[0], answer.as_numpy(name)[0])
    classes = [triton.InferRequestedOutput(name, class_count=3)]
    three = client.infer(genre, [song(wav)], outputs=classes, headers={**bearer}).as_numpy(name)
    assert three.shape == (1, 3)
    value, index, label = three[0, 0].decode().split(":")
    best = int(np.argmax(tiny.answers["row"]))
    assert (int(index), round(float(value), 4)) == (best, round(max(tiny.answers["row"]), 4))
    assert label in "blues classical country disco hiphop jazz metal pop reggae rock"


def test_a_model_of_sounds_takes_its_own_tensors_too(
    client: Any, genre: str, bearer: Headers, tiny: TinyModels
) -> None:
    told = client.get_model_metadata(genre, headers={**bearer})
    given = triton.InferInput(told["inputs"][2]["name"], [1, 58], "FP32")
    given.set_data_from_numpy(np.array([tiny.row], np.float32))
    answer = client.infer(genre, [given], headers={**bearer}).as_numpy(told["outputs"][0]["name"])
    assert difference(answer[0].tolist(), tiny.answers["row"]) < 1e-5


def test_a_feature_row_comes_beside_the_song(
    client: Any, genre: str, bearer: Headers, short_wav: bytes, tiny: TinyModels
) -> None:
    told = client.get_model_metadata(genre, headers={**bearer})
    row = triton.InferInput("csv", [1], "BYTES")
    text = ",".join(FEATURE_NAMES) + "\n" + ",".join(map(repr, tiny.row)) + "\n"
    row.set_data_from_numpy(np.array([text.encode()], dtype=np.object_))
    answer = client.infer(genre, [song(short_wav), row], headers={**bearer})
    numbers = answer.as_numpy(told["outputs"][0]["name"])[0].tolist()
    assert difference(numbers, tiny.answers["row"]) < 1e-5


def test_statistics_count_calls_rows_and_batches(client: Any, rows: str, bearer: Headers) -> None:
    def seen() -> dict[str, Any]:
        (told,) = client.get_inference_statistics(rows, headers={**bearer})["model_stats"]
        return dict(told)

    before = seen() if client.infer(rows, two(), headers={**bearer}) else {}
    client.infer(rows, two(0.1, 3), headers={**bearer})
    after = seen()
    successes = [told["inference_stats"]["success"]["count"] for told in (before, after)]
    assert successes[1] - successes[0] == 1
    assert after["inference_count"] - before["inference_count"] == 3
    assert 1 <= after["execution_count"] - before["execution_count"] <= 3
    assert after["last_inference"] >= before["last_inference"] > 0
    assert (
        sum(item["compute_infer"]["count"] for item in after["batch_stats"])
        == after["execution_count"]
    )
    every = client.get_inference_statistics(headers={**bearer})["model_stats"]
    assert rows in {told["name"] for told in every}


def test_a_refusal_is_an_error_of_the_client_s_own(
    client: Any, rows: str, genre: str, bearer: Headers
) -> None:
    cases: list[tuple[str, Callable[[], object]]] = [
        ("401", lambda: client.get_model_metadata(rows)),
        ("404", lambda: client.get_model_metadata("no-such-model", headers={**bearer})),
        ("404", lambda: client.get_trace_settings(headers={**bearer})),
        ("422", lambda: client.infer(genre, two(), headers={**bearer})),
        ("415", lambda: client.infer(genre, [song(b"no sound")], headers={**bearer})),
        ("400", lambda: client.load_model(rows, config="{}", headers={**bearer})),
    ]
    for status, call in cases:
        with pytest.raises(InferenceServerException) as refused:
            call()
        assert refused.value.status() == status, refused.value
        assert "an exception occurred in the client" not in refused.value.message()


async def test_the_asynchronous_client_makes_the_same_calls(
    server: Server, rows: str, bearer: Headers
) -> None:
    async with aio.InferenceServerClient(
        address(server), ssl=True, ssl_context=server.tls()
    ) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert (await client.get_server_metadata())["name"] == "spectrogrampredictor"
        await client.load_model(rows, headers={**bearer})
        assert await client.is_model_ready(rows, headers={**bearer})
        told = await client.get_model_metadata(rows, headers={**bearer})
        (name,) = [output["name"] for output in told["outputs"]]
        assert (await client.get_model_config(rows, headers={**bearer}))["max_batch_size"] == 32
        assert (await client.get_inference_statistics(rows, headers={**bearer}))["model_stats"]
        assert await client.get_model_repository_index(headers={**bearer})
        answers = await asyncio.gather(
            client.infer(rows, two(), headers={**bearer}),
            client.infer(rows, two(), headers={**bearer}, request_compression_algorithm="gzip"),
            client.infer(
                rows, two(), headers={**bearer}, outputs=[triton.InferRequestedOutput(name, False)]
            ),
        )
        first = answers[0].as_numpy(name)
        assert all(np.allclose(answer.as_numpy(name), first, atol=1e-6) for answer in answers)
        await client.unload_model(rows, headers={**bearer})
        with pytest.raises(InferenceServerException, match="no model has the name"):
            await client.get_model_metadata("nobody", headers={**bearer})


def test_a_model_is_found_by_its_alias(
    server: Server, client: Any, rows: str, bearer: Headers
) -> None:
    with server.client() as http:
        named = http.put(
            "/v1/aliases/two-rows",
            json={"digest": rows},
            headers=bearer | {"If-None-Match": "*"},
        )
    assert named.status_code in (200, 201), named.text
    assert client.get_model_metadata("two-rows", headers={**bearer})["name"] == "two-rows"
    answer = client.infer("two-rows", two(), headers={**bearer}).get_response()
    assert (answer["model_name"], answer["parameters"]["digest"]) == ("two-rows", rows)
    listed = client.get_model_repository_index(headers={**bearer})
    assert {rows, "two-rows"} <= {item["name"] for item in listed}


# by hand


def with_bearer(server: Server, bearer: Headers, path: str, body: Any = None) -> httpx.Response:
    return with_token(server, bearer["Authorization"].removeprefix("Bearer "), path, body)


@pytest.fixture
def infer(server: Server, bearer: Headers) -> Ask:
    """Return what sends a call, as bytes or as JSON."""

    def send_it(model: str, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with server.client() as http:
            return http.post(
                f"/v2/models/{model}/infer",
                content=content,
                headers=bearer | {name.replace("_", "-"): v for name, v in headers.items()},
            )

    return send_it


def error_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert isinstance(told["error"], str)
    return str(told["type"]).removeprefix("/problems/")


def one(**changed: Any) -> dict[str, Any]:
    return {"name": "one", "shape": [1, 58], "datatype": "FP32", "data": [0.5] * 58} | changed


def two_json(**changed: Any) -> dict[str, Any]:
    return {"inputs": [one(**changed), one(name="two")]}


def test_json_without_a_stock_client(rows: str, infer: Ask) -> None:
    flat = infer(rows, two_json())
    nested = infer(rows, two_json(data=[[0.5] * 58]))
    assert flat.status_code == 200, flat.text
    assert flat.json()["outputs"] == nested.json()["outputs"]
    assert flat.headers["content-type"] == "application/json"
    assert len(flat.json()["outputs"][0]["data"]) == 10


def test_a_song_in_json_is_base64(genre: str, infer: Ask, wav: bytes, tiny: TinyModels) -> None:
    text = base64.b64encode(wav).decode()
    audio = {"name": "audio", "shape": [1], "datatype": "BYTES", "data": [text]}
    answer = infer(genre, {"inputs": [audio | {"parameters": {"content_type": "base64"}}]})
    assert difference(answer.json()["outputs"][0]["data"], tiny.answers["row"]) < 1e-5
    assert error_of(infer(genre, {"inputs": [audio]}), 415) == "unreadable-sound"
    wrong = audio | {"data": ["?"], "parameters": {"content_type": "base64"}}
    assert error_of(infer(genre, {"inputs": [wrong]}), 400) == "bad-base64"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{", b'{"inputs": 5}', b'{"inputs": []}', b'{"inputs": [[]]}'),
        *({"inputs": [one()] * 2}, two_json(shape=[]), two_json(shape=[1, -58])),
        *(two_json(shape="x"), two_json(data="x"), two_json(data=None), two_json(data=[True])),
        *(two_json(datatype="FP31"), two_json(datatype=[]), two_json(name=""), two_json(name=5)),
        *(two_json(data=[0.5] * 57), two_json(data=[]), two_json(parameters=[])),
        *(two_json(parameters={"binary_data_size": size}) for size in (0, -1, 232, 1.5, True)),
        *(two_json() | {"outputs": value} for value in BAD_OUTPUTS),
        two_json() | {"outputs": [{"name": "x", "parameters": {"binary_data": 1}}]},
        two_json() | {"outputs": [{"name": "x", "parameters": {"classification": -1}}]},
        *(two_json() | {"parameters": value} for value in (5, {"binary_data_output": "x"})),
        *(two_json() | {"id": value} for value in (5, "x" * 300)),
        b'{"inputs": [{"name": "one", "name": "two"}]}',
        *(b'{"inputs":' + b"[" * 5000, b'{"inputs": [{"data": [NaN]}]}', b"\xff\xfe{}"),
    ],
    ids=lambda body: ascii(body)[:60],
)
def test_what_is_no_call_is_refused(rows: str, infer: Ask, body: Any) -> None:
    assert error_of(infer(rows, body), 400) == "malformed-request"


@pytest.mark.parametrize(
    "body",
    [
        *({"inputs": [one()]}, {"inputs": [one(), one(name="three")]}),
        *(two_json(shape=[2, 58], data=[0.5] * 116), two_json(shape=[0, 58], data=[])),
        *(two_json(shape=[58]), two_json(shape=[1, 58, 1]), two_json(shape=[1, 57])),
        *(two_json(datatype="FP64"), two_json(datatype="INT32"), two_json(datatype="BYTES")),
        two_json() | {"outputs": [{"name": "nothing"}]},
        {"inputs": [one(name=name, shape=[33, 58], data=[0] * 33 * 58) for name in ("one", "two")]},
    ],
    ids=lambda body: ascii(body)[:60],
)
def test_what_does_not_fit_the_model_is_refused(rows: str, infer: Ask, body: Any) -> None:
    if body["inputs"][0].get("datatype") == "BYTES":
        body["inputs"][0]["data"] = ["x"]
    assert error_of(infer(rows, body), 422) == "unusable-input"


def binary_call(*tensors: bytes, declared: int | None = None) -> tuple[bytes, str]:
    """Return a body of tensors behind JSON, and the size of the JSON."""
    inputs = [
        {
            "name": name,
            "shape": [1, 58],
            "datatype": "FP32",
            "parameters": {"binary_data_size": len(data) if declared is None else declared},
        }
        for name, data in zip(("one", "two"), tensors, strict=True)
    ]
    text = json.dumps({"inputs": inputs}).encode()
    return text + b"".join(tensors), str(len(text))


@pytest.mark.parametrize("size", ["0", "-1", "x", "1e3", "99999999", "9" * 20, ""])
def test_a_length_of_the_json_that_is_none_is_refused(rows: str, infer: Ask, size: str) -> None:
    body, _ = binary_call(bytes(232), bytes(232))
    headers = {HEADER: size}
    assert error_of(infer(rows, body, **headers), 400) == "malformed-request"


def test_binary_tensors_of_another_length_are_refused(rows: str, infer: Ask) -> None:
    body, size = binary_call(bytes(232), bytes(232))
    assert infer(rows, body, **{HEADER: size}).status_code == 200
    for tampered in (body[:-1], body + b"x"):
        assert error_of(infer(rows, tampered, **{HEADER: size}), 400) == "malformed-request"
    for short in (binary_call(bytes(231), bytes(232)), binary_call(b"", bytes(232))):
        answer = infer(rows, short[0], **{HEADER: short[1]})
        assert error_of(answer, 400) == "malformed-request"


def test_bytes_that_do_not_hold_what_they_say_are_refused(genre: str, infer: Ask) -> None:
    for data in (b"", b"abc", struct.pack("<I", 9) + b"x", struct.pack("<I", 1) + b"xy"):
        item: dict[str, Any] = {"name": "audio", "shape": [1], "datatype": "BYTES"}
        item["parameters"] = {"binary_data_size": len(data)}
        text = json.dumps({"inputs": [item]}).encode()
        answer = infer(genre, text + data, **{HEADER: str(len(text))})
        assert error_of(answer, 400) == "malformed-request"


# what is packed


def test_a_body_that_inflates_past_the_limit_is_refused_early(
    server: Server, rows: str, infer: Ask
) -> None:
    bomb = gzip.compress(bytes(400 << 20), 9)
    assert len(bomb) < 1 << 20
    before = server.tree_rss()
    for _ in range(3):
        refused = infer(rows, bomb, Content_Encoding="gzip")
        assert error_of(refused, 413) == "body-too-large"
    assert server.tree_rss() - before < 64 << 20
    twice = gzip.compress(bomb)
    assert error_of(infer(rows, twice, Content_Encoding="gzip"), 400) == "malformed-request"


def test_a_body_that_is_not_encoded_as_it_says_is_refused(rows: str, infer: Ask) -> None:
    text = json.dumps(two_json()).encode()
    for data in (text, gzip.compress(text)[:-1], gzip.compress(text) + b"x", b""):
        assert error_of(infer(rows, data, Content_Encoding="gzip"), 400) == "bad-encoding"
    assert error_of(infer(rows, text, Content_Encoding="br"), 415) == "unknown-encoding"
    assert error_of(infer(rows, text, Content_Encoding="gzip, gzip"), 415) == "unknown-encoding"
    for good in (gzip.compress(text), zlib.compress(text)):
        encoding = "gzip" if good[:1] == b"\x1f" else "deflate"
        assert infer(rows, good, Content_Encoding=encoding).status_code == 200
    assert infer(rows, text, Content_Encoding="identity").status_code == 200


# who may


def test_what_a_token_is_not_good_for_is_refused(server: Server, rows: str, genre: str) -> None:
    reader = mint(server, "read", models=rows)
    assert with_bearer(server, reader, f"/v2/models/{rows}").status_code == 200
    assert error_of(with_bearer(server, reader, f"/v2/models/{genre}"), 403) == "scope-missing"
    for path in (f"/v2/models/{rows}/infer", f"/v2/repository/models/{rows}/load"):
        assert error_of(with_bearer(server, reader, path, b"{}"), 403) == "scope-missing"
    caller = mint(server, "predict", models=rows)
    refused = with_bearer(server, caller, f"/v2/repository/models/{rows}/unload", b"")
    assert error_of(refused, 403) == "scope-missing"
    index = with_bearer(server, reader, "/v2/repository/index", b"").json()
    named = {rows, "two-rows"}  # its alias, where an earlier test has given it
    assert rows in {item["name"] for item in index} <= named
    stats = with_bearer(server, reader, "/v2/models/stats").json()["model_stats"]
    assert {item["name"] for item in stats} <= named


def test_nobody_is_told_without_a_key(server: Server, rows: str) -> None:
    for path in ("", "/ready", "/config", "/stats", "/versions/1"):
        assert error_of(server.get(f"/v2/models/{rows}{path}"), 401) == "bad-signature"
    assert error_of(server.get("/v2/models/stats"), 401) == "bad-signature"
    for path in (f"models/{rows}/infer", "repository/index", f"repository/models/{rows}/unload"):
        assert error_of(server.post(f"/v2/{path}", b"{}"), 401) == "bad-signature"
    assert error_of(server.get("/v2/nothing"), 404) == "not-found"
    assert error_of(server.get(f"/v2/models/{rows}/infer"), 405) == "method-not-allowed"


# readiness


def test_a_model_whose_worker_was_killed_is_not_ready_until_it_is_replaced(
    server: Server, client: Any, rows: str, tokens: str, bearer: Headers
) -> None:
    client.unload_model(tokens, headers={**bearer})
    client.load_model(rows, headers={**bearer})
    for child in server.children("onnx_child"):
        os.kill(child.pid, signal.SIGKILL)

    def is_ready() -> bool:
        return bool(client.is_model_ready(rows, headers={**bearer}))

    wait_until(lambda: not is_ready(), "it is not ready", deadline_s=2)
    wait_until(is_ready, "it is ready again")
    client.infer(rows, two(), headers={**bearer})
