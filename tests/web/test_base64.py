"""The base64 of server/web/base64_field.py against the grammar of RFC 4648, section 4."""

import binascii
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.errors import BadBase64
from server.web.base64_field import decode_base64

DIGIT = "[A-Za-z0-9+/]"
# The standard library is no judge: even in strict mode it takes "AAAA=".
WHOLE = re.compile(f"(?:{DIGIT}{{4}})*(?:{DIGIT}{{2}}==|{DIGIT}{{3}}=)?")


@given(st.text(alphabet="AQgw+/=-_ \n\u00e9", max_size=24))
@example("AAAA=")
@example("AAAA====")
@example("AB==")
@example("AA==AA==")
@example("AAAA\n")
@example("=")
@example("")
def test_short_texts_are_read_as_the_grammar_says(text: str) -> None:
    if WHOLE.fullmatch(text) is None:
        with pytest.raises(BadBase64):
            decode_base64(text, "data")
    else:
        assert decode_base64(text, "data") == binascii.a2b_base64(text)
