"""The original workflow: register, upload, sweep, predict, as a notebook does it."""

import io
import json
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pandas as pd
import pytest

from server.audio.feature_names import FEATURE_NAMES
from tests.flows import sounds
from tests.flows.conftest import TinyModels
from tests.flows.running import (
    ROOT,
    Server,
    difference,
    digest_of,
    prediction_body,
    probabilities,
    problem_of,
    wait_until,
)

pytestmark = pytest.mark.timeout(240)
Noise = Callable[[int], bytes]
Ask = Callable[[bytes | None], httpx.Response]
FORBIDDEN = {
    *("tensorflow", "keras", "librosa", "matplotlib", "onnxruntime", "pandas", "PIL"),
    *("numpy", "scipy", "soundfile", "soxr", "h5py", "sklearn", "torch"),
}
NATIVE = ("tensorflow", "h5py", "onnxruntime", "soundfile", "sndfile", "soxr", "numpy", "scipy")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("inspected")
    path = f"{ROOT}:{Path(__file__).with_name('inspection')}"
    return {"PYTHONPATH": path, "MODULES_FILE": str(folder / "modules.json")}


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels) -> str:
    """Return the digest of a two-input model that can predict."""
    return server.host(tiny.path("two.h5").read_bytes())


@pytest.fixture(scope="module")
def frame(tiny: TinyModels) -> pd.DataFrame:
    """Return the song's feature row as a notebook has it, at some index of a larger table."""
    return pd.DataFrame([tiny.row], columns=list(FEATURE_NAMES), index=[992])


@pytest.fixture(scope="module")
def ask(server: Server, hosted: str, wav: bytes) -> Ask:
    """Return a function that asks the model about the song with a CSV."""
    return lambda csv: server.predict(hosted, wav, csv=csv)


@pytest.fixture(scope="module")
def given(ask: Ask, frame: pd.DataFrame) -> list[float]:
    """Return the answer to the song with its row, index column and all."""
    text = io.StringIO()
    frame.to_csv(text)
    return probabilities(ask(text.getvalue().encode()))


def test_a_prediction_answers_ten_probabilities(given: list[float]) -> None:
    assert len(given) == 10
    assert max(given) < 0.99


def test_a_prediction_agrees_with_keras(given: list[float], tiny: TinyModels) -> None:
    assert difference(given, tiny.answers["two"]) < 1e-5


@pytest.mark.parametrize("form_of_row", ["no_index", "shuffled", "with_names"])
def test_the_row_may_be_written_in_any_common_form(
    ask: Ask, frame: pd.DataFrame, given: list[float], form_of_row: str
) -> None:
    texts = {
        "no_index": frame.to_csv(index=False),
        "shuffled": frame.sample(frac=1, axis=1, random_state=1).to_csv(),
        "with_names": frame.assign(filename="rock.00092.wav", label="rock").to_csv(),
    }
    answer = ask(texts[form_of_row].encode())
    assert difference(probabilities(answer), given) < 1e-6
    assert answer.headers["Prediction-Features"] == "client"


@pytest.mark.parametrize("csv", [None, b"", b"\n"])
def test_without_a_row_the_features_are_derived(
    ask: Ask, given: list[float], csv: bytes | None
) -> None:
    answer = ask(csv)
    assert difference(probabilities(answer), given) < 1e-5
    assert answer.headers["Prediction-Features"] == "derived"


def test_another_row_gives_another_answer(
    ask: Ask, frame: pd.DataFrame, given: list[float]
) -> None:
    answer = ask((frame * 1.5).to_csv().encode())
    assert difference(probabilities(answer), given) > 1e-3


def test_another_sound_gives_another_answer(
    server: Server, hosted: str, frame: pd.DataFrame, given: list[float]
) -> None:
    other = sounds.encode(sounds.song(seed=3))
    answer = server.predict(hosted, other, csv=frame.to_csv().encode())
    assert difference(probabilities(answer), given) > 1e-3


def test_a_missing_column_is_named(
    server: Server, hosted: str, short_wav: bytes, frame: pd.DataFrame
) -> None:
    csv = frame.drop(columns=["tempo"]).to_csv().encode()
    answer = server.predict(hosted, short_wav, csv=csv)
    assert problem_of(answer, 422) == "bad-feature-row"
    assert "tempo" in answer.json()["detail"]


@pytest.mark.parametrize(
    "csv",
    [
        b"just one line\n",
        b"\xff\xfe\x00",
        b",length\n0,1\n1,2\n",
        b"a" * 70_000,
        b'"unclosed\n1\n',
        b"1,2\n3,4\n",
    ],
)
def test_a_csv_that_is_no_feature_row_is_refused(
    server: Server, hosted: str, short_wav: bytes, csv: bytes
) -> None:
    assert problem_of(server.predict(hosted, short_wav, csv=csv), 422) == "bad-feature-row"


@pytest.mark.parametrize("value", ["nan", "inf", "1e13", "x", "", "=1+1"])
def test_a_cell_that_is_no_finite_number_is_refused(
    server: Server, hosted: str, short_wav: bytes, frame: pd.DataFrame, value: str
) -> None:
    cells = [f"{cell!r}" for cell in frame.iloc[0].tolist()]
    cells[5] = value
    csv = ",".join(FEATURE_NAMES) + "\n" + ",".join(cells) + "\n"
    answer = server.predict(hosted, short_wav, csv=csv.encode())
    assert problem_of(answer, 422) == "bad-feature-row"


def test_the_answer_names_frontends_in_headers(server: Server, hosted: str, wav: bytes) -> None:
    headers = server.predict(hosted, wav).headers
    assert headers["Prediction-Model"] == hosted
    assert headers["Prediction-Frontends"] == "gtzan-58@1, kaggle-gtzan@1"


def test_the_same_prediction_over_http2_agrees(
    server: Server, hosted: str, wav: bytes, given: list[float]
) -> None:
    body = prediction_body(hosted, wav)
    with server.client(http2=True) as http:
        answer = http.post("/prediction", content=body)
    assert difference(probabilities(answer), given) < 1e-5


def test_the_same_network_as_keras_archive_uploaded_signed_agrees(
    server: Server, tiny: TinyModels, wav: bytes, given: list[float]
) -> None:
    model = tiny.path("two_keras.keras").read_bytes()
    assert server.upload_signed(model).status_code == 200
    answer = probabilities(server.predict(digest_of(model), wav))
    assert difference(answer, given) < 1e-5


def test_the_serving_process_maps_no_sound_or_model_library(
    server: Server, hosted: str, given: list[float]
) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps")
    if not maps.exists():
        pytest.skip("needs /proc")
    text = maps.read_text().lower()
    assert [name for name in NATIVE if f"/{name}" in text] == []
    assert "/cryptography/" in text  # the method sees libraries


def test_the_serving_process_imports_no_sound_or_model_module(
    server: Server, given: list[float]
) -> None:
    listing = Path(server.settings["MODULES_FILE"])
    server.process.send_signal(signal.SIGUSR1)
    wait_until(listing.exists, "the process lists its modules")
    tops = {name.partition(".")[0] for name in json.loads(listing.read_text())}
    assert "quart" in tops
    assert tops & FORBIDDEN == set()
