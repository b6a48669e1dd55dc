"""POST /v1/models/{digest}/predictions: songs and tensors, signed in a header or behind them."""

import base64
import json
import sqlite3
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from server.audio.feature_names import FEATURE_NAMES
from tests.flows import sounds
from tests.flows.conftest import TinyModels
from tests.flows.running import (
    TOKEN,
    Server,
    difference,
    digest_of,
    fresh_copy,
    probabilities,
    problem_of,
    sign_payload,
    sign_text,
    wait_until,
)
from tests.flows.tensors import FRAMES, TOKENS

pytestmark = pytest.mark.timeout(240)
New = Callable[..., Server]
Noise = Callable[[int], bytes]
MAX_BYTES = 8 << 20
TENSORS = {"task": "tensors"}


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"RESIDENT_MODELS": "8", "MAX_PREDICTION_BYTES": str(MAX_BYTES)}


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels) -> str:
    return server.host(tiny.path("two.h5").read_bytes())


@pytest.fixture(scope="module")
def rows(server: Server, tiny: TinyModels) -> str:
    """Return a model of two inputs that takes tensors."""
    return server.host(tiny.path("two_rows.h5").read_bytes(), TENSORS)


def path_of(digest: str) -> str:
    return f"/v1/models/{digest}/predictions"


def head(path: str, body: bytes, *, token: str = TOKEN, **changed: Any) -> str:
    """Return the header that signs a body; a field that is None is left out."""
    fields = {"sha256": digest_of(body), "_path": path, "_ts": time.time()} | changed
    return sign_payload({k: v for k, v in fields.items() if v is not None}, token=token)


def send(
    server: Server, digest: str, body: bytes, *, http2: bool = False, **changed: Any
) -> httpx.Response:
    """Send a raw body, signed in its header."""
    path = path_of(digest)
    headers = {"Signed-Request": head(path, body, **changed)}
    with server.client(http2=http2) as http:
        return http.post(path, content=body, headers=headers)


def call(server: Server, digest: str, inputs: Any, **changed: Any) -> httpx.Response:
    """Send a signed payload of tensors."""
    path = path_of(digest)
    fields = {"inputs": inputs, "_path": path, "_ts": time.time()} | changed
    text = sign_payload({k: v for k, v in fields.items() if v is not None})
    return post_json(server, path, text)


def post_json(server: Server, path: str, text: str | bytes) -> httpx.Response:
    with server.client() as http:
        return http.post(path, content=text, headers={"Content-Type": "application/json"})


