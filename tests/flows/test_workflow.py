"""The original workflow: register, upload, sweep, predict, as a notebook does it."""

import io
import json
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import itsdangerous
import pandas as pd
import pytest

from server.audio.feature_names import FEATURE_NAMES
from tests.flows import sounds
from tests.flows.conftest import TinyModels
from tests.flows.running import (
    ROOT,
    TOKEN,
    Server,
    difference,
    digest_of,
    form,
    prediction_body,
    probabilities,
    problem_of,
    sign_file,
    sign_payload,
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


def test_the_api_port_answers_test_as_the_original(server: Server) -> None:
    answer = server.get("/test")
    assert (answer.status_code, answer.content) == (200, b'{"msg":"hey there!"}')


def test_the_upload_port_answers_test_with_plain_text(server: Server) -> None:
    answer = server.get(server.uploads + "/test")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")


def test_the_api_port_speaks_http2(server: Server) -> None:
    with server.client(http2=True) as http:
        assert http.get("/test").http_version == "HTTP/2"


def test_the_upload_port_chooses_http1_when_offered_http2(server: Server) -> None:
    with httpx.Client(verify=server.tls(), http2=True) as both:
        assert both.get(server.api + "/test").http_version == "HTTP/2"
        assert both.get(server.uploads + "/test").http_version == "HTTP/1.1"


def test_a_registration_without_content_type_is_stored(server: Server, noise: Noise) -> None:
    body = itsdangerous.Serializer(TOKEN).dumps({"hash": digest_of(noise(64))})
    answer = server.post("/registermodelhash", body)
    assert "content-type" not in answer.request.headers
    assert (answer.status_code, answer.content) == (200, b'{"msg":"model hash stored"}')


def test_a_digest_may_be_registered_twice(server: Server, noise: Noise) -> None:
    digest = digest_of(noise(64))
    contents = [server.register(digest).content for _ in range(2)]
    assert contents == [b'{"msg":"model hash stored"}'] * 2


def test_a_flipped_byte_is_told_in_the_original_words(server: Server, noise: Noise) -> None:
    body = bytearray(sign_payload({"hash": digest_of(noise(64))}).encode())
    body[15] ^= 1
    answer = server.post("/registermodelhash", bytes(body))
    assert problem_of(answer, 401) == "bad-signature"
    assert answer.json()["msg"] == "payload did not have valid signature"


def test_a_registration_with_a_flipped_byte_stores_nothing(server: Server, noise: Noise) -> None:
    content = noise(512)
    body = bytearray(sign_payload({"hash": digest_of(content)}).encode())
    body[-1] = ord("A") if body[-1] != ord("A") else ord("E")
    assert server.post("/registermodelhash", bytes(body)).status_code == 401
    server.upload(content)
    assert digest_of(content) not in server.sweep()
    assert digest_of(content) not in server.stored()


@pytest.mark.parametrize(
    "text",
    ["", "abc", "g" * 64, "a" * 63, "a" * 65, "../" + "a" * 61, " " + "a" * 63, "\u0661" * 64],
)
def test_a_hash_that_is_not_64_hex_digits_is_refused(server: Server, text: str) -> None:
    assert problem_of(server.register(text), 400) == "bad-digest"


def test_an_upper_case_hash_names_the_same_model(server: Server, noise: Noise) -> None:
    content = noise(512)
    assert server.register(digest_of(content).upper()).status_code == 200
    server.upload(content)
    assert digest_of(content) in server.sweep()


def test_an_unsigned_upload_answers_exactly_as_the_original(server: Server, noise: Noise) -> None:
    answer = server.upload(noise(512))
    assert json.loads(answer.content) == {"message": "file uploaded!", "uploaded": True}


def test_an_unsigned_upload_lands_in_staging(server: Server, noise: Noise) -> None:
    content = noise(700)
    assert server.register(digest_of(content)).status_code == 200
    server.upload(content)
    staged = [(server.uploads_tmp / name).read_bytes() for name in server.staged()]
    assert content in staged
    assert digest_of(content) not in server.stored()


def test_a_registered_upload_is_promoted_by_the_sweep(server: Server, noise: Noise) -> None:
    content = noise(700)
    digest = digest_of(content)
    server.register(digest)
    server.upload(content)
    assert digest in server.sweep()
    assert (server.models / digest).read_bytes() == content


def test_an_upload_may_come_before_its_registration(server: Server, noise: Noise) -> None:
    content = noise(700)
    server.upload(content)
    server.register(digest_of(content))
    assert digest_of(content) in server.sweep()


def test_a_second_sweep_promotes_nothing_again(server: Server, noise: Noise) -> None:
    content = noise(700)
    server.register(digest_of(content))
    server.upload(content)
    assert digest_of(content) in server.sweep()
    assert digest_of(content) not in server.sweep()


def test_a_sweep_with_nothing_to_do_answers_an_empty_list(server: Server) -> None:
    server.sweep()
    assert server.get("/hashmodels").content == b'{"hashes":[]}'


def test_a_promoted_model_file_is_read_only(server: Server, noise: Noise) -> None:
    content = noise(700)
    server.register(digest_of(content))
    server.upload(content)
    server.sweep()
    assert (server.models / digest_of(content)).stat().st_mode & 0o222 == 0


def test_an_unregistered_upload_is_gone_after_the_sweep(server: Server, noise: Noise) -> None:
    content = noise(700)
    server.upload(content)
    assert digest_of(content) not in server.sweep()
    assert server.staged() == []
    assert digest_of(content) not in server.stored()


def test_an_unregistered_upload_is_no_model(server: Server, noise: Noise, short_wav: bytes) -> None:
    content = noise(700)
    server.upload(content)
    server.sweep()
    answer = server.predict(digest_of(content), short_wav)
    assert problem_of(answer, 404) == "model-not-found"
    assert answer.json()["msg"] == "model not found"


def test_a_registered_model_without_its_file_is_a_conflict(
    server: Server, noise: Noise, short_wav: bytes
) -> None:
    digest = digest_of(noise(64))
    server.register(digest)
    assert problem_of(server.predict(digest, short_wav), 409) == "model-not-uploaded"


def test_a_prediction_for_another_hash_leaves_a_pending_upload_alone(
    server: Server, noise: Noise, short_wav: bytes
) -> None:
    pending, unknown = noise(700), digest_of(noise(64))
    server.register(digest_of(pending))
    server.upload(pending)
    assert server.predict(unknown, short_wav).status_code == 404
    assert pending in [(server.uploads_tmp / name).read_bytes() for name in server.staged()]
    assert not server.stored() & {unknown, digest_of(pending)}


def test_a_signed_upload_is_stored_under_the_digest_of_its_content(
    server: Server, noise: Noise
) -> None:
    content = noise(3000)
    answer = server.upload_signed(content)
    assert answer.json() == {"msg": "model saved", "hash": digest_of(content)}
    assert (server.models / digest_of(content)).read_bytes() == content


def test_a_signed_upload_under_the_other_name_is_stored(server: Server, noise: Noise) -> None:
    content = noise(3000)
    answer = server.upload_signed(content, path="/nodemodeluploads")
    assert answer.json() == {"message": "file uploaded!", "uploaded": True}
    assert (server.models / digest_of(content)).read_bytes() == content


def test_a_signed_upload_may_be_repeated(server: Server, noise: Noise) -> None:
    content = noise(3000)
    answers = [server.upload_signed(content).json() for _ in range(2)]
    assert answers == [{"msg": "model saved", "hash": digest_of(content)}] * 2


@pytest.mark.parametrize("path", ["/uploadmodel", "/nodemodeluploads"])
def test_a_tampered_signed_upload_leaves_no_file(server: Server, noise: Noise, path: str) -> None:
    content = noise(3000)
    signed = bytearray(sign_file(content))
    signed[100] ^= 1
    server.sweep()
    before = server.stored()
    with server.client() as http:
        answer = http.post(path, files=form(bytes(signed)))
    assert problem_of(answer, 401) == "bad-signature"
    assert answer.json()["msg"] == "no valid signature on data"
    assert server.stored() == before
    assert server.staged() == []


def test_a_signed_file_on_the_upload_port_is_discarded(server: Server, noise: Noise) -> None:
    content = noise(3000)
    server.register(digest_of(content))
    server.upload(sign_file(content))
    assert server.sweep() == []
    assert digest_of(content) not in server.stored()


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
    (decoder,) = server.children("decoder_child")
    assert "sndfile" in Path(f"/proc/{decoder.pid}/maps").read_text()  # the method sees libraries


def test_the_serving_process_imports_no_sound_or_model_module(
    server: Server, given: list[float]
) -> None:
    listing = Path(server.settings["MODULES_FILE"])
    server.process.send_signal(signal.SIGUSR1)
    wait_until(listing.exists, "the process lists its modules")
    tops = {name.partition(".")[0] for name in json.loads(listing.read_text())}
    assert "quart" in tops
    assert tops & FORBIDDEN == set()
