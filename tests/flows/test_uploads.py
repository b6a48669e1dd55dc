"""Registration, uploads and sweeps through the original paths, with files that are no models."""

import json
from collections.abc import Callable

import httpx
import itsdangerous
import pytest

from tests.flows.running import (
    TOKEN,
    Server,
    digest_of,
    form,
    problem_of,
    sign_file,
    sign_payload,
)

Noise = Callable[[int], bytes]


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"INTAKE_TIMEOUT_S": "0.1"}  # what is promoted here is not worth judging


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
    assert digest_of(content) not in server.sweep()
    assert digest_of(content) not in server.stored()