def told(answer: httpx.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    row: list[float] = answer.json()["probabilities"]
    return row


def output(answer: httpx.Response) -> list[float]:
    """Return the numbers of the only output."""
    assert answer.status_code == 200, answer.text
    ((_, value),) = answer.json()["outputs"].items()
    assert len(value["data"]) == np.prod(value["shape"])
    numbers: list[float] = value["data"]
    return numbers


def packed(values: Any, kind: str = "f") -> dict[str, Any]:
    array = np.asarray(values, kind)
    return {"shape": list(array.shape), "base64": base64.b64encode(array.tobytes()).decode()}


def cache(server: Server) -> dict[str, int]:
    state: dict[str, int] = server.get("/readyz").json()["feature_cache"]
    return state


# songs


def test_a_raw_song_gets_the_numbers_of_the_original_path(
    server: Server, hosted: str, wav: bytes, tiny: TinyModels
) -> None:
    answer = send(server, hosted, wav)
    assert difference(told(answer), probabilities(server.predict(hosted, wav))) < 1e-6
    assert difference(told(answer), tiny.answers["two"]) < 1e-5


def test_the_answer_says_how_it_was_made(server: Server, hosted: str, wav: bytes) -> None:
    answer = send(server, hosted, wav, ext="wav").json()
    assert answer["model"]["digest"] == hosted
    assert answer["model"]["task"] == "genre"
    assert answer["model"]["engine"].startswith("onnxruntime ")
    assert answer["labels"][:2] == ["blues", "classical"]
    assert len(answer["labels"]) == len(answer["probabilities"]) == 10
    assert answer["frontends"] == ["gtzan-58@1", "kaggle-gtzan@1"]
    assert answer["window"] == "0-30 s of 30 s"
    assert answer["features"] == "derived"
    assert answer["saturated"] is False


def test_a_row_in_the_header_is_used(
    server: Server, hosted: str, wav: bytes, tiny: TinyModels
) -> None:
    csv = ",".join(FEATURE_NAMES) + "\n" + ",".join(map(repr, tiny.row)) + "\n"
    answer = send(server, hosted, wav, csv=csv)
    assert answer.json()["features"] == "client"
    assert difference(told(answer), tiny.answers["two"]) < 1e-5
    doubled = ",".join(FEATURE_NAMES) + "\n" + ",".join(repr(2 * v) for v in tiny.row) + "\n"
    assert difference(told(send(server, hosted, wav, csv=doubled)), tiny.answers["two"]) > 1e-3


def test_over_http2_the_numbers_are_the_same(server: Server, hosted: str, wav: bytes) -> None:
    one, two = (told(send(server, hosted, wav, http2=http2)) for http2 in (False, True))
    assert difference(one, two) < 1e-6


def test_a_known_song_is_answered_from_what_was_kept(server: Server, hosted: str) -> None:
    song = sounds.encode(sounds.song(seed=11))
    before = cache(server)
    first = told(send(server, hosted, song))
    between = cache(server)
    assert between["misses"] == before["misses"] + 2
    assert between["hits"] == before["hits"]
    wait_until(lambda: cache(server)["bytes"] > before["bytes"], "the values are kept")
    assert told(send(server, hosted, song)) == first
    assert cache(server)["hits"] == before["hits"] + 2


def test_another_model_on_a_known_song_is_answered_from_what_was_kept(
    server: Server, hosted: str, wav: bytes, tiny: TinyModels
) -> None:
    row = server.host(tiny.path("row.h5").read_bytes())
    probabilities(server.predict(hosted, wav, ext=None))
    wait_until(lambda: cache(server)["bytes"] > 0, "the values are kept")
    before = cache(server)
    answer = told(send(server, row, wav))
    assert difference(answer, tiny.answers["row"]) < 1e-5
    assert cache(server)["hits"] == before["hits"] + 1
    assert cache(server)["misses"] == before["misses"]


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"ext": "mp3"}, (415, "wrong-extension")),
        ({"ext": "no such"}, (400, "bad-extension")),
        ({"ext": "\ud800"}, (400, "bad-extension")),
        ({"ext": 5}, (400, "malformed-request")),
        ({"csv": "tempo\n1\n"}, (422, "bad-feature-row")),
        ({"csv": "\ud800"}, (400, "malformed-request")),
        ({"csv": ["tempo"]}, (400, "malformed-request")),
        ({"surprise": 1}, (400, "malformed-request")),
        ({"model_hash": "x"}, (400, "malformed-request")),
    ],
    ids=ascii,
)
def test_a_field_of_the_header_that_cannot_be_used_is_refused(
    server: Server, hosted: str, short_wav: bytes, fields: Any, refusal: tuple[int, str]
) -> None:
    status, slug = refusal
    assert problem_of(send(server, hosted, short_wav, **fields), status) == slug


@pytest.mark.parametrize(
    ("body", "slug"), [(b"", "empty-sound"), (b"noise" * 100, "unreadable-sound")]
)
def test_a_body_that_is_no_sound_is_refused(
    server: Server, hosted: str, body: bytes, slug: str
) -> None:
    assert problem_of(send(server, hosted, body), 415) == slug


def test_32_callers_at_once_get_the_numbers_of_one_alone(server: Server, hosted: str) -> None:
    songs = [sounds.encode(sounds.song(2.0, seed=seed)) for seed in range(4)]
    alone = [told(send(server, hosted, song)) for song in songs]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda k: told(send(server, hosted, songs[k % 4])), range(32)))
    for k, answer in enumerate(answers):
        assert difference(answer, alone[k % 4]) < 1e-5
    assert difference(alone[0], alone[1]) > 1e-4  # a mix-up would show


# who asks, and for what


