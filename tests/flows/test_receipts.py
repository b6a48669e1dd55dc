"""Predictions under dialect 2 and bearer tokens, and the receipts that go with them."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from server.audio.feature_names import FEATURE_NAMES
from server.signing.receipts import verify_receipt
from tests.flows.conftest import TinyModels
from tests.flows.messages import key, pair, send, with_token, write_keys
from tests.flows.running import (
    FORM_TYPE,
    Server,
    difference,
    digest_of,
    file_part,
    multipart,
    probabilities,
    problem_of,
    sign_payload,
)
from tests.flows.test_v1_predictions import head, output, path_of, told
from tests.signing.messages import ed25519_signer, hmac_signer

pytestmark = pytest.mark.timeout(240)
ALL = hmac_signer("all")
TENSORS = {"task": "tensors"}
WAV = "audio/wav"
KEYS = "/.well-known/spectrogrampredictor-receipts"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("all"), pair())
    return {"KEYS_FILE": str(path), "RESIDENT_MODELS": "4"}


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels) -> str:
    return server.host(tiny.path("two.h5").read_bytes())


@pytest.fixture(scope="module")
def rows(server: Server, tiny: TinyModels) -> str:
    return server.host(tiny.path("two_rows.h5").read_bytes(), TENSORS)


def predict(
    server: Server, digest: str, body: Any, query: str = "", *, http2: bool = False
) -> httpx.Response:
    kind = "application/json" if isinstance(body, dict) else WAV
    options: dict[str, Any] = {"query": query, "content_type": kind, "http2": http2}
    return send(server, path_of(digest), body, ed25519_signer(), **options)


def stated(server: Server, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return verify_receipt(answer.headers["Prediction-Receipt"], server.get(KEYS).json())


# the numbers are those of the old way


@pytest.mark.parametrize("http2", [False, True])
def test_a_song_gets_the_numbers_of_the_old_way(
    server: Server, hosted: str, short_wav: bytes, http2: bool
) -> None:
    headers = {"Signed-Request": head(path_of(hosted), short_wav)}
    with server.client() as http:
        old = told(http.post(path_of(hosted), content=short_wav, headers=headers))
    assert difference(told(predict(server, hosted, short_wav, http2=http2)), old) < 1e-6


def test_the_original_path_takes_plain_json(server: Server, hosted: str, short_wav: bytes) -> None:
    body = {"model_hash": hosted, "ext": "wav", "data": base64.b64encode(short_wav).decode()}
    answer = probabilities(send(server, "/prediction", body, ALL))
    assert difference(answer, probabilities(server.predict(hosted, short_wav))) < 1e-6


def test_the_row_and_the_format_stand_in_the_query(
    server: Server, hosted: str, tiny: TinyModels, short_wav: bytes
) -> None:
    csv = ",".join(FEATURE_NAMES) + "\n" + ",".join(map(repr, tiny.row)) + "\n"
    query = str(httpx.QueryParams({"ext": "wav", "csv": csv, "receipt": "1"}))
    answer = predict(server, hosted, short_wav, query)
    assert answer.json()["features"] == "client"
    assert stated(server, answer)["csv"] == digest_of(csv.encode())
    assert problem_of(predict(server, hosted, short_wav, "ext=mp3"), 415) == "wrong-extension"
    for query in ("surprise=1", "ext=wav&ext=wav"):
        refused = predict(server, hosted, short_wav, query)
        assert problem_of(refused, 400) == "malformed-request"


def test_tensors_are_plain_too(server: Server, rows: str) -> None:
    one, two = np.linspace(-1, 1, 116, dtype=np.float32).reshape(2, 58)
    raw = output(predict(server, rows, one.tobytes() + two.tobytes()))
    nested = output(predict(server, rows, {"inputs": {"one": one.tolist(), "two": two.tolist()}}))
    assert difference(raw, nested) < 1e-6


def test_a_token_predicts(server: Server, hosted: str, short_wav: bytes) -> None:
    minted = send(server, "/v1/tokens", {"scopes": ["predict"], "models": hosted[:8] + "*"}, ALL)
    token = minted.json()["token"]
    answer = with_token(server, token, path_of(hosted), short_wav, content_type=WAV)
    assert abs(sum(told(answer)) - 1) < 1e-5
    refused = with_token(server, token, path_of("0" * 64), short_wav, content_type=WAV)
    assert problem_of(refused, 403) == "scope-missing"


# receipts


def test_a_receipt_states_what_was_asked_and_answered(
    server: Server, hosted: str, short_wav: bytes
) -> None:
    answer = predict(server, hosted, short_wav, "receipt=1")
    claims = stated(server, answer)
    assert claims["input"] == digest_of(short_wav)
    assert claims["output"] == digest_of(answer.content)
    assert claims["model"] == hosted
    assert claims["manifest"] is None
    assert claims["csv"] is None
    assert claims["frontends"] == answer.json()["frontends"]
    assert claims["window"] == answer.json()["window"]
    assert claims["engine"] == answer.json()["model"]["engine"]
    assert claims["time"].endswith("Z")


@pytest.mark.parametrize("form", ["raw", "json", "signed json"])
def test_tensors_get_receipts_with_the_manifest(server: Server, rows: str, form: str) -> None:
    inputs = {"inputs": {"one": [0.5] * 58, "two": [0.25] * 58}}
    if form == "raw":
        body: Any = np.repeat(np.array([0.5, 0.25], np.float32), 58).tobytes()
        answer, sent = predict(server, rows, body, "receipt=1"), body
    elif form == "json":
        answer, sent = predict(server, rows, inputs, "receipt=1"), json.dumps(inputs).encode()
    else:
        text = sign_payload(inputs | {"_path": path_of(rows), "_ts": time.time()})
        with server.client() as http:
            headers = {"Content-Type": "application/json"}
            answer = http.post(path_of(rows) + "?receipt=1", content=text, headers=headers)
        sent = text.encode()
    claims = stated(server, answer)
    assert claims["input"] == digest_of(sent)
    assert claims["output"] == digest_of(answer.content)
    assert claims["manifest"] == hashlib.sha256(b'{"task":"tensors"}').hexdigest()
    assert claims["frontends"] == []


def test_the_old_way_gets_receipts_too(server: Server, hosted: str, short_wav: bytes) -> None:
    headers = {"Signed-Request": head(path_of(hosted), short_wav)}
    with server.client() as http:
        path = path_of(hosted) + "?receipt=1"
        answer = http.post(path, content=short_wav, headers=headers)
    assert stated(server, answer)["input"] == digest_of(short_wav)


@pytest.mark.parametrize("old_way", [False, True])
def test_the_original_path_gives_receipts(
    server: Server, hosted: str, tiny: TinyModels, short_wav: bytes, old_way: bool
) -> None:
    csv = (",".join(FEATURE_NAMES) + "\n" + ",".join(map(repr, tiny.row)) + "\n").encode()
    fields = {"model_hash": hosted, "data": base64.b64encode(short_wav).decode()}
    fields["csv"] = base64.b64encode(csv).decode()
    sent = (sign_payload(fields) if old_way else json.dumps(fields)).encode()
    if old_way:
        answer = server.post("/prediction?receipt=1", sent)
    else:
        answer = send(server, "/prediction", sent, ALL, query="receipt=1")
    claims = stated(server, answer)
    assert probabilities(answer)
    assert (claims["input"], claims["csv"]) == (digest_of(sent), digest_of(csv))
    assert (claims["output"], claims["model"]) == (digest_of(answer.content), hosted)
    assert claims["window"] == answer.headers["Prediction-Window"]


def infer(server: Server, digest: str, sent: dict[str, Any], query: str) -> httpx.Response:
    return send(server, f"/v2/models/{digest}/infer", sent, ALL, query=query)


@pytest.mark.parametrize("count", [1, 2])
def test_the_open_inference_protocol_gives_receipts(
    server: Server, hosted: str, short_wav: bytes, count: int
) -> None:
    sounds: dict[str, Any] = {"name": "audio", "shape": [count], "datatype": "BYTES"}
    sounds |= {"parameters": {"content_type": "base64"}}
    sounds |= {"data": [base64.b64encode(short_wav).decode()] * count}
    sent = {"inputs": [sounds]}
    answer = infer(server, hosted, sent, "receipt=1")
    claims, told = stated(server, answer), answer.json()["parameters"]
    assert claims["input"] == digest_of(json.dumps(sent).encode())
    assert claims["output"] == digest_of(answer.content)
    assert (claims["model"], claims["window"]) == (hosted, told["window"])
    assert ", ".join(claims["frontends"]) == told["frontends"]
    assert "Prediction-Receipt" not in infer(server, hosted, sent, "").headers


@pytest.mark.parametrize("binary", [False, True])
def test_tensors_of_the_open_inference_protocol_get_receipts(
    server: Server, rows: str, binary: bool
) -> None:
    inputs = [
        {"name": name, "shape": [1, 58], "datatype": "FP32", "data": [0.5] * 58}
        for name in ("one", "two")
    ]
    sent = {"inputs": inputs, "parameters": {"binary_data_output": binary}}
    answer = infer(server, rows, sent, "receipt=1")
    claims = stated(server, answer)
    assert (claims["output"], claims["window"]) == (digest_of(answer.content), None)


@pytest.mark.parametrize("query", ["receipt=yes", "receipt=1&receipt=1"])
def test_who_asks_for_a_receipt_in_another_way_is_told(
    server: Server, hosted: str, query: str
) -> None:
    body = {"model_hash": hosted, "data": ""}
    assert problem_of(send(server, "/prediction", body, ALL, query=query), 400)
    assert infer(server, hosted, {"inputs": []}, query).status_code == 400


def test_where_there_is_no_receipt_who_asks_is_told(
    server: Server, hosted: str, short_wav: bytes
) -> None:
    form = multipart(file_part(short_wav, field="sound"))
    refused = send(server, path_of(hosted), form, ALL, query="receipt=1", content_type=FORM_TYPE)
    assert problem_of(refused, 400) == "malformed-request"
    query = "task=midi&receipt=1"
    refused = send(server, "/v1/jobs", short_wav, ALL, query=query, content_type=WAV)
    assert problem_of(refused, 400) == "malformed-request"
    assert "receipt" in refused.json()["detail"]


def test_nobody_gets_a_receipt_who_asks_for_none(
    server: Server, hosted: str, short_wav: bytes
) -> None:
    for query in ("", "receipt=0"):
        answer = predict(server, hosted, short_wav, query)
        assert answer.status_code == 200
        assert "Prediction-Receipt" not in answer.headers
    refused = predict(server, hosted, short_wav, "receipt=yes")
    assert problem_of(refused, 400) == "malformed-request"


def test_the_key_stays_across_a_restart(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    first = server.get(KEYS)
    assert first.headers["content-type"] == "application/jwk-set+json"
    assert set(first.json()["keys"][0]) == {"kty", "crv", "x", "kid", "use"}
    assert (server.models / "identity.key").stat().st_mode & 0o777 == 0o600
    server.kill()
    assert server.start().get(KEYS).json() == first.json()


def test_a_receipt_is_verified_without_a_server(
    server: Server, hosted: str, short_wav: bytes, tmp_path: Path
) -> None:
    answer = predict(server, hosted, short_wav, "receipt=1")
    files = {
        "receipt": answer.headers["Prediction-Receipt"].encode() + b"\n",
        "key": server.get(KEYS).content,
        "answer": answer.content,
        "input": short_wav,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def verify(receipt: Path = tmp_path / "receipt", answer: Path = tmp_path / "answer") -> Any:
        return server.run(
            *("verify-receipt", str(receipt), "--key", str(tmp_path / "key")),
            *("--answer", str(answer), "--input", str(tmp_path / "input")),
        )

    done = verify()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == hosted
    assert verify(answer=tmp_path / "input").returncode == 1
    other = predict(server, hosted, short_wav, "receipt=1").headers["Prediction-Receipt"]
    changed = files["receipt"].rpartition(b".")[0] + b"." + other.rpartition(".")[2].encode()
    (tmp_path / "changed").write_bytes(changed)
    refused = verify(receipt=tmp_path / "changed")
    assert refused.returncode == 1
    assert "changed" in refused.stderr
    assert verify(receipt=tmp_path / "nothing").returncode == 2
    (tmp_path / "changed").write_bytes(b"\xc3\xa4" + files["receipt"])
    assert verify(receipt=tmp_path / "changed").returncode == 1
    (tmp_path / "key").write_bytes(b"-----BEGIN PUBLIC KEY-----")
    assert (said := verify()).returncode == 2
    assert "no public key in JSON" in said.stderr


def test_a_key_that_others_may_read_keeps_the_server_from_starting(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start()
    assert server.stop() == 0
    (server.models / "identity.key").chmod(0o644)
    failed = server.run("serve")
    assert failed.returncode == 2
    assert "identity.key" in failed.stderr
