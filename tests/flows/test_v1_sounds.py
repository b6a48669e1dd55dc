"""Sounds sent to /v1: options of an answer, forms of several sounds, frontends."""

import csv
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest

from server.audio.feature_names import FEATURE_NAMES
from tests.flows import sounds
from tests.flows.conftest import TinyModels
from tests.flows.messages import key, write_keys
from tests.flows.messages import send as send_signed
from tests.flows.running import (
    Server,
    difference,
    file_part,
    multipart,
    problem_of,
    wait_until,
)
from tests.flows.test_v1_predictions import head, path_of, told
from tests.signing.messages import hmac_signer

pytestmark = pytest.mark.timeout(240)
ALL = hmac_signer("all")
FORM = "multipart/form-data; boundary=edge"
NDJSON = "application/x-ndjson"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("all"))
    return {"KEYS_FILE": str(path), "MAX_PREDICTIONS": "3", "MAX_BODY_MEMORY": str(80 << 20)}


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels) -> str:
    return server.host(tiny.path("two.h5").read_bytes())


@pytest.fixture(scope="module")
def rows(server: Server, tiny: TinyModels) -> str:
    return server.host(tiny.path("two_rows.h5").read_bytes(), {"task": "tensors"})


def song(server: Server, digest: str, body: bytes, query: str = "") -> httpx.Response:
    return send_signed(
        server, path_of(digest), body, ALL, query=query, content_type="application/octet-stream"
    )


def form(
    server: Server, digest: str, *parts: bytes, query: str = "", accept: str = "*/*"
) -> httpx.Response:
    """Send a form in dialect 1."""
    path, body = path_of(digest), multipart(*parts)
    headers = {"Signed-Request": head(path, body), "Content-Type": FORM, "Accept": accept}
    with server.client() as http:
        return http.post(path, content=body, headers=headers, params=query)


def sound_part(content: bytes, name: str = "a.wav") -> bytes:
    return file_part(content, field="sound", filename=name)


def row_part(values: list[float]) -> bytes:
    """Return a feature row as a plain value."""
    return b'Content-Disposition: form-data; name="csv"\r\n\r\n' + row_csv(values)