@pytest.mark.parametrize(
    "changed",
    [
        {"sha256": "0" * 64},
        {"_path": "/prediction"},
        {"_ts": 1.0},
        {"_ts": 4e9},
        {"token": "a token that nobody gave out"},
    ],
    ids=str,
)
def test_a_header_that_signs_something_else_is_refused(
    server: Server, hosted: str, short_wav: bytes, changed: dict[str, Any]
) -> None:
    assert problem_of(send(server, hosted, short_wav, **changed), 401) == "bad-signature"


@pytest.mark.parametrize("name", ["sha256", "_path", "_ts"])
def test_a_header_without_what_it_must_hold_is_refused(
    server: Server, hosted: str, short_wav: bytes, name: str
) -> None:
    missing: dict[str, Any] = {name: None}
    answer = send(server, hosted, short_wav, **missing)
    assert problem_of(answer, 400) == "malformed-request"
    assert name in answer.json()["detail"]


def test_a_header_with_a_nonce_counts_once(server: Server, hosted: str, short_wav: bytes) -> None:
    path = path_of(hosted)
    headers = {"Signed-Request": head(path, short_wav, _nonce="n" + digest_of(short_wav)[:9])}
    with server.client() as http:
        assert http.post(path, content=short_wav, headers=headers).status_code == 200
        again = http.post(path, content=short_wav, headers=headers)
    assert problem_of(again, 401) == "bad-signature"


@pytest.mark.parametrize("header", ["", "x", '{"sha256":""}.' + "A" * 27])
def test_an_unsigned_body_is_refused_before_it_is_sent(
    server: Server, hosted: str, header: str
) -> None:
    request = (
        f"POST {path_of(hosted)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_BYTES}\r\n"
        f"Signed-Request: {header}\r\n\r\n"
    )
    with server.connect() as connection:
        connection.settimeout(30)
        connection.sendall(request.encode() + b"a few bytes")  # and nothing more
        assert connection.recv(64).startswith(b"HTTP/1.1 401 ")


def test_a_body_over_the_limit_is_refused(server: Server, hosted: str) -> None:
    assert problem_of(send(server, hosted, bytes(MAX_BYTES + 1)), 413) == "body-too-large"


@pytest.mark.parametrize(
    ("digest", "status", "slug"),
    [
        ("0" * 64, 404, "model-not-found"),
        ("x", 404, "alias-not-found"),
        ("A" * 63, 400, "bad-digest"),
    ],
)
def test_a_model_that_is_not_there_is_refused(
    server: Server, short_wav: bytes, digest: str, status: int, slug: str
) -> None:
    assert problem_of(send(server, digest, short_wav), status) == slug
    assert problem_of(call(server, digest, {"x": [1]}), status) == slug


def test_a_digest_that_is_only_registered_is_refused(
    server: Server, noise: Noise, short_wav: bytes
) -> None:
    digest = digest_of(noise(8))
    server.register(digest)
    assert problem_of(send(server, digest, short_wav), 409) == "model-not-uploaded"


def test_another_method_is_refused(server: Server, hosted: str) -> None:
    assert problem_of(server.get(path_of(hosted)), 405) == "method-not-allowed"


# tensors


def test_raw_nested_and_packed_tensors_get_the_same_numbers(server: Server, rows: str) -> None:
    one, two = np.linspace(-1, 1, 116, dtype=np.float32).reshape(2, 58)
    raw = output(send(server, rows, one.tobytes() + two.tobytes()))
    nested = output(call(server, rows, {"two": two.tolist(), "one": one.tolist()}))
    based = output(call(server, rows, {"two": packed(two), "one": packed(one[None])}))
    assert abs(sum(raw) - 1) < 1e-5
    assert difference(raw, nested) < 1e-6
    assert difference(raw, based) < 1e-6


def test_the_numbers_are_little_endian(server: Server, rows: str) -> None:
    values = [k / 116 for k in range(116)]
    raw = output(send(server, rows, struct.pack("<116f", *values)))
    nested = output(call(server, rows, {"one": values[:58], "two": values[58:]}))
    assert difference(raw, nested) < 1e-6


