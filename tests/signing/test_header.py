"""server/signing/header.py: a body signed by its digest, in one header."""

import hashlib
from collections.abc import AsyncIterator

import itsdangerous
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import BadDigest, BadSignature, MalformedRequest, ServerError
from server.signing.header import SignedRequest, only_signed, open_header
from server.signing.keyring import KeyRing

TOKEN = "a token of more than sixteen bytes"
NOW = 1_800_000_000.0
PATH = "/v1/models/x/predictions"
BODY = b"a song"
DIGEST = hashlib.sha256(BODY).hexdigest()
FIELDS: dict[str, object] = {"sha256": DIGEST, "_path": PATH, "_ts": NOW - 1}


def signed(value: object, *, token: str = TOKEN) -> str:
    text = itsdangerous.Serializer(token).dumps(value)
    assert isinstance(text, str)
    return text


def timed(value: object, *, age_s: int) -> str:
    class Frozen(itsdangerous.TimestampSigner):
        def get_timestamp(self) -> int:
            return int(NOW) - age_s

    text = itsdangerous.TimedSerializer(TOKEN, signer=Frozen).dumps(value)
    assert isinstance(text, str)
    return text


def opened(value: str, *, path: str = PATH) -> SignedRequest:
    return open_header(value, KeyRing([TOKEN]), path=path, now=NOW, max_age_s=300)


def test_a_header_says_the_bodys_digest_and_the_routes_fields() -> None:
    header = opened(signed(FIELDS | {"ext": "mp3"}))
    assert header.digest.hex == DIGEST
    assert header.fields == {"ext": "mp3"}
    assert header.nonce is None


@pytest.mark.parametrize(
    "tokens", [["another token of 16 bytes", TOKEN], [TOKEN, "and one more token"]]
)
def test_any_token_of_the_ring_may_have_signed(tokens: list[str]) -> None:
    header = open_header(signed(FIELDS), KeyRing(tokens), path=PATH, now=NOW, max_age_s=300)
    assert header.digest.hex == DIGEST


def test_the_stamp_of_a_timed_serializer_counts_as_its_time() -> None:
    untimed = {name: value for name, value in FIELDS.items() if name != "_ts"}
    assert opened(timed(untimed, age_s=10)).digest.hex == DIGEST


@pytest.mark.parametrize(
    "value",
    [
        *("", ".", "x", "{}", signed(FIELDS)[:-1], signed(FIELDS) + "=", " " + signed(FIELDS)),
        signed(FIELDS, token="a token that nobody gave out"),
        signed(FIELDS).replace("a", "b", 1),
        signed(FIELDS).replace("s", "\u017f", 1),
        "\xe9" * 40,
        itsdangerous.Signer(TOKEN).sign(BODY).decode(),
    ],
    ids=ascii,
)
def test_a_header_that_is_missing_or_altered_is_refused(value: str) -> None:
    with pytest.raises(BadSignature):
        opened(value)


@pytest.mark.parametrize("path", ["/", PATH + "/", PATH.upper(), "/prediction"])
def test_a_header_for_another_path_is_refused(path: str) -> None:
    with pytest.raises(BadSignature):
        opened(signed(FIELDS), path=path)


@pytest.mark.parametrize("stamp", [NOW - 301, NOW + 60, 0, -1, 1 << 70, -(1 << 70)])
def test_an_old_or_future_header_is_refused(stamp: float) -> None:
    with pytest.raises(BadSignature):
        opened(signed(FIELDS | {"_ts": stamp}))


@pytest.mark.parametrize("age_s", [301, -60])
def test_an_old_or_future_stamp_of_a_timed_serializer_is_refused(age_s: int) -> None:
    with pytest.raises(BadSignature):
        opened(timed(FIELDS, age_s=age_s))


@pytest.mark.parametrize("name", ["sha256", "_path", "_ts"])
def test_a_header_without_what_it_must_hold_is_malformed(name: str) -> None:
    fields = {key: value for key, value in FIELDS.items() if key != name}
    with pytest.raises(MalformedRequest, match=name):
        opened(signed(fields))


@pytest.mark.parametrize("stamp", ["soon", None, True, [NOW], str(NOW)])
def test_a_stamp_that_is_no_number_is_malformed(stamp: object) -> None:
    with pytest.raises(MalformedRequest, match="_ts"):
        opened(signed(FIELDS | {"_ts": stamp}))


@pytest.mark.parametrize("digest", ["", "x" * 64, DIGEST[:-1], DIGEST + "0", 5, None, [DIGEST]])
def test_a_digest_of_another_form_is_refused(digest: object) -> None:
    with pytest.raises(BadDigest):
        opened(signed(FIELDS | {"sha256": digest}))


@pytest.mark.parametrize("value", [[FIELDS], "text", 5, None])
def test_signed_json_that_is_no_object_is_malformed(value: object) -> None:
    with pytest.raises(MalformedRequest):
        opened(signed(value))


def test_a_nonce_is_handed_out_with_the_time_it_matters() -> None:
    header = opened(signed(FIELDS | {"_nonce": "once"}))
    assert (header.nonce, header.nonce_until) == ("once", NOW - 1 + 300)


@given(st.text(max_size=80))
def test_nothing_unsigned_is_taken(value: str) -> None:
    with pytest.raises(BadSignature):
        opened(value)


@given(st.binary(max_size=80))
def test_no_signed_text_raises_anything_but_our_errors(text: bytes) -> None:
    value = itsdangerous.Signer(TOKEN, salt=b"itsdangerous").sign(text).decode("latin-1")
    with pytest.raises(ServerError):
        opened(value)


# the body behind it


async def pieces(body: bytes, size: int = 2) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in chunks])


async def test_the_body_that_was_signed_passes() -> None:
    digest = opened(signed(FIELDS)).digest
    assert await whole(only_signed(pieces(BODY), digest)) == BODY


@pytest.mark.parametrize("body", [b"", BODY[:-1], BODY + b"\0", b"b song"])
async def test_another_body_is_refused_at_its_end(body: bytes) -> None:
    digest = opened(signed(FIELDS)).digest
    with pytest.raises(BadSignature):
        await whole(only_signed(pieces(body), digest))
