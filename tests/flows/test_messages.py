"""Signed messages over the wire: who is let in, for what, once, and until when."""

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.messages import (
    authority,
    deliver,
    key,
    pair,
    send,
    sign,
    with_token,
    write_keys,
)
from tests.flows.running import (
    TOKEN,
    Server,
    digest_of,
    file_part,
    form,
    multipart,
    once_at,
    problem_of,
    sign_file,
    sign_payload,
    wait_until,
)
from tests.signing.messages import (
    Request,
    Signer,
    content_digest,
    ed25519_signer,
    hmac_signer,
    signed,
)

pytestmark = pytest.mark.timeout(120)
New = Callable[..., Server]
Noise = Callable[[int], bytes]
ALL = hmac_signer("all")
FORM = "multipart/form-data; boundary=edge"
BYTES = "application/octet-stream"
OLD_WAY = "an old token with a scope"
OTHER_SECRET = base64.b64encode(hashlib.sha256(b"another secret").digest()).decode()


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(
        tmp_path_factory.mktemp("keys") / "keys.json",
        key("all"),
        pair(),
        *(key(f"only-{name}", name) for name in ("register", "upload", "predict", "admin")),
        key("sender", "register", "upload"),
        key("some", "register", "upload", "predict", models="00*"),
        key("some-admin", "admin", models="00*"),
        key("off", disabled=True),
        key("over", not_after="2020-01-01"),
        key("old-way", "register", algorithm="itsdangerous", secret=OLD_WAY),
        key("seldom", limits={"requests_per_minute": 3}),
        key("small", limits={"bytes_per_hour": 5000}),
    )


@pytest.fixture(scope="module")
def settings(keys_file: Path) -> dict[str, str]:
    return {"KEYS_FILE": str(keys_file), "INTAKE_TIMEOUT_S": "0.1"}


def register(server: Server, signer: Signer, digest: str, **options: Any) -> httpx.Response:
    return send(server, "/registermodelhash", {"hash": digest}, signer, **options)


# what is taken


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("signer", [ALL, ed25519_signer()], ids=["hmac", "ed25519"])
def test_a_signed_message_registers(
    server: Server, noise: Noise, signer: Signer, http2: bool
) -> None:
    answer = register(server, signer, digest_of(noise(8)), http2=http2)
    assert (answer.status_code, answer.text) == (200, '{"msg":"model hash stored"}')


@pytest.mark.parametrize("size", [0, 1, 100_000, 3 << 20])
def test_a_file_as_the_whole_body_is_stored(server: Server, noise: Noise, size: int) -> None:
    content = noise(size)
    answer = send(server, "/uploadmodel", content, ALL, content_type=BYTES)
    assert answer.json() == {"msg": "model saved", "hash": digest_of(content)}
    assert digest_of(content) in server.stored()


@pytest.mark.parametrize("path", ["/uploadmodel", "/nodemodeluploads"])
def test_a_plain_file_in_a_form_is_stored(server: Server, noise: Noise, path: str) -> None:
    content = noise(1000)
    body = multipart(file_part(content)) + b"and what follows the form"
    answer = send(server, path, body, ALL, content_type=FORM)
    assert answer.status_code == 200, answer.text
    assert digest_of(content) in server.stored()


def test_several_files_go_in_one_form(server: Server, noise: Noise) -> None:
    contents = [noise(100) for _ in range(3)]
    body = multipart(*map(file_part, contents))
    assert send(server, "/nodemodeluploads", body, ALL, content_type=FORM).status_code == 200
    assert {digest_of(content) for content in contents} <= server.stored()


def test_the_old_way_goes_on_beside_it(server: Server, noise: Noise) -> None:
    assert server.register(digest_of(noise(8))).status_code == 200
    assert server.upload_signed(noise(100)).status_code == 200


def test_a_key_of_the_file_may_sign_the_old_way(server: Server, noise: Noise) -> None:
    body = sign_payload({"hash": digest_of(noise(8))}, token=OLD_WAY)
    assert server.post("/registermodelhash", body).status_code == 200
    prediction = sign_payload({"model_hash": "00", "data": ""}, token=OLD_WAY)
    assert problem_of(server.post("/prediction", prediction), 403) == "scope-missing"


# what is refused


