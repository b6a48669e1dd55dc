"""server/signing/payload.py and keyring.py against itsdangerous itself."""

import json
import string

import itsdangerous
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import BadSignature, MalformedRequest, ServerError
from server.signing.keyring import KeyRing
from server.signing.payload import open_payload, take_fields

TOKEN = "a token of more than sixteen bytes"
KEYS = KeyRing([TOKEN])
NOW = 1_800_000_000.0
SPARE_BITS = {"A": "B", "E": "F", "I": "J", "M": "N", "Q": "R", "U": "V", "Y": "Z", "c": "d"}


def opened(text: str | bytes, *, keys: KeyRing = KEYS, path: str = "/prediction") -> object:
    body = text.encode() if isinstance(text, str) else text
    return open_payload(body, keys, path=path, now=NOW, max_age_s=300).fields


def signed(value: object) -> str:
    text = itsdangerous.Serializer(TOKEN).dumps(value)
    assert isinstance(text, str)
    return text


def signed_text(text: str) -> bytes:
    return itsdangerous.Signer(TOKEN, salt=b"itsdangerous").sign(text)


def timed(value: object, *, age_s: int) -> str:
    class Frozen(itsdangerous.TimestampSigner):
        def get_timestamp(self) -> int:
            return int(NOW) - age_s

    text = itsdangerous.TimedSerializer(TOKEN, signer=Frozen).dumps(value)
    assert isinstance(text, str)
    return text


@given(st.dictionaries(st.text(), st.recursive(st.text() | st.integers(), st.lists, max_leaves=5)))
def test_what_a_serializer_signs_is_read_back(value: dict[str, object]) -> None:
    value.pop("_ts", None), value.pop("_path", None)
    assert opened(signed(value)) == value


@given(st.binary(max_size=200))
def test_nothing_unsigned_is_accepted(body: bytes) -> None:
    with pytest.raises(BadSignature):
        opened(body)


@given(st.data())
def test_one_changed_byte_is_refused(data: st.DataObject) -> None:
    body = bytearray(signed({"hash": "ab" * 32}).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadSignature):
        opened(bytes(body))


@pytest.mark.parametrize("suffix", ["=", "=====", "\n", "\n\n\n\n", "!", "*" * 4000, " "])
def test_a_longer_spelling_of_a_signature_is_refused(suffix: str) -> None:
    with pytest.raises(BadSignature):
        opened(signed({}) + suffix)


def test_spare_bits_in_the_last_character_are_refused() -> None:
    text = next(t for n in range(200) if (t := signed({"n": n}))[-1] in SPARE_BITS)
    respelled = text[:-1] + SPARE_BITS[text[-1]]
    assert itsdangerous.Serializer(TOKEN).loads(respelled)  # the library takes it
    with pytest.raises(BadSignature):
        opened(respelled)


def test_a_signed_file_is_no_signed_payload() -> None:
    with pytest.raises(BadSignature):
        opened(itsdangerous.Signer(TOKEN).sign(b"{}"))


@pytest.mark.parametrize("signing", ["the first token of all", "the second token of all"])
def test_every_token_of_the_ring_verifies(signing: str) -> None:
    keys = KeyRing(["the first token of all", "the second token of all"])
    assert opened(itsdangerous.Serializer(signing).dumps({"a": "b"}), keys=keys) == {"a": "b"}


def test_a_ring_signed_by_itsdangerous_with_two_tokens_is_read() -> None:
    tokens = ["the first token of all", "the second token of all"]
    assert opened(itsdangerous.Serializer(tokens).dumps({}), keys=KeyRing(tokens)) == {}


@pytest.mark.parametrize("age_s", [0, 299])
def test_a_young_timed_payload_is_read(age_s: int) -> None:
    assert opened(timed({"hash": "x"}, age_s=age_s)) == {"hash": "x"}


@pytest.mark.parametrize("age_s", [301, 100_000, -10])
def test_an_old_or_future_timed_payload_is_refused(age_s: int) -> None:
    with pytest.raises(BadSignature):
        opened(timed({"hash": "x"}, age_s=age_s))


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("_ts", NOW - 10, True),
        ("_ts", NOW - 1000, False),
        ("_ts", NOW + 60, False),
        ("_path", "/prediction", True),
        ("_path", "/registermodelhash", False),
    ],
)
def test_an_optional_field_is_enforced_when_present(
    field: str, value: object, accepted: bool
) -> None:
    text = signed({"a": "b", field: value})
    if accepted:
        assert opened(text) == {"a": "b"}
    else:
        with pytest.raises(BadSignature):
            opened(text)


@pytest.mark.parametrize(
    "text",
    [
        *('{"a":1,"a":2}', '{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":1e999}'),
        *("[]", '"text"', "1.5", "null", "", "{", '{"a":' + "[" * 100_000),
        *('{"a":' + "9" * 5000 + "}", "\ufeff{}", '{"_ts":"soon"}'),
    ],
)
def test_signed_text_that_is_no_plain_json_object_is_malformed(text: str) -> None:
    with pytest.raises(MalformedRequest):
        opened(signed_text(text))


def test_signed_bytes_that_are_no_utf8_are_malformed() -> None:
    with pytest.raises(MalformedRequest):
        opened(itsdangerous.Signer(TOKEN, salt=b"itsdangerous").sign(b'{"a":"\xff"}'))


@given(st.text(alphabet=string.printable))
def test_no_signed_text_raises_anything_but_our_errors(text: str) -> None:
    try:
        value = opened(signed_text(text))
    except ServerError:
        return
    assert value == {k: v for k, v in json.loads(text).items() if k not in ("_ts", "_path")}


@pytest.mark.parametrize(
    ("fields", "word"),
    [({}, "missing"), ({"hash": 1}, "string"), ({"hash": "x", "more": 1}, "more")],
)
def test_a_schema_names_what_is_wrong(fields: dict[str, object], word: str) -> None:
    with pytest.raises(MalformedRequest, match=word):
        take_fields(fields, required={"hash": str})


def test_a_nonce_is_handed_out_with_the_time_it_matters() -> None:
    body = signed({"a": "b", "_ts": NOW, "_nonce": "n-1"}).encode()
    payload = open_payload(body, KEYS, path="/", now=NOW, max_age_s=300)
    assert (payload.fields, payload.nonce) == ({"a": "b"}, "n-1")
    assert payload.nonce_until == NOW + 300


@pytest.mark.parametrize(
    "extra",
    [{"_nonce": "n"}, {"_nonce": "", "_ts": NOW}, {"_nonce": 1, "_ts": NOW}, {"_nonce": None}],
)
def test_a_nonce_without_its_time_is_malformed(extra: dict[str, object]) -> None:
    with pytest.raises(MalformedRequest, match="_nonce"):
        opened(signed({"a": "b"} | extra))
