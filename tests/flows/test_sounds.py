"""Sounds of every kind, asked through the original path; bad ones leave nothing behind."""

import base64
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.flows import sounds
from tests.flows.conftest import TinyModels
from tests.flows.running import (
    Server,
    difference,
    probabilities,
    problem_of,
    sign_payload,
)

pytestmark = pytest.mark.timeout(240)
Find = Callable[[str], Path]
RATE = sounds.SAMPLE_RATE_HZ
WINDOW = 661_794


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels, wav: bytes) -> str:
    """Return the digest of a two-input model that has answered once."""
    digest = server.host(tiny.path("two.h5").read_bytes())
    probabilities(server.predict(digest, wav))
    return digest


@pytest.fixture(scope="module")
def given(server: Server, hosted: str, wav: bytes) -> list[float]:
    return probabilities(server.predict(hosted, wav))


@pytest.fixture(autouse=True)
def _nothing_is_left(server: Server, hosted: str) -> Iterator[None]:
    """Hold every test of this module to leave no file behind, a model's own ones aside."""
    before = server.left_over()
    yield
    assert server.left_over() == before
    assert server.staged() == []


def _with_rate(data: bytes, rate_hz: int) -> bytes:
    return data[:24] + struct.pack("<I", rate_hz) + data[28:]


def _short() -> sounds.Samples:
    return sounds.song(2.0)


BAD: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "nothing": (lambda: b"", 415, "empty-sound"),
    "text": (lambda: b"this is no sound\n" * 50, 415, "unreadable-sound"),
    "half a header": (lambda: sounds.encode(_short())[:30], 415, "truncated-sound"),
    "half the data": (lambda: sounds.encode(_short())[:20_000], 415, "truncated-sound"),
    "pointer": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
        415,
        "git-lfs-pointer",
    ),
    "nan": (
        lambda: sounds.encode(np.full(50_000, np.nan, np.float32), subtype="FLOAT"),
        422,
        "sound-not-finite",
    ),
    "rate of 1 Hz": (lambda: _with_rate(sounds.encode(_short()), 1), 415, "bad-sample-rate"),
    "rate of 4 GHz": (
        lambda: _with_rate(sounds.encode(_short()), 0xFFFFFFFF),
        415,
        "bad-sample-rate",
    ),
    "9 channels": (
        lambda: sounds.encode(np.zeros((30_000, 9), np.float32)),
        415,
        "too-many-channels",
    ),
    "half a second": (lambda: sounds.encode(sounds.song(0.5)), 422, "sound-too-short"),
    "no samples": (lambda: sounds.encode(np.zeros(0, np.float32)), 415, "empty-sound"),
    "a model": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(500), 415, "unreadable-sound"),
    "a list of files": (lambda: b"#EXTM3U\nfile:///etc/passwd\n", 415, "unreadable-sound"),
    "a list of addresses": (lambda: b"[playlist]\nFile1=https://x/\n", 415, "unreadable-sound"),
    "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(500), 415, "unreadable-sound"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sound_is_refused_with_its_own_problem(
    server: Server, hosted: str, name: str
) -> None:
    make, status, slug = BAD[name]
    answer = server.predict(hosted, make())
    assert problem_of(answer, status) == slug
    assert answer.json()["msg"] == "model prediction caused an exception"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("empty.wav", "empty-sound"),
        ("text_as_wav.wav", "unreadable-sound"),
        ("truncated_header.wav", "truncated-sound"),
        ("truncated_data.wav", "truncated-sound"),
        ("absurd_rate.wav", "bad-sample-rate"),
        ("lfs_pointer.wav", "git-lfs-pointer"),
    ],
)
def test_a_bad_sound_of_the_shared_data_is_refused(
    server: Server, hosted: str, shared: Find, name: str, slug: str
) -> None:
    answer = server.predict(hosted, shared(f"bad_inputs/{name}").read_bytes())
    assert problem_of(answer, 415) == slug


@pytest.mark.parametrize(
    "ext",
    ["../../x", "a.b.c.d.e.f", "WAV", ".wav", "", "exe", "wav\x00", "wav/..", "\ud800", "w" * 5000],
)
def test_an_ext_that_names_no_format_is_refused(
    server: Server, hosted: str, short_wav: bytes, ext: str
) -> None:
    answer = server.predict(hosted, short_wav, ext=ext)
    assert problem_of(answer, 400) == "bad-extension"