@pytest.mark.parametrize(
    "signer",
    [
        *(hmac_signer(name) for name in ("off", "over", "nobody", "old-way")),
        hmac_signer("all", bytes(32)),
        Signer("pair", "hmac-sha256", ALL.sign),
    ],
    ids=lambda signer: signer.key_id,
)
def test_a_key_that_is_no_good_is_refused(server: Server, noise: Noise, signer: Signer) -> None:
    assert problem_of(register(server, signer, digest_of(noise(8))), 401) == "bad-signature"


def test_a_refusal_never_says_which_part_failed(server: Server) -> None:
    request = Request(path="/registermodelhash", body=b'{"hash": "00"}')
    good = sign(server, replace(request, headers={}), ALL)
    altered = [
        replace(good, headers=good.headers | {"signature": "sig1=:AAAA:"}),
        replace(good, headers=good.headers | {"signature-input": "sig1=()"}),
        replace(sign(server, replace(request, headers={}), ALL), body=b'{"hash": "01"}'),
        replace(good, query="a=1"),
        replace(good, authority="another.host"),
        sign(server, replace(request, headers={}), hmac_signer("off")),
        sign(server, replace(request, headers={}), ALL, {"expires": 5, "created": 1}),
        sign(server, replace(request, headers={}), ALL, {"nonce": "short"}),
        Request(path="/registermodelhash", body=b"{}.x"),
    ]
    answers = [deliver(server, each) for each in altered]
    assert {problem_of(answer, 401) for answer in answers} == {"bad-signature"}
    told = [answer.json() for answer in answers]
    assert len({(each["title"], each["detail"], each["msg"]) for each in told}) == 1
    assert "meant for" not in str(told)
    assert deliver(server, good).status_code == 400  # it was good: only its digest is none


@pytest.mark.parametrize("content_type", [FORM, BYTES])
def test_another_body_leaves_nothing_behind(
    server: Server, noise: Noise, content_type: str
) -> None:
    content = noise(1000)
    body = content if content_type == BYTES else multipart(file_part(content)) + b"behind"
    request = Request("POST", "", "/uploadmodel", "", body, content_type)
    good = sign(server, request, ALL)
    for at in (0 if content_type == BYTES else 150, len(body) - 1):
        changed = bytearray(body)
        changed[at] ^= 1
        again = sign(server, replace(request, headers={}), ALL)
        answer = deliver(server, replace(again, body=bytes(changed)))
        assert problem_of(answer, 401) == "bad-signature"
        assert digest_of(bytes(changed)) not in server.stored()
        assert digest_of(content) not in server.stored()
    assert deliver(server, good).status_code == 200


def test_a_bad_signature_is_refused_before_the_body_is_sent(server: Server) -> None:
    request = sign(server, Request(path="/uploadmodel", body=b"x"), hmac_signer("all", bytes(32)))
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    lines = [line.replace("content-length: 1", f"content-length: {1 << 30}") for line in lines]
    text = "\r\n".join(["POST /uploadmodel HTTP/1.1", f"Host: {request.authority}", *lines])
    with server.connect() as connection:
        connection.settimeout(30)
        connection.sendall(text.encode() + b"\r\n\r\na few bytes")  # and nothing more
        assert connection.recv(64).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("name", ["content-type", "content-digest", "host", "signature"])
def test_a_header_that_was_sent_twice_is_refused(server: Server, name: str) -> None:
    request = sign(server, Request(path="/registermodelhash", body=b"{}"), ALL)
    headers = {"host": request.authority} | request.headers
    lines = [f"{field}: {value}" for field, value in headers.items()]
    text = "\r\n".join(["POST /registermodelhash HTTP/1.1", *lines, f"{name}: {headers[name]}"])
    with server.connect() as connection:
        connection.settimeout(30)
        connection.sendall(text.encode() + b"\r\n\r\n{}")
        assert connection.recv(12).split()[1] in (b"400", b"401")


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_target_may_name_the_host_too(server: Server, noise: Noise, scheme: str) -> None:
    body = f'{{"hash": "{digest_of(noise(8))}"}}'.encode()
    request = sign(server, Request(path="/registermodelhash", query="%41=1", body=body), ALL)
    headers = {"host": request.authority, "connection": "close"} | request.headers
    lines = [f"{field}: {value}" for field, value in headers.items()]
    target = f"{scheme}://{request.authority}{request.path}?{request.query}"
    with server.connect() as connection:
        connection.settimeout(30)
        head = "\r\n".join([f"POST {target} HTTP/1.1", *lines, "\r\n"])
        connection.sendall(head.encode() + body)
        assert connection.recv(12).split()[1] == b"200"


