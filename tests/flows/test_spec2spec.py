"""The surface of the spec2spec demonstration, over TLS: each line of its checklist."""

import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from tests.flows.conftest import TinyModels
from tests.flows.running import Server, wait_until
from tests.flows.sounds import encode, song

CODE = re.compile(r"\d{4}_\d{2}_\d{2}_\d{2}_\d{2}_\d{2}_[0-9a-f]{16}")
TILE = 130_977
PAGE = "https://page.example"
FILES = {"outwav": "audio/wav", "inspec": "image/png", "outspec": "image/png"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Server]:
    settings = {"SPEC2SPEC_DEMO": "1", "SPEC2SPEC_ORIGINS": PAGE}
    with closing(Server(tmp_path_factory.mktemp("demo"), certificates, settings)) as running:
        yield running.start()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as one:
        yield one


@contextmanager
def started(server: Server) -> Iterator[httpx.Client]:
    """Run a server while the block does."""
    with closing(server.start()), server.client() as client:
        yield client


def predict(
    client: httpx.Client, data: bytes, name: str = "song.wav", **fields: str
) -> httpx.Response:
    return client.post("/predict", files={"audio_data": (name, data)}, data=fields)


def code_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("text/plain")
    assert CODE.fullmatch(response.text)
    return response.text


def fetch(client: httpx.Client, kind: str, code: str) -> bytes:
    response = client.get(f"/{kind}", params={"time_code": code})
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == FILES[kind]
    return response.content


def frames(data: bytes) -> int:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert (file.samplerate, file.channels, file.subtype) == (22_050, 1, "PCM_24")
        return int(file.frames)


def test_it_is_up_before_any_model_is_ready(
    tmp_path: Path, certificates: Path, short_wav: bytes
) -> None:
    missing = f"file:///there/is/no/model#sha256={'ab' * 32}"
    settings = {"SPEC2SPEC_DEMO": "1", "SPEC2SPEC_MODEL": missing}
    server = Server(tmp_path, certificates, settings)
    with started(server) as client:
        response = client.get("/")
        assert (response.status_code, response.text) == (200, "OK")
        refused = predict(client, short_wav)
        assert refused.status_code == 503
        assert refused.json()["type"] == "/problems/model-not-ready"
        assert int(refused.headers["Retry-After"]) > 0
        wait_until(lambda: "model not fetched" in server.log(), "the failure is logged")


def test_a_code_is_good_for_three_files(client: httpx.Client, short_wav: bytes) -> None:
    code = code_of(predict(client, short_wav))
    assert frames(fetch(client, "outwav", code)) == TILE
    for kind in ("inspec", "outspec"):
        assert fetch(client, kind, code).startswith(b"\x89PNG")


def test_two_posts_of_one_second_differ(client: httpx.Client, short_wav: bytes) -> None:
    with ThreadPoolExecutor(4) as pool:
        codes = [code_of(one) for one in pool.map(lambda _: predict(client, short_wav), range(4))]
    assert len(set(codes)) == 4
    assert len({hashlib.sha256(fetch(client, "outwav", code)).digest() for code in codes}) == 1


@pytest.mark.parametrize(("seconds", "extent"), [(1.0, "first"), (1.0, "whole"), (60.0, "whole")])
def test_short_and_long_sounds_work(client: httpx.Client, seconds: float, extent: str) -> None:
    code = code_of(predict(client, encode(song(seconds)), extent=extent, iterations="2"))
    expected = TILE if extent == "first" else round(seconds * 22_050)
    assert frames(fetch(client, "outwav", code)) == pytest.approx(expected, abs=512)


@pytest.mark.parametrize(
    ("form", "name"), [("MP3", "Song.MP3"), ("MP3", "a.mp3"), ("WAV", "A.Wav")]
)
def test_the_case_of_a_name_does_not_matter(client: httpx.Client, form: str, name: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, song(2.0), 22_050, format=form)
    code = code_of(predict(client, file.getvalue(), name, iterations="1"))
    assert frames(fetch(client, "outwav", code)) == TILE


def test_a_text_is_no_sound(client: httpx.Client) -> None:
    for name in ("notes.txt", "notes.wav"):
        refused = predict(client, b"these are words\n" * 100, name)
        assert refused.status_code == 415
        assert refused.json()["type"] == "/problems/unreadable-sound"


@pytest.mark.parametrize("field", ["audio", "AUDIO_DATA"])
def test_without_the_field_it_is_no_form(
    client: httpx.Client, short_wav: bytes, field: str
) -> None:
    assert client.post("/predict", files={field: ("a.wav", short_wav)}).status_code == 400
    assert client.post("/predict", data={"seed": "1"}).status_code == 400
    assert client.post("/predict").status_code == 400


def test_a_parameter_is_held_against_the_task(client: httpx.Client, short_wav: bytes) -> None:
    assert predict(client, short_wav, seed="-1").status_code == 400
    assert predict(client, short_wav, tempo="90").status_code == 400
    assert predict(client, short_wav, model="ab" * 32).status_code in (400, 404)


@pytest.mark.parametrize(
    "code",
    ["", "2022_01_01_00_00_00", "2022_01_01_00_00_00_0123456789abcdef", "../../etc/passwd", "%00"],
)
@pytest.mark.parametrize("kind", FILES)
def test_an_unknown_code_leads_to_nothing(client: httpx.Client, kind: str, code: str) -> None:
    assert client.get(f"/{kind}", params={"time_code": code}).status_code == 404


