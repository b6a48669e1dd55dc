"""server/gate/config/json_text.py: budgets, and one meaning only."""

import contextlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import BadModel
from server.gate.config import json_text

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(PLAIN)
def test_json_is_read_as_the_standard_library_does(value: Any) -> None:
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        expected = json.loads(data.decode())
    except UnicodeDecodeError:
        return
    assert json_text.load(data, where="it") == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'"' + b"a" * json_text.MAX_BYTES + b'"', "json-size"),
        (b"[" * 65 + b"]" * 65, "json-depth"),
        (b"[" + b"0," * 200_000 + b"0]", "json-nodes"),
        (b'{"a": 1, "a": 2}', "json-duplicate-key"),
        (b'{"a": {"b": 1, "b": 2}}', "json-duplicate-key"),
        (b"[NaN]", "json-number"),
        (b"[-Infinity]", "json-number"),
        (b"1e999", "json-number"),
        (b"9007199254740993", "json-number"),
        (b"1" * 5000, "json-number"),
        (b"-" + b"9" * 17, "json-number"),
        (b"\xff", "json-damaged"),
        (b"\xef\xbb\xbf{}", "json-damaged"),
        (b"{", "json-damaged"),
        (b"]" * 3, "json-damaged"),
        (b"[]" + b"}" * 10, "json-damaged"),
        (b'["\\ud800"]', "json-damaged"),
        (b'"unterminated', "json-damaged"),
        (b"", "json-damaged"),
    ],
)
def test_a_text_over_the_budget_or_of_two_meanings_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BadModel) as refused:
        json_text.load(data, where="it")
    assert refused.value.members == {"reason": reason, "where": "it"}


@pytest.mark.parametrize(
    "data", [b'"\\u00e9"', b'"\\ud83d\\ude00"', b"9007199254740992", b'"[[[["']
)
def test_honest_texts_are_read(data: bytes) -> None:
    assert json_text.load(data, where="it") == json.loads(data)


@pytest.mark.parametrize("part", [b"\\\\", b'\\"', b"[", b'","'])
def test_a_long_text_costs_little_memory(part: bytes) -> None:
    data = b'["' + part * (7_000_000 // len(part)) + b'"]'
    tracemalloc.start()
    with contextlib.suppress(BadModel):
        json_text.load(data, where="it")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 << 20


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadModel):
        json_text.load(data, where="it")