@pytest.mark.parametrize("http2", [False, True])
def test_a_post_without_a_body_is_taken_as_clients_send_it(server: Server, http2: bool) -> None:
    request = sign(server, Request("POST", "", "/v1/uploads", body=None), ALL)
    assert "content-length" not in request.headers  # httpx adds `Content-Length: 0`
    request.headers |= {"Tus-Resumable": "1.0.0", "Upload-Length": "9"}
    begun = deliver(server, request, http2=http2)
    assert begun.status_code == 201
    request = sign(server, Request("DELETE", "", begun.headers["Location"], body=None), ALL)
    request.headers["Tus-Resumable"] = "1.0.0"
    assert deliver(server, request, http2=http2).status_code == 204


# once


def test_a_message_counts_once(server: Server, noise: Noise) -> None:
    body = f'{{"hash": "{digest_of(noise(8))}"}}'.encode()
    request = sign(server, Request(path="/registermodelhash", body=body), ALL)
    assert deliver(server, request).status_code == 200
    for http2 in (False, True):
        assert problem_of(deliver(server, request, http2=http2), 401) == "bad-signature"


def test_of_many_copies_at_once_one_counts(server: Server, noise: Noise) -> None:
    body = f'{{"hash": "{digest_of(noise(8))}"}}'.encode()
    request = sign(server, Request(path="/registermodelhash", body=body), ALL)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(deliver(server, request).status_code))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [401] * 11


def test_a_forgery_does_not_use_a_nonce_up(server: Server, noise: Noise) -> None:
    body = f'{{"hash": "{digest_of(noise(8))}"}}'.encode()
    request = sign(server, Request(path="/registermodelhash", body=body), ALL)
    other = sign(server, Request(path="/registermodelhash", body=body), ALL)
    forged = replace(request, headers=request.headers | {"signature": other.headers["signature"]})
    assert deliver(server, forged).status_code == 401
    assert deliver(server, request).status_code == 200


def test_a_nonce_of_one_key_is_not_one_of_another(server: Server, noise: Noise) -> None:
    body = f'{{"hash": "{digest_of(noise(8))}"}}'.encode()
    for signer in (ALL, ed25519_signer(), hmac_signer("sender")):
        request = Request(path="/registermodelhash", body=body)
        good = sign(server, request, signer, {"nonce": "the same nonce for each of them"})
        assert deliver(server, good).status_code == 200


@pytest.mark.parametrize("content_type", [FORM, BYTES])
def test_a_captured_upload_is_no_good_on_the_other_port(
    server: Server, noise: Noise, content_type: str
) -> None:
    content, before = noise(100), server.staged()
    body = content if content_type == BYTES else multipart(file_part(content))
    request = sign(server, Request("POST", "", "/nodemodeluploads", "", body, content_type), ALL)
    fresh = deliver(server, request, base=server.uploads)
    assert problem_of(fresh, 401) == "bad-signature"
    assert deliver(server, request).status_code == 200
    assert problem_of(deliver(server, request, base=server.uploads), 401) == "bad-signature"
    assert server.staged() == before


def test_a_message_counts_once_across_a_restart(new_server: New, keys_file: Path) -> None:
    server = new_server(KEYS_FILE=str(keys_file), API_BIND="127.0.0.1:0").start()
    request = sign(server, Request(path="/registermodelhash", body=b'{"hash": "x"}'), ALL)
    assert deliver(server, request).status_code == 400  # good, but no digest: its nonce is used
    server.kill()
    server.start()
    assert authority(server)  # the request names the port of before: Host says so
    assert problem_of(deliver(server, request), 401) == "bad-signature"
    fresh = sign(server, Request(path="/registermodelhash", body=b'{"hash": "x"}'), ALL)
    assert deliver(server, fresh).status_code == 400


# for what


@pytest.mark.parametrize(
    ("signer", "path"),
    [
        (hmac_signer("only-upload"), "/registermodelhash"),
        (hmac_signer("only-register"), "/uploadmodel"),
        (hmac_signer("only-upload"), "/nodemodeluploads"),
        (hmac_signer("sender"), "/prediction"),
        (hmac_signer("sender"), f"/v1/models/{'00' * 32}/predictions"),
    ],
    ids=lambda value: getattr(value, "key_id", value),
)
def test_a_key_without_the_scope_is_refused(server: Server, signer: Signer, path: str) -> None:
    answer = send(server, path, {"hash": "00" * 32}, signer)
    assert problem_of(answer, 403) == "scope-missing"
    assert answer.json()["scope"] in answer.json()["detail"]