def row_csv(values: list[float]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([FEATURE_NAMES, [repr(value) for value in values]])
    return text.getvalue().encode()


# what is told


def test_the_most_probable_labels_come_on_request(server: Server, hosted: str, wav: bytes) -> None:
    answer = song(server, hosted, wav, "top=3").json()
    by_label = dict(zip(answer["labels"], answer["probabilities"], strict=True))
    best = sorted(by_label, key=by_label.__getitem__, reverse=True)[:3]
    assert answer["top"] == [{"label": x, "probability": by_label[x]} for x in best]
    assert len(song(server, hosted, wav, "top=1000").json()["top"]) == 10
    assert "top" not in song(server, hosted, wav).json()


def test_the_features_come_on_request(
    server: Server, hosted: str, wav: bytes, tiny: TinyModels
) -> None:
    answer = song(server, hosted, wav, "features=1").json()
    assert tuple(answer["feature_values"]) == FEATURE_NAMES
    np.testing.assert_allclose([*answer["feature_values"].values()], tiny.row, rtol=1e-6)
    assert answer["features"] == "derived"
    assert difference(answer["probabilities"], tiny.answers["two"]) < 1e-5
    given = [2 * value for value in tiny.row]
    (answer,) = form(server, hosted, sound_part(wav), row_part(given), query="features=1").json()[
        "predictions"
    ]
    assert answer["features"] == "client"
    np.testing.assert_allclose([*answer["feature_values"].values()], given, rtol=1e-6)


@pytest.mark.parametrize(
    "query", ["top=0", "top=x", "top=1001", "features=2", "top=1&top=2", "colour=red", "receipt=x"]
)
def test_an_option_that_is_none_is_refused(
    server: Server, hosted: str, short_wav: bytes, query: str
) -> None:
    assert problem_of(song(server, hosted, short_wav, query), 400) == "malformed-request"


@pytest.mark.parametrize("query", ["top=1", "features=1"])
def test_tensors_have_no_labels_and_features_of_their_own(
    server: Server, rows: str, query: str
) -> None:
    assert problem_of(song(server, rows, bytes(464), query), 422) == "unusable-input"


# forms


def test_several_sounds_are_answered_in_order(
    server: Server, hosted: str, short_wav: bytes
) -> None:
    songs = [short_wav, sounds.encode(sounds.song(2.0, seed=1)), b"", short_wav]
    alone = [told(song(server, hosted, data)) for data in songs if data]
    names = ["a.wav", "b.wav", "empty.wav", "süß.wav"]
    parts = [sound_part(data, name) for data, name in zip(songs, names, strict=True)]
    answer = form(server, hosted, *parts, query="top=1")
    assert answer.status_code == 200, answer.text
    entries = answer.json()["predictions"]
    assert [entry["name"] for entry in entries] == names
    assert entries[2]["problem"]["type"] == "/problems/empty-sound"
    assert answer.headers["x-request-id"] in entries[2]["problem"]["instance"]
    good = [entry for entry in entries if "problem" not in entry]
    for entry, expected in zip(good, alone, strict=True):
        assert difference(entry["probabilities"], expected) < 1e-5
        assert len(entry["top"]) == 1
        assert entry["model"]["digest"] == hosted
    assert difference(alone[0], alone[1]) > 1e-4  # a mix-up would show


def test_several_sounds_are_answered_line_by_line(
    server: Server, hosted: str, short_wav: bytes
) -> None:
    parts = [sound_part(short_wav, f"{k}.wav") for k in range(12)]
    answer = form(server, hosted, *parts, accept=NDJSON)
    assert (answer.status_code, answer.headers["content-type"]) == (200, NDJSON)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert {line["name"] for line in lines} == {f"{k}.wav" for k in range(12)}
    assert all(len(line["probabilities"]) == 10 for line in lines)
    assert answer.headers["strict-transport-security"]


def test_a_form_is_taken_in_dialect_2(server: Server, hosted: str, short_wav: bytes) -> None:
    body = multipart(sound_part(short_wav))
    answer = send_signed(server, path_of(hosted), body, ALL, content_type=FORM, http2=True)
    (entry,) = answer.json()["predictions"]
    assert entry["name"] == "a.wav"
    refused = send_signed(
        server, path_of(hosted), body, ALL, content_type=FORM, query="ext=wav", http2=True
    )
    assert problem_of(refused, 400) == "malformed-request"


def test_a_row_belongs_to_the_sound_before_it(
    server: Server, hosted: str, short_wav: bytes, tiny: TinyModels
) -> None:
    one = row_part(tiny.row)
    two = row_part([2 * value for value in tiny.row])
    sound = sound_part(short_wav)
    sources = [
        [entry["features"] for entry in form(server, hosted, *parts).json()["predictions"]]
        for parts in ([sound, one, sound, two], [sound, sound, one], [one, sound])
    ]
    assert sources == [["client", "client"], ["derived", "client"], ["client"]]


@pytest.mark.parametrize(
    ("parts", "slug"),
    [
        ([], "malformed-form"),
        ([row_part([1.0])], "malformed-form"),
        ([file_part(b"x", field="model")], "malformed-form"),
        ([sound_part(b"x"), row_part([1.0]), row_part([1.0])], "malformed-form"),
        ([row_part([1.0]), row_part([1.0]), sound_part(b"x")], "malformed-form"),
        ([b'Content-Disposition: form-data; name="sound"\r\n\r\nx'], "malformed-form"),
        ([sound_part(b"x")] * 65, "malformed-form"),
        ([b"\r\nx"], "malformed-form"),
        ([sound_part(b"x"), file_part(b"x" * 1_100_000, field="csv")], "malformed-form"),
    ],
    ids=range(9),
)
def test_a_form_that_cannot_be_is_refused(
    server: Server, hosted: str, parts: Any, slug: str
) -> None:
    assert problem_of(form(server, hosted, *parts), 400) == slug


def test_a_form_gets_no_receipt(server: Server, hosted: str, short_wav: bytes) -> None:
    refused = form(server, hosted, sound_part(short_wav), query="receipt=1")
    assert problem_of(refused, 400) == "malformed-request"


def test_a_model_of_tensors_takes_no_form(server: Server, rows: str, short_wav: bytes) -> None:
    assert problem_of(form(server, rows, sound_part(short_wav)), 422) == "unusable-input"


def test_a_line_comes_while_other_sounds_are_still_predicted(server: Server, hosted: str) -> None:
    songs = [sounds.encode(sounds.song(20.0, seed=70 + k)) for k in range(6)]
    path, body = path_of(hosted), multipart(*map(sound_part, songs))
    headers = {"Signed-Request": head(path, body), "Content-Type": FORM, "Accept": NDJSON}
    with (
        server.client() as http,
        http.stream("POST", path, content=body, headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines)
        assert server.get("/readyz").json()["predictions"] > 0
        assert len(list(lines)) == 5


def test_clients_that_leave_in_the_middle_leave_no_body_behind(server: Server, hosted: str) -> None:
    path = path_of(hosted)
    for seed in range(5):  # three of these bodies have room
        song = sounds.encode(sounds.song(30.0, seed=seed))
        body = multipart(*(sound_part(song, f"{k}.wav") for k in range(20)))
        headers = {"Signed-Request": head(path, body), "Content-Type": FORM, "Accept": NDJSON}
        with (
            server.client() as http,
            http.stream("POST", path, content=body, headers=headers) as answer,
        ):
            assert answer.status_code == 200, answer.read()
            assert next(answer.iter_lines())


# frontends


def frontend(
    server: Server, name: str, body: bytes, *, query: str = "", accept: str | None = None
) -> httpx.Response:
    path = f"/v1/frontends/{name}"
    headers = {"Signed-Request": head(path, body)} | ({"Accept": accept} if accept else {})
    with server.client() as http:
        return http.post(path, content=body, headers=headers, params=query)


def test_the_frontends_are_listed(server: Server) -> None:
    answer = send_signed(server, "/v1/frontends", b"", ALL, method="GET").json()["frontends"]
    shapes = {entry["id"]: entry["shape"] for entry in answer}
    assert shapes == {
        "gtzan-58@1": [58],
        "mel-235x335@1": [235, 335, 1],
        "kaggle-gtzan@1": [235, 335, 1],
        "cs467-crop@1": [200, 335, 1],
    }
    assert tuple(answer[0]["names"]) == FEATURE_NAMES
    assert all(entry["description"] for entry in answer)


def test_a_feature_row_comes_as_json_csv_and_npy(
    server: Server, hosted: str, wav: bytes, tiny: TinyModels
) -> None:
    told = frontend(server, "gtzan-58@1", wav, accept="*/*").json()
    assert (told["frontend"], told["shape"]) == ("gtzan-58@1", [58])
    assert (told["window"], tuple(told["names"])) == ("0-30 s of 30 s", FEATURE_NAMES)
    np.testing.assert_allclose(told["data"], tiny.row, rtol=1e-6)
    text = frontend(server, "gtzan-58@1", wav, accept="text/csv")
    assert text.headers["content-type"] == "text/csv"
    header, row = csv.reader(io.StringIO(text.text))
    assert (tuple(header), [float(cell) for cell in row]) == (FEATURE_NAMES, told["data"])
    values = frontend(server, "gtzan-58@1", wav, accept="application/x-npy")
    array = np.load(io.BytesIO(values.content), allow_pickle=False)
    assert array.dtype == np.float32
    assert array.tolist() == told["data"]
    assert values.headers["prediction-window"] == told["window"]
    # the row that was computed makes the same prediction as the sound alone
    rows = [file_part(text.content, field="csv", filename="row.csv")]
    answer = form(server, hosted, sound_part(wav), *rows).json()["predictions"][0]
    assert difference(answer["probabilities"], tiny.answers["two"]) < 1e-6


def test_a_picture_comes_in_the_size_that_is_asked_for(server: Server, short_wav: bytes) -> None:
    answer = frontend(server, "mel-235x335@1", short_wav, query="height=40&width=50").json()
    assert answer["shape"] == [40, 50, 1]
    assert "names" not in answer
    assert len(answer["data"]) == 40 * 50
    assert all(0 <= value <= 1 for value in answer["data"])
    npy = frontend(
        server,
        "mel-235x335@1",
        short_wav,
        query="height=40&width=50",
        accept="text/csv, application/x-npy",
    )
    array = np.load(io.BytesIO(npy.content), allow_pickle=False)
    assert array.shape == (40, 50, 1)
    assert array.ravel().tolist() == answer["data"]


def test_a_frontend_and_a_model_share_what_was_computed(server: Server, hosted: str) -> None:
    song = sounds.encode(sounds.song(2.0, seed=99))
    before = server.get("/readyz").json()["feature_cache"]
    assert form(server, hosted, sound_part(song)).status_code == 200
    wait_until(
        lambda: server.get("/readyz").json()["feature_cache"]["bytes"] > before["bytes"],
        "the values are kept",
    )
    for name in ("gtzan-58@1", "kaggle-gtzan@1"):
        assert frontend(server, name, song).status_code == 200
    after = server.get("/readyz").json()["feature_cache"]
    assert (after["hits"], after["misses"]) == (before["hits"] + 2, before["misses"] + 2)


@pytest.mark.parametrize(
    ("name", "query", "refusal"),
    [
        ("nothing@1", "", (404, "frontend-not-found")),
        ("gtzan-58@1", "height=5", (400, "malformed-request")),
        ("cs467-crop@1", "height=201", (400, "malformed-request")),
        ("mel-235x335@1", "width=0", (400, "malformed-request")),
        ("mel-235x335@1", "width=99999", (400, "malformed-request")),
        ("mel-235x335@1", "colour=red", (400, "malformed-request")),
        ("gtzan-58@1", "ext=mp3", (415, "wrong-extension")),
    ],
)
def test_what_a_frontend_cannot_do_is_refused(
    server: Server, short_wav: bytes, name: str, query: str, refusal: tuple[int, str]
) -> None:
    status, slug = refusal
    assert problem_of(frontend(server, name, short_wav, query=query), status) == slug


def test_a_form_that_a_frontend_does_not_have_is_refused(server: Server, short_wav: bytes) -> None:
    refused = frontend(server, "kaggle-gtzan@1", short_wav, accept="text/csv")
    assert problem_of(refused, 406) == "not-acceptable"
    assert problem_of(frontend(server, "gtzan-58@1", b"noise"), 415) == "unreadable-sound"