@pytest.mark.parametrize(("fmt", "ext"), [("WAV", "mp3"), ("FLAC", "wav"), ("OGG", "flac")])
def test_an_ext_of_another_format_is_refused(
    server: Server, hosted: str, fmt: str, ext: str
) -> None:
    answer = server.predict(hosted, sounds.encode(_short(), fmt=fmt), ext=ext)
    assert problem_of(answer, 415) == "wrong-extension"


def test_base64_junk_is_refused(server: Server, hosted: str) -> None:
    answer = server.post_signed("/prediction", {"model_hash": hosted, "ext": "wav", "data": "?"})
    assert problem_of(answer, 400) == "bad-base64"


def test_after_bad_sounds_a_good_one_is_answered(
    server: Server, hosted: str, wav: bytes, given: list[float]
) -> None:
    for make, _, _ in BAD.values():
        assert server.predict(hosted, make()).status_code in (415, 422)
    assert difference(probabilities(server.predict(hosted, wav)), given) < 1e-6
    assert len(server.children("decoder_child")) == 1


@pytest.mark.parametrize("fmt", ["FLAC", "AIFF"])
def test_the_same_samples_in_another_format_have_the_same_answer(
    server: Server, hosted: str, song: sounds.Samples, given: list[float], fmt: str
) -> None:
    answer = server.predict(hosted, sounds.encode(song, fmt=fmt), ext=fmt.lower())
    assert difference(probabilities(answer), given) < 1e-6


@pytest.mark.parametrize("fmt", ["OGG", "MP3"])
def test_the_same_sound_in_a_lossy_format_has_the_same_class(
    server: Server, hosted: str, song: sounds.Samples, given: list[float], fmt: str
) -> None:
    answer = probabilities(server.predict(hosted, sounds.encode(song, fmt=fmt), ext=fmt.lower()))
    assert difference(answer, given) < 0.1
    assert np.argmax(answer) == np.argmax(given)


def test_the_ext_may_be_left_out(
    server: Server, hosted: str, wav: bytes, given: list[float]
) -> None:
    answer = probabilities(server.predict(hosted, wav, ext=None))
    assert difference(answer, given) < 1e-6


def test_a_stereo_sound_has_the_answer_of_its_mean(
    server: Server, hosted: str, song: sounds.Samples, given: list[float]
) -> None:
    stereo = np.stack([song * 1.0, song], axis=1)
    answer = probabilities(server.predict(hosted, sounds.encode(stereo)))
    assert difference(answer, given) < 1e-5


@pytest.mark.parametrize("rate_hz", [8000, 44_100, 96_000])
def test_a_sound_of_another_rate_is_answered(server: Server, hosted: str, rate_hz: int) -> None:
    tone = (0.5 * np.sin(np.arange(3 * rate_hz) * 440 * 2 * np.pi / rate_hz)).astype(np.float32)
    answer = probabilities(server.predict(hosted, sounds.encode(tone, rate_hz)))
    assert max(answer) < 0.99999


def test_silence_is_answered(server: Server, hosted: str) -> None:
    probabilities(server.predict(hosted, sounds.encode(np.zeros(30 * RATE, np.float32))))


def test_a_short_sound_is_judged_repeated_to_the_window(server: Server, hosted: str) -> None:
    jingle = sounds.song(12.0)
    answer = server.predict(hosted, sounds.encode(jingle))
    whole = server.predict(hosted, sounds.encode(np.resize(jingle, WINDOW)))
    assert answer.headers["Prediction-Window"] == "0-12 s of 12 s, repeated"
    assert difference(probabilities(answer), probabilities(whole)) < 1e-5
    assert max(probabilities(answer)) < 0.99999


def test_a_long_sound_is_judged_by_its_middle(server: Server, hosted: str) -> None:
    y = sounds.song(200.0)
    answer = server.predict(hosted, sounds.encode(y))
    start = (len(y) - WINDOW) // 2
    middle = server.predict(hosted, sounds.encode(y[start : start + WINDOW]))
    assert answer.headers["Prediction-Window"].endswith("s of 200 s")
    assert difference(probabilities(answer), probabilities(middle)) < 1e-5
    assert max(probabilities(answer)) < 0.99999


def test_a_prediction_leaves_no_file(server: Server, hosted: str, wav: bytes) -> None:
    probabilities(server.predict(hosted, wav))


def test_data_with_padding_inside_is_refused(server: Server, hosted: str, wav: bytes) -> None:
    half = base64.b64encode(wav[:1000]).decode()
    fields = {"model_hash": hosted, "ext": "wav", "data": half + half}
    assert problem_of(server.post("/prediction", sign_payload(fields)), 400) == "bad-base64"


def test_nothing_unexpected_was_logged(server: Server, given: list[float]) -> None:
    assert "Traceback" not in server.log()