def test_a_key_is_good_for_the_models_it_names(server: Server, noise: Noise) -> None:
    some = hmac_signer("some")
    assert register(server, some, "00" * 32).status_code == 200
    assert problem_of(register(server, some, "ab" * 32), 403) == "scope-missing"
    for path, body in [
        (f"/v1/models/{'ab' * 32}/predictions", b"RIFF"),
        ("/prediction", {"model_hash": "ab" * 32, "data": ""}),
    ]:
        kind = BYTES if isinstance(body, bytes) else "application/json"
        answer = send(server, path, body, some, content_type=kind)
        assert problem_of(answer, 403) == "scope-missing"
    assert problem_of(
        send(server, f"/v1/models/{'00' * 32}/predictions", b"RIFF", some, content_type=BYTES), 409
    )
    content = next(
        content for content in iter(lambda: noise(64), b"") if digest_of(content)[:2] != "00"
    )
    answer = send(server, "/uploadmodel", content, some, content_type=BYTES)
    assert problem_of(answer, 403) == "scope-missing"
    assert digest_of(content) not in server.stored()


def test_json_under_a_signature_is_held_to_its_schema(server: Server) -> None:
    for body in (b"", b"{}", b'{"hash": "00", "hash": "00"}', b"NaN", b'{"hash": "00", "_ts": 1}'):
        answer = send(server, "/registermodelhash", body, ALL)
        assert problem_of(answer, 400) == "malformed-request"


# until when: the file of keys changes under the running server


@pytest.fixture
def changing(new_server: New, tmp_path: Path) -> tuple[Server, Path]:
    path = write_keys(tmp_path / "keys.json", key("one"))
    return new_server(KEYS_FILE=str(path), SIGNING_TOKEN="").start(), path


def test_a_key_is_revoked_within_a_second(changing: tuple[Server, Path], noise: Noise) -> None:
    server, path = changing
    assert register(server, hmac_signer("one"), digest_of(noise(8))).status_code == 200
    done = server.run("keys", "disable", "one")
    assert done.returncode == 0, done.stderr
    wait_until(
        lambda: register(server, hmac_signer("one"), digest_of(noise(8))).status_code == 401,
        "the key is refused",
        deadline_s=1.0,
    )
    assert "good" not in server.run("keys", "list").stdout
    assert path.stat().st_mode & 0o777 == 0o600


def begun_upload(server: Server, way: str, content: bytes, token: str) -> tuple[str, bytes]:
    """Return the head of an upload and its body, in one of the ways to send it."""
    path, body, headers = "/uploadmodel", content, {"content-type": BYTES}
    if way == "file":
        body = multipart(file_part(sign_file(content, token=OLD_WAY)))
        headers = {"content-type": FORM}
    elif way == "header":
        path = f"/v1/models/{digest_of(content)}/file"
        said = {"sha256": digest_of(content), "_path": path, "_ts": time.time()}
        headers |= {"Signed-Request": sign_payload(said, token=OLD_WAY)}
    elif way == "message":
        request = sign(server, Request("POST", "", path, "", content, BYTES), hmac_signer("one"))
        headers = request.headers
    else:
        headers |= {"Authorization": f"Bearer {token}"}
    headers |= {"host": authority(server), "content-length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{'PUT' if way == 'header' else 'POST'} {path} HTTP/1.1", *lines]), body


@pytest.mark.parametrize("way", ["file", "header", "message", "token"])
def test_who_is_revoked_while_a_body_arrives_is_refused_at_its_end(
    changing: tuple[Server, Path], noise: Noise, way: str
) -> None:
    server, path = changing
    good = (key("one"), key("old", algorithm="itsdangerous", secret=OLD_WAY))
    changes: list[tuple[dict[str, Any], bytes]] = [
        ({}, b"20"),
        ({"disabled": True}, b"401"),
        ({"not_after": "2020-01-01"}, b"401"),
        ({"secret": OTHER_SECRET}, b"401"),
        ({"scopes": {"read": ["*"]}}, b"403"),
    ]
    for change, status in changes:
        write_keys(path, *good)
        token = mint(server, hmac_signer("one"), scopes=["register", "upload"])
        content = noise(9000)
        register(server, hmac_signer("one"), digest_of(content))
        head, body = begun_upload(server, way, content, token)
        with server.connect() as connection:
            connection.settimeout(30)
            connection.sendall(head.encode() + b"\r\n\r\n" + body[:5000])
            wait_until(server.writing, "the upload has begun")
            write_keys(path, *(entry | change for entry in good))
            connection.sendall(body[5000:])
            assert connection.recv(12).split()[1].startswith(status), change
        assert (digest_of(content) in server.stored()) is (not change)
        wait_until(lambda: not server.writing(), "nothing of it is left")