def test_an_open_axis_takes_any_length(server: Server, tiny: TinyModels) -> None:
    digest = server.host(tiny.path("frames.h5").read_bytes(), TENSORS)
    answer = output(call(server, digest, {"frames": FRAMES.tolist()}))
    assert difference(answer, tiny.answers["frames"]) < 1e-5
    longer = output(call(server, digest, {"frames": packed(np.repeat(FRAMES, 7, axis=0))}))
    assert difference(longer, tiny.answers["frames"]) < 1e-5
    assert output(call(server, digest, {"frames": packed(FRAMES)})) == answer
    refused = send(server, digest, FRAMES.tobytes())
    assert problem_of(refused, 422) == "unusable-input"
    assert "send JSON" in refused.json()["detail"]


def test_inputs_too_large_for_an_open_axis_never_disable_the_model(
    server: Server, tiny: TinyModels
) -> None:
    digest = server.host(tiny.path("wide.keras").read_bytes(), TENSORS)
    small = {"x": packed(np.ones((3, 1)))}
    before = output(call(server, digest, small))
    for size in range(40_000, 40_005):  # 512 numbers each come out: 82 MB
        refused = call(server, digest, {"x": packed(np.ones((size, 1)))})
        assert problem_of(refused, 422) == "unusable-input"
    assert output(call(server, digest, small)) == before


def test_whole_numbers_are_fed_as_such(server: Server, tiny: TinyModels) -> None:
    digest = server.host(tiny.path("tokens.h5").read_bytes(), TENSORS)
    answer = output(call(server, digest, {"tokens": TOKENS.tolist()}))
    assert difference(answer, tiny.answers["tokens"]) < 1e-5
    based = output(call(server, digest, {"tokens": packed(TOKENS, "i")}))
    assert difference(based, tiny.answers["tokens"]) < 1e-5
    assert problem_of(call(server, digest, {"tokens": [0.5]}), 422) == "unusable-input"


def test_no_number_is_taken_for_another_by_a_narrow_type(server: Server, tiny: TinyModels) -> None:
    digest = server.host(tiny.path("narrow.keras").read_bytes(), TENSORS)
    good = {"bytes": [255, 0, 1], "switches": [1, 0, 1]}
    assert output(call(server, digest, good)) == [256.0, 2.0]
    for name, value in [("bytes", 256), ("bytes", -1), ("switches", 2), ("switches", -1)]:
        answer = call(server, digest, good | {name: [value, 0, 0]})
        assert problem_of(answer, 422) == "unusable-input"
        assert f"{name!r} takes whole numbers from 0" in answer.json()["detail"]
        given = np.array([[255, 0, 1], [value, 0, 0]], np.int32)
        raw = given if name == "switches" else given[::-1]
        assert problem_of(send(server, digest, raw.tobytes()), 422) == "unusable-input"


def test_a_number_that_the_model_cannot_look_up_fails_alone(
    server: Server, tiny: TinyModels
) -> None:
    digest = server.host(fresh_copy(tiny.path("tokens.h5")), TENSORS)
    good = {"tokens": TOKENS.tolist()}
    assert call(server, digest, good).status_code == 200
    inputs = [{"tokens": [99] * 8} if k % 4 == 0 else good for k in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda given: call(server, digest, given), inputs))
    for k, answer in enumerate(answers):
        if k % 4 == 0:
            assert problem_of(answer, 422) == "unusable-input"
        else:
            assert difference(output(answer), tiny.answers["tokens"]) < 1e-5


def test_32_callers_with_tensors_get_the_numbers_of_one_alone(server: Server, rows: str) -> None:
    given = np.random.default_rng(5).standard_normal((8, 2, 58)).astype(np.float32)
    alone = [output(send(server, rows, pair.tobytes())) for pair in given]
    with ThreadPoolExecutor(32) as pool:
        bodies = [given[k % 8].tobytes() for k in range(32)]
        answers = list(pool.map(lambda body: output(send(server, rows, body)), bodies))
    assert max(difference(answers[k], alone[k % 8]) for k in range(32)) < 1e-5


def test_an_answer_that_is_no_number_is_refused(server: Server, rows: str) -> None:
    body = np.full(116, 3e38, np.float32).tobytes()
    answer = send(server, rows, body)
    assert problem_of(answer, 422) == "model-rejected"
    assert "not finite" in answer.json()["detail"]
    assert send(server, rows, bytes(464)).status_code == 200


