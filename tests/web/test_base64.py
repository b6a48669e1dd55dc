"""The base64 of server/web/base64_field.py against the standard library."""

import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import BadBase64
from server.web.base64_field import decode_base64


def whole(text: str) -> bytes | None:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None


@given(st.text(alphabet="AQgw+/=-_ \n\u00e9", max_size=24))
def test_short_texts_are_read_as_the_library_reads_them(text: str) -> None:
    expected = whole(text)
    if expected is None:
        with pytest.raises(BadBase64):
            decode_base64(text, "data")
    else:
        assert decode_base64(text, "data") == expected