def test_an_upload_that_a_token_has_begun_ends_with_it(
    changing: tuple[Server, Path], noise: Noise
) -> None:
    server, _ = changing
    content, scopes = noise(9000), ["register", "upload"]
    token = mint(server, hmac_signer("one"), scopes=scopes, ttl_s=4)
    head, body = begun_upload(server, "token", content, token)
    with server.connect() as connection:
        connection.settimeout(30)
        connection.sendall(head.encode() + b"\r\n\r\n" + body[:5000])
        wait_until(server.writing, "the upload has begun")
        wait_until(lambda: by_token(server, token, "00" * 32).status_code == 401, "it is over")
        connection.sendall(body[5000:])
        assert connection.recv(12).split()[1] == b"401"
    assert digest_of(content) not in server.stored()


def test_keys_are_exchanged_without_a_lost_request(
    changing: tuple[Server, Path], noise: Noise
) -> None:
    server, path = changing
    current, statuses, over = ["one"], [], threading.Event()

    def work() -> None:
        while not over.is_set():
            answer = register(server, hmac_signer(current[0]), digest_of(noise(8)))
            statuses.append(answer.status_code)

    clients = [threading.Thread(target=work) for _ in range(2)]
    for client in clients:
        client.start()
    for old, new in [("one", "two"), ("two", "three"), ("three", "four")]:
        write_keys(path, key(old), key(new))
        current[0] = new
        seen = len(statuses)
        wait_until(lambda seen=seen: len(statuses) > seen + 4, "the clients have moved on")  # type: ignore[misc]
        write_keys(path, key(new))
    over.set()
    for client in clients:
        client.join()
    assert set(statuses) == {200}
    assert register(server, hmac_signer("one"), digest_of(noise(8))).status_code == 401


def test_a_broken_file_keeps_the_keys_and_says_so(
    changing: tuple[Server, Path], noise: Noise
) -> None:
    server, path = changing
    path.write_text("{")
    assert register(server, hmac_signer("one"), digest_of(noise(8))).status_code == 200
    assert "not JSON" in server.get("/readyz").json()["keys"]["fault"]
    told = send(server, "/metrics", b"", hmac_signer("one"), method="GET").text
    assert "spectrogrampredictor_keys_reload_failed 1.0" in told
    assert "keys not read again" in server.log()
    write_keys(path, key("two"))
    assert register(server, hmac_signer("one"), digest_of(noise(8))).status_code == 401
    assert server.get("/readyz").json()["keys"] == {"known": 1, "fault": None}


def test_a_key_made_at_the_command_line_is_good_at_once(
    changing: tuple[Server, Path], noise: Noise
) -> None:
    server, _ = changing
    arguments = ["keys", "make", "new", "--scope", "register", "--algorithm", "hmac-sha256"]
    made = server.run(*arguments, "--days", "1", "--requests-per-minute", "60")
    assert made.returncode == 0, made.stderr
    signer = hmac_signer("new", base64.b64decode(made.stdout))
    assert register(server, signer, digest_of(noise(8))).status_code == 200
    listed = server.run("keys", "list").stdout
    assert made.stdout.strip() not in listed
    assert [line.split()[0] for line in listed.splitlines()] == ["one", "new"]
    assert listed.rstrip().endswith("60 requests/minute")
    again = server.run(*arguments)
    assert again.returncode == 2
    assert "twice" in again.stderr


@pytest.mark.parametrize("days", ["0", "-1", "nan", "inf", "1e9", "a week"])
def test_a_key_that_ends_before_it_begins_or_never_is_not_made(
    new_server: New, tmp_path: Path, days: str
) -> None:
    server = new_server(KEYS_FILE=str(tmp_path / "keys.json"))
    made = server.run("keys", "make", "new", "--scope", "register", f"--days={days}")
    assert made.returncode == 2
    assert "argument --days: more than 0" in made.stderr
    assert not (tmp_path / "keys.json").exists()


# what a key may ask for in a while


