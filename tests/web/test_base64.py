"""The base64 of server/web/compat.py, piece by piece, against the standard library."""

import base64
import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import BadBase64
from server.web import compat

LONG = base64.b64encode(bytes(range(256)) * 9000).decode()


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
            compat._base64(text, "data")
    else:
        assert compat._base64(text, "data") == expected


def test_a_text_of_several_pieces_is_read_whole() -> None:
    assert len(LONG) > 2 * compat._BASE64_CHARS
    assert compat._base64(LONG, "data") == bytes(range(256)) * 9000


@pytest.mark.parametrize("at", [compat._BASE64_CHARS - 1, compat._BASE64_CHARS - 2, 7])
def test_padding_inside_a_long_text_is_refused(at: int) -> None:
    with pytest.raises(BadBase64):
        compat._base64(LONG[:at] + "=" + LONG[at + 1 :], "data")