@pytest.mark.parametrize(
    "inputs",
    [
        *({}, {"one": [1.0]}, {"one": [0] * 58}, {"one": [0] * 58, "two": [0] * 57}),
        {"one": [0] * 58, "two": [0] * 58, "three": [0]},
        {"one": [0] * 58, "two": [[0]] * 58},
    ],
    ids=lambda inputs: str(inputs)[:40],
)
def test_tensors_that_do_not_fit_are_refused(server: Server, rows: str, inputs: Any) -> None:
    assert problem_of(call(server, rows, inputs), 422) == "unusable-input"


@pytest.mark.parametrize(
    "inputs",
    [
        *(None, [], "x", 5, {"one": 1}, {"one": {"shape": [58]}}, {"one": [True]}),
        *({"one": ["x"]}, {"one": None}, {"one\0": [1], "one": [1]}, {"\ud800": [1]}),
    ],
    ids=ascii,
)
def test_json_that_is_no_call_is_refused(server: Server, rows: str, inputs: Any) -> None:
    assert problem_of(call(server, rows, inputs), 400) == "malformed-request"


@pytest.mark.parametrize("numbers", ["NaN", "Infinity", "1e999", "9" * 400, "0,", "[" * 5000])
def test_numbers_that_are_none_are_refused(server: Server, rows: str, numbers: str) -> None:
    path = path_of(rows)
    text = f'{{"inputs":{{"one":[{numbers}]}},"_path":"{path}","_ts":{time.time()}}}'
    answer = post_json(server, path, sign_text(text))
    assert problem_of(answer, 400) == "malformed-request"


def test_base64_of_another_spelling_is_refused(server: Server, rows: str) -> None:
    inputs = {"one": {"shape": [58], "base64": "x-_="}, "two": [0] * 58}
    assert problem_of(call(server, rows, inputs), 400) == "bad-base64"


@pytest.mark.parametrize("changed", [{"_path": None}, {"_ts": None}, {"surprise": 1}])
def test_a_payload_that_is_not_bound_to_path_and_time_is_refused(
    server: Server, rows: str, changed: dict[str, Any]
) -> None:
    assert problem_of(call(server, rows, {"one": [1]}, **changed), 400) == "malformed-request"


def test_an_unsigned_payload_is_refused(server: Server, rows: str) -> None:
    text = json.dumps({"inputs": {}, "_path": path_of(rows), "_ts": time.time()})
    assert problem_of(post_json(server, path_of(rows), text), 401) == "bad-signature"


@pytest.mark.parametrize("size", [0, 463, 465, 464 * 2])
def test_raw_tensors_of_another_length_are_refused_with_the_right_one(
    server: Server, rows: str, size: int
) -> None:
    answer = send(server, rows, bytes(size))
    assert problem_of(answer, 422) == "unusable-input"
    assert "464" in answer.json()["detail"]


def test_a_model_of_the_other_kind_is_refused(
    server: Server, hosted: str, rows: str, wav: bytes
) -> None:
    assert problem_of(call(server, hosted, {"features": [0] * 58}), 422) == "unusable-input"
    assert problem_of(send(server, rows, wav), 422) == "unusable-input"
    assert problem_of(server.predict(rows, wav), 422) == "unusable-input"
    assert problem_of(send(server, rows, bytes(464), ext="wav"), 400) == "malformed-request"


# memory


def loaded(server: Server) -> int:
    return int(server.get("/readyz").json()["models_loaded"])