def test_a_key_that_asks_too_often_is_told_when_to_come_back(server: Server, noise: Noise) -> None:
    seldom = hmac_signer("seldom")
    answers = [register(server, seldom, digest_of(noise(8))) for _ in range(4)]
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    assert problem_of(answers[3], 429) == "quota-exceeded"
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 20
    assert register(server, ALL, digest_of(noise(8))).status_code == 200


def test_a_key_that_has_sent_too_much_sends_no_more(server: Server, noise: Noise) -> None:
    small = hmac_signer("small")
    first, second = noise(5000), noise(10)
    assert send(server, "/uploadmodel", first, small, content_type=BYTES).status_code == 200
    refused = send(server, "/uploadmodel", second, small, content_type=BYTES)
    assert problem_of(refused, 429) == "quota-exceeded"
    assert digest_of(second) not in server.stored()


# where the old way is good


@pytest.mark.parametrize(
    ("switch", "register_status", "prediction_status"),
    [
        ({"DIALECT1_ENABLED": "1"}, 200, 404),
        ({"DIALECT1_ENABLED": "0"}, 401, 401),
        ({"DIALECT1_ENABLED": "/prediction, /v1/*"}, 401, 404),
        ({"DIALECT1_UNTIL": "2026-01-01T00:00:00Z"}, 401, 401),
        ({"DIALECT1_UNTIL": "2999-01-01"}, 200, 404),
    ],
    ids=str,
)
def test_the_old_way_can_be_switched_off(
    new_server: New,
    keys_file: Path,
    switch: dict[str, str],
    register_status: int,
    prediction_status: int,
) -> None:
    server = new_server(KEYS_FILE=str(keys_file), **switch).start()
    assert server.register("00" * 32).status_code == register_status
    assert server.upload_signed(b"some bytes").status_code == register_status
    body = sign_payload({"model_hash": "ab" * 32, "data": ""}, token=TOKEN)
    assert server.post("/prediction", body).status_code == prediction_status
    assert register(server, ALL, "00" * 32).status_code == 200


def test_a_server_takes_messages_for_its_own_names_only(new_server: New, keys_file: Path) -> None:
    server = new_server(KEYS_FILE=str(keys_file), SIGNED_AUTHORITIES="models.example, x:8443")
    server.start()
    assert register(server, ALL, "00" * 32).status_code == 401
    for name, status in [("Models.Example", 200), ("x:8443", 200), ("x", 401)]:
        request = Request(path="/registermodelhash", body=b'{"hash": "%s"}' % (b"0" * 64))
        request.authority = name
        assert deliver(server, signed(request, ALL)).status_code == status


@pytest.mark.parametrize("text", ["{", '{"keys": [5]}'])
def test_a_file_of_keys_that_is_broken_at_the_start_is_told(
    new_server: New, tmp_path: Path, text: str
) -> None:
    (tmp_path / "keys.json").write_text(text)
    (tmp_path / "keys.json").chmod(0o600)
    failed = new_server(KEYS_FILE=str(tmp_path / "keys.json")).run("serve")
    assert failed.returncode == 2
    assert "KEYS_FILE" in failed.stderr
    assert "Traceback" not in failed.stderr


# tokens and the record of changes


def mint(server: Server, signer: Signer, **fields: Any) -> str:
    answer = send(server, "/v1/tokens", {"scopes": ["register"]} | fields, signer)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    return token


def by_token(server: Server, token: str, digest: str) -> httpx.Response:
    return with_token(server, token, "/registermodelhash", {"hash": digest})


def test_a_token_does_what_its_scopes_say(server: Server, noise: Noise) -> None:
    token = mint(server, ALL)
    assert by_token(server, token, digest_of(noise(8))).status_code == 200
    refused = with_token(server, token, "/prediction", {"model_hash": "00" * 32, "data": ""})
    assert problem_of(refused, 403) == "scope-missing"


def test_a_token_uploads(server: Server, noise: Noise) -> None:
    token, content = mint(server, ALL, scopes=["register", "upload"]), noise(100)
    answer = with_token(server, token, "/uploadmodel", content, content_type=BYTES)
    assert answer.json() == {"msg": "model saved", "hash": digest_of(content)}
    with server.client() as http:
        headers = {"Authorization": f"Bearer {token}"}
        assert http.post("/nodemodeluploads", files=form(noise(9)), headers=headers).is_success


