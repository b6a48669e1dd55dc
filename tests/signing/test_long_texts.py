"""Long texts that server/signing/payload.py leaves where they lie."""

import json
from functools import partial

import itsdangerous
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import MalformedRequest
from server.signing.keyring import KeyRing
from server.signing.payload import open_payload, parse_fields, take_fields

TOKEN = "a token of more than sixteen bytes"
KEYS = KeyRing([TOKEN])
LONG = "QUJD" * 20_000
PARSE = partial(parse_fields, raw=frozenset({"data"}))


def opened(text: str) -> dict[str, object]:
    body = itsdangerous.Signer(TOKEN, salt=b"itsdangerous").sign(text)
    fields = open_payload(body, KEYS, path="/", now=0, max_age_s=1, parse=PARSE).fields
    return {k: bytes(v).decode() if isinstance(v, memoryview) else v for k, v in fields.items()}


def test_a_long_text_of_a_raw_field_is_a_view_of_the_body() -> None:
    body = itsdangerous.Signer(TOKEN, salt=b"itsdangerous").sign(json.dumps({"data": LONG}))
    fields = open_payload(body, KEYS, path="/", now=0, max_age_s=1, parse=PARSE).fields
    assert isinstance(fields["data"], memoryview)
    assert take_fields(fields, required={"data": str}) == {"data": LONG.encode()}


TEXTS = st.sampled_from(["", "short", LONG, LONG + "1", 'quo"te', "back\\slash", "\n", "é", "{}"])


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["data", "csv", "ext", LONG, "x"]),
        TEXTS | st.lists(TEXTS, max_size=2) | st.dictionaries(TEXTS, TEXTS, max_size=2),
    ),
    st.booleans(),
)
def test_what_is_read_is_what_json_reads(value: dict[str, object], ascii_only: bool) -> None:
    assert opened(json.dumps(value, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize(
    "text",
    [
        f'{{"data": "{LONG}", "data": "x"}}',
        f'{{"data": "{LONG}"',
        f'{{"data": "{LONG}}}',
        f'{{"data": "{LONG}" "x"}}',
        f'{{"data": "{LONG}", "x": NaN}}',
        f'["{LONG}"]',
        f'"{LONG}"',
        f'{{"csv": "{LONG}\n"}}',
        f'{{"{LONG}": 1, "{LONG}": 2}}',
    ],
)
def test_malformed_json_around_a_long_text_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequest):
        opened(text)


def test_among_many_texts_none_is_left_in_the_body() -> None:
    value = {f"field {number}": "x" for number in range(40)} | {"data": LONG}
    body = itsdangerous.Signer(TOKEN, salt=b"itsdangerous").sign(json.dumps(value))
    fields = open_payload(body, KEYS, path="/", now=0, max_age_s=1, parse=PARSE).fields
    assert fields == value


def test_a_long_text_with_escapes_is_read_as_json_reads_it() -> None:
    plain = "QUJD/+" * 300_000
    for escaped in (plain.replace("/", "\\/"), plain.replace("+", "\\u002B")):
        assert opened(f'{{"data": "{escaped}", "ext": "wav"}}') == {"data": plain, "ext": "wav"}


VERY_LONG = "QUJD" * 300_000  # more than a payload may hold beside the fields that may be long


@pytest.mark.parametrize(
    "text",
    [
        *(f'{{"x": "{VERY_LONG}"}}', f'{{"data": ["{VERY_LONG}"]}}', f'{{"{VERY_LONG}": 1}}'),
        *(f'{{"data": "{LONG}", "x": "{VERY_LONG}"}}', f'{{"data": "{VERY_LONG}", "x": "\\""}}'),
        *('{"data": ' + "[" * 1_100_000, '{"x": ' + "9" * 1_100_000 + "}"),
        '{"data": [' + '"x",' * 300_000 + '"x"]}',
    ],
    ids=lambda text: text[:20],
)
def test_what_is_long_besides_is_refused_unread(text: str) -> None:
    with pytest.raises(MalformedRequest, match="too long"):
        opened(text)


def test_a_payload_without_long_fields_is_short() -> None:
    with pytest.raises(MalformedRequest, match="too long"):
        parse_fields(json.dumps({"hash": VERY_LONG}).encode())


@pytest.mark.parametrize("beside", ["plain", "with\nescapes"])
@pytest.mark.parametrize("long", [LONG, "x\n" * 40_000])
def test_a_long_text_is_read_whatever_stands_beside_it(beside: str, long: str) -> None:
    value = {"x": beside, "data": long, "ext": beside}
    assert opened(json.dumps(value)) == value
