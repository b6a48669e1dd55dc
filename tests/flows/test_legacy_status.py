"""`LEGACY_STATUS=1`: the scripts of 2020 get their status, 200, and the words they know."""

from collections.abc import Callable

import httpx
import pytest

from tests.flows.running import Server, digest_of, form, prediction_body

Noise = Callable[[int], bytes]


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"LEGACY_STATUS": "1"}


def _told(answer: httpx.Response, msg: str) -> None:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["msg"] == msg
    assert isinstance(answer.json()["ex"], str)


def test_a_bad_signature_answers_200(server: Server) -> None:
    answer = server.post("/registermodelhash", b"unsigned")
    _told(answer, "payload did not have valid signature")


def test_a_bad_signature_of_a_file_answers_200(server: Server, noise: Noise) -> None:
    with server.client() as http:
        answer = http.post("/uploadmodel", files=form(noise(100)))
    _told(answer, "no valid signature on data")


def test_an_unknown_model_answers_200(server: Server, short_wav: bytes, noise: Noise) -> None:
    answer = server.post("/prediction", prediction_body(digest_of(noise(8)), short_wav))
    _told(answer, "model not found")


def test_a_form_that_is_none_answers_200(server: Server) -> None:
    with server.client() as http:
        answer = http.post(server.uploads + "/nodemodeluploads", content=b"x")
    assert (answer.status_code, answer.json()["message"]) == (200, "please upload a file.")


def test_a_path_that_the_original_had_not_answers_404(server: Server) -> None:
    assert server.get("/nowhere").status_code == 404


def test_a_success_is_as_without_it(server: Server, noise: Noise) -> None:
    answer = server.register(digest_of(noise(8)))
    assert answer.content == b'{"msg":"model hash stored"}'