def test_a_token_is_held_to_its_models_and_its_size(server: Server) -> None:
    token = mint(server, ALL, models="00*", max_bytes=80)
    assert by_token(server, token, "00" * 32).status_code == 200
    assert problem_of(by_token(server, token, "ab" * 32), 403) == "scope-missing"
    long = {"hash": "00" * 32, "manifest": {"card": "x" * 80}}
    refused = with_token(server, token, "/registermodelhash", long)
    assert problem_of(refused, 413) == "body-too-large"


def test_a_token_is_never_good_for_more_than_its_key(server: Server) -> None:
    refused = send(server, "/v1/tokens", {"scopes": ["predict"]}, hmac_signer("sender"))
    assert problem_of(refused, 403) == "scope-missing"
    token = mint(server, hmac_signer("some"))
    assert by_token(server, token, "00" * 32).status_code == 200
    assert problem_of(by_token(server, token, "ab" * 32), 403) == "scope-missing"


@pytest.mark.parametrize("good_first", [True, False])
def test_of_two_tokens_none_counts(server: Server, good_first: bool) -> None:
    good, bad = f"Bearer {mint(server, ALL, scopes=['read'])}", "Bearer none"
    sent = [good, bad] if good_first else [bad, good]
    with server.client() as http:
        answer = http.get("/v1/models", headers=[("Authorization", each) for each in sent])
        assert problem_of(answer, 401) == "bad-signature"
        assert http.get("/v1/models", headers={"Authorization": good}).status_code == 200


def test_of_two_signed_requests_none_counts(server: Server) -> None:
    path = "/v1/models"
    good = sign_payload({"_path": path, "_ts": int(time.time()), "sha256": digest_of(b"")})
    with server.client() as http:
        answer = http.get(path, headers=[("Signed-Request", good)] * 2)
        assert problem_of(answer, 401) == "bad-signature"
        assert http.get(path, headers={"Signed-Request": good}).status_code == 200


def test_a_body_is_held_to_its_digest_beside_a_token_too(server: Server, noise: Noise) -> None:
    content = noise(100)
    token = mint(server, ALL, scopes=["register", "upload"])
    headers = {"Authorization": f"Bearer {token}", "Content-Type": BYTES}
    with server.client() as http:
        for digest in (content_digest(content + b"x"), "none"):
            answer = http.post(
                "/uploadmodel", content=content, headers=headers | {"Content-Digest": digest}
            )
            assert problem_of(answer, 401) == "bad-signature"
        headers |= {"Content-Digest": content_digest(content)}
        assert http.post("/uploadmodel", content=content, headers=headers).status_code == 200


def test_a_token_mints_no_other(server: Server) -> None:
    answer = with_token(server, mint(server, ALL), "/v1/tokens", {"scopes": ["register"]})
    assert problem_of(answer, 403) == "scope-missing"


def test_a_token_may_be_minted_the_old_way(server: Server, noise: Noise) -> None:
    fields = {"scopes": ["register"]} | once_at("/v1/tokens")
    token = server.post_signed("/v1/tokens", fields).json()["token"]
    assert by_token(server, token, digest_of(noise(8))).status_code == 200
    unbound = server.post_signed("/v1/tokens", {"scopes": ["register"]})
    assert problem_of(unbound, 400) == "malformed-request"


def test_a_token_ends(server: Server, noise: Noise) -> None:
    token = mint(server, ALL, ttl_s=1)
    wait_until(
        lambda: by_token(server, token, digest_of(noise(8))).status_code == 401, "it is over"
    )


def test_a_token_goes_with_its_key(changing: tuple[Server, Path], noise: Noise) -> None:
    server, path = changing
    token = mint(server, hmac_signer("one"))
    assert by_token(server, token, digest_of(noise(8))).status_code == 200
    write_keys(path, key("one", disabled=True))
    assert problem_of(by_token(server, token, digest_of(noise(8))), 401) == "bad-signature"


def test_a_token_ends_with_the_secret_of_its_key(
    changing: tuple[Server, Path], noise: Noise
) -> None:
    server, path = changing
    token = mint(server, hmac_signer("one"))
    write_keys(path, key("one", limits={"requests_per_minute": 100}))
    assert by_token(server, token, digest_of(noise(8))).status_code == 200  # another entry of it
    write_keys(path, key("one", secret=OTHER_SECRET))
    assert problem_of(by_token(server, token, digest_of(noise(8))), 401) == "bad-signature"


