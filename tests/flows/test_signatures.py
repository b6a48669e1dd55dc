"""Signed payloads: what verifies, what is refused, and that nothing makes the server fail."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import itsdangerous
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.flows.running import (
    TOKEN,
    Server,
    digest_of,
    form,
    prediction_body,
    problem_of,
    sign_file,
    sign_payload,
    sign_text,
)

pytestmark = pytest.mark.timeout(120)
Noise = Callable[[int], bytes]
OLD_TOKEN = "the token of last year, which still verifies"
REGISTER = "/registermodelhash"
MAX_AGE_S = 300
DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.write_text(f"{OLD_TOKEN}\n\n{TOKEN}\n")
    file.chmod(0o600)
    return {
        "SIGNING_TOKEN": "",
        "SIGNING_TOKEN_FILE": str(file),
        "SIGNING_MAX_AGE_S": str(MAX_AGE_S),
        "INTAKE_TIMEOUT_S": "0.1",
    }


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def _post(http: httpx.Client, body: bytes | str, path: str = REGISTER) -> httpx.Response:
    return http.post(path, content=body)


def _timed(fields: dict[str, Any], *, age_s: float) -> bytes:
    class _Then(itsdangerous.TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time() - age_s)

    text = itsdangerous.TimedSerializer(TOKEN, signer=_Then).dumps(fields)
    return text.encode() if isinstance(text, str) else text


# keys


def test_the_newest_token_verifies(http: httpx.Client) -> None:
    assert _post(http, sign_payload({"hash": DIGEST})).status_code == 200


def test_an_older_token_verifies(http: httpx.Client) -> None:
    assert _post(http, sign_payload({"hash": DIGEST}, token=OLD_TOKEN)).status_code == 200


def test_an_older_token_verifies_files(server: Server, noise: Noise) -> None:
    content = noise(100)
    with server.client() as http:
        answer = http.post("/uploadmodel", files=form(sign_file(content, token=OLD_TOKEN)))
    assert answer.json() == {"msg": "model saved", "hash": digest_of(content)}


def test_an_unknown_token_is_refused(http: httpx.Client) -> None:
    body = sign_payload({"hash": DIGEST}, token="a token that this server never knew")
    assert problem_of(_post(http, body), 401) == "bad-signature"


def test_an_unknown_token_is_refused_for_files(server: Server, noise: Noise) -> None:
    content = noise(100)
    with server.client() as http:
        files = form(sign_file(content, token="a token that this server never knew"))
        answer = http.post("/uploadmodel", files=files)
    assert problem_of(answer, 401) == "bad-signature"
    assert digest_of(content) not in server.stored()


def test_a_refusal_never_says_which_part_failed(http: httpx.Client) -> None:
    bodies: list[bytes | str] = [
        sign_payload({"hash": DIGEST})[:-1],
        sign_payload({"hash": DIGEST}, token="a token that this server never knew"),
        "no signature at all",
        _timed({"hash": DIGEST}, age_s=MAX_AGE_S + 60),
    ]
    answers = [_post(http, body).json() for body in bodies]
    told = {(answer["title"], answer["detail"], answer["msg"]) for answer in answers}
    assert len(told) == 1


# the text of a signature


@pytest.mark.parametrize("place", [0, 5, 40, -1, -14, -27, -28])
def test_a_flipped_bit_is_refused(http: httpx.Client, place: int) -> None:
    body = bytearray(sign_payload({"hash": DIGEST}).encode())
    body[place] ^= 1
    assert problem_of(_post(http, bytes(body)), 401) == "bad-signature"


def _spare_bits(text: str) -> str:
    """Spell the last character otherwise: its two lowest bits are not part of the digest."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "spare bits": _spare_bits,
    "padded": lambda text: text + "=",
    "padded more": lambda text: text + "=====",
    "newline": lambda text: text + "\n",
    "newlines": lambda text: text + "\n\n\n\n",
    "junk inside": lambda text: text[:-5] + "!!!!" + text[-5:],
    "junk behind": lambda text: text + "*" * 4000,
    "space before": lambda text: " " + text,
    "dot behind": lambda text: text + ".",
    "twice": lambda text: text + text[-28:],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_of_a_signature_is_refused(http: httpx.Client, spelling: str) -> None:
    body = SPELLINGS[spelling](sign_payload({"hash": DIGEST}))
    assert problem_of(_post(http, body), 401) == "bad-signature"


