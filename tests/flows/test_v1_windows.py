"""windows=mean on /v1: a prediction over a whole long sound."""

import json

import httpx
import numpy as np
import pytest

from server.audio.window import WindowRule, windows_of
from tests.flows import sounds
from tests.flows.conftest import TinyModels
from tests.flows.messages import key, write_keys
from tests.flows.messages import send as send_signed
from tests.flows.running import Server, difference, multipart, problem_of
from tests.flows.test_v1_predictions import head, path_of, told
from tests.flows.test_v1_sounds import FORM, NDJSON, row_csv, sound_part
from tests.signing.messages import hmac_signer

pytestmark = pytest.mark.timeout(240)
ALL = hmac_signer("all")
RATE = sounds.SAMPLE_RATE_HZ
LENGTH = WindowRule().length


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("all"))
    return {"KEYS_FILE": str(path)}


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels) -> str:
    return server.host(tiny.path("two.h5").read_bytes())


@pytest.fixture(scope="module")
def rows(server: Server, tiny: TinyModels) -> str:
    return server.host(tiny.path("two_rows.h5").read_bytes(), {"task": "tensors"})


@pytest.fixture(scope="module")
def long_song() -> sounds.Samples:
    """Return 100 s whose parts differ: four windows."""
    return np.concatenate([sounds.song(25.0, seed=seed) for seed in range(4)])


def ask(server: Server, digest: str, body: bytes, query: str = "windows=mean") -> httpx.Response:
    """Send a sound in dialect 2."""
    return send_signed(
        server, path_of(digest), body, ALL, query=query, content_type="application/octet-stream"
    )


def mean_of_windows(server: Server, digest: str, y: sounds.Samples) -> list[float]:
    """Cut the windows out here, have each predicted by itself, and take the mean."""
    parts = [y[window.start : window.stop] for window in windows_of(len(y), WindowRule())]
    alone = [told(ask(server, digest, sounds.encode(part), "")) for part in parts]
    assert max(difference(alone[0], other) for other in alone) > 1e-4  # a mix-up would show
    mean: list[float] = np.mean(alone, axis=0).tolist()
    return mean


def test_it_is_the_mean_of_the_predictions_of_each_window(
    server: Server, hosted: str, long_song: sounds.Samples
) -> None:
    answer = ask(server, hosted, sounds.encode(long_song), "windows=mean&top=1")
    assert difference(told(answer), mean_of_windows(server, hosted, long_song)) < 1e-5
    said = answer.json()
    assert said["windows"] == 4
    assert said["window"] == "0-100 s of 100 s, mean of 4 windows"
    assert said["features"] == "derived"
    assert said["top"][0]["probability"] == max(said["probabilities"])


def test_more_windows_than_are_prepared_at_once(server: Server, hosted: str) -> None:
    y = np.concatenate([sounds.song(45.0, seed=seed) for seed in range(6)])
    answer = ask(server, hosted, sounds.encode(y))
    assert answer.json()["windows"] == 9
    assert difference(told(answer), mean_of_windows(server, hosted, y)) < 1e-5


@pytest.mark.parametrize("samples", [2 * RATE, 659_294, LENGTH, WindowRule().whole_max])
def test_a_sound_of_one_window_is_answered_as_by_default(
    server: Server, hosted: str, samples: int
) -> None:
    body = sounds.encode(sounds.song(31.0)[:samples])
    default, mean = ask(server, hosted, body, ""), ask(server, hosted, body)
    assert difference(told(mean), told(default)) < 1e-6
    assert mean.json()["window"] == default.json()["window"]
    assert mean.json()["windows"] == 1
    assert "windows" not in default.json()


def test_the_middle_is_what_is_used_by_default(
    server: Server, hosted: str, long_song: sounds.Samples
) -> None:
    body = sounds.encode(long_song)
    middle, default = ask(server, hosted, body, "windows=middle"), ask(server, hosted, body, "")
    assert middle.json() == default.json()
    assert difference(told(ask(server, hosted, body)), told(default)) > 1e-4