@pytest.mark.parametrize(
    "fields",
    [
        *({"scopes": []}, {"scopes": ["fly"]}, {"scopes": [5]}, {"scopes": "register"}),
        *(
            {"models": "x"},
            {"models": ""},
            {"models": "*\n"},
            {"ttl_s": 0},
            {"ttl_s": 601},
            {"ttl_s": 1.5},
        ),
        *({"max_bytes": 0}, {"max_bytes": True}, {"surprise": 1}),
    ],
    ids=str,
)
def test_a_token_of_another_form_is_refused(server: Server, fields: dict[str, Any]) -> None:
    answer = send(server, "/v1/tokens", {"scopes": ["register"]} | fields, ALL)
    assert problem_of(answer, 400) == "malformed-request"


@pytest.mark.parametrize("token", ["x", ".", "a.b.c", "x" * 9000])
def test_a_token_that_is_none_is_refused(server: Server, token: str) -> None:
    assert problem_of(by_token(server, token, "00" * 32), 401) == "bad-signature"


def test_the_operator_prints_a_token(server: Server) -> None:
    arguments = ["token", "--scope", "register", "--scope", "read", "--model", "00*"]
    printed = server.run(*arguments, "--ttl", "60")
    assert printed.returncode == 0, printed.stderr
    assert by_token(server, printed.stdout.strip(), "00" * 32).status_code == 200
    assert by_token(server, printed.stdout.strip(), "ab" * 32).status_code == 403
    assert server.run(*arguments, "--ttl", "9999").returncode == 2


def audit(server: Server, signer: Signer = ALL, query: str = "") -> httpx.Response:
    return send(server, "/v1/audit", None, signer, method="GET", query=query)


def test_who_did_what_is_recorded(server: Server, noise: Noise) -> None:
    content = noise(200)
    digest = digest_of(content)
    assert register(server, ed25519_signer(), digest).status_code == 200
    assert register(server, ALL, digest).status_code == 200  # changes nothing
    assert send(server, "/uploadmodel", content, hmac_signer("sender"), content_type=BYTES)
    token = mint(server, ALL, scopes=["register", "read"], models="ab*", ttl_s=9)

    def told() -> list[tuple[str, str]]:
        entries = audit(server, query="limit=1000").json()["entries"]
        return [(each["action"], each["by"]) for each in entries if each["model"] == digest]

    wait_until(lambda: len(told()) == 3, "the file is judged")
    assert told() == [("rejected", "server"), ("promoted", "sender"), ("registered", "pair")]
    entries = audit(server).json()["entries"]
    minted = next(each for each in entries if each["action"] == "token minted")
    assert (minted["by"], minted["detail"]) == ("all", "read register of ab* for 9 s")
    assert token not in str(entries)


def test_the_record_comes_in_pages(server: Server, noise: Noise) -> None:
    digests = [digest_of(noise(8)) for _ in range(6)]
    for digest in digests:
        register(server, ALL, digest)
    found: list[str] = []
    query = "limit=2"
    while not set(digests) <= set(found):
        page = audit(server, query=query).json()
        found += [each["model"] for each in page["entries"]]
        assert len(page["entries"]) == 2
        query = f"limit=2&before={page['next']}"
    assert [each for each in found if each in digests] == digests[::-1]


def test_the_record_tells_a_key_of_its_own_models_only(server: Server, noise: Noise) -> None:
    own, other = "00" + digest_of(noise(8))[2:], "11" + digest_of(noise(8))[2:]
    for digest in (own, other):
        assert register(server, ALL, digest).status_code == 200
    mint(server, ALL)
    shown: list[str] = []
    query = "limit=2"
    while own not in shown:
        page = audit(server, hmac_signer("some-admin"), query).json()
        shown += [each["model"] for each in page["entries"]]
        query = f"limit=2&before={page['next']}"
    assert [each for each in shown if each is None or each[:2] != "00"] == []
    everything = [
        each["model"] for each in audit(server, hmac_signer("only-admin")).json()["entries"]
    ]
    assert {own, other, None} <= set(everything)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=1001", "before=-1", "a=1", "limit=1&limit=2"]
)
def test_a_page_of_another_form_is_refused(server: Server, query: str) -> None:
    assert problem_of(audit(server, query=query), 400) == "malformed-request"


def test_the_record_is_for_administrators(server: Server) -> None:
    assert audit(server, hmac_signer("only-admin")).status_code == 200
    assert problem_of(audit(server, hmac_signer("sender")), 403) == "scope-missing"
    assert problem_of(server.get("/v1/audit"), 401) == "bad-signature"
