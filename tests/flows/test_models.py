"""Model files: the good ones answer as Keras does, the bad ones are refused with the reason."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.audio.feature_names import FEATURE_NAMES
from tests.flows.conftest import TinyModels
from tests.flows.running import (
    Server,
    difference,
    digest_of,
    fresh_copy,
    probabilities,
    problem_of,
    wait_until,
)
from tests.gate.hostile import ATTACKS

pytestmark = pytest.mark.timeout(300)
Noise = Callable[[int], bytes]
FIRST_57 = list(FEATURE_NAMES[:57])
LABELS_8 = ["ambient", "blues", "dub", "folk", "jazz", "metal", "pop", "ska"]
BAD = {
    "channels_3.h5": ("axis 3", "3 channels"),
    "row_60.h5": ("axis 1", "58"),
    "two_rows.h5": ("two inputs of one kind", "row"),
    "lambda.keras": ("Lambda", "is code"),
    "only.weights.h5": ("weights", "save_weights"),
    "batch_32.h5": ("axis 0", "32"),
    "stateful.h5": ("memory", "stateful"),
    "two_answers.keras": ("axis 0", "batch"),
}


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"RESIDENT_MODELS": "8"}


@pytest.fixture(scope="module")
def digests(server: Server, tiny: TinyModels) -> dict[str, str]:
    """Register and upload every file at once, then return their digests by name."""
    names = ["two.h5", "two_200.h5", "two_217.h5", "row.h5", "sequential.h5", *BAD]
    contents = {name: tiny.path(name).read_bytes() for name in names}
    for content in contents.values():
        server.register(digest_of(content))
    files = list(contents.values())
    for some in (files[:8], files[8:]):  # a form takes 12
        assert server.upload(*some).status_code == 200
    server.sweep()
    return {name: digest_of(content) for name, content in contents.items()}


def test_a_keras_file_that_was_packed_again_answers_as_before(
    server: Server, tiny: TinyModels, wav: bytes
) -> None:
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(tiny.path("two_keras.keras")) as whole,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in whole.namelist():
            archive.writestr(name, whole.read(name))
    answer = probabilities(server.predict(server.host(packed.getvalue()), wav))
    assert difference(answer, tiny.answers["two_keras"]) < 1e-5


def _rejected(answer: httpx.Response) -> str:
    assert problem_of(answer, 422) == "model-rejected"
    assert answer.json()["msg"] == "attempt to load and run model failed"
    return str(answer.json()["detail"])


@pytest.mark.parametrize("name", ["two", "two_200", "two_217", "row", "sequential"])
def test_a_model_of_any_shape_answers_as_keras_does(
    server: Server, digests: dict[str, str], tiny: TinyModels, wav: bytes, name: str
) -> None:
    answer = probabilities(server.predict(digests[f"{name}.h5"], wav))
    assert difference(answer, tiny.answers[name]) < 1e-5


def test_a_model_that_answers_in_half_precision_answers_as_keras_does(
    server: Server, tiny: TinyModels, wav: bytes
) -> None:
    digest = server.host(tiny.path("half.keras").read_bytes())
    answer = probabilities(server.predict(digest, wav), tolerance=1e-2)
    assert difference(answer, tiny.answers["half"]) < 1e-3


@pytest.mark.parametrize("name", ["lumenalux_genre_58features.h5", "sahi08960_genre_58features.h5"])
def test_a_third_party_model_of_58_features_predicts(
    server: Server, shared: Callable[[str], Path], wav: bytes, name: str
) -> None:
    digest = server.host(shared(f"models/{name}").read_bytes())
    assert len(probabilities(server.predict(digest, wav))) == 10


def test_a_third_party_model_of_mfcc_is_refused_with_its_axis(
    server: Server, shared: Callable[[str], Path], short_wav: bytes
) -> None:
    digest = server.host(shared("models/sriram49_genre_mfcc.h5").read_bytes())
    assert "axis" in _rejected(server.predict(digest, short_wav))


@pytest.mark.parametrize("name", BAD)
def test_a_model_that_does_not_fit_is_rejected_with_the_reason(
    server: Server, digests: dict[str, str], short_wav: bytes, name: str
) -> None:
    detail = _rejected(server.predict(digests[name], short_wav))
    for part in BAD[name]:
        assert part in detail


@pytest.mark.parametrize(
    ("start", "word"),
    [
        (b"", "no Keras model"),
        (b"\x80\x04\x95", "pickle"),
        (b"\x89HDF\r\n\x1a\n", "damaged"),
        (b"PK\x03\x04", "damaged"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_bytes_that_are_no_model_are_rejected_with_the_reason(
    server: Server, noise: Noise, short_wav: bytes, start: bytes, word: str
) -> None:
    digest = server.host(start + noise(500))
    assert word in _rejected(server.predict(digest, short_wav))


@pytest.mark.parametrize("name", ["SavedModel", "SavedModel in a zip"])
def test_a_saved_model_is_a_type_that_is_not_served(
    server: Server, short_wav: bytes, name: str
) -> None:
    answer = server.predict(server.host(ATTACKS[name][0]()), short_wav)
    assert problem_of(answer, 415) == "model-format"
    assert answer.json()["reason"] == "saved-model"
    assert answer.json()["msg"] == "attempt to load and run model failed"


def test_a_refusal_tells_its_code_and_its_place(server: Server, short_wav: bytes) -> None:
    answer = server.predict(server.host(ATTACKS["nested lambda"][0]()), short_wav)
    assert problem_of(answer, 422) == "model-rejected"
    assert answer.json()["reason"] == "lambda"
    assert "odd" in answer.json()["where"]


def test_a_rejection_names_no_path_of_the_machine(
    server: Server, digests: dict[str, str], short_wav: bytes
) -> None:
    for name in BAD:
        answer = server.predict(digests[name], short_wav)
        assert str(server.folder.parent) not in answer.text
        assert "/tmp" not in answer.text


def test_57_columns_answer_once_the_manifest_names_them(
    server: Server, tiny: TinyModels, wav: bytes
) -> None:
    digest = server.host(fresh_copy(tiny.path("row_57.h5")))
    assert "axis 1 must be 58" in _rejected(server.predict(digest, wav))
    manifest = {"inputs": {"features": {"columns": FIRST_57}}}
    assert server.register(digest, manifest).status_code == 200
    answer = probabilities(server.predict(digest, wav))
    assert difference(answer, tiny.answers["row_57"]) < 1e-5


def test_other_labels_answer_once_the_manifest_names_them(
    server: Server, tiny: TinyModels, wav: bytes
) -> None:
    digest = server.host(fresh_copy(tiny.path("labels_8.h5")))
    assert "axis 1 must be 10" in _rejected(server.predict(digest, wav))
    assert server.register(digest, {"labels": LABELS_8}).status_code == 200
    answer = server.predict(digest, wav)
    assert answer.status_code == 200
    assert difference(answer.json()["array"][0], tiny.answers["labels_8"]) < 1e-5


def test_a_scaler_of_the_manifest_is_applied_as_in_training(
    server: Server, tiny: TinyModels, wav: bytes
) -> None:
    scaler = {"mean": tiny.mean, "scale": tiny.scale}
    manifest = {"inputs": {"features": scaler, "spectrogram": {"scale": 255}}}
    digest = server.host(fresh_copy(tiny.path("unscaled.h5")), manifest)
    answer = server.predict(digest, wav)
    assert difference(probabilities(answer), tiny.answers["unscaled"]) < 1e-5
    assert "Prediction-Warning" not in answer.headers


def test_raw_numbers_for_a_model_that_was_trained_on_scaled_ones_are_warned_of(
    server: Server, tiny: TinyModels, wav: bytes
) -> None:
    digest = server.host(fresh_copy(tiny.path("unscaled.h5")))
    answer = server.predict(digest, wav)
    assert answer.status_code == 200
    assert answer.headers["Prediction-Warning"] == "saturated"
    assert f"digest={digest[:12]}" in server.log().partition("saturated answer")[2]


def test_a_scaler_of_the_wrong_width_rejects_the_model(
    server: Server, tiny: TinyModels, short_wav: bytes
) -> None:
    manifest = {"inputs": {"features": {"mean": tiny.mean[:-1]}}}
    digest = server.host(fresh_copy(tiny.path("row.h5")), manifest)
    detail = _rejected(server.predict(digest, short_wav))
    assert "57" in detail
    assert "58" in detail


def test_a_manifest_for_another_tensor_rejects_the_model(
    server: Server, tiny: TinyModels, short_wav: bytes
) -> None:
    manifest = {"inputs": {"img_input": {"frontend": "kaggle-gtzan@1"}}}
    digest = server.host(fresh_copy(tiny.path("row.h5")), manifest)
    detail = _rejected(server.predict(digest, short_wav))
    assert "img_input" in detail
    assert "features" in detail


def test_another_frontend_of_the_manifest_is_used(
    server: Server, tiny: TinyModels, wav: bytes
) -> None:
    manifest = {"inputs": {"spectrogram": {"frontend": "mel-235x335@1", "scale": 1 / 255}}}
    digest = server.host(fresh_copy(tiny.path("two.h5")), manifest)
    answer = server.predict(digest, wav)
    assert difference(probabilities(answer), tiny.answers["two"]) > 1e-4
    assert answer.headers["Prediction-Frontends"] == "gtzan-58@1, mel-235x335@1"


@pytest.mark.parametrize(
    "manifest",
    [
        {"surprise": 1},
        {"task": "telepathy"},
        {"task": 5},
        {"task": ""},
        {"inputs": []},
        {"inputs": {}},
        {"inputs": {"features": {"surprise": 1}}},
        {"inputs": {"features": {"frontend": "nothing@1"}}},
        {"inputs": {"features": {"columns": ["tempo", "tempo"]}}},
        {"inputs": {"features": {"columns": "tempo"}}},
        {"inputs": {"features": {"mean": "0"}}},
        {"inputs": {"features": {"mean": [True]}}},
        {"inputs": {"features": {"mean": 1e13}}},
        {"inputs": {"features": {"mean": []}}},
        {"inputs": {"features": {"scale": 0}}},
        {"inputs": {"features": {"scale": [1.0, 0.0]}}},
        {"inputs": {"features": {"scale": 1e-13}}},
        {"labels": ["one", "one"]},
        {"labels": [1, 2]},
        {"labels": []},
        {"output": None},
        {"licence": 5},
        {"card": "x" * 9000},
    ],
    ids=lambda manifest: str(manifest)[:50],
)
def test_a_manifest_that_is_not_the_form_is_refused(
    server: Server, noise: Noise, manifest: dict[str, Any]
) -> None:
    answer = server.register(digest_of(noise(8)), manifest)
    assert problem_of(answer, 422) == "bad-manifest"


def test_a_refused_manifest_registers_nothing(
    server: Server, noise: Noise, short_wav: bytes
) -> None:
    digest = digest_of(noise(8))
    server.register(digest, {"surprise": 1})
    assert problem_of(server.predict(digest, short_wav), 404) == "model-not-found"


def test_a_refused_manifest_names_the_member(server: Server, noise: Noise) -> None:
    answer = server.register(digest_of(noise(8)), {"inputs": {"x": {"surprise": 1}}})
    assert "surprise" in answer.json()["detail"]


def test_an_unknown_frontend_is_answered_with_the_known_ones(server: Server, noise: Noise) -> None:
    manifest = {"inputs": {"x": {"frontend": "nothing@1"}}}
    answer = server.register(digest_of(noise(8)), manifest)
    assert "kaggle-gtzan@1" in answer.json()["detail"]


def test_a_rejected_model_uploaded_signed_again_is_judged_again_at_once(
    server: Server, noise: Noise, short_wav: bytes
) -> None:
    junk = noise(500)
    digest = server.host(junk)
    _rejected(server.predict(digest, short_wav))
    assert server.upload_signed(junk).status_code == 200
    verdict = f"model rejected digest={digest[:12]}"
    wait_until(lambda: server.log().count(verdict) == 2, "it is judged again", deadline_s=25)