def test_equal_seeds_give_equal_bytes(client: httpx.Client) -> None:
    sound = encode(song(3.0))
    made = []
    for comment, seed in ((b"", "5"), (b"\0", "5"), (b"", "6")):
        # another file of the same samples is another job: a WAV file may have bytes behind it
        code = code_of(predict(client, sound + comment, seed=seed, iterations="1"))
        made.append(fetch(client, "outwav", code))
    assert made[0] == made[1]
    assert made[0] != made[2]


@pytest.mark.parametrize("kind", FILES)
def test_without_a_code_there_is_a_sound_of_ours(client: httpx.Client, kind: str) -> None:
    response = client.get(f"/{kind}")
    assert (response.status_code, response.headers["Content-Type"]) == (200, FILES[kind])
    if kind == "outwav":
        assert frames(response.content) == TILE


def test_a_part_of_a_sound_can_be_asked_for(client: httpx.Client, short_wav: bytes) -> None:
    code = code_of(predict(client, short_wav))
    whole = fetch(client, "outwav", code)
    part = client.get("/outwav", params={"time_code": code}, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])


def test_the_pages_that_are_named_may_read_the_answers(client: httpx.Client) -> None:
    for path, status in (("/", 200), ("/outwav?time_code=x", 404)):
        named = client.get(path, headers={"Origin": PAGE})
        assert (named.status_code, named.headers["Access-Control-Allow-Origin"]) == (status, PAGE)
        other = client.get(path, headers={"Origin": "https://other.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
        assert other.headers["Vary"] == "Origin"


def test_nothing_signed_is_taken(client: httpx.Client, short_wav: bytes) -> None:
    files = {"audio_data": ("a.wav", short_wav)}
    refused = client.post("/predict", files=files, headers={"Signature-Input": "sig=()"})
    assert refused.status_code == 401


def test_a_large_sound_is_refused(tmp_path: Path, certificates: Path) -> None:
    settings = {"SPEC2SPEC_DEMO": "1", "MAX_PREDICTION_BYTES": "100000"}
    with started(Server(tmp_path, certificates, settings)) as client:
        assert predict(client, encode(song(10.0))).status_code == 413


def test_it_is_switched_off_by_itself(tmp_path: Path, certificates: Path, short_wav: bytes) -> None:
    with started(Server(tmp_path, certificates)) as client:
        assert client.get("/").status_code == 404
        assert predict(client, short_wav).status_code == 404


def test_a_model_is_fetched_by_its_digest(
    tmp_path: Path, certificates: Path, tiny: TinyModels, short_wav: bytes
) -> None:
    model = tmp_path / "pix2pix.keras"
    shutil.copy(tiny.path("pix2pix.keras"), model)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    settings = {"SPEC2SPEC_DEMO": "1", "SPEC2SPEC_MODEL": f"{model.as_uri()}#sha256={digest}"}
    server = Server(tmp_path / "server", certificates, settings)
    with started(server) as client:
        wait_until(lambda: "model fetched" in server.log(), "the model is here")
        by_model = fetch(client, "outwav", code_of(predict(client, short_wav)))
        assert frames(by_model) == TILE
        y, _ = soundfile.read(io.BytesIO(by_model))
        assert np.isfinite(y).all()
    model.unlink()
    server.arguments = ["--skip-download"]
    with started(server) as client:  # offline, it has what it fetched before
        assert client.get("/").text == "OK"
        assert fetch(client, "outwav", code_of(predict(client, short_wav))) == by_model
        assert server.log().count("model fetched") == 0


def test_another_file_than_the_pinned_one_is_not_taken(tmp_path: Path, certificates: Path) -> None:
    (tmp_path / "other").write_bytes(b"another model")
    settings = {
        "SPEC2SPEC_DEMO": "1",
        "SPEC2SPEC_MODEL": f"{(tmp_path / 'other').as_uri()}#sha256={'ab' * 32}",
    }
    server = Server(tmp_path / "server", certificates, settings)
    with started(server):
        wait_until(lambda: "model not fetched" in server.log(), "the failure is logged")
        assert "hashes to" in server.log()
        assert not [
            name for name in os.listdir(server.models) if re.fullmatch("[0-9a-f]{64}", name)
        ]


def test_what_was_made_is_forgotten_by_the_next_start(
    tmp_path: Path, certificates: Path, short_wav: bytes
) -> None:
    server = Server(tmp_path, certificates, {"SPEC2SPEC_DEMO": "1"})
    with started(server) as client:
        code = code_of(predict(client, short_wav))
        fetch(client, "outwav", code)
        assert len(list((server.models / "jobs").iterdir())) == 3
    with started(server) as client:
        assert client.get("/outwav", params={"time_code": code}).status_code == 404
        assert not list((server.models / "jobs").iterdir())


def test_who_leaves_leaves_nothing(server: Server) -> None:
    folder = server.models / "jobs"
    before = set(folder.iterdir())
    sound = encode(song(50.0))
    hasty = httpx.Client(base_url=server.api, verify=server.tls(), timeout=2)
    with hasty, pytest.raises(httpx.TimeoutException):
        predict(hasty, sound, extent="whole", iterations="100")
    wait_until(lambda: set(folder.iterdir()) <= before, "its files are gone")