def test_the_standard_alphabet_is_refused(http: httpx.Client, noise: Noise) -> None:
    while True:
        body = sign_payload({"hash": digest_of(noise(8))})
        head, _, signature = body.rpartition(".")
        if "-" in signature or "_" in signature:
            break
    other = signature.replace("-", "+").replace("_", "/")
    assert problem_of(_post(http, f"{head}.{other}"), 401) == "bad-signature"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_of_a_file_signature_is_refused(
    server: Server, noise: Noise, spelling: str
) -> None:
    content = b"model " + noise(8).hex().encode()
    signed = SPELLINGS[spelling](sign_file(content).decode()).encode()
    with server.client() as http:
        answer = http.post("/uploadmodel", files=form(signed))
    assert problem_of(answer, 401) == "bad-signature"
    assert digest_of(content) not in server.stored()


def test_a_signed_file_is_no_signed_payload(http: httpx.Client) -> None:
    body = sign_file(json.dumps({"hash": DIGEST}).encode())
    assert problem_of(_post(http, body), 401) == "bad-signature"


def test_a_signed_payload_is_no_signed_file(server: Server) -> None:
    with server.client() as http:
        answer = http.post("/uploadmodel", files=form(sign_payload({"hash": DIGEST}).encode()))
    assert problem_of(answer, 401) == "bad-signature"


@pytest.mark.parametrize("path", [REGISTER, "/prediction"])
@pytest.mark.parametrize("body", [b"", b".", b"." * 28, b"{}", b"x" * 27, b"\x00" * 100])
def test_a_body_without_signature_is_refused(http: httpx.Client, body: bytes, path: str) -> None:
    assert problem_of(_post(http, body, path), 401) == "bad-signature"


# time


@pytest.mark.parametrize("age_s", [0, MAX_AGE_S - 60])
def test_a_young_timed_payload_is_taken(http: httpx.Client, age_s: float) -> None:
    assert _post(http, _timed({"hash": DIGEST}, age_s=age_s)).status_code == 200


@pytest.mark.parametrize("age_s", [MAX_AGE_S + 60, 10 * 365 * 86400])
def test_an_old_timed_payload_is_refused(http: httpx.Client, age_s: float) -> None:
    answer = _post(http, _timed({"hash": DIGEST}, age_s=age_s))
    assert problem_of(answer, 401) == "bad-signature"


def test_a_timed_payload_from_the_future_is_refused(http: httpx.Client) -> None:
    answer = _post(http, _timed({"hash": DIGEST}, age_s=-3600))
    assert problem_of(answer, 401) == "bad-signature"


@pytest.mark.parametrize(("age_s", "status"), [(0, 200), (MAX_AGE_S + 60, 401), (-3600, 401)])
def test_a_stamp_within_the_payload_is_enforced(
    http: httpx.Client, age_s: float, status: int
) -> None:
    body = sign_payload({"hash": DIGEST, "_ts": time.time() - age_s})
    assert _post(http, body).status_code == status


@pytest.mark.parametrize("stamp", ["now", None, True, [], {}])
def test_a_stamp_that_is_no_number_is_refused(http: httpx.Client, stamp: object) -> None:
    answer = _post(http, sign_payload({"hash": DIGEST, "_ts": stamp}))
    assert problem_of(answer, 400) == "malformed-request"


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_stamp_larger_than_any_float_is_refused(http: httpx.Client, sign: str) -> None:
    body = sign_text(f'{{"hash": "{DIGEST}", "_ts": {sign}1{"0" * 400}}}')
    assert _post(http, body).status_code in (400, 401)


@pytest.mark.parametrize(("path", "status"), [(REGISTER, 200), ("/prediction", 401), ("", 401)])
def test_a_path_within_the_payload_is_enforced(http: httpx.Client, path: str, status: int) -> None:
    assert _post(http, sign_payload({"hash": DIGEST, "_path": path})).status_code == status


def test_a_payload_for_one_route_fits_no_other(http: httpx.Client) -> None:
    answer = _post(http, sign_payload({"hash": DIGEST}), "/prediction")
    assert problem_of(answer, 400) == "malformed-request"


# what is signed