def test_in_dialect_1_it_stands_in_the_header_that_is_signed(
    server: Server, hosted: str, long_song: sounds.Samples
) -> None:
    path, body = path_of(hosted), sounds.encode(long_song)
    with server.client() as http:
        signed = {"Signed-Request": head(path, body, windows="mean")}
        answer = http.post(path, content=body, headers=signed)
        assert answer.json()["windows"] == 4
        assert http.post(f"{path}?windows=mean", content=body, headers=signed).is_success
        unsigned = {"Signed-Request": head(path, body)}
        refused = http.post(f"{path}?windows=mean", content=body, headers=unsigned)
    assert problem_of(refused, 400) == "malformed-request"
    assert "Signed-Request" in refused.json()["detail"]


def test_each_sound_of_a_form_gets_its_mean(
    server: Server, hosted: str, long_song: sounds.Samples, short_wav: bytes
) -> None:
    body = sounds.encode(long_song)
    alone = told(ask(server, hosted, body))
    form = multipart(sound_part(body, "long.wav"), sound_part(short_wav, "short.wav"))
    answer = send_signed(
        server, path_of(hosted), form, ALL, query="windows=mean", content_type=FORM
    )
    one, two = answer.json()["predictions"]
    assert (one["windows"], two["windows"]) == (4, 1)
    assert difference(one["probabilities"], alone) < 1e-6
    path = path_of(hosted)
    headers = {"Signed-Request": head(path, form, windows="mean"), "Content-Type": FORM}
    with server.client() as http:
        lines = http.post(path, content=form, headers=headers | {"Accept": NDJSON}).text
    assert sorted(json.loads(line)["windows"] for line in lines.splitlines()) == [1, 4]


@pytest.mark.parametrize("query", ["windows=all", "windows=", "windows=mean&features=1"])
def test_what_it_cannot_be_is_refused(
    server: Server, hosted: str, short_wav: bytes, query: str
) -> None:
    refused = ask(server, hosted, short_wav, query)
    assert problem_of(refused, 400) == "malformed-request"
    assert "`windows`" in refused.json()["detail"] or "windows=mean" in refused.json()["detail"]
    form = multipart(sound_part(short_wav))
    answer = send_signed(server, path_of(hosted), form, ALL, query=query, content_type=FORM)
    assert problem_of(answer, 400) == "malformed-request"
    twice = ask(server, hosted, short_wav, "windows=mean&windows=mean")
    assert problem_of(twice, 400) == "malformed-request"


def test_a_row_is_of_one_window(
    server: Server, hosted: str, short_wav: bytes, tiny: TinyModels
) -> None:
    path, csv = path_of(hosted), row_csv(tiny.row).decode()
    headers = {"Signed-Request": head(path, short_wav, windows="mean", csv=csv)}
    with server.client() as http:
        refused = http.post(path, content=short_wav, headers=headers)
    assert problem_of(refused, 422) == "unusable-input"
    assert "csv" in refused.json()["detail"]


def test_tensors_have_no_windows(server: Server, rows: str) -> None:
    assert problem_of(ask(server, rows, bytes(464)), 422) == "unusable-input"


def test_what_is_no_sound_is_refused_as_ever(server: Server, hosted: str) -> None:
    assert problem_of(ask(server, hosted, b"noise"), 415) == "unreadable-sound"
    half = sounds.encode(sounds.song(0.5))
    assert problem_of(ask(server, hosted, half), 422) == "sound-too-short"


def test_a_receipt_states_the_windows(
    server: Server, hosted: str, long_song: sounds.Samples
) -> None:
    answer = ask(server, hosted, sounds.encode(long_song), "windows=mean&receipt=1")
    assert answer.json()["windows"] == 4
    assert answer.headers["prediction-receipt"]
