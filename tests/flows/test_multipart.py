"""Upload forms: whole ones, odd ones, and those that are refused with nothing kept."""

from collections.abc import Callable

import httpx
import pytest

from tests.flows.running import (
    FORM_TYPE,
    Server,
    digest_of,
    file_part,
    form,
    multipart,
    problem_of,
    sign_file,
)

Noise = Callable[[int], bytes]
UPLOAD = "/nodemodeluploads"
MIB = 1 << 20


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"INTAKE_TIMEOUT_S": "0.1"}  # what is uploaded here is no model


@pytest.fixture(autouse=True)
def _empty_staging(server: Server) -> None:
    server.sweep()


def _send(server: Server, body: bytes, content_type: str = FORM_TYPE) -> httpx.Response:
    with server.client() as http:
        url = server.uploads + UPLOAD
        return http.post(url, content=body, headers={"Content-Type": content_type})


def _refused(server: Server, answer: httpx.Response) -> None:
    """Check that a form on the upload port was refused and that nothing was kept."""
    assert problem_of(answer, 400) == "malformed-form"
    assert answer.json()["msg"] == "incorrectly formatted form"
    assert answer.json()["message"] == "please upload a file."
    assert server.staged() == []
    assert server.writing() == []


@pytest.mark.parametrize("count", [1, 2, 12])
def test_up_to_12_files_are_taken(server: Server, noise: Noise, count: int) -> None:
    contents = [noise(300) for _ in range(count)]
    for content in contents:
        server.register(digest_of(content))
    assert server.upload(*contents).status_code == 200
    assert set(server.sweep()) == {digest_of(content) for content in contents}


def test_12_signed_files_are_taken(server: Server, noise: Noise) -> None:
    contents = [noise(300) for _ in range(12)]
    assert server.upload_signed(*contents, path=UPLOAD).status_code == 200
    assert {digest_of(content) for content in contents} <= server.stored()


def test_13_files_are_refused_whole(server: Server, noise: Noise) -> None:
    contents = [noise(300) for _ in range(13)]
    server.register(digest_of(contents[0]))
    _refused(server, server.upload(*contents))


def test_13_signed_files_are_refused_whole(server: Server, noise: Noise) -> None:
    contents = [noise(300) for _ in range(13)]
    answer = server.upload_signed(*contents, path=UPLOAD)
    assert problem_of(answer, 400) == "malformed-form"
    assert not {digest_of(content) for content in contents} & server.stored()


def test_two_files_for_uploadmodel_are_refused_whole(server: Server, noise: Noise) -> None:
    contents = [noise(300) for _ in range(2)]
    answer = server.upload_signed(*contents)
    assert problem_of(answer, 400) == "malformed-form"
    assert answer.json()["msg"] == "incorrectly formatted form"
    assert not {digest_of(content) for content in contents} & server.stored()


def test_one_bad_signature_among_several_keeps_nothing(server: Server, noise: Noise) -> None:
    good = [noise(300) for _ in range(3)]
    files = form(*(sign_file(content) for content in good[:2]), noise(300), sign_file(good[2]))
    with server.client() as http:
        answer = http.post(UPLOAD, files=files)
    assert problem_of(answer, 401) == "bad-signature"
    assert not {digest_of(content) for content in good} & server.stored()
    assert server.staged() == []


def test_a_bad_signature_at_the_end_keeps_nothing(server: Server, noise: Noise) -> None:
    good, bad = noise(300), bytearray(sign_file(noise(300)))
    bad[-1] ^= 1
    with server.client() as http:
        answer = http.post(UPLOAD, files=form(sign_file(good), bytes(bad)))
    assert problem_of(answer, 401) == "bad-signature"
    assert digest_of(good) not in server.stored()


@pytest.mark.parametrize("path", ["/uploadmodel", UPLOAD])
def test_an_unsigned_file_on_the_api_port_is_refused(
    server: Server, noise: Noise, path: str
) -> None:
    content = noise(3000)
    server.register(digest_of(content))
    with server.client() as http:
        answer = http.post(path, files=form(content))
    assert problem_of(answer, 401) == "bad-signature"
    assert server.staged() == []
    assert digest_of(content) not in server.sweep()


@pytest.mark.parametrize("size", [0, 1, 27, 28])
def test_an_unsigned_file_shorter_than_a_signature_is_refused(server: Server, size: int) -> None:
    with server.client() as http:
        answer = http.post("/uploadmodel", files=form(b"." * size))
    assert problem_of(answer, 401) == "bad-signature"


def test_a_wrong_field_name_is_refused(server: Server, noise: Noise) -> None:
    with server.client() as http:
        answer = http.post(server.uploads + UPLOAD, files=form(noise(300), field="file"))
    _refused(server, answer)


def test_a_wrong_field_name_behind_a_right_one_keeps_nothing(server: Server, noise: Noise) -> None:
    body = multipart(file_part(noise(300)), file_part(noise(300), field="other"))
    _refused(server, _send(server, body))


def test_a_text_field_is_refused(server: Server) -> None:
    part = b'Content-Disposition: form-data; name="model"\r\n\r\njust text'
    _refused(server, _send(server, multipart(part)))


def test_a_form_without_parts_is_refused(server: Server) -> None:
    _refused(server, _send(server, b"--edge--\r\n"))