def test_models_that_had_to_go_are_loaded_again(
    new_server: New, tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server(RESIDENT_MODELS="1").start()
    digests = [server.host(tiny.path(name).read_bytes()) for name in ("row.h5", "sequential.h5")]
    first = [told(send(server, digest, short_wav)) for digest in digests]
    again = [told(send(server, digest, short_wav)) for digest in digests]
    assert first == again
    assert loaded(server) == 1
    assert len(server.children("onnx_child")) == 1


def test_two_models_share_a_small_memory(
    new_server: New, tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server(MODEL_MEMORY=str(100 << 20)).start()
    digests = [server.host(tiny.path(name).read_bytes()) for name in ("row.h5", "sequential.h5")]
    answers = [told(send(server, digest, short_wav)) for digest in [*digests, *digests]]
    assert answers[:2] == answers[2:]
    assert server.get("/readyz").json()["model_memory_bytes"] <= 100 << 20


def test_a_model_over_the_memory_is_told_so(
    new_server: New, tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server(MODEL_MEMORY=str(4 << 20)).start()
    digest = server.host(tiny.path("row.h5").read_bytes())
    answer = send(server, digest, short_wav)
    assert problem_of(answer, 507) == "memory-short"
    assert int(answer.headers["Retry-After"]) > 0
    wait_until(lambda: not server.children("onnx_child"), "its process has ended")
    assert loaded(server) == 0


def test_a_pinned_model_is_loaded_at_the_start_and_stays(
    new_server: New, tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server().start()
    digests = [server.host(tiny.path(name).read_bytes()) for name in ("row.h5", "sequential.h5")]
    for digest in digests:
        told(send(server, digest, short_wav))
    assert server.stop() == 0
    server.settings |= {"PINNED_MODELS": digests[0], "RESIDENT_MODELS": "1"}
    server.start()
    wait_until(lambda: loaded(server) == 1, "the pinned model is loaded")
    assert problem_of(send(server, digests[1], short_wav), 507) == "memory-short"
    told(send(server, digests[0], short_wav))


# what was made of a model is gone, or old


def test_a_model_whose_derived_file_is_damaged_is_made_ready_again(
    new_server: New, tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server().start()
    digest = server.host(tiny.path("row.h5").read_bytes())
    first = told(send(server, digest, short_wav))
    assert server.stop() == 0
    (derived,) = server.models.glob("*.onnx")
    derived.unlink()
    derived.write_bytes(b"other bytes")
    server.start()
    wait_until(
        lambda: send(server, digest, short_wav).status_code == 200,
        "it is judged again",
        deadline_s=90,
    )
    assert difference(told(send(server, digest, short_wav)), first) < 1e-6
    assert digest_of(derived.read_bytes()) == derived.name.removesuffix(".onnx")
    assert "Traceback" not in server.log()


def test_a_model_whose_own_file_was_altered_is_not_judged_again_but_wanted_anew(
    new_server: New, tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server().start()
    model = tiny.path("row.h5").read_bytes()
    digest = server.host(model)
    first = told(send(server, digest, short_wav))
    assert server.stop() == 0
    for file in (server.models / digest, *server.models.glob("*.onnx")):
        file.unlink()
    (server.models / digest).write_bytes(tiny.path("sequential.h5").read_bytes())
    server.start()
    wait_until(
        lambda: send(server, digest, short_wav).status_code != 503, "it is judged", deadline_s=90
    )
    refused = send(server, digest, short_wav)
    assert problem_of(refused, 422) == "model-rejected"
    assert "damaged; upload it again" in refused.json()["detail"]
    assert server.upload_signed(model).status_code == 200
    assert difference(told(send(server, digest, short_wav)), first) < 1e-6


def test_a_model_that_an_older_server_judged_is_judged_again(
    new_server: New, tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server().start()
    digest = server.host(tiny.path("row.h5").read_bytes())
    first = told(send(server, digest, short_wav))
    assert server.stop() == 0
    record = json.dumps({"format": "h5", "engine": "keras 3", "binding": {"task": "genre"}})
    with sqlite3.connect(server.models / "registry.sqlite3") as database:
        database.execute("UPDATE model SET record = ?", [record])
    database.close()
    server.start()
    wait_until(
        lambda: send(server, digest, short_wav).status_code == 200,
        "it is judged again",
        deadline_s=90,
    )
    assert difference(told(send(server, digest, short_wav)), first) < 1e-6
    assert "Traceback" not in server.log()


def test_a_worker_is_not_started_again_from_a_file_that_was_damaged_meanwhile(
    new_server: New, tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server().start()
    digest = server.host(tiny.path("row.h5").read_bytes())
    first = told(send(server, digest, short_wav))
    (derived,) = server.models.glob("*.onnx")
    derived.unlink()
    derived.write_bytes(b"other bytes")
    (worker,) = server.children("onnx_child")
    worker.kill()
    wait_until(
        lambda: send(server, digest, short_wav).status_code == 200,
        "it is made again",
        deadline_s=90,
    )
    assert told(send(server, digest, short_wav)) == first
    assert digest_of(derived.read_bytes()) == derived.stem
    assert "model disabled" not in server.log()