TEXTS = {
    "unknown field": '{"hash": "%s", "admin": 1}',
    "missing field": "{}",
    "number": '{"hash": 5}',
    "null": '{"hash": null}',
    "list": '{"hash": ["%s"]}',
    "object": '{"hash": {"a": "%s"}}',
    "manifest text": '{"hash": "%s", "manifest": "x"}',
    "duplicate": '{"hash": "%s", "hash": "%s"}',
    "duplicate deep": '{"hash": "%s", "manifest": {"task": "genre", "task": "genre"}}',
    "nan": '{"hash": "%s", "manifest": {"card": NaN}}',
    "infinity": '{"hash": "%s", "manifest": {"card": Infinity}}',
    "minus infinity": '{"hash": "%s", "_ts": -Infinity}',
    "too large": '{"hash": "%s", "manifest": {"card": 1e999}}',
    "huge integer": '{"hash": "%s", "x": ' + "9" * 5000 + "}",
    "deep": '{"hash": ' + "[" * 20_000 + "]" * 20_000 + "}",
    "deep objects": '{"hash": ' + '{"a":' * 10_000 + "1" + "}" * 10_001,
    "lone surrogate name": '{"\\ud800": 1}',
    "lone surrogate value": '{"hash": "%s", "\\udfff": "\\ud800"}',
    "list outside": '["%s"]',
    "text outside": '"%s"',
    "null outside": "null",
    "number outside": "5",
    "empty": "",
    "cut": '{"hash": "%s"',
    "behind": '{"hash": "%s"} {}',
    "single quotes": "{'hash': '%s'}",
    "comment": '{"hash": "%s" /* */}',
    "control": '{"hash": "%s\n"}',
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_signed_text_that_is_not_the_schema_is_refused(http: httpx.Client, name: str) -> None:
    answer = _post(http, sign_text(TEXTS[name].replace("%s", DIGEST)))
    assert problem_of(answer, 400) == "malformed-request"


@pytest.mark.parametrize(
    "raw",
    [
        b'\xef\xbb\xbf{"hash": "' + DIGEST.encode() + b'"}',
        ('{"hash": "' + DIGEST + '"}').encode("utf-16"),
        b'{"hash": "\xff\xfe"}',
        b'{"hash": "\xed\xa0\x80"}',
        b"\x80\x04\x95pickle",
    ],
    ids=["bom", "utf-16", "not-utf-8", "surrogate", "pickle"],
)
def test_signed_bytes_that_are_no_plain_utf8_are_refused(http: httpx.Client, raw: bytes) -> None:
    assert problem_of(_post(http, sign_text(raw)), 400) == "malformed-request"


@pytest.mark.parametrize("value", ["\\ud800", "\\u0000", "..", "x"])
def test_a_strange_hash_is_refused(http: httpx.Client, value: str) -> None:
    answer = _post(http, sign_text(f'{{"hash": "{value}"}}'))
    assert problem_of(answer, 400) == "bad-digest"


@pytest.mark.parametrize("data", ["!!!!", "abc", "-_-_", "YWJj\n", "\u00e9", "\ud800", " YWJj"])
@pytest.mark.parametrize("field", ["data", "csv"])
def test_a_field_that_is_no_base64_is_refused(http: httpx.Client, field: str, data: str) -> None:
    fields = {"model_hash": DIGEST, "ext": "wav", "data": "", "csv": ""} | {field: data}
    answer = _post(http, sign_text(json.dumps(fields)), "/prediction")
    assert problem_of(answer, 400) == "bad-base64"


@pytest.mark.parametrize("field", ["model_hash", "data"])
def test_a_prediction_without_a_needed_field_names_it(http: httpx.Client, field: str) -> None:
    fields = {"model_hash": DIGEST, "ext": "wav", "data": "", "csv": ""}
    del fields[field]
    answer = _post(http, sign_payload(fields), "/prediction")
    assert problem_of(answer, 400) == "malformed-request"
    assert repr(field) in answer.json()["detail"]


# nothing makes it fail

_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=20)
    | st.sampled_from([DIGEST, "wav", "genre", base64.b64encode(b"RIFF").decode()])
)
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["task", "inputs"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
_names = st.sampled_from(
    ["hash", "manifest", "model_hash", "data", "ext", "csv", "_ts", "_path", "_nonce"]
)
_objects = st.dictionaries(_names | st.text(max_size=5), _values, max_size=6)
_mutation = st.none() | st.tuples(st.integers(0, 10_000), st.integers(0, 255))


@examples(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    value=_objects | _values,
    mutation=_mutation,
    signs_first=st.booleans(),
    path=st.sampled_from([REGISTER, "/prediction"]),
)
def test_no_signed_payload_makes_the_server_fail(
    http: httpx.Client, value: Any, mutation: tuple[int, int] | None, signs_first: bool, path: str
) -> None:
    def mutated(raw: bytes) -> bytes:
        if mutation is None or not raw:
            return raw
        place = mutation[0] % len(raw)
        return raw[:place] + bytes([mutation[1]]) + raw[place + 1 :]

    text = json.dumps(value).encode()
    body = mutated(sign_text(text)) if signs_first else sign_text(mutated(text))
    answer = _post(http, body, path)
    assert answer.status_code < 500, answer.text
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"].startswith("/problems/")


@examples(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200))
def test_no_unsigned_body_gets_past_the_signature(http: httpx.Client, body: bytes) -> None:
    for path in (REGISTER, "/prediction"):
        assert problem_of(_post(http, body, path), 401) == "bad-signature"


def test_a_prediction_body_is_good_on_its_own_route(http: httpx.Client, noise: Noise) -> None:
    body = prediction_body(digest_of(noise(8)), b"RIFF")
    assert problem_of(_post(http, body, "/prediction"), 404) == "model-not-found"