def test_an_empty_body_is_refused(server: Server) -> None:
    _refused(server, _send(server, b""))


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "text/plain", "multipart/mixed; boundary=edge", "multipart/form-data"],
)
def test_what_is_no_form_is_refused(server: Server, noise: Noise, content_type: str) -> None:
    _refused(server, _send(server, multipart(file_part(noise(300))), content_type))


def test_an_empty_boundary_is_refused(server: Server, noise: Noise) -> None:
    body = multipart(file_part(noise(300)))
    _refused(server, _send(server, body, 'multipart/form-data; boundary=""'))


def test_a_huge_boundary_is_refused(server: Server, noise: Noise) -> None:
    boundary = "b" * 5000
    body = multipart(file_part(noise(300)), boundary=boundary)
    _refused(server, _send(server, body, f"multipart/form-data; boundary={boundary}"))


def test_another_boundary_than_declared_is_refused(server: Server, noise: Noise) -> None:
    _refused(server, _send(server, multipart(file_part(noise(300)), boundary="other")))


@pytest.mark.parametrize("cut", [1, 8, 100, 320])
def test_a_form_that_ends_early_is_refused(server: Server, noise: Noise, cut: int) -> None:
    body = multipart(file_part(noise(300)), ending=b"--")
    _refused(server, _send(server, body[:-cut]))


def test_a_second_file_that_ends_early_keeps_nothing(server: Server, noise: Noise) -> None:
    body = multipart(file_part(noise(300)), file_part(noise(300)))
    _refused(server, _send(server, body[:-50]))


def test_a_megabyte_of_part_headers_is_refused(server: Server, noise: Noise) -> None:
    part = b"X-Bomb: " + b"x" * MIB + b"\r\n" + file_part(noise(300))
    _refused(server, _send(server, multipart(part)))


def test_many_part_headers_are_refused(server: Server, noise: Noise) -> None:
    part = b"".join(b"X-%d: 1\r\n" % k for k in range(100_000)) + file_part(noise(300))
    _refused(server, _send(server, multipart(part)))


def test_a_flood_before_the_first_part_is_refused(server: Server, noise: Noise) -> None:
    _refused(server, _send(server, b"x" * MIB + b"\r\n" + multipart(file_part(noise(300)))))


def test_a_flood_behind_the_last_part_is_dropped(server: Server, noise: Noise) -> None:
    content = noise(300)
    assert _send(server, multipart(file_part(content)) + b"x" * MIB).status_code == 200
    assert [(server.uploads_tmp / name).read_bytes() for name in server.staged()] == [content]


@pytest.mark.parametrize(
    "content",
    [b"\r" * MIB, b"\n" * MIB, b"\r\n" * MIB, b"\r\n--edg" * 100_000, b"\r\n--edge2" * 10],
    ids=["cr", "lf", "crlf", "nearly", "prefix"],
)
def test_content_that_looks_like_a_boundary_arrives_whole(
    server: Server, noise: Noise, content: bytes
) -> None:
    whole = noise(20) + content + noise(20)
    assert _send(server, multipart(file_part(whole))).status_code == 200
    assert [(server.uploads_tmp / name).read_bytes() for name in server.staged()] == [whole]


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\r\n--edge"[:-1]])
def test_content_that_ends_like_a_boundary_arrives_whole(
    server: Server, noise: Noise, end: bytes
) -> None:
    whole = noise(20) + end
    assert _send(server, multipart(file_part(whole))).status_code == 200
    assert [(server.uploads_tmp / name).read_bytes() for name in server.staged()] == [whole]


def test_a_zero_length_file_is_discarded_by_the_sweep(server: Server) -> None:
    assert server.upload(b"").status_code == 200
    assert server.sweep() == []
    assert server.staged() == []


@pytest.mark.parametrize(
    "filename", ["../../../escaped", "/escaped", "..", ".", "a\\..\\..\\escaped", "x" * 4000, ""]
)
def test_a_file_name_chooses_no_path(server: Server, noise: Noise, filename: str) -> None:
    content = noise(300)
    before = sorted(str(path) for path in server.folder.iterdir())
    body = multipart(file_part(content, filename=filename))
    assert _send(server, body).status_code in (200, 400)
    contents = [(server.uploads_tmp / name).read_bytes() for name in server.staged()]
    assert contents in ([], [content])
    assert sorted(str(path) for path in server.folder.iterdir()) == before
    assert not (server.folder.parent / "escaped").exists()


def test_a_quoted_boundary_is_read(server: Server, noise: Noise) -> None:
    body = multipart(file_part(noise(300)))
    assert _send(server, body, 'multipart/form-data; boundary="edge"').status_code == 200


def test_an_upload_with_get_is_refused(server: Server) -> None:
    with server.client() as http:
        answer = http.get(server.uploads + UPLOAD)
    assert problem_of(answer, 405) == "method-not-allowed"


def test_the_upload_port_serves_no_registration(server: Server) -> None:
    with server.client() as http:
        answer = http.post(server.uploads + "/registermodelhash", content=b"x")
    assert problem_of(answer, 404) == "not-found"


def test_nothing_unexpected_was_logged(server: Server) -> None:
    assert "Traceback" not in server.log()
